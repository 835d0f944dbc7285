"""The exit handler as the pipeline sees it: the run's manifest, whatever happened."""

from kfp import dsl
from kfp.dsl import Markdown, Output, PipelineTaskFinalStatus

from ssfr.components.steps.step import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def manifest(
    workdir: str,
    data: str,
    settings: str,
    origin: str,
    repository: str,
    job: str,
    status: PipelineTaskFinalStatus,
    summary: Output[Markdown],
) -> None:
    """Write the run's arguments, how it ended, and which artifacts are complete.

    Args:
        workdir: folder of the run, or its place in S3.
        data: where the galaxies are.
        settings: all settings, as JSON.
        origin: what the data are, in words.
        repository: of models that are served.
        job: Kubeflow's identifier of the run.
        status: of all steps together.
        summary: the same for readers.
    """
    from pathlib import Path

    from ssfr.components.manifest.record import run
    from ssfr.components.manifest.record import summary as page
    from ssfr.components.steps.step import parse_settings_json
    from ssfr.components.storage.ledger import run_name
    from ssfr.components.storage.opening import open_store

    parsed = parse_settings_json(settings)
    arguments = {"workdir": workdir, "data": data, "origin": origin, "repository": repository}
    status_of = {"job": job, "state": status.state, "error": status.error_message or ""}
    record = run(
        open_store(workdir, parsed.storage), run_name(settings), parsed, settings, arguments, status_of
    )
    Path(summary.path).write_text(page(record))
