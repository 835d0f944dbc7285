"""A small, real HTTP server with the paths of Kubeflow Pipelines' API that we use, and what is behind them.

Requests are read into, and answers made of, the models of `kfp_server_api`: a field that the API doesn't have
fails. What is refused, and how a run's tasks look, follows the API server of Kubeflow Pipelines 2.17.
"""

from __future__ import annotations

import re
import socket
import struct
import threading
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import kfp_server_api as api
from kfp_models import read_model, uploaded_spec, write_model

_API = "/apis/v2beta1"
_LOGIN = "<html><body>Entrée: log in to your account</body></html>"


@dataclass
class Fault:
    """What befalls the next requests of a kind.

    `kind` is an HTTP status, or: html (a page of something else), text (JSON of something else), redirect (to
    a login), stall (no answer), reset (of the connection), raced (it is done, and answered with 409, as if
    another had been faster), lost (it is done, and not answered), none (all is well).
    """

    kind: int | str
    method: str = ""
    path: str = ""
    times: int = 1


Frame = tuple[str, list[Any]]
"""A run at one look: its state, and its tasks."""


@dataclass
class KfpServer:
    """What the server holds; tests look at it, and change it."""

    token: str | None = None
    multi_user: bool = False
    page: int = 100
    """The most that a page of a list has."""
    frames: list[Frame] = field(default_factory=lambda: [("SUCCEEDED", [])])
    """What every run looks like from one look to the next; the last stays."""
    logs: dict[str, str] = field(default_factory=dict)
    """By pod."""
    interface: bool = False
    """It is the user interface that answers: with logs elsewhere, and a page for what it doesn't know."""
    faults: list[Fault] = field(default_factory=list)
    port: int = 0
    pipelines: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, Any] = field(default_factory=dict)
    experiments: dict[str, Any] = field(default_factory=dict)
    runs: dict[str, Any] = field(default_factory=dict)
    recurring_runs: dict[str, Any] = field(default_factory=dict)
    looks: dict[str, int] = field(default_factory=dict)
    requests: list[tuple[str, str]] = field(default_factory=list)
    namespaces: set[str] = field(default_factory=set)
    stopping: threading.Event = field(default_factory=threading.Event)

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def changes(self) -> list[tuple[str, str]]:
        """The requests so far that were to change something."""
        return [one for one in self.requests if one[0] != "GET"]

    def fault(self, method: str, path: str) -> int | str | None:
        for one in self.faults:
            if one.times and method.startswith(one.method) and re.search(one.path, path):
                one.times -= 1
                return one.kind
        return None


def task(name: str, state: str, *children: str, error: str | None = None) -> Any:
    """Return a task as the API lists it; of its workflow's children it says the nodes."""
    return api.V2beta1PipelineTaskDetail(
        display_name=name,
        state=state,
        child_tasks=[api.PipelineTaskDetailChildTask(pod_name=one) for one in children],
        error=api.GoogleRpcStatus(code=13, message=error, details=[]) if error else None,
    )


@contextmanager
def kfp_server(**options: Any) -> Iterator[KfpServer]:
    """Run a server on a free port of this machine."""
    state = KfpServer(**options)

    class Handler(_Handler):
        kfp = state

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: Any) -> None:
            """Say nothing of clients that hang up."""

    server = Server(("127.0.0.1", 0), Handler)
    state.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield state
    finally:
        state.stopping.set()
        server.shutdown()
        server.server_close()
        thread.join()


class _RefusedError(Exception):
    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class _Page(str):
    """HTML."""


