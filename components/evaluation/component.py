"""Step 5 as the pipeline sees it: predictions, scores beside baselines, and the report."""

from kfp import dsl
from kfp.dsl import HTML, Dataset, Input, Markdown, Metrics, Model, Output

from ssfr.components.steps.step import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def evaluation(
    workdir: str,
    settings: str,
    origin: str,
    synthetic: bool,
    maps: Input[Dataset],
    prepared: Input[Dataset],
    models: Input[list[Model]],
    scores: Output[Dataset],
    report: Output[HTML],
    summary: Output[Markdown],
    metrics: Output[Metrics],
) -> None:
    """Score every model beside the baselines.

    Args:
        workdir: folder of the run.
        settings: all settings, as JSON.
        origin: what the data are called, for the report's headline.
        synthetic: whether the galaxies are made up, as step 1 found.
        maps: of step 2.
        prepared: of step 3.
        models: of step 4, one a case.
        scores: predictions.parquet, extra_predictions.parquet and metrics.json.
        report: one self-contained page.
        summary: the answers and the scores, in short.
        metrics: r and RMSE of every case.
    """
    import shutil
    from pathlib import Path
    from typing import Any

    from ssfr.components.report.summary import figures
    from ssfr.components.steps.step import EVERY_SECTION, open_step
    from ssfr.components.storage.artifact import read_json

    with open_step("evaluation", workdir, settings) as step:
        maps_dir, prepared_dir = step.take(maps), step.take(prepared)
        folders = {model.metadata["case"]: step.take(model) for model in models}
        inputs: dict[str, Path | str] = {"maps": maps_dir, "prepared": prepared_dir}
        inputs |= {f"model/{case}": folder for case, folder in folders.items()}

        def score(output: Path) -> dict[str, Any]:
            from ssfr.components.evaluation.evaluate import run

            return run(output, folders, maps_dir, prepared_dir, step.settings, step.progress)

        scored = step.do(
            score,
            output=scores,
            inputs=inputs,
            sections=("seed", "evaluation", "cases", "preprocessing.split"),
        )

    with open_step("report", workdir, settings) as step:
        scores_dir = step.workdir.fetch(scored)
        if synthetic:
            origin += ", a SYNTHETIC universe, not a cosmological simulation"

        def write(output: Path) -> dict[str, Any]:
            from ssfr.components.evaluation.evaluate import report

            return report(
                output, scores_dir, folders, maps_dir, prepared_dir, step.settings, origin, synthetic
            )

        page = step.do(
            write,
            inputs=inputs | {"scores": scores_dir},
            sections=EVERY_SECTION,  # the page prints them all
            extra={"origin": origin, "synthetic": synthetic},
            room="evaluation",
        )
        page_dir = step.workdir.fetch(page)
        shutil.copyfile(page_dir / "report.html", report.path)
        shutil.copyfile(page_dir / "summary.md", summary.path)
        for name, value in figures(read_json(scores_dir / "metrics.json")).items():
            metrics.log_metric(name, value)
