"""Step 2 as the pipeline sees it: from cells and particles to maps, in a task for each shard, joined."""

from kfp import dsl
from kfp.dsl import Dataset, Input, Output

from ssfr.components.steps.step import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def projection_shard(
    workdir: str,
    data: str,
    settings: str,
    snapshot: int,
    shard: int,
    shards: int,
    sample: Input[Dataset],
    maps: Output[Dataset],
) -> None:
    """Draw a share of a snapshot's maps, which stays when other snapshots come or go.

    Args:
        workdir: folder of the run, or its place in S3.
        data: where the simulation is, as step 1 found it.
        settings: all settings, as JSON.
        snapshot: whose maps.
        shard: number of the share, from 0.
        shards: how many there are of this snapshot.
        sample: of step 1.
        maps: the share's maps-*.h5.
    """
    from pathlib import Path
    from typing import Any

    from ssfr.components.projection.connections import SHARD
    from ssfr.components.projection.project import outside_code, rows_of
    from ssfr.components.shards import Shard
    from ssfr.components.simulation import Source, is_of_snapshot, open_source
    from ssfr.components.steps.step import open_step

    share = Shard(snapshot, shard, shards)
    # A folder for each share, of which `ssfr clean` keeps the newest: old snapshots are used for long.
    with open_step(SHARD, workdir, settings, f"{snapshot:03d}-{shard}") as step:
        brought = step.open_data(data).part(lambda name: is_of_snapshot(snapshot, name))
        sample_dir = step.take("sample", sample)

        def source() -> Source:
            return open_source(brought.folder(), step.settings.simulation)

        def work(output: Path) -> dict[str, Any]:
            from ssfr.components.projection.project import run

            return run(output, source(), sample_dir, step.settings, step.progress, share)

        step.do(
            work,
            output=maps,
            besides={
                "data": brought.fingerprint or source().fingerprint(snapshot),
                "rows": rows_of(sample_dir, share),
                "fields": outside_code(step.settings),
            },
            extra={"gas_of": step.settings.gas_of},
            label=share.label,
        )


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def projection_joined(
    workdir: str,
    settings: str,
    sample: Input[Dataset],
    drawn: Input[list[Dataset]],
    maps: Output[Dataset],
) -> None:
    """Join the shards: the same artifact, however many there were.

    Args:
        workdir: folder of the run, or its place in S3.
        settings: all settings, as JSON.
        sample: of step 1.
        drawn: the shards.
        maps: maps-*.h5, projection.csv and rejected.csv.
    """
    from pathlib import Path
    from typing import Any

    from ssfr.components.projection.connections import JOINED
    from ssfr.components.steps.step import open_step

    with open_step(JOINED, workdir, settings) as step:
        sample_dir = step.take("sample", sample)

        def work(output: Path) -> dict[str, Any]:
            from ssfr.components.projection.project import join

            shares = [step.take("drawn", share) for share in drawn]
            return join(output, shares, sample_dir, step.settings, step.progress)

        step.identify("drawn", *drawn)
        step.do(work, output=maps)
