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

    from ssfr.components.preprocessing.ingest import fingerprint, run
    from ssfr.components.steps.step import open_step

    with open_step("ingest", workdir, settings) as step:
        brought = step.bring(data)
        key = step.do(
            lambda output: run(output, Path(brought.folder()), step.settings, step.progress),
            output=catalogue,
            inputs={"data": brought.fingerprint or fingerprint(Path(brought.folder()), step.settings)},
            sections=("preprocessing.images", "projection.pixels"),
            room="preprocessing",
            told={"data": brought.location},
        )
        return step.go_on(key, repository)


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
        prepared: galaxies.parquet and scaling.json.
    """
    from ssfr.components.preprocessing.prepare import run
    from ssfr.components.steps.step import open_step

    with open_step("preprocessing", workdir, settings) as step:
        sample_dir, maps_dir = step.take(sample), step.take(maps)
        step.do(
            lambda output: run(output, sample_dir, maps_dir, step.settings, step.progress),
            output=prepared,
            inputs={"sample": sample_dir, "maps": maps_dir},
            sections=("seed", "preprocessing", "cases"),
            extra={"audit": step.settings.evaluation.audit_case is not None},
        )
