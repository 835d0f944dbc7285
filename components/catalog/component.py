"""Step 1 as the pipeline sees it: select galaxies."""

from kfp import dsl
from kfp.dsl import Dataset, Output

from components.step import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def catalog(workdir: str, data: str, settings: str, repository: str, sample: Output[Dataset]) -> str:
    """Select the galaxies of the sample; return "no" if an earlier run did all that follows, else "yes".

    Args:
        workdir: folder of the run.
        data: where the simulation is.
        settings: all settings, as JSON.
        repository: of models, which the whole run is for.
        sample: sample.parquet and funnel.csv.
    """
    from pathlib import Path
    from typing import Any

    from components.simulation import open_source
    from components.step import open_step

    with open_step("catalog", workdir, settings) as step:
        location, fingerprint = step.bring(data)
        source = open_source(location, step.settings.simulation)

        def work(output: Path) -> dict[str, Any]:
            from components.catalog.select import run

            return run(output, source, step.settings, step.progress)

        key = step.do(
            work,
            output=sample,
            inputs={"data": fingerprint or source.fingerprint()},
            sections=("simulation", "catalog"),
        )
        return step.go_on(key, repository)
