"""The layers of a map: fields in their order, how each is reduced along the line of sight, and its weight."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from ssfr.components.config import ProjectionSettings, Settings
from ssfr.components.errors import InputError
from ssfr.components.projection.fields import Field, Matter, field_named

MASS = "mass"
"""The field that is always drawn: it weights the means, and tells where there is gas."""

ADDITIVE = frozenset({"sum", "surface_density"})
"""Reductions whose maps add up: a pixel without matter is 0."""


class Layer(NamedTuple):
    """One layer of a map.

    Attributes
    ----------
    name, unit
        Of the field.
    reduction
        See `Field.reduction`.
    weight
        Name of the layer that holds, for each pixel, the weight of a mean: of two pixels together the mean
        is (w1 X1 + w2 X2) / (w1 + w2). Empty for layers that add up.
    matter
        Of which the field is.
    is_weight
        Whether this layer is the weight of another, and no field.
    """

    name: str
    unit: str
    reduction: str
    weight: str
    matter: Matter = "gas"
    is_weight: bool = False


def layers(settings: Settings) -> tuple[Layer, ...]:
    """Return the layers of a map, in order: the fields of the settings, mass, and weights of their own.

    The mean of a field whose cells do not all count, or do not count by their gas mass, has a weight layer
    of its own, ``<field>_weight``: with ``star_forming_gas: masked`` the mass of the gas that forms no stars.

    Raises
    ------
    InputError
        A field that is not registered; the nearest one is given.
    """
    projection = settings.projection
    names = projection.fields if MASS in projection.fields else (*projection.fields, MASS)
    for name in projection.reductions:
        if name not in names or name == MASS:
            raise InputError(
                f"projection.reductions: '{name}' is none of the fields that can be reduced otherwise: "
                f"{', '.join(each for each in names if each != MASS)}"
            )
    drawn = [_layer(field_named(name), settings) for name in names]
    own = [layer for layer in drawn if layer.weight not in ("", MASS)]
    weights = [
        Layer(layer.weight, _weight_unit(layer, settings), "sum", "", layer.matter, is_weight=True)
        for layer in own
    ]
    return (*drawn, *weights)


def particle_fields(names: Sequence[str], projection: ProjectionSettings) -> list[str]:
    """Return the particle fields that have to be read for fields of one kind of matter."""
    fields = [field_named(name) for name in names]
    needed = {"position", "mass"}.union(*(field.needs for field in fields))
    if fields[0].matter == "gas":
        if projection.star_forming_gas != "raw":
            needed.add("star_formation_rate")
        by_volume = any(reduction_of(field, projection) == "volume_weighted_mean" for field in fields)
        if projection.deposition == "smoothed" or by_volume:
            needed.update(field_named("radius").needs)
    return sorted(needed)


def reduction_of(field: Field, projection: ProjectionSettings) -> str:
    """Return how a field is reduced: as the settings say of it, by its own rule, or as `weighting` says."""
    if field.name in projection.reductions:
        return projection.reductions[field.name]
    if field.reduction is not None:
        return field.reduction
    return "sum" if projection.weighting == "sum" else "mass_weighted_mean"


def is_transformed(field: Field, projection: ProjectionSettings) -> bool:
    """Return whether `projection.transform` acts on a field, as on temperature and entropy."""
    by_setting = field.reduction is None and field.name not in projection.reductions
    return by_setting and projection.transform != "linear"


def _layer(field: Field, settings: Settings) -> Layer:
    projection = settings.projection
    reduction = reduction_of(field, projection)
    unit = _mass_unit(settings) if field.unit == "Msun" else field.unit
    if is_transformed(field, projection):
        unit = f"{projection.transform} {unit}"
    elif reduction == "mean_log10":
        unit = f"log10 {unit}"
    elif reduction == "surface_density":
        unit = f"{unit.removesuffix('/h')} kpc^-2" + ("/h" if unit.endswith("/h") else "")
    if reduction in ADDITIVE:
        return Layer(field.name, unit, reduction, "", field.matter)
    of_all_gas = field.matter == "gas" and reduction != "volume_weighted_mean"
    of_all_gas &= not (field.of_temperature and projection.star_forming_gas == "masked")
    weight = MASS if of_all_gas else f"{field.name}_weight"
    return Layer(field.name, unit, reduction, weight, field.matter)


def _weight_unit(layer: Layer, settings: Settings) -> str:
    return "kpc^3" if layer.reduction == "volume_weighted_mean" else _mass_unit(settings)


def _mass_unit(settings: Settings) -> str:
    return "Msun" if settings.catalog.little_h == "applied" else "1e10 Msun/h"
