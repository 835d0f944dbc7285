"""Cells a second onto 256x256 maps, as points and smoothed, beside peers; all measured in turns.

What bounds the kernel: `projection_bandwidth` shows how much of the memory's bandwidth it uses, and the
peer "same, maps in the first-level cache" what the misses of a 2 MB map cost; what then remains is work of
the processor, about an addition of a vector and ten operations to find its pixel for each cell.

What bounds the smoothing one is arithmetic: a cell of a pixel is sampled some 100 times, a square root and
a dozen operations each, so that the 20 bytes of a cell do not matter. `projection_smoothed_samples` sets the
rate of these samples beside that of large cells, which is free of the short loops about a small one.
"""

from __future__ import annotations

import importlib
import math
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.figure import row
from ssfr.components.projection.backends import backend
from ssfr.components.projection.field_of_view import FieldOfView

_CELLS = 2_000_000
_FIELDS = 3
_PIXELS = 256
_WIDTH_KPC = 90.0
_ROUNDS = 15
_SLOW_ROUNDS = 2
_CACHED_PIXELS = 32
_SMOOTHED_CELLS = 500_000
_SMOOTHED_ROUNDS = 5
_LARGE_CELLS, _LARGE_SUPPORT_PIXELS = 25_000, 20.0
_COMPARED_CELLS = 10_000
_FINER = 8
_H_PIXELS = 1.0
_SUPPORT_PIXELS = 1.897367 * _H_PIXELS
"""swiftsimio's kernel reaches over this multiple of the smoothing length h that it is given."""

Positions = NDArray[np.float32]


def run() -> list[dict[str, Any]]:
    """Measure the kernel and its peers on two galaxies.

    `uniform` cells lie anywhere in the field of view; `galaxy` is an exponential disc (scale length 6 kpc,
    80%) in a hot halo (Gaussian of 25 kpc, 20%), 3% of it outside the field of
    view. Cells are in random order.
    fast-histogram gets the float32 arrays as they are, and, where that is named, float64 copies made
    beforehand, which it is faster with; swiftsimio gets positions in float64 from 0 to 1, as it asks for.

    Returns
    -------
    list of dict
        Rates [Mcells/s] by the median of rounds in which all take turns; on one thread but for
        ``projection_threads``. Bandwidth [GB/s] counts the bytes read, and for memcpy those read and
        written. Memory [MB] is what is used beside input and output, at the peak.
    """
    figures = []
    for name, positions in (("uniform", _uniform()), ("galaxy", _galaxy())):
        calls, slow = _calls(positions), _slow_calls(positions)
        seconds = _medians(calls, _ROUNDS) | _medians(slow, _SLOW_ROUNDS)
        rate = {call: _CELLS / time / 1e6 for call, time in seconds.items()}
        ours = rate.pop("ssfr")
        copied = 2 * 4 * 3 * _CELLS / seconds["memcpy"] / 1e9
        threads = rate.pop("two threads")
        del rate["memcpy"]
        figures += [row(f"projection_{name}", ours, "Mcells/s", peer, rate[peer]) for peer in rate]
        read = 4 * (3 + _FIELDS) * _CELLS / seconds["ssfr"] / 1e9
        figures.append(row(f"projection_bandwidth_{name}", read, "GB/s", "memcpy", copied))
        figures.append(row(f"projection_threads_{name}", threads, "Mcells/s", "one thread", ours))
    # in a process each: memory that was freed but kept would hide what the next one needs
    with ProcessPoolExecutor(1, get_context("spawn"), max_tasks_per_child=1) as fresh:
        ours, numpys = fresh.map(_extra_mb, ("ssfr", "numpy.histogram2d"))
    figures.append(row("projection_memory", ours, "MB", "numpy.histogram2d", numpys))
    return figures + _smoothed()


