"""Model-sync killed 200 times at random moments, and rolling to another version while 8 clients predict.

The S3 server is the tests' own; it, model-sync, the server and the clients share this machine, so that what
bringing and loading a model takes from the clients is part of the figures. The weights are random: time does
not depend on them.
"""

from __future__ import annotations

import importlib
import itertools
import os
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import boto3
import numpy as np
from botocore.config import Config

from benchmarks.figure import row
from benchmarks.serving import FIELDS, PIXELS, galaxy_spec, serve, write_random_model
from ssfr.components.config import ServingSettings
from ssfr.components.config.storage import StorageSettings
from ssfr.components.deployment.export import Example, export
from ssfr.components.deployment.rollout import promote
from ssfr.components.errors import InputError
from ssfr.components.runtime.progress import SILENT
from ssfr.components.serving.client.client import ModelClient
from ssfr.components.serving.repository.remote import RemoteRepository

ROUNDS = 200
CLIENTS = 8
BUCKET = "benchmark"
_MOVES = 4
_QUIET_S = 10.0
_VERSION_MB = 8
_TESTS = Path(__file__).resolve().parents[1] / "tests"


def run() -> list[dict[str, Any]]:
    """Kill model-sync, then roll out.

    Returns
    -------
    list of dict
        Rounds by what the kill met, versions that appeared and those that were partial; then requests, those
        that failed, and p50 and p99 [ms] before, during and after the moves of the label; the peer of the
        last two is before.
    """
    sys.path.insert(0, str(_TESTS))  # the server and the watcher are the tests'
    server, models = importlib.import_module("s3_server"), importlib.import_module("served_models")
    os.environ |= {"AWS_ACCESS_KEY_ID": server.ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": server.SECRET_KEY}
    with (
        tempfile.TemporaryDirectory(prefix="ssfr-rollout-") as name,
        server.s3_server(Path(name) / "s3") as s3,
    ):
        config = Config(s3={"addressing_style": "path"})
        client: Any = boto3.client("s3", endpoint_url=s3.endpoint, region_name=server.REGION, config=config)
        client.create_bucket(Bucket=BUCKET)
        settings = StorageSettings(endpoint=s3.endpoint, allow_http=True, region=server.REGION)
        return _kills(models, settings, Path(name)) + _moves(models, settings, Path(name))


def _kills(models: Any, storage: StorageSettings, folder: Path) -> list[dict[str, Any]]:
    repository = RemoteRepository(f"s3://{BUCKET}/kills", "toy", storage)
    rng = np.random.default_rng(0)
    for number in range(3):
        files = {f"variables/part-{part}": rng.bytes(1 << 20) for part in range(_VERSION_MB)}
        repository.publish(models.write_version(folder, f"model{number}", files))
    started = time.perf_counter()
    tally, wrong = models.kill_rounds(ROUNDS, repository, folder / "killed", storage)
    for one in wrong:
        print(f"rollout: {one}", file=sys.stderr)
    return [
        row("rollout.kills", tally["rounds"], "rounds"),
        *(
            row(f"rollout.kills.{name.replace(' ', '_')}", tally[name], "rounds")
            for name in ("not begun", "cut", "ended")
        ),
        row("rollout.kills.appeared_whole", tally["appeared"], "versions"),
        row("rollout.kills.partial", len(wrong), "versions"),
        row("rollout.kills.seconds", time.perf_counter() - started, "s"),
    ]


@dataclass
class _Requests:
    """What one client saw: when each request began and how long it took [s], and how many failed."""

    began: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    failed: int = 0


def _moves(models: Any, storage: StorageSettings, folder: Path) -> list[dict[str, Any]]:
    repository = RemoteRepository(f"s3://{BUCKET}/models", "compact", storage)
    spec = galaxy_spec()
    maps = np.random.default_rng(0).lognormal(0.0, 1.0, (1, len(FIELDS), PIXELS, PIXELS)).astype(np.float32)
    for seed in (1, 2):
        trained, version = folder / f"trained{seed}", folder / f"exported{seed}"
        write_random_model(trained, "compact", spec, seed)
        export(trained, version, "compact", Example.of(maps, spec))
        repository.publish(version)
    models.label(repository, stable=1)
    with _served(models, repository, storage, folder / "served") as address:
        clients, stop = [_Requests() for _ in range(CLIENTS)], threading.Event()
        threads = [threading.Thread(target=_request, args=(address, maps, one, stop)) for one in clients]
        for thread in threads:
            thread.start()
        phases = _roll(repository, address)
        stop.set()
        for thread in threads:
            thread.join()
    return _figures(clients, phases)


@contextmanager
def _served(models: Any, repository: RemoteRepository, storage: StorageSettings, root: Path) -> Iterator[str]:
    """Run model-sync and the server beside it; gives the server's address."""
    sidecar = models.model_sync(repository.location, root, storage, "--model", repository.name)
    models.begun(sidecar)
    while not (root / "models.config").exists():
        time.sleep(0.1)
    here, there = get_context("spawn").Pipe()
    process = get_context("spawn").Process(target=serve, args=(root, there))
    process.start()
    try:
        yield here.recv()
        here.send(None)
        process.join()
    finally:
        process.kill()
        sidecar.kill()
        sidecar.wait()


def _request(address: str, maps: np.ndarray, made: _Requests, stop: threading.Event) -> None:
    """Predict again and again, each request once: a failure counts."""
    with ModelClient.of(ServingSettings(retries=0), address, "compact", label="stable") as client:
        while not stop.is_set():
            made.began.append(time.perf_counter())
            try:
                client.predict_maps(maps)
            except InputError as error:
                made.failed += 1
                print(f"rollout: {error}", file=sys.stderr)
            made.seconds.append(time.perf_counter() - made.began[-1])


def _roll(repository: RemoteRepository, address: str) -> list[tuple[str, float]]:
    """Promote version 2, then 1, and so on, with quiet between; return the phases and when each began."""
    phases = [("before", time.perf_counter())]
    time.sleep(_QUIET_S)
    for number in range(_MOVES):
        phases.append(("during", time.perf_counter()))
        promote(repository, 2 - number % 2, [address], ServingSettings(), SILENT)
        phases.append(("after", time.perf_counter()))
        time.sleep(_QUIET_S)
    return phases


def _figures(clients: list[_Requests], phases: list[tuple[str, float]]) -> list[dict[str, Any]]:
    began = np.concatenate([one.began for one in clients])
    seconds = np.concatenate([one.seconds for one in clients])
    phase = np.searchsorted([start for _, start in phases], began) - 1
    names = np.array([name for name, _ in phases])[np.maximum(phase, 0)]
    moves = [end - start for (_, start), (name, end) in itertools.pairwise(phases) if name == "after"]
    rows = [
        row("rollout.moves", _MOVES, "roll-outs"),
        row("rollout.move_seconds", float(np.median(moves)), "s"),
        row("rollout.requests", len(began), "requests"),
        row("rollout.failed", sum(one.failed for one in clients), "requests"),
    ]
    quiet = seconds[names == "before"]
    for quantile in (50, 99):
        peer = float(np.percentile(quiet, quantile)) * 1e3
        rows.append(row(f"rollout.p{quantile}_before", peer, "ms"))
        for name in ("during", "after"):
            value = float(np.percentile(seconds[names == name], quantile)) * 1e3
            rows.append(row(f"rollout.p{quantile}_{name}", value, "ms", "before the roll-out", peer))
    longest = float(seconds.max()) * 1e3
    return [*rows, row("rollout.longest", longest, "ms")]
