"""What a field is, and where fields are found by their name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from ssfr.components.config import Reduction
from ssfr.components.projection.fields.view import View

Cells = Mapping[str, NDArray[Any]]
"""Particle field -> (cells, ...), in code units."""

Values = NDArray[np.float64]

Compute = Callable[[Cells, View], Values]

Matter = Literal["gas", "stars", "dark_matter"]
MATTER: tuple[Matter, ...] = get_args(Matter)


@dataclass(frozen=True)
class Field:
    """A property of matter that can be drawn.

    Attributes
    ----------
    name, unit
        As they are written beside the maps. A field in Msun is in 1e10 Msun/h where h is ignored.
    compute
        From the particle fields and the `View` to the property of each cell, (cells,) float64, NaN where it
        is not defined.
    needs
        Particle fields, beside position and mass (`ssfr.components.simulation.source` lists them).
    reduction
        What a pixel shows of the cells along its line of sight:

        - sum: of all cells in the pixel;
        - surface_density: that sum over the area of the pixel [kpc^2, physical];
        - mass_weighted_mean, volume_weighted_mean: sum(w X) / sum(w) with the mass or volume of the cells;
        - mean_log10: mean of log10 X, weighted by mass;
        - dispersion: square root of the mean of (X - <X>)^2, weighted by mass;
        - maximum: the largest X.

        All but the first two are NaN where there is no matter. None: as the settings
        `projection.weighting` and `projection.transform` say, which are those of temperature and entropy.
    matter
        Of which the property is: gas cells, star particles, or dark matter particles.
    of_temperature
        True if the field has no value in star-forming gas with ``star_forming_gas: masked``.

    Examples
    --------
    >>> def speed(cells, view):
    ...     return np.linalg.norm(view.velocities_km_s(cells["velocity"]), axis=0)
    >>> ssfr.Field("speed", "km/s", speed, needs=("velocity",)).reduction
    'mass_weighted_mean'
    """

    name: str
    unit: str
    compute: Compute
    needs: tuple[str, ...] = ()
    reduction: Reduction | None = "mass_weighted_mean"
    matter: Matter = "gas"
    of_temperature: bool = False


_FIELDS: dict[str, Field] = {}


def field(
    unit: str,
    needs: tuple[str, ...] = (),
    reduction: Reduction | None = "mass_weighted_mean",
    matter: Matter = "gas",
    of_temperature: bool = False,
) -> Callable[[Compute], Compute]:
    """Register the decorated function as the field of its name: see `Field`."""

    def register(compute: Compute) -> Compute:
        name = compute.__name__
        _FIELDS[name] = Field(name, unit, compute, needs, reduction, matter, of_temperature)
        return compute

    return register


def own_fields() -> Mapping[str, Field]:
    """Return the fields that are registered, by name: ssfr's own, and what a notebook has added."""
    return _FIELDS