def _smoothed() -> list[dict[str, Any]]:
    """Measure smoothing, on one thread, of cells anywhere in the field of view, each about a pixel in size.

    swiftsimio's `fast` takes the kernel at the centres of pixels; on a grid `_FINER` times finer, summed
    into pixels, it comes as close to the equation as the others. Errors are of a map of fewer cells
    against the reference backend, which has converged to 1e-7, relative to the norm of the map.
    """
    seconds = _medians(_smoothing_calls(_SMOOTHED_CELLS), _SMOOTHED_ROUNDS)
    rate = {name: _SMOOTHED_CELLS / time / 1e6 for name, time in seconds.items()}
    drawn = {name: call() for name, call in _smoothing_calls(_COMPARED_CELLS).items()}
    positions, support, weights, fov = _pixel_sized(_COMPARED_CELLS)
    exact = backend("reference").smooth(positions, support, weights[:1], fov)[0][0]
    figures = []
    for peer in (name for name in rate if name.startswith("swiftsimio")):
        figures.append(row("projection_smoothed", rate["ssfr"], "Mcells/s", peer, rate[peer]))
        ours, theirs = (float(np.linalg.norm(drawn[name] - exact)) for name in ("ssfr", peer))
        norm = float(np.linalg.norm(exact))
        figures.append(row("projection_smoothed_error", ours / norm, "of the map", peer, theirs / norm))
    three = "swiftsimio subsampled, three calls"
    figures.append(
        row(
            "projection_smoothed_3_fields",
            rate["three fields"],
            "Mcells/s",
            three,
            rate["swiftsimio subsampled"] / 3,
        )
    )
    figures.append(
        row(
            "projection_smoothed_threads", rate["two threads"], "Mcells/s", "one thread", rate["three fields"]
        )
    )
    small = rate["ssfr"] / 1e3 * math.pi * (3 * _SUPPORT_PIXELS) ** 2
    large = _LARGE_CELLS / seconds["large cells"] / 1e9 * math.pi * _LARGE_SUPPORT_PIXELS**2
    figures.append(row("projection_smoothed_samples", small, "Gsamples/s", "cells of 20 pixels", large))
    return figures


def _pixel_sized(count: int) -> tuple[Positions, Positions, Positions, FieldOfView]:
    """Return positions, supports, weights and the field of view of cells with a support of 1.9 pixels."""
    support = np.full(count, _SUPPORT_PIXELS * _WIDTH_KPC / _PIXELS, np.float32)
    return (
        np.ascontiguousarray(_uniform()[:, :count]),
        support,
        np.ascontiguousarray(_weights()[:, :count]),
        FieldOfView(_WIDTH_KPC, math.inf, _PIXELS, _PIXELS),
    )


def _smoothing_calls(count: int) -> dict[str, Callable[[], Any]]:
    """Return what is measured, ready to be called; the first four give the map of the first field."""
    backends = "swiftsimio.visualisation.projection_backends"
    fast, subsampled = (
        importlib.import_module(f"{backends}.{name}").scatter for name in ("fast", "subsampled")
    )
    smooth = backend("native").smooth
    positions, support, weights, fov = _pixel_sized(count)
    one = np.ascontiguousarray(weights[:1])
    x01, y01 = positions[:2].astype(float) / _WIDTH_KPC + 0.5
    h = np.full(count, _H_PIXELS / _PIXELS, np.float32)
    large = np.full(_LARGE_CELLS, _LARGE_SUPPORT_PIXELS * _WIDTH_KPC / _PIXELS, np.float32)
    some = np.ascontiguousarray(positions[:, :_LARGE_CELLS]), np.ascontiguousarray(one[:, :_LARGE_CELLS])

    def peer(scatter: Callable[..., NDArray[Any]], finer: int) -> NDArray[Any]:
        drawn = scatter(y01, x01, one[0], h, _PIXELS * finer) / (_PIXELS * finer) ** 2
        return drawn.reshape(_PIXELS, finer, _PIXELS, finer).sum(axis=(1, 3)) if finer > 1 else drawn

    calls: dict[str, Callable[[], Any]] = {
        "ssfr": lambda: smooth(positions, support, one, fov)[0][0],
        "swiftsimio fast": lambda: peer(fast, 1),
        "swiftsimio subsampled": lambda: peer(subsampled, 1),
        f"swiftsimio fast, {_FINER} times finer": lambda: peer(fast, _FINER),
        "three fields": lambda: smooth(positions, support, weights, fov),
        "two threads": lambda: smooth(positions, support, weights, fov, 2),
        "large cells": lambda: smooth(some[0], large[: some[0].shape[1]], some[1], fov),
    }
    for call in calls.values():
        call()  # compiled, and its memory touched
    return calls