class _Handler(BaseHTTPRequestHandler):
    kfp: KfpServer
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *_: Any) -> None:
        """Keep the tests' output short."""

    def do_GET(self) -> None:
        method = self.command
        parts = urlsplit(self.path)
        self.query = dict(parse_qsl(parts.query))
        self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.kfp.requests.append((method, parts.path))
        fault = self.kfp.fault(method, parts.path)
        if fault in {"stall", "reset", "html", "text", "redirect"}:
            self._misbehave(str(fault))
            return
        if isinstance(fault, int):
            self._refuse(fault, f"injected {fault}")
            return
        try:
            self._authenticate()
            answer = self._answer(method, parts.path)
        except _RefusedError as error:
            self._refuse(error.status, str(error))
            return
        if fault == "raced":
            self._refuse(409, "Already exist. The name is used by another")
        elif fault == "lost":
            self.kfp.stopping.wait(30)
        elif isinstance(answer, str):
            kind = "text/html" if isinstance(answer, _Page) else "text/plain"
            self._send(200, answer.encode(), kind)
        else:
            self._send(200, write_model(answer))

    def do_POST(self) -> None:
        self.do_GET()

    def do_DELETE(self) -> None:
        self.do_GET()

    def _answer(self, method: str, path: str) -> Any:
        for one, pattern, work in _ROUTES:
            found = re.fullmatch(pattern, path)
            if one == method and found:
                return work(self, **found.groupdict())
        if self.kfp.interface:
            return _Page(_LOGIN)
        raise _RefusedError(404, "Not Found")

    def _authenticate(self) -> None:
        expected = self.kfp.token
        if expected and self.headers.get("authorization") != f"Bearer {expected}":
            raise _RefusedError(401, "Request header error: there is no user identity header.")

    def _misbehave(self, kind: str) -> None:
        if kind == "stall":
            self.kfp.stopping.wait(30)
            self.close_connection = True
        elif kind == "reset":
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
            self.close_connection = True
        elif kind == "html":
            self._send(200, _LOGIN.encode("latin-1"), "text/html")
        elif kind == "text":
            self._send(200, b'["something", "else"]')
        else:
            self._send(302, b"", "text/html", location="https://login.invalid/auth")

    def _refuse(self, status: int, message: str) -> None:
        answer = api.GoogleRpcStatus(code=status, message=message, details=[])
        self._send(status, write_model(answer))

    def _send(self, status: int, body: bytes, kind: str = "application/json", location: str = "") -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        if location:
            self.send_header("Location", location)
        self.end_headers()
        self.wfile.write(body)

    def _read(self, model: str) -> Any:
        """Return the request's body as a model of the API."""
        return self._model(self.body, model)

    @staticmethod
    def _model(data: bytes | str, model: str) -> Any:
        try:
            return read_model(data, model)
        except ValueError as error:
            raise _RefusedError(400, str(error)) from None

    def _listed(self, held: dict[str, Any], answer: type, items: str) -> Any:
        """Return a page of a list."""
        found = list(held.values())
        if "namespace" in self.query:
            self.kfp.namespaces.add(self.query["namespace"])
        if "filter" in self.query:
            asked = self._model(self.query["filter"], "V2beta1Filter")
            for one in asked.predicates:
                if (one.operation, one.key) != ("EQUALS", "display_name"):
                    raise _RefusedError(400, f"no filter {one.operation} on {one.key}")
                found = [held_one for held_one in found if held_one.display_name == one.string_value]
        first = int(self.query.get("page_token") or 0)
        last = first + min(self.kfp.page, int(self.query.get("page_size") or 10))
        token = str(last) if last < len(found) else None
        return answer(**{items: found[first:last], "total_size": len(found), "next_page_token": token})

    def health(self) -> Any:
        return api.V2beta1GetHealthzResponse(multi_user=self.kfp.multi_user)

    def list_pipelines(self) -> Any:
        return self._listed(self.kfp.pipelines, api.V2beta1ListPipelinesResponse, "pipelines")

    def create_pipeline(self) -> Any:
        made = self._read("V2beta1Pipeline")
        _refuse_twice(made.display_name, self.kfp.pipelines.values())
        made.pipeline_id, made.created_at = _number(), _now()
        self.kfp.pipelines[made.pipeline_id] = made
        return made

    def list_versions(self, pipeline: str) -> Any:
        held = {key: one for key, one in self.kfp.versions.items() if one.pipeline_id == pipeline}
        return self._listed(held, api.V2beta1ListPipelineVersionsResponse, "pipeline_versions")

    def get_version(self, pipeline: str, version: str) -> Any:
        found = self.kfp.versions.get(version)
        if found is None or found.pipeline_id != pipeline:
            raise _RefusedError(404, f"PipelineVersion {version} not found")
        return found

    def upload_version(self) -> Any:
        pipeline, name = self.query["pipelineid"], self.query["name"]
        if pipeline not in self.kfp.pipelines:
            raise _RefusedError(404, f"Pipeline {pipeline} not found")
        _refuse_twice(name, (one for one in self.kfp.versions.values() if one.pipeline_id == pipeline))
        made = api.V2beta1PipelineVersion(
            pipeline_id=pipeline,
            pipeline_version_id=_number(),
            display_name=name,
            name=name,
            created_at=_now(),
            pipeline_spec=uploaded_spec(self.headers["Content-Type"], self.body),
        )
        self.kfp.versions[made.pipeline_version_id] = made
        return made

    def list_experiments(self) -> Any:
        return self._listed(self.kfp.experiments, api.V2beta1ListExperimentsResponse, "experiments")

    def create_experiment(self) -> Any:
        made = self._read("V2beta1Experiment")
        _refuse_twice(made.display_name, self.kfp.experiments.values())
        made.experiment_id, made.created_at = _number(), _now()
        self.kfp.experiments[made.experiment_id] = made
        return made

    def create_run(self) -> Any:
        made = self._read("V2beta1Run")
        self._check_job(made)
        made.run_id, made.created_at, made.state = _number(), _now(), "PENDING"
        self.kfp.runs[made.run_id] = made
        return made

    def get_run(self, run: str) -> Any:
        found = self.kfp.runs.get(run)
        if found is None:
            raise _RefusedError(404, f"Run {run} not found")
        look = self.kfp.looks.get(run, 0)
        self.kfp.looks[run] = look + 1
        found.state, tasks = self.kfp.frames[min(look, len(self.kfp.frames) - 1)]
        found.run_details = api.V2beta1RunDetails(task_details=tasks)
        return found

    def log(self, run: str, node: str) -> Any:
        if self.kfp.interface:
            return _Page(_LOGIN)
        return self._log(run, node)

    def log_of_interface(self) -> Any:
        if not self.kfp.interface:
            raise _RefusedError(404, "Not Found")
        return self._log(self.query["runid"], self.query["podname"])

    def _log(self, run: str, pod: str) -> str:
        if run not in self.kfp.runs or pod not in self.kfp.logs:
            raise _RefusedError(500, f"Failed to read logs from pod {pod}")
        return self.kfp.logs[pod]

    def list_recurring(self) -> Any:
        held = self.kfp.recurring_runs
        return self._listed(held, api.V2beta1ListRecurringRunsResponse, "recurring_runs")

    def create_recurring(self) -> Any:
        made = self._read("V2beta1RecurringRun")
        self._check_job(made)
        if not 1 <= int(made.max_concurrency or 0) <= 10:
            raise _RefusedError(400, "Max concurrency of a recurring run must be at least 1 and at most 10")
        if len(made.trigger.cron_schedule.cron.split()) not in {5, 6}:
            raise _RefusedError(400, "Schedule cron is not a supported format")
        made.recurring_run_id, made.created_at = _number(), _now()
        made.status = "ENABLED" if made.mode == "ENABLE" else "DISABLED"
        made.service_account = made.service_account or "pipeline-runner"
        self.kfp.recurring_runs[made.recurring_run_id] = made
        return made

    def delete_recurring(self, number: str) -> Any:
        if self.kfp.recurring_runs.pop(number, None) is None:
            raise _RefusedError(404, f"Job {number} not found")
        return {}

    def _check_job(self, made: Any) -> None:
        """Refuse what is to run a version, or to be filed under an experiment, that isn't there."""
        reference = made.pipeline_version_reference
        if reference is None or reference.pipeline_version_id not in self.kfp.versions:
            raise _RefusedError(404, "PipelineVersion not found")
        if made.experiment_id not in self.kfp.experiments:
            raise _RefusedError(404, "Experiment not found")
        if not made.display_name:
            raise _RefusedError(400, "name is empty")


