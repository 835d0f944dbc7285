"""Step 6 as the pipeline sees it: figures, tables and one page, made of the numbers of evaluation."""

from kfp import dsl
from kfp.dsl import HTML, Artifact, Dataset, Input, Markdown, Metrics, Model, Output

from ssfr.components.steps.step import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def report(
    workdir: str,
    settings: str,
    origin: str,
    synthetic: bool,
    maps: Input[Dataset],
    prepared: Input[Dataset],
    models: Input[list[Model]],
    scores: Input[Dataset],
    pages: Output[Artifact],
    page: Output[HTML],
    summary: Output[Markdown],
    metrics: Output[Metrics],
) -> None:
    """Draw the figures, and write the tables, the page and the model card.

    Args:
        workdir: folder of the run.
        settings: all settings, as JSON.
        origin: what the data are called, for the report's headline.
        synthetic: whether the galaxies are made up, as step 1 found.
        maps: of step 2.
        prepared: of step 3.
        models: of step 4, one a case.
        scores: of step 5.
        pages: report.html, summary.md, model-card.md, figures and tables.
        page: report.html.
        summary: the answers and the scores, in short.
        metrics: r and RMSE of every case.
    """
    import shutil
    from pathlib import Path
    from typing import Any

    from ssfr.components.report.connections import REPORT
    from ssfr.components.report.summary import figures
    from ssfr.components.results.files import read_metrics
    from ssfr.components.steps.step import open_step

    with open_step(REPORT, workdir, settings) as step:
        maps_dir, prepared_dir = step.take("maps", maps), step.take("prepared", prepared)
        scores_dir, folders = step.take("scores", scores), step.take_each("model", models, "case")
        if synthetic:
            origin += ", a SYNTHETIC universe, not a cosmological simulation"

        def write(output: Path) -> dict[str, Any]:
            from ssfr.components.report.write import run

            return run(output, scores_dir, folders, maps_dir, prepared_dir, step.settings, origin, synthetic)

        key = step.do(write, output=pages, extra={"origin": origin, "synthetic": synthetic})
        written = step.workdir.fetch(key)
        shutil.copyfile(written / "report.html", page.path)
        shutil.copyfile(written / "summary.md", summary.path)
        for name, value in figures(read_metrics(scores_dir)).items():
            metrics.log_metric(name, value)
