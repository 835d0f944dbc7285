"""Step 1 as the pipeline sees it: select galaxies."""

from kfp import dsl
from kfp.dsl import Dataset, Output

from components.step import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def catalog(workdir: str, data: str, settings: str, sample: Output[Dataset]) -> None:
    """Select the galaxies of the sample and give them their sSFR.

    Args:
        workdir: folder of the run.
        data: where the simulation is.
        settings: all settings, as JSON.
        sample: sample.parquet and funnel.csv.
    """
    from pathlib import Path
    from typing import Any

    from components.simulation import open_source
    from components.step import open_step

    with open_step("catalog", workdir, settings) as step:
        source = open_source(data, step.settings.simulation)

        def work(output: Path) -> dict[str, Any]:
            from components.catalog.select import run

            return run(output, source, step.settings, step.progress)

        sample.uri = step.do(
            work,
            inputs={"data": source.fingerprint()},
            sections=("simulation", "catalog"),
        )