_ROUTES: list[tuple[str, str, Any]] = [
    ("GET", f"{_API}/healthz", _Handler.health),
    ("GET", f"{_API}/pipelines", _Handler.list_pipelines),
    ("POST", f"{_API}/pipelines", _Handler.create_pipeline),
    ("POST", f"{_API}/pipelines/upload_version", _Handler.upload_version),
    ("GET", f"{_API}/pipelines/(?P<pipeline>[^/]+)/versions", _Handler.list_versions),
    ("GET", f"{_API}/pipelines/(?P<pipeline>[^/]+)/versions/(?P<version>[^/]+)", _Handler.get_version),
    ("GET", f"{_API}/experiments", _Handler.list_experiments),
    ("POST", f"{_API}/experiments", _Handler.create_experiment),
    ("POST", f"{_API}/runs", _Handler.create_run),
    ("GET", f"{_API}/runs/(?P<run>[^/]+)", _Handler.get_run),
    ("GET", "/apis/v1alpha1/runs/(?P<run>[^/]+)/nodes/(?P<node>[^/]+)/log", _Handler.log),
    ("GET", "/k8s/pod/logs", _Handler.log_of_interface),
    ("GET", f"{_API}/recurringruns", _Handler.list_recurring),
    ("POST", f"{_API}/recurringruns", _Handler.create_recurring),
    ("DELETE", f"{_API}/recurringruns/(?P<number>[^/]+)", _Handler.delete_recurring),
]


def _refuse_twice(name: str, held: Iterable[Any]) -> None:
    if name in {one.display_name for one in held}:
        raise _RefusedError(409, f"Already exist. Failed to create {name}")


def _number() -> str:
    return str(uuid.uuid4())


def _now() -> datetime:
    return datetime.now(UTC)
