"""Step 3 as the pipeline sees it: labels, split and scaling; and the way in for image catalogues."""

from kfp import dsl
from kfp.dsl import Dataset, Input, Output

from ssfr.components.steps.step import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def ingest(workdir: str, data: str, settings: str, repository: str, catalogue: Output[Dataset]) -> str:
    """Pack a folder of images and labels; return "no" if an earlier run did all that follows, else "yes".

    Args:
        workdir: folder of the run.
        data: the folder.
        settings: all settings, as JSON.
        repository: of models, which the run deploys to.
        catalogue: what steps 1 and 2 would have made: sample.parquet and maps-images-*.h5.
    """
    from pathlib import Path

    from ssfr.components.preprocessing.connections import INGEST
    from ssfr.components.preprocessing.ingest import fingerprint, run
    from ssfr.components.steps.step import open_step

    with open_step(INGEST, workdir, settings) as step:
        brought = step.open_data(data)
        key = step.do(
            lambda output: run(output, Path(brought.folder()), step.settings, step.progress),
            output=catalogue,
            besides={"data": brought.fingerprint or fingerprint(Path(brought.folder()), step.settings)},
            noted={"data": brought.location},
        )
        return step.remaining(key, repository)


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def preprocessing(
    workdir: str, settings: str, sample: Input[Dataset], maps: Input[Dataset], prepared: Output[Dataset]
) -> None:
    """Label and split the galaxies, and fit each case's scaling on the training set.

    Args:
        workdir: folder of the run.
        settings: all settings, as JSON.
        sample: of step 1.
        maps: of step 2.
        prepared: galaxies.parquet, scaling.json and what else the connections list.
    """
    from ssfr.components.preprocessing.connections import PREPROCESSING
    from ssfr.components.preprocessing.prepare import run
    from ssfr.components.steps.step import open_step

    with open_step(PREPROCESSING, workdir, settings) as step:
        sample_dir, maps_dir = step.take("sample", sample), step.take("maps", maps)
        step.do(
            lambda output: run(output, sample_dir, maps_dir, step.settings, step.progress),
            output=prepared,
            extra={"audit": step.settings.evaluation.audit_case is not None},
        )
