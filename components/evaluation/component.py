"""Step 5 as the pipeline sees it: predictions, scores beside baselines, and the report."""

from kfp import dsl
from kfp.dsl import HTML, Dataset, Input, Model, Output

from components.step import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def evaluation(
    workdir: str,
    settings: str,
    origin: str,
    maps: Input[Dataset],
    prepared: Input[Dataset],
    models: Input[list[Model]],
    scores: Output[Dataset],
    report: Output[HTML],
) -> None:
    """Score every model beside the baselines.

    Args:
        workdir: folder of the run.
        settings: all settings, as JSON.
        origin: what the data are, for the report's headline.
        maps: of step 2.
        prepared: of step 3.
        models: of step 4, one a case.
        scores: predictions.parquet, metrics.json and figures.
        report: one self-contained page.
    """
    from pathlib import Path
    from typing import Any

    from components.step import EVERY_SECTION, open_step

    with open_step("evaluation", workdir, settings) as step:
        maps_dir, prepared_dir = Path(maps.path), Path(prepared.path)
        folders = {model.metadata["case"]: Path(model.path) for model in models}

        def work(output: Path) -> dict[str, Any]:
            from components.evaluation.evaluate import run

            return run(output, folders, maps_dir, prepared_dir, step.settings, step.progress, origin)

        scores.uri = step.do(
            work,
            inputs={"maps": maps_dir, "prepared": prepared_dir}
            | {f"model/{case}": folder for case, folder in folders.items()},
            sections=EVERY_SECTION,  # the report prints them all
            extra={"origin": origin},
        )
        report.uri = str(Path(scores.uri) / "report.html")
