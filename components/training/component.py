"""Step 4 as the pipeline sees it: train the networks of one case."""

from kfp import dsl
from kfp.dsl import Dataset, Input, Model, Output

from ssfr.components.steps.step import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def training(
    workdir: str,
    settings: str,
    case: str,
    maps: Input[Dataset],
    prepared: Input[Dataset],
    model: Output[Model],
) -> None:
    """Train the networks of one case.

    Args:
        workdir: folder of the run.
        settings: all settings, as JSON.
        case: name of the image set.
        maps: of step 2.
        prepared: of step 3.
        model: the networks' weights, their descriptions and training histories.
    """
    from pathlib import Path
    from typing import Any

    from ssfr.components.imagesets.reader import load_spec
    from ssfr.components.steps.step import open_step
    from ssfr.components.storage.artifact import verify
    from ssfr.components.training.plan import engine, find_case, outside_code

    with open_step("training", workdir, settings) as step:
        maps_dir, prepared_dir = step.take(maps), step.take(prepared)
        # Of what was prepared, a case depends on the galaxies and on its own scaling alone: another
        # case beside it must not train it again.
        galaxies = verify(prepared_dir)["files"]["galaxies.parquet"]["sha256"]
        chosen = find_case(step.settings, case)
        spec = load_spec(chosen, step.settings.preprocessing, maps_dir, prepared_dir)

        def work(output: Path) -> dict[str, Any]:
            from ssfr.components.training.train import run

            return run(output, maps_dir, prepared_dir, case, step.settings, step.progress)

        step.do(
            work,
            output=model,
            inputs={"maps": maps_dir, "galaxies": galaxies},
            sections=("seed", "training", "evaluation.interval"),
            extra={
                "spec": spec.model_dump(mode="json"),
                "audit": step.settings.evaluation.audit_case == case,
                "engine": engine(),
                "model": outside_code(step.settings.training),
            },
            label=f"training/{case}",
        )
        model.metadata["case"] = case
