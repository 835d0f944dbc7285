"""The largest value along the line of sight, which no sum of weights gives."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ssfr.components.projection.field_of_view import FieldOfView

_AT_ONCE = 1 << 21
"""Pixels of cells that are in memory at a time."""


def largest(
    positions_kpc: NDArray[np.floating],
    radii_kpc: NDArray[np.floating],
    values: NDArray[np.float64],
    fov: FieldOfView,
) -> NDArray[np.float32]:
    """Return in each pixel the largest value of the cells in it; NaN where there is none.

    A cell is in the pixel of its centre, and in those whose centres its sphere covers.

    Parameters
    ----------
    positions_kpc
        (3, cells) [kpc, physical] from the centre of the field of view, line of sight along z.
    radii_kpc
        (cells,) of the spheres; 0: points.
    values
        (cells,); NaN does not count.
    fov
        What is drawn.

    Returns
    -------
    ndarray
        (pixels, pixels) float32, row y and column x.
    """
    side, half = fov.pixels, 0.5 * fov.width_kpc
    scale = fov.bins / fov.width_kpc
    column, row = (positions_kpc[:2] + half) * scale
    radius = radii_kpc * scale
    kept = np.isfinite(values) & (np.abs(positions_kpc[2]) <= 0.5 * fov.depth_kpc)
    kept &= (column > -radius) & (column < side + radius) & (row > -radius) & (row < side + radius)
    column, row, radius, values = (each[kept] for each in (column, row, radius, values))
    reach = np.ceil(radius).astype(np.int64)
    drawn = np.full(side * side, -np.inf)
    for width in np.unique(reach):
        steps = np.arange(-width, width + 1)
        mine = np.flatnonzero(reach == width)
        for some in np.array_split(mine, -(-len(mine) * len(steps) ** 2 // _AT_ONCE)):
            y = np.floor(row[some]).astype(np.int64)[:, None, None] + steps[:, None]
            x = np.floor(column[some]).astype(np.int64)[:, None, None] + steps
            at, aside = row[some, None, None], column[some, None, None]
            covered = np.hypot(y + 0.5 - at, x + 0.5 - aside) < radius[some, None, None]
            covered |= (y == np.floor(at)) & (x == np.floor(aside))
            covered &= (y >= 0) & (y < side) & (x >= 0) & (x < side)
            pixel = np.broadcast_to(y * side + x, covered.shape)[covered]
            np.maximum.at(drawn, pixel, np.broadcast_to(values[some, None, None], covered.shape)[covered])
    return np.where(np.isfinite(drawn), drawn, np.nan).reshape(side, side).astype(np.float32)
