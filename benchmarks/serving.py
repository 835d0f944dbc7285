"""What a call over gRPC costs beside the bare model call: p50, p99, requests/s at 1 and 8 clients.

The bare call is that of the SavedModel as TensorFlow loads it, `tf.saved_model.load`, from maps to numbers,
with TensorFlow's own number of threads. The server computes in a session, and splits none of the compact
network's operations between threads, which is faster: a difference to the bare call is not all that gRPC
costs.

Random weights: time does not depend on them. The server runs in a process of its own, and rounds of bare
and of served calls take turns, so that a busy machine is busy for both. Back to back, a bare call finds its
threads awake and its caches warm, as no call from outside ever does: `in_turn` is one of each after the
other.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from benchmarks.figure import row
from ssfr.components.config import ServingSettings, Settings, TrainingSettings
from ssfr.components.deployment.export import Example, export
from ssfr.components.identity.labels import LabelIdentity
from ssfr.components.imagesets.spec import ChannelScale, ImageSpec
from ssfr.components.models.architecture import architecture_of
from ssfr.components.models.folder import write_model
from ssfr.components.projection.map_files import map_identity
from ssfr.components.runtime.processes import die_with
from ssfr.components.runtime.progress import SILENT
from ssfr.components.serving.client.client import ModelClient
from ssfr.components.serving.server.server import Server

FIELDS = ("entropy", "mass", "temperature")
PIXELS = 256
CLIENTS = (1, 8)
PEER = "bare model call"

_ROUNDS = 16
_ROUND_S = 0.5


@dataclass
class Timings:
    """Seconds of each call, and of the rounds they were made in."""

    calls: list[float] = field(default_factory=list)
    wall_s: float = 0.0

    def figures(self) -> dict[str, tuple[float, str]]:
        """Return name -> value and unit."""
        p50, p99 = np.percentile(np.array(self.calls) * 1e3, [50, 99])
        return {
            "p50": (float(p50), "ms"),
            "p99": (float(p99), "ms"),
            "rate": (len(self.calls) / self.wall_s, "requests/s"),
        }


def run() -> list[dict[str, Any]]:
    """Measure the compact and the vgg16 model, one 256x256x3 galaxy a request.

    Returns
    -------
    One row a figure; `ratio` is served over bare.
    """
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for model in ("compact", "vgg16"):
            rows += _measure(model, Path(folder) / model)
    return rows


def _measure(model: str, folder: Path) -> list[dict[str, Any]]:
    spec = galaxy_spec()
    repository = folder / "models"
    (repository / model).mkdir(parents=True)
    maps = np.random.default_rng(0).lognormal(0.0, 1.0, (1, len(FIELDS), PIXELS, PIXELS)).astype(np.float32)
    version = repository / model / "1"
    export(write_random_model(folder / "trained", model, spec), version, model, Example.of(maps, spec))
    bare_call = _bare_call(version, maps)
    context = get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=serve, args=(repository, there))
    process.start()
    there.close()
    address = here.recv()
    rows = []
    with ModelClient.of(ServingSettings(), address, model) as client:
        rows += _in_turn(model, bare_call, partial(client.predict_maps, maps))
    for clients in CLIENTS:
        connections = [ModelClient.of(ServingSettings(), address, model) for _ in range(clients)]
        bare, served = Timings(), Timings()
        for connection in connections:
            connection.predict_maps(maps)
        for _ in range(_ROUNDS):
            _round(bare, [bare_call] * clients)
            _round(served, [partial(client.predict_maps, maps) for client in connections])
        for connection in connections:
            connection.close()
        peers = bare.figures()
        for name, (value, unit) in served.figures().items():
            label = f"serving.{model}.{name}_{clients}_clients"
            rows.append(row(label, value, unit, f"{PEER} (random weights)", peers[name][0]))
    here.send(None)
    process.join()
    return rows


def _bare_call(version: Path, maps: np.ndarray) -> Callable[[], object]:
    function = tf.saved_model.load(str(version)).signatures["predict_maps"]
    return lambda: {key: answer.numpy() for key, answer in function(maps=tf.constant(maps)).items()}


def _in_turn(model: str, bare: Callable[[], object], served: Callable[[], object]) -> list[dict[str, Any]]:
    """Make a bare call, a served one, a bare one, and so on."""
    timings = Timings(), Timings()
    end = time.perf_counter() + _ROUNDS * _ROUND_S
    while time.perf_counter() < end:
        for own, call in zip(timings, (bare, served), strict=True):
            started = time.perf_counter()
            call()
            own.calls.append(time.perf_counter() - started)
    peers, figures = (
        dict(zip(("p50", "p99"), np.percentile(np.array(own.calls) * 1e3, [50, 99]), strict=True))
        for own in timings
    )
    peer = f"{PEER}, in turn (random weights)"
    return [
        row(f"serving.{model}.{name}_in_turn", float(figures[name]), "ms", peer, float(peers[name]))
        for name in figures
    ]


def _round(timings: Timings, calls: list[Callable[[], object]]) -> None:
    """Make each call again and again for a while, all at the same time, each in a thread of its own."""
    end = time.perf_counter() + _ROUND_S

    def repeat(call: Callable[[], object]) -> list[float]:
        seconds = []
        while (started := time.perf_counter()) < end:
            call()
            seconds.append(time.perf_counter() - started)
        return seconds

    with ThreadPoolExecutor(len(calls)) as pool:
        started = time.perf_counter()
        for seconds in pool.map(repeat, calls):
            timings.calls += seconds
        timings.wall_s += time.perf_counter() - started


def serve(repository: Path, pipe: Connection) -> None:
    """Serve in a process of its own until a message comes; the first one sent is the address."""
    die_with(os.getppid())
    with Server(repository, ServingSettings(port=0), SILENT) as server:
        pipe.send(server.address)
        pipe.recv()


def galaxy_spec() -> ImageSpec:
    """Return what a model of 256x256x3 maps takes."""
    return ImageSpec(
        case="composite",
        maps=map_identity(Settings()),
        channels=FIELDS,
        pixel_type="float32",
        stretch="asinh",
        scales={name: ChannelScale() for name in FIELDS},
    )


def galaxy_label() -> LabelIdentity:
    """Return what a model of galaxies predicts."""
    return LabelIdentity(
        quantity="log10_ssfr",
        unit="log10(sSFR / yr^-1)",
        linear_unit="yr^-1",
        aperture="subhalo",
        mass="stellar",
        little_h="applied",
        zero_sfr="floor",
        floor=-13.0,
    )


def write_random_model(folder: Path, model: str, spec: ImageSpec, seed: int = 0) -> Path:
    """Write the folder of a trained model, with weights that nobody trained."""
    settings = TrainingSettings.model_validate(
        {
            "model": model,
            "vgg16": {"weights": "random"},
            "loss": "mse" if model == "vgg16" else "gaussian_nll",
        }
    )
    network = architecture_of(settings).network(spec, seed)
    folder.mkdir()
    interval = {"kind": "scaled_sigma", "factor": 1.0}
    if model == "vgg16":
        interval = {"kind": "residuals", "lower": -0.3, "upper": 0.3}
    description = {
        "case": spec.case,
        "model": model,
        "training": settings.model_dump(mode="json"),
        "spec": spec.model_dump(mode="json"),
        "label": {"identity": galaxy_label().model_dump(mode="json"), "offset": -10.5, "scale": 0.5},
        "interval": interval,
        "seed": seed,
        "backbone": network.frozen.origin,
    }
    write_model(folder, description, network.trained.get_weights())
    return folder
