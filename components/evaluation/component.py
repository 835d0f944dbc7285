"""Step 5 as the pipeline sees it: predictions, and scores beside those of baselines."""

from kfp import dsl
from kfp.dsl import Dataset, Input, Model, Output

from ssfr.components.steps.step import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def evaluation(
    workdir: str,
    settings: str,
    maps: Input[Dataset],
    prepared: Input[Dataset],
    models: Input[list[Model]],
    scores: Output[Dataset],
) -> None:
    """Score every model beside the baselines.

    Args:
        workdir: folder of the run.
        settings: all settings, as JSON.
        maps: of step 2.
        prepared: of step 3.
        models: of step 4, one a case.
        scores: predictions.parquet, extra_predictions.parquet and metrics.json.
    """
    from pathlib import Path
    from typing import Any

    from ssfr.components.evaluation.connections import EVALUATION
    from ssfr.components.steps.step import open_step

    with open_step(EVALUATION, workdir, settings) as step:
        maps_dir, prepared_dir = step.take("maps", maps), step.take("prepared", prepared)
        folders = step.take_each("model", models, "case")

        def score(output: Path) -> dict[str, Any]:
            from ssfr.components.evaluation.evaluate import run

            return run(output, folders, maps_dir, prepared_dir, step.settings, step.progress)

        step.do(score, output=scores)
