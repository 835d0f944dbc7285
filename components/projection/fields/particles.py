"""Fields of star particles and of dark matter: masses in a pixel."""

from __future__ import annotations

import numpy as np

from ssfr.components.projection.fields.gas import mass
from ssfr.components.projection.fields.registry import Cells, Values, field
from ssfr.components.projection.fields.view import View
from ssfr.components.projection.orientation import ages_myr


@field(unit="Msun", reduction="sum", matter="stars", needs=("formation_scale_factor",))
def stellar_mass(cells: Cells, view: View) -> Values:
    """Return the mass of each star particle [Msun]; NaN for wind, which is gas."""
    is_star = cells["formation_scale_factor"] > 0
    return np.where(is_star, mass(cells, view), np.nan)


@field(unit="Msun", reduction="sum", matter="stars", needs=("formation_scale_factor",))
def young_stars(cells: Cells, view: View) -> Values:
    """Return the mass of each star particle younger than `projection.young_star_age_myr` [Msun], else NaN."""
    # wind has no age, and NaN is not young
    young = ages_myr(cells["formation_scale_factor"], view.header) < view.projection.young_star_age_myr
    return np.where(young, mass(cells, view), np.nan)


@field(unit="Gyr", matter="stars", needs=("formation_scale_factor",))
def stellar_age(cells: Cells, view: View) -> Values:
    """Return the age of each star particle [Gyr] at the time of the snapshot; NaN for wind."""
    return ages_myr(cells["formation_scale_factor"], view.header) / 1e3


@field(unit="Msun", reduction="sum", matter="dark_matter")
def dark_matter(cells: Cells, view: View) -> Values:
    """Return the mass of each dark matter particle [Msun]."""
    return mass(cells, view)
