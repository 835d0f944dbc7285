"""A TF-Serving-compatible gRPC server for one machine: ports, limits, TLS, health, start and stop."""

from __future__ import annotations

import ipaddress
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, Self

import grpc
from grpc_health.v1.health import OVERALL_HEALTH, HealthServicer
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import add_HealthServicer_to_server

from ssfr.components.config import ServingSettings
from ssfr.components.errors import InputError
from ssfr.components.runtime.progress import Progress
from ssfr.components.serving.protocol.names import PREDICTION_SERVICE
from ssfr.components.serving.protocol.pem import read_pem
from ssfr.components.serving.server.loader import VersionLoader
from ssfr.components.serving.server.service import Service

_QUEUE_PER_WORKER = 32
"""Calls that may wait for each worker; a waiting call's message stays in the socket, so this is cheap."""
_LAST_LINES_S = 0.5
"""[s] for a thread whose work is done to come to its end."""
_HEALTH = "/grpc.health.v1.Health/"


class Server:
    """Serves a model repository; a context loader.

    Parameters
    ----------
    root
        The repository.
    settings
        Address, limits, TLS.
    progress
        Reports what happens.

    Raises
    ------
    InputError
        No such repository, the port is taken, or a certificate can't be read.
    """

    def __init__(self, root: Path, settings: ServingSettings, progress: Progress) -> None:
        self._settings = settings
        self._progress = progress
        self.loader = VersionLoader(root, progress)
        limit = int(settings.max_message_mb * 1e6)
        self._pool = _Pool(settings.workers, "call")
        apart = ThreadPoolExecutor(1, "health")
        self._server = grpc.server(
            self._pool,
            interceptors=[_Full(self._pool, settings.workers * (1 + _QUEUE_PER_WORKER), apart)],
            options=[
                ("grpc.max_receive_message_length", limit),
                ("grpc.max_send_message_length", limit),
                ("grpc.so_reuseport", 0),
            ],
        )
        self._health = _Health(apart)
        self._reported: int | None = None
        add_HealthServicer_to_server(self._health, self._server)
        Service(self.loader, settings.max_batch, self._report_health).add_to(self._server)
        self._stop = threading.Event()
        self._follower = threading.Thread(
            target=self.loader.follow, args=(self._stop, settings.poll_s, self._report_health), daemon=True
        )
        self.address = self._bind()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Load what the repository holds, then answer; calls that came earlier have waited."""
        self.loader.sync()
        self._report_health()
        self._server.start()
        self._follower.start()

    def stop(self) -> bool:
        """Say NOT_SERVING, take no new calls, and end when those under way have, or after the grace.

        Returns
        -------
        Whether all ended; if not, their clients received an error, but TensorFlow goes on computing in
        threads that Python waits for before it exits.
        """
        end = time.monotonic() + self._settings.grace_s
        self._health.enter_graceful_shutdown()
        self._stop.set()
        self._server.stop(self._settings.grace_s).wait()
        self._pool.shutdown(wait=False)
        if self._follower.is_alive():
            self._follower.join(max(end - time.monotonic(), _LAST_LINES_S))
        return self._pool.ends(end - time.monotonic()) and not self._follower.is_alive()

    def _report_health(self) -> None:
        status = HealthCheckResponse.SERVING if self.loader.ready else HealthCheckResponse.NOT_SERVING
        if status == self._reported:
            return
        self._reported = status
        for service in (OVERALL_HEALTH, PREDICTION_SERVICE):
            self._health.set(service, status)

    def _bind(self) -> str:
        settings = self._settings
        host = f"[{settings.host}]" if ":" in settings.host else settings.host
        credentials = _credentials(settings)
        if credentials is None and not _is_loopback(settings.host):
            self._progress.warn(
                f"anyone who reaches {settings.host}:{settings.port} can call this server; "
                "set serving.tls_certificate, tls_key and tls_client_ca"
            )
        try:
            if credentials is None:
                port = self._server.add_insecure_port(f"{host}:{settings.port}")
            else:
                port = self._server.add_secure_port(f"{host}:{settings.port}", credentials)
        except RuntimeError:
            port = 0
        if port == 0:
            raise InputError(
                f"{settings.host}:{settings.port}: can't listen there, the port is taken"
                f"{'' if credentials is None else ', or the key is not that of the certificate'}"
                "; use another serving.port (0: any free one)"
            )
        return f"{host}:{port}"


def serve(
    root: Path, settings: ServingSettings, progress: Progress, stop_event: threading.Event | None = None
) -> None:
    """Serve a model repository until SIGTERM or SIGINT, or until `stop_event` is set.

    Parameters
    ----------
    root
        The repository: <root>/<model>/<version>/.
    settings
        Address, limits, TLS.
    progress
        Reports the address once calls are answered, and every version that is loaded or refused.
    stop_event
        Ends the server when set, for callers that are not the main thread.

    Raises
    ------
    InputError
        As `Server`.
    """
    stop = stop_event or threading.Event()
    with _ending_on_signals(stop) as received:
        server = Server(root, settings, progress)
        try:
            server.start()
            if not server.loader.ready:
                progress.warn(f"{root}: no model to serve yet; waiting for one")
            progress.say(f"serving {root} at {server.address}")
            stop.wait()
            progress.say("stopping: no new calls, those under way are finished")
        finally:
            ended = server.stop()
        progress.say("stopped" if ended else f"stopped: calls were cut off after {settings.grace_s:g} s")
        if received and not ended:
            # A call inside TensorFlow can't be ended but with its process.
            signal.raise_signal(received[0])


class _Pool(ThreadPoolExecutor):
    """Threads that answer calls, and the number of calls that wait or are being answered."""

    def __init__(self, workers: int, name: str) -> None:
        super().__init__(workers, name)
        self.unfinished = 0
        self._changed = threading.Condition()

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Take a call."""
        future = super().submit(fn, *args, **kwargs)
        self._count(1)
        future.add_done_callback(lambda _: self._count(-1))
        return future

    def ends(self, within_s: float) -> bool:
        """Wait for the calls that were taken, and return whether all have ended."""
        with self._changed:
            return self._changed.wait_for(lambda: self.unfinished == 0, max(within_s, _LAST_LINES_S))

    def _count(self, change: int) -> None:
        with self._changed:
            self.unfinished += change
            self._changed.notify_all()