def _uniform() -> Positions:
    half = 0.5 * _WIDTH_KPC
    return np.random.default_rng(1).uniform(-half, half, (3, _CELLS)).astype(np.float32)


def _galaxy() -> Positions:
    rng = np.random.default_rng(2)
    radius, angle = rng.gamma(2, 6, _CELLS), rng.uniform(0, 2 * np.pi, _CELLS)
    disc = [radius * np.cos(angle), radius * np.sin(angle), rng.normal(0, 1, _CELLS)]
    halo = rng.normal(0, 25, (3, _CELLS))
    return np.where(rng.random(_CELLS) < 0.2, halo, disc).astype(np.float32)


def _weights() -> NDArray[np.float32]:
    return np.random.default_rng(3).random((_FIELDS, _CELLS), np.float32)


def _calls(positions: Positions) -> dict[str, Callable[[], Any]]:
    """Return what is measured, each ready to be called."""
    histogram2d = importlib.import_module("fast_histogram").histogram2d
    # the package's own attribute of this name is a function
    swiftsimio = importlib.import_module("swiftsimio.visualisation.projection_backends.histogram")
    project, weights = backend("native").project, _weights()
    fov = FieldOfView(_WIDTH_KPC, math.inf, _PIXELS, _PIXELS)
    squeezed = positions * np.float32(_CACHED_PIXELS / _PIXELS)
    x, y = positions[:2]
    x64, y64, weights64 = x.astype(float), y.astype(float), weights.astype(float)
    x01, y01 = (x64 / _WIDTH_KPC + 0.5, y64 / _WIDTH_KPC + 0.5)
    smoothing = np.zeros(_CELLS, np.float32)
    edges = [(-0.5 * _WIDTH_KPC, 0.5 * _WIDTH_KPC)] * 2
    copy = np.empty_like(positions)
    calls: dict[str, Callable[[], Any]] = {
        "ssfr": lambda: project(positions, weights, fov),
        "two threads": lambda: project(positions, weights, fov, 2),
        "same, maps in the first-level cache": lambda: project(squeezed, weights, fov),
        "fast-histogram": lambda: [histogram2d(x, y, _PIXELS, edges, w) for w in weights],
        "fast-histogram, float64": lambda: [histogram2d(x64, y64, _PIXELS, edges, w) for w in weights64],
        "swiftsimio histogram": lambda: [
            swiftsimio.scatter(x01, y01, w, smoothing, _PIXELS) for w in weights
        ],
        "memcpy": lambda: np.copyto(copy, positions),
    }
    for call in calls.values():
        call()  # compiled, and its memory touched
    return calls


def _slow_calls(positions: Positions) -> dict[str, Callable[[], Any]]:
    x, y = positions[:2]
    edges = [(-0.5 * _WIDTH_KPC, 0.5 * _WIDTH_KPC)] * 2
    weights = _weights()
    return {"numpy.histogram2d": lambda: [np.histogram2d(x, y, _PIXELS, edges, weights=w) for w in weights]}


def _medians(calls: dict[str, Callable[[], Any]], rounds: int) -> dict[str, float]:
    """Return the median seconds of each call; they take turns, so that all see the same machine."""
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            started = time.perf_counter()
            call()
            seconds[name].append(time.perf_counter() - started)
    return {name: float(np.median(times)) for name, times in seconds.items()}


def _extra_mb(name: str) -> float:
    """Return by how much a call raises the resident memory at its peak [MB] (Linux)."""
    positions, weights = _uniform(), _weights()
    project = backend("native").project
    fov = FieldOfView(_WIDTH_KPC, math.inf, _PIXELS, _PIXELS)
    call = _slow_calls(positions)[name] if name != "ssfr" else lambda: project(positions, weights, fov)
    Path("/proc/self/clear_refs").write_text("5")  # the peak is now what is resident
    before = _status_kb("VmRSS")
    call()
    return (_status_kb("VmHWM") - before) / 1024


def _status_kb(field: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return float(next(line for line in lines if line.startswith(field)).split()[1])
