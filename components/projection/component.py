"""Step 2 as the pipeline sees it: from gas cells to face-on maps, in a task for each shard, joined."""

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

    from ssfr.components.projection.project import outside_code, rows_of
    from ssfr.components.shards import Shard
    from ssfr.components.simulation import Source, is_of_snapshot, open_source
    from ssfr.components.steps.step import open_step

    share = Shard(snapshot, shard, shards)
    # A folder of its own, of which `ssfr clean` keeps the newest: those of old snapshots are used for long.
    with open_step(f"projection_shard/{snapshot:03d}-{shard}", workdir, settings) as step:
        brought = step.bring(data).part(lambda name: is_of_snapshot(snapshot, name))
        sample_dir = step.take(sample)

        def source() -> Source:
            return open_source(brought.folder(), step.settings.simulation)

        def work(output: Path) -> dict[str, Any]:
            from ssfr.components.projection.project import run

            return run(output, source(), sample_dir, step.settings, step.progress, share)

        step.do(
            work,
            output=maps,
            inputs={
                "data": brought.fingerprint or source().fingerprint(snapshot),
                "sample": rows_of(sample_dir, share),
                "fields": outside_code(step.settings),
            },
            sections=("simulation", "projection", "catalog.little_h", "catalog.label_aperture"),
            room="projection",
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

    from ssfr.components.steps.step import open_step
    from ssfr.components.storage.artifact import sha256_json, verify

    with open_step("projection", workdir, settings) as step:
        sample_dir = step.take(sample)

        def work(output: Path) -> dict[str, Any]:
            from ssfr.components.projection.project import join

            shards = [step.take(shard) for shard in drawn]
            for shard in shards:
                verify(shard)
            return join(output, shards, sample_dir, step.settings, step.progress)

        # What the maps are, not who drew them: another number of shards makes nothing after it new.
        files = {name: sha256 for shard in drawn for name, sha256 in step.digests(shard, "maps-*.h5").items()}
        step.do(
            work,
            output=maps,
            inputs={"sample": sample_dir, "drawn": sha256_json(files)},
            sections=("projection.max_rejected", "projection.min_young_stars"),
        )