class _Full(grpc.ServerInterceptor):
    """Refuses calls that would wait too long, before they get in line; never a question for health."""

    def __init__(self, pool: _Pool, most: int, apart: ThreadPoolExecutor) -> None:
        self._pool = pool
        self._most = most

        def refuse(_unread: Iterator[bytes], context: grpc.ServicerContext) -> None:
            context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, f"{most} calls are under way already")

        refuse.experimental_thread_pool = apart  # type: ignore[attr-defined]
        # As if requests were a stream: of those the first is not received before the call is answered.
        self._refusal = grpc.stream_unary_rpc_method_handler(refuse)

    def intercept_service(self, continuation: Callable[[Any], Any], details: Any) -> Any:
        """Let a call in, or refuse it."""
        if self._pool.unfinished < self._most or details.method.startswith(_HEALTH):
            return continuation(details)
        return self._refusal


class _Health(HealthServicer):
    """grpc.health.v1 that answers from a thread of its own, so that a full server is not taken for dead."""

    def __init__(self, apart: ThreadPoolExecutor) -> None:
        super().__init__()
        answer = super().Check

        def check(request: HealthCheckRequest, context: grpc.ServicerContext) -> HealthCheckResponse:
            response: HealthCheckResponse = answer(request, context)
            return response

        check.experimental_thread_pool = apart  # type: ignore[attr-defined]
        self.Check = check


@contextmanager
def _ending_on_signals(stop: threading.Event) -> Iterator[list[int]]:
    """Set `stop` on the first SIGTERM or SIGINT; the next one ends the process at once.

    Yields the signals that were received.
    """
    received: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield received
        return

    def end(number: int, _frame: FrameType | None) -> None:
        for each in before:
            signal.signal(each, signal.SIG_DFL)
        received.append(number)
        stop.set()

    before: dict[int, Any] = {
        number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGINT)
    }

    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _credentials(settings: ServingSettings) -> grpc.ServerCredentials | None:
    if settings.tls_certificate is None and settings.tls_key is None:
        if settings.tls_client_ca is not None:
            raise InputError("serving.tls_client_ca needs tls_certificate and tls_key")
        return None
    if settings.tls_certificate is None or settings.tls_key is None:
        raise InputError("serving: tls_certificate and tls_key go together; one of them is missing")
    pair = (read_pem(settings.tls_key, "tls_key"), read_pem(settings.tls_certificate, "tls_certificate"))
    authority = read_pem(settings.tls_client_ca, "tls_client_ca") if settings.tls_client_ca else None
    return grpc.ssl_server_credentials(
        [pair], root_certificates=authority, require_client_auth=authority is not None
    )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
