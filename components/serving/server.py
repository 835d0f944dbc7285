"""A TF-Serving-compatible gRPC server for one machine: ports, limits, TLS, health, start and stop."""

from __future__ import annotations

import ipaddress
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, Self

import grpc
from grpc_health.v1.health import OVERALL_HEALTH, HealthServicer
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import add_HealthServicer_to_server
from tensorflow_serving.apis.model_service_pb2_grpc import add_ModelServiceServicer_to_server
from tensorflow_serving.apis.prediction_service_pb2_grpc import add_PredictionServiceServicer_to_server

from components.config import ServingSettings
from components.errors import InputError
from components.progress import Progress
from components.serving.manager import ModelManager
from components.serving.pem import read_pem
from components.serving.service import ModelService, PredictionService

PREDICTION_SERVICE = "tensorflow.serving.PredictionService"

_QUEUE_PER_WORKER = 32
"""Calls that may wait for each worker; a waiting call's message stays in the socket, so this is cheap."""


class Server:
    """Serves a model repository; a context manager.

    Parameters
    ----------
    root
        The repository.
    settings
        Address, limits, TLS.
    progress
        Is told what happens.

    Raises
    ------
    InputError
        No such repository, the port is taken, or a certificate can't be read.
    """

    def __init__(self, root: Path, settings: ServingSettings, progress: Progress) -> None:
        self._settings = settings
        self._progress = progress
        self.manager = ModelManager(root, progress)
        limit = int(settings.max_message_mb * 1e6)
        self._pool = ThreadPoolExecutor(settings.workers, "call")
        self._server = grpc.server(
            self._pool,
            maximum_concurrent_rpcs=settings.workers * (1 + _QUEUE_PER_WORKER),
            options=[
                ("grpc.max_receive_message_length", limit),
                ("grpc.max_send_message_length", limit),
                ("grpc.so_reuseport", 0),
            ],
        )
        self._health = _Health()
        self._reported: int | None = None
        add_HealthServicer_to_server(self._health, self._server)
        add_PredictionServiceServicer_to_server(
            PredictionService(self.manager, settings.max_batch), self._server
        )
        add_ModelServiceServicer_to_server(ModelService(self.manager, self._report_health), self._server)
        self._stop = threading.Event()
        self._follower = threading.Thread(
            target=self.manager.follow, args=(self._stop, settings.poll_s, self._report_health), daemon=True
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
        self.manager.sync()
        self._report_health()
        self._server.start()
        self._follower.start()

    def stop(self) -> None:
        """Say NOT_SERVING, take no new calls, and end when those under way have, or after the grace."""
        self._health.enter_graceful_shutdown()
        self._stop.set()
        self._server.stop(self._settings.grace_s).wait()
        self._pool.shutdown(wait=False)
        if self._follower.is_alive():
            self._follower.join()

    def _report_health(self) -> None:
        status = HealthCheckResponse.SERVING if self.manager.ready else HealthCheckResponse.NOT_SERVING
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
        Is told the address once calls are answered, and every version that is loaded or refused.
    stop_event
        Ends the server when set, for callers that are not the main thread.

    Raises
    ------
    InputError
        As `Server`.
    """
    stop = stop_event or threading.Event()
    with _ending_on_signals(stop), Server(root, settings, progress) as server:
        if not server.manager.ready:
            progress.warn(f"{root}: no model to serve yet; waiting for one")
        progress.say(f"serving {root} at {server.address}")
        stop.wait()
        progress.say("stopping: no new calls, those under way are finished")
    progress.say("stopped")


class _Health(HealthServicer):
    """grpc.health.v1 that answers from a thread of its own, so that a full server is not taken for dead."""

    def __init__(self) -> None:
        super().__init__()
        answer = super().Check

        def check(request: HealthCheckRequest, context: grpc.ServicerContext) -> HealthCheckResponse:
            response: HealthCheckResponse = answer(request, context)
            return response

        check.experimental_thread_pool = ThreadPoolExecutor(1, "health")  # type: ignore[attr-defined]
        self.Check = check


@contextmanager
def _ending_on_signals(stop: threading.Event) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(_number: int, _frame: FrameType | None) -> None:
        # A second signal finds the handlers that were there before, and ends the process at once.
        restore()
        stop.set()

    before: dict[int, Any] = {
        number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGINT)
    }

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    try:
        yield
    finally:
        restore()


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
