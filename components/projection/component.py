"""Step 2 as the pipeline sees it: from gas cells to face-on maps."""

from kfp import dsl
from kfp.dsl import Dataset, Input, Output

from components.step import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def projection(workdir: str, data: str, settings: str, sample: Input[Dataset], maps: Output[Dataset]) -> None:
    """Draw the maps of every galaxy of the sample.

    Args:
        workdir: folder of the run.
        data: where the simulation is.
        settings: all settings, as JSON.
        sample: of step 1.
        maps: maps-*.h5, projection.csv and set_aside.csv.
    """
    from pathlib import Path
    from typing import Any

    from components.simulation import open_source
    from components.step import open_step

    with open_step("projection", workdir, settings) as step:
        source = open_source(data, step.settings.simulation)
        sample_dir = Path(sample.path)

        def work(output: Path) -> dict[str, Any]:
            from components.projection.project import run

            return run(output, source, sample_dir, step.settings, step.progress)

        maps.uri = step.do(
            work,
            inputs={"data": source.fingerprint(), "sample": sample_dir},
            sections=("simulation", "projection", "catalog.little_h"),
        )
