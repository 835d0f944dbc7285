"""Step 2 as the pipeline sees it: from gas cells to face-on maps, in one task or in parts that are joined."""

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
        location, fingerprint = step.bring(data)
        source = open_source(location, step.settings.simulation)
        sample_dir = step.take(sample)

        def work(output: Path) -> dict[str, Any]:
            from components.projection.project import run

            return run(output, source, sample_dir, step.settings, step.progress)

        step.do(
            work,
            output=maps,
            inputs={"data": fingerprint or source.fingerprint(), "sample": sample_dir},
            sections=("simulation", "projection", "catalog.little_h"),
        )


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def projection_part(
    workdir: str,
    data: str,
    settings: str,
    part: int,
    parts: int,
    sample: Input[Dataset],
    maps: Output[Dataset],
) -> None:
    """Draw one of several parts of the maps.

    Args:
        workdir: folder of the run, or its place in S3.
        data: where the simulation is.
        settings: all settings, as JSON.
        part: its number, from 0.
        parts: how many there are.
        sample: of step 1.
        maps: the part's maps-*.h5.
    """
    from pathlib import Path
    from typing import Any

    from components.simulation import open_source
    from components.step import open_step

    with open_step("projection_part", workdir, settings) as step:
        location, fingerprint = step.bring(data)
        source = open_source(location, step.settings.simulation)
        sample_dir = step.take(sample)

        def work(output: Path) -> dict[str, Any]:
            from components.projection.project import run

            return run(output, source, sample_dir, step.settings, step.progress, (part, parts))

        step.do(
            work,
            output=maps,
            inputs={"data": fingerprint or source.fingerprint(), "sample": sample_dir},
            sections=("simulation", "projection", "catalog.little_h"),
            extra={"part": [part, parts]},
            room="projection",
            label=f"projection/{part + 1} of {parts}",
        )


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def projection_joined(
    workdir: str,
    data: str,
    settings: str,
    sample: Input[Dataset],
    drawn: Input[list[Dataset]],
    maps: Output[Dataset],
) -> None:
    """Join the parts: the same artifact as if one task had drawn all.

    Args:
        workdir: folder of the run, or its place in S3.
        data: where the simulation is.
        settings: all settings, as JSON.
        sample: of step 1.
        drawn: the parts.
        maps: maps-*.h5, projection.csv and set_aside.csv.
    """
    import shutil
    from pathlib import Path
    from typing import Any

    from components.simulation import open_source
    from components.step import open_step

    with open_step("projection", workdir, settings) as step:
        location, fingerprint = step.bring(data)
        source = open_source(location, step.settings.simulation)
        sample_dir, part_dirs = step.take(sample), [step.take(part) for part in drawn]

        def work(output: Path) -> dict[str, Any]:
            from components.projection.project import run

            for part_dir in part_dirs:
                for file in part_dir.glob("maps-*.h5"):
                    shutil.copyfile(file, output / file.name)
            return run(output, source, sample_dir, step.settings, step.progress)

        step.do(
            work,
            output=maps,
            inputs={"data": fingerprint or source.fingerprint(), "sample": sample_dir},
            sections=("simulation", "projection", "catalog.little_h"),
        )
