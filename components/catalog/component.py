"""Step 1 as the pipeline sees it: select galaxies."""

from typing import NamedTuple

from kfp import dsl
from kfp.dsl import Dataset, Output

from ssfr.components.steps.step import IMAGE


# KFP runs this function's source alone: a class of this module would not be found, hence the ignored check.
@dsl.component(base_image=IMAGE, install_kfp_package=False)
def catalog(
    workdir: str, data: str, settings: str, repository: str, sample: Output[Dataset], tasks: int = 1
) -> NamedTuple("Found", [("Output", str), ("data", str), ("synthetic", bool), ("shards", list)]):  # type: ignore[valid-type]
    """Select the galaxies of the sample; find the facts on the data that later steps need.

    Beside the sample it gives: `Output`, "no" if the last run did all that follows, else "yes"; `data`,
    where later steps find the same data, though others may be uploaded meanwhile; `synthetic`, whether the
    galaxies are made up; and `shards`, the tasks that draw the maps.

    Args:
        workdir: folder of the run.
        data: where the simulation is.
        settings: all settings, as JSON.
        repository: of models, which the run deploys to.
        sample: sample.parquet and funnel.csv.
        tasks: shards of a snapshot, at most.
    """
    from collections import namedtuple
    from pathlib import Path
    from typing import Any

    from ssfr.components.catalog.connections import CATALOG
    from ssfr.components.shards import shards
    from ssfr.components.simulation import Source, is_of_cells, is_of_simulation, is_synthetic, open_source
    from ssfr.components.steps.step import open_step

    with open_step(CATALOG, workdir, settings) as step:
        everything = step.open_data(data)
        brought = everything.part(is_of_simulation)

        def source() -> Source:
            return open_source(brought.folder(without=is_of_cells), step.settings.simulation)

        def work(output: Path) -> dict[str, Any]:
            from ssfr.components.catalog.select import run

            return run(output, source(), step.settings, step.progress)

        synthetic = is_synthetic(everything.location, everything.files)
        key = step.do(
            work,
            output=sample,
            besides={"data": brought.fingerprint or source().fingerprint()},
            noted={"data": brought.location, "synthetic": synthetic, "tasks": tasks},
        )
        # A condition on an output of another name is never true in KFP's local runner.
        Found = namedtuple("Found", ["Output", "data", "synthetic", "shards"])
        return Found(
            step.remaining(key, repository),
            brought.location,
            synthetic,
            [shard._asdict() for shard in shards(step.figures(key), tasks)],
        )
