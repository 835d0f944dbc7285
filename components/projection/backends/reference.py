"""Maps from plain numpy: slow, short, and what the kernel is tested against."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from components.projection.backends import Counts
from components.projection.frame import Frame


def project(
    positions_kpc: NDArray[np.float32], weights: NDArray[np.float32], frame: Frame, threads: int = 1
) -> tuple[NDArray[np.float64], Counts]:
    """Sum weights into maps: see `Backend`. There is one thread, whatever `threads` says."""
    positions = np.asarray(positions_kpc, np.float32).astype(np.float64)
    weights = np.asarray(weights, np.float32).astype(np.float64)
    finite = np.isfinite(positions).all(axis=0) & np.isfinite(weights).all(axis=0)
    low, high = np.reshape(frame.bounds, (3, 2)).T[..., None]
    used = finite & ((positions >= low) & (positions < high)).all(axis=0)
    scale = frame.bins / (high[0] - low[0])
    index = ((positions[:2, used] - low[:2]) * scale).astype(np.int64)
    column, row = np.minimum(index, frame.pixels - 1)
    maps = np.zeros((len(weights), frame.pixels, frame.pixels))
    for field, weight in zip(maps, weights[:, used], strict=True):
        np.add.at(field, (row, column), weight)
    return maps, Counts(int(used.sum()), int((finite & ~used).sum()), int((~finite).sum()))
