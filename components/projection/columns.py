"""Along the line of sight: bring cells of one kind of matter onto maps, and reduce each field in its way."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ssfr.components.projection.backends import Clipped, Counts, backend
from ssfr.components.projection.field_of_view import FieldOfView
from ssfr.components.projection.fields import Cells, Field, Values, View, field_named
from ssfr.components.projection.fields.gas import left_out, mass, radius
from ssfr.components.projection.largest import largest
from ssfr.components.projection.layers import MASS, Layer, is_transformed

SUPPORT_RADII = 3.0
"""Radii of a cell over which its kernel reaches: among 1 to 4, where maps of real cells come close to the
column through their Voronoi mesh, and wider kernels gain little more (docs/deposition.md)."""

_TRANSFORMS = {"linear": np.positive, "log10": np.log10, "ln": np.log}


class Columns(NamedTuple):
    """Maps of one kind of matter.

    Attributes
    ----------
    maps
        Name of the layer -> (pixels, pixels) float32, row y and column x.
    counts
        Of the cells. Bad ones are gas cells in which some field is not defined, though no setting says so.
    clipped
        What used cells have outside the field of view; the first weight is mass.
    """

    maps: dict[str, NDArray[np.float32]]
    counts: Counts
    clipped: Clipped


class _Sums(NamedTuple):
    """Where the sums of a layer are among the maps that a backend has drawn."""

    layer: Layer
    numerator: int
    weight: int = 0
    square: int = 0


def draw_columns(
    layers: Sequence[Layer],
    cells: Cells,
    positions_kpc: NDArray[np.float64],
    view: View,
    fov: FieldOfView,
) -> Columns:
    """Bring cells onto maps, in one pass of the kernel, and reduce the sums as each field declares.

    A mean is sum(w X W) / sum(w W) over the cells, where w is the mass or volume of a cell and W its share in
    the pixel. A field that is not defined in some cells has a weight map of its own: of those in which it is.

    Parameters
    ----------
    layers
        Of one kind of matter; their own weight layers are added.
    cells
        Particle fields that these need. Gas cells may be smoothed; particles are points.
    positions_kpc
        (3, cells) along the axes of the map.
    view, fov
        How the galaxy is seen, and what of it.
    """
    projection = view.projection
    of_gas = field_named(layers[0].name).matter == "gas"
    weight = mass(cells, view)
    rows: list[Values] = [weight]
    plans: list[_Sums] = []
    maxima: dict[str, Values] = {}
    bad = np.zeros(len(weight), bool)
    masked = left_out(cells, view) if of_gas else np.ones(len(weight), bool)
    for layer in layers:
        if layer.name == MASS:
            plans.append(_Sums(layer, 0))
            continue
        values = _values(field_named(layer.name), layer, cells, view)
        defined = np.isfinite(values)
        bad |= ~(defined | masked)
        if layer.reduction == "maximum":
            maxima[layer.name] = values
        plans.append(_add_rows(rows, layer, values, defined, cells, view))
    at, stacked = positions_kpc.astype(np.float32), np.stack(rows, dtype=np.float32, casting="same_kind")
    drawn_by, clipped = backend(projection.backend), Clipped(0, np.zeros(len(rows)))
    radii_kpc = np.zeros(len(weight))
    if of_gas and projection.deposition == "smoothed":
        radii_kpc = radius(cells, view)
        support_kpc = (SUPPORT_RADII * radii_kpc).astype(np.float32)
        sums, counts, clipped = drawn_by.smooth(at, support_kpc, stacked, fov, projection.threads)
    else:
        sums, counts = drawn_by.project(at, stacked, fov, projection.threads)
    maps = {}
    for plan in plans:
        maps[plan.layer.name] = _reduced(plan, sums, fov)
        if plan.layer.weight not in ("", MASS):
            maps[plan.layer.weight] = sums[plan.weight].astype(np.float32)
    for name, values in maxima.items():
        maps[name] = largest(positions_kpc, radii_kpc, values, fov)
    return Columns(maps, counts._replace(bad=int(bad.sum())), clipped)


def _values(field: Field, layer: Layer, cells: Cells, view: View) -> Values:
    """Return a field of each cell, in the unit of its layer."""
    with np.errstate(divide="ignore", invalid="ignore"):
        values = field.compute(cells, view)
        if is_transformed(field, view.projection):
            transformed: Values = _TRANSFORMS[view.projection.transform](values)
            return transformed
        return np.log10(values) if layer.reduction == "mean_log10" else values


def _add_rows(
    rows: list[Values],
    layer: Layer,
    values: Values,
    defined: NDArray[np.bool_],
    cells: Cells,
    view: View,
) -> _Sums:
    """Add what the backend is to sum for a layer."""
    numerator = len(rows)
    if not layer.weight:
        rows.append(np.where(defined, values, 0.0))
        return _Sums(layer, numerator)
    by_volume = layer.reduction == "volume_weighted_mean"
    weight = 4.0 / 3.0 * np.pi * radius(cells, view) ** 3 if by_volume else rows[0]
    if layer.reduction == "dispersion":
        # it is the same about any value; about the mean, float32 loses the least of it
        here = np.where(defined, weight, 0.0)
        values = values - np.where(defined, values, 0.0) @ here / max(here.sum(), np.finfo(float).tiny)
    rows.append(np.where(defined, values * weight, 0.0))
    of_some = by_volume or not defined.all()
    if of_some:
        rows.append(np.where(defined, weight, 0.0))
    weight_row = len(rows) - 1 if of_some else 0
    if layer.reduction == "dispersion":
        rows.append(np.where(defined, values**2 * weight, 0.0))
    return _Sums(layer, numerator, weight_row, len(rows) - 1)


def _reduced(plan: _Sums, sums: NDArray[np.float64], fov: FieldOfView) -> NDArray[np.float32]:
    layer, numerator, weight = plan.layer, sums[plan.numerator], sums[plan.weight]
    if not layer.weight:
        area = fov.pixel_area_kpc2 if layer.reduction == "surface_density" else 1.0
        return (numerator / area).astype(np.float32)
    drawn: NDArray[Any] = np.full(numerator.shape, np.nan, np.float32)
    there = weight > 0
    np.divide(numerator, weight, out=drawn, where=there, casting="same_kind")
    if layer.reduction == "dispersion":
        mean = np.divide(numerator, weight, where=there, out=np.zeros_like(numerator))
        square = np.divide(sums[plan.square], weight, where=there, out=np.zeros_like(numerator))
        drawn[there] = np.sqrt(np.maximum(square - mean**2, 0.0))[there]
    return drawn
