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
    from ssfr.components.storage.artifact import keep_files
    from ssfr.components.training.connections import AUDIT, TRAINING
    from ssfr.components.training.plan import engine, find_case, outside_code

    with open_step(TRAINING, workdir, settings) as step:
        maps_dir, prepared_dir = step.take("maps", maps), step.take("prepared", prepared)
        chosen, audited = find_case(step.settings, case), step.settings.evaluation.audit_case == case
        spec = load_spec(chosen, step.settings.preprocessing, maps_dir, prepared_dir)
        # Of the scales of all cases, its own alone: another case beside it must not train it again.
        extra = {
            "spec": spec.model_dump(mode="json"),
            "engine": engine(),
            "model": outside_code(step.settings.training),
        }

        def train(output: Path) -> dict[str, Any]:
            from ssfr.components.training.train import run

            return run(output, maps_dir, prepared_dir, case, step.settings, step.progress)

        step.do(train, output=model, extra=extra, label=f"training/{case}")

    if audited:
        with open_step(AUDIT, workdir, settings) as step:
            maps_dir, prepared_dir = step.take("maps", maps), step.take("prepared", prepared)
            trained_dir = step.take("model", model)

            def audit(output: Path) -> dict[str, Any]:
                from ssfr.components.training.train import run

                keep_files(trained_dir, output)  # what is there is not trained again
                return run(output, maps_dir, prepared_dir, case, step.settings, step.progress, audit=True)

            step.do(audit, output=model, extra=extra, label=f"training/{case}, audit")
    model.metadata["case"] = case
