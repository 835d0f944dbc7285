"""`ssfr submit` and `ssfr follow`: a compiled pipeline becomes a run on the cluster, and is followed."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from ssfr.components.runtime.progress import Progress
from ssfr.pipelines.display import display
from ssfr.pipelines.kubeflow.compiled import CompiledPipeline

if TYPE_CHECKING:
    from ssfr.pipelines.kubeflow.api import Kubeflow

_INTERRUPTED = 130

Host = Annotated[
    str | None,
    typer.Option(help="URL of Kubeflow Pipelines; by default KFP_ENDPOINT. A token: KF_PIPELINES_TOKEN"),
]
Namespace = Annotated[str | None, typer.Option(help="your profile's, where Kubeflow serves several users")]
Timeout = Annotated[float, typer.Option(min=1.0, help="seconds to wait for an answer")]
Poll = Annotated[float, typer.Option(min=0.1, help="seconds between two looks at the run")]


def submit(
    pipeline: Annotated[Path, typer.Argument(help="compiled pipeline (.yaml), written by ssfr compile")],
    parameters: Annotated[
        list[str] | None,
        typer.Option("--parameter", "-p", metavar="KEY=VALUE", help="of the run, e.g. data=s3://bucket/tng"),
    ] = None,
    experiment: Annotated[
        str, typer.Option(help="what the run is filed under; made where there is none")
    ] = "ssfr",
    name: Annotated[
        str | None, typer.Option(help="of the run; by default the pipeline's and the time")
    ] = None,
    service_account: Annotated[str | None, typer.Option(help="that the run's pods have")] = None,
    wait: Annotated[bool, typer.Option("--follow/--no-follow", help="report until the run ends")] = True,
    host: Host = None,
    namespace: Namespace = None,
    timeout: Timeout = 30.0,
    poll: Poll = 5.0,
) -> None:
    """Run a compiled pipeline on the cluster, and follow it; Ctrl-C leaves it running."""
    from ssfr.pipelines.kubeflow.api import Kubeflow

    compiled = CompiledPipeline.read(pipeline)
    given = compiled.parse(parameters or [])
    compiled.check(given, "--parameter")
    kubeflow = Kubeflow.connect(host, namespace, timeout)
    version = kubeflow.upload(compiled)
    title = name or f"{compiled.name} {datetime.now(UTC):%Y-%m-%d %H:%M:%S}"
    number = kubeflow.create_run(title, version, kubeflow.experiment(experiment), given, service_account)
    for label, value in (("version", compiled.version), ("run", number), ("shown at", kubeflow.link(number))):
        typer.echo(f"{label:22} {value}")
    if wait:
        _follow(kubeflow, number, poll)


def follow(
    run: Annotated[str, typer.Argument(help="number of the run, as ssfr submit printed it")],
    host: Host = None,
    namespace: Namespace = None,
    timeout: Timeout = 30.0,
    poll: Poll = 5.0,
) -> None:
    """Report on a run on the cluster until it ends; Ctrl-C leaves it running."""
    from ssfr.pipelines.kubeflow.api import Kubeflow

    _follow(Kubeflow.connect(host, namespace, timeout), run, poll)


def _follow(kubeflow: Kubeflow, run: str, poll_s: float) -> None:
    from ssfr.pipelines.kubeflow.endpoint import KubeflowError
    from ssfr.pipelines.kubeflow.follow import follow as follow_run

    namespace = f" --namespace {kubeflow.namespace}" if kubeflow.namespace else ""
    again = f"the run goes on; to follow it again: ssfr follow {run} --host {kubeflow.host}{namespace}"
    with display(Console(stderr=True)) as sink:
        progress = Progress(sink)
        try:
            follow_run(kubeflow, run, progress, poll_s)
        except KeyboardInterrupt:
            progress.say(again)
            raise typer.Exit(_INTERRUPTED) from None
        except KubeflowError as error:
            if error.status == 404:
                raise
            raise KubeflowError(f"{error}; {again}", error.status) from None
