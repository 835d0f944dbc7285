"""Maps from plain numpy: slow, short, and what the kernels are tested against."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ssfr.components.projection.backends import Clipped, Counts
from ssfr.components.projection.field_of_view import FieldOfView

_SAMPLES = 16
"""No support of a cell has fewer squares in which the kernel is integrated by Gauss' rule of 3 x 3 points."""

_POINT_PIXELS = 2.0**-10
"""A cell with this support or less is a point."""


def project(
    positions_kpc: NDArray[np.float32], weights: NDArray[np.float32], fov: FieldOfView, threads: int = 1
) -> tuple[NDArray[np.float64], Counts]:
    """Sum weights into maps: see `Backend.project`. There is one thread, whatever `threads` says."""
    positions = np.asarray(positions_kpc, np.float32).astype(np.float64)
    weights = np.asarray(weights, np.float32).astype(np.float64)
    finite = np.isfinite(positions).all(axis=0) & np.isfinite(weights).all(axis=0)
    low, high = np.reshape(fov.bounds, (3, 2)).T[..., None]
    used = finite & ((positions >= low) & (positions < high)).all(axis=0)
    scale = fov.bins / (high[0] - low[0])
    index = ((positions[:2, used] - low[:2]) * scale).astype(np.int64)
    column, row = np.minimum(index, fov.pixels - 1)
    maps = np.zeros((len(weights), fov.pixels, fov.pixels))
    for field, weight in zip(maps, weights[:, used], strict=True):
        np.add.at(field, (row, column), weight)
    return maps, Counts(int(used.sum()), int((finite & ~used).sum()), int((~finite).sum()))


def smooth(
    positions_kpc: NDArray[np.float32],
    support_kpc: NDArray[np.float32],
    weights: NDArray[np.float32],
    fov: FieldOfView,
    threads: int = 1,
) -> tuple[NDArray[np.float64], Counts, Clipped]:
    """Spread weights over maps: see `Backend.smooth`. There is one thread, whatever `threads` says."""
    positions = np.asarray(positions_kpc, np.float32).astype(np.float64)
    support = np.asarray(support_kpc, np.float32).astype(np.float64)
    weights = np.asarray(weights, np.float32).astype(np.float64)
    finite = np.isfinite(positions).all(axis=0) & np.isfinite(weights).all(axis=0)
    finite &= np.isfinite(support) & (support > 0)
    scale = fov.pixels / fov.width_kpc
    centre, support = (positions[:2] - fov.bounds[0]) * scale, support * scale
    reach = np.where(support > _POINT_PIXELS, support, 0.0)
    with np.errstate(invalid="ignore"):
        used = finite & ((centre + reach >= 0) & (centre - reach < fov.pixels)).all(axis=0)
    used &= (positions[2] >= fov.bounds[4]) & (positions[2] < fov.bounds[5])
    maps, lost = np.zeros((len(weights), fov.pixels, fov.pixels)), np.zeros(len(weights))
    clipped_cells = 0
    for cell in np.flatnonzero(used):
        rows, columns, shares = _shares(centre[:, cell], support[cell], fov.pixels)
        maps[:, rows, columns] += weights[:, cell, None, None] * shares
        if reach[cell] and (
            (centre[:, cell] < reach[cell]).any() or (centre[:, cell] + reach[cell] > fov.pixels).any()
        ):
            lost += weights[:, cell] * (1.0 - shares.sum())
            clipped_cells += 1
    counts = Counts(int(used.sum()), int((finite & ~used).sum()), int((~finite).sum()))
    return maps, counts, Clipped(clipped_cells, lost)


def _shares(
    centre: NDArray[np.float64], support: float, pixels: int
) -> tuple[slice, slice, NDArray[np.float64]]:
    """Return the rows and columns of the field of view that a cell reaches, and its share in each pixel."""
    x, y = centre
    if support <= _POINT_PIXELS:
        row, column = min(int(y), pixels - 1), min(int(x), pixels - 1)
        return slice(row, row + 1), slice(column, column + 1), np.ones((1, 1))
    columns, x_at, x_weights = _nodes(x, support, pixels)
    rows, y_at, y_weights = _nodes(y, support, pixels)
    q = np.hypot((x_at - x)[None, :], (y_at - y)[:, None]) / support
    kernel = 7.0 / np.pi / support**2 * np.maximum(1.0 - q, 0.0) ** 4 * (1.0 + 4.0 * q)
    return rows, columns, y_weights @ kernel @ x_weights.T


def _nodes(at: float, support: float, pixels: int) -> tuple[slice, NDArray[np.float64], NDArray[np.float64]]:
    """Return the pixels that are reached, and, along them, Gauss' points and their weights in each pixel."""
    points, weights = np.polynomial.legendre.leggauss(3)
    squares = int(np.ceil(_SAMPLES / support))
    low, high = np.clip([at - support, at + support], 0, np.nextafter(pixels, 0))
    square = np.arange(int(low * squares), int(high * squares) + 1)
    nodes = ((square[:, None] + 0.5 * (points + 1.0)) / squares).ravel()
    reached = slice(int(low), int(high) + 1)
    in_pixel = (square // squares)[None, :] == np.arange(reached.start, reached.stop)[:, None]
    return reached, nodes, np.kron(in_pixel, weights / (2 * squares))
