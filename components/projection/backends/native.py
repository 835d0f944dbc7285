"""Maps from the C kernels: float32 in, double sums, no copy of arrays that already fit it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ssfr.components.projection import _kernel
from ssfr.components.projection.backends import Clipped, Counts
from ssfr.components.projection.field_of_view import FieldOfView


def project(
    positions_kpc: NDArray[np.float32], weights: NDArray[np.float32], fov: FieldOfView, threads: int = 1
) -> tuple[NDArray[np.float64], Counts]:
    """Sum weights into maps: see `Backend.project`."""
    maps = np.empty((len(weights), fov.pixels, fov.pixels))
    counts = _kernel.project(
        np.ascontiguousarray(positions_kpc, np.float32),
        np.ascontiguousarray(weights, np.float32),
        fov.bounds,
        fov.pixels,
        fov.bins,
        threads,
        maps,
    )
    return maps, Counts(*counts)


def smooth(
    positions_kpc: NDArray[np.float32],
    support_kpc: NDArray[np.float32],
    weights: NDArray[np.float32],
    fov: FieldOfView,
    threads: int = 1,
) -> tuple[NDArray[np.float64], Counts, Clipped]:
    """Spread weights over maps: see `Backend.smooth`. A pixel is within 1e-3 of a cell's largest one."""
    maps = np.empty((len(weights), fov.pixels, fov.pixels))
    lost = np.empty(len(weights))
    *counts, clipped_cells = _kernel.smooth(
        np.ascontiguousarray(positions_kpc, np.float32),
        np.ascontiguousarray(support_kpc, np.float32),
        np.ascontiguousarray(weights, np.float32),
        fov.bounds,
        fov.pixels,
        threads,
        maps,
        lost,
    )
    return maps, Counts(*counts), Clipped(clipped_cells, lost)
