"""Fields of the gas: mass, temperature, entropy, densities, metals, magnetic field, star formation.

Equations: the TNG data specifications (temperature, magnetic field); K = kB T / n^(2/3) (entropy).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssfr.components.projection.fields.registry import Cells, Values, field
from ssfr.components.projection.fields.view import View
from ssfr.components.simulation import Header
from ssfr.components.units import (
    BOLTZMANN_ERG_K,
    BOLTZMANN_KEV_K,
    CODE_MAGNETIC_FIELD_UG,
    CODE_MASS_MSUN,
    ENERGY_OVER_MASS_CGS,
    GAMMA,
    HYDROGEN_FRACTION,
    KPC_CM,
    PROTON_MASS_G,
    SOLAR_MASS_G,
    length_kpc,
    mass_msun,
)

EFFECTIVE_TEMPERATURE_K = 1e4
"""[K] of the gas between the stars, given to cells on the effective equation of state."""


@field(unit="Msun", reduction="sum")
def mass(cells: Cells, view: View) -> Values:
    """Return the mass of each cell [Msun], or [1e10 Msun/h] where h is ignored."""
    code = cells["mass"].astype(np.float64)
    return code * mass_msun(1.0, view.header.h) if view.little_h == "applied" else code


@field(unit="K", needs=("internal_energy", "electron_abundance"), reduction=None, of_temperature=True)
def temperature(cells: Cells, view: View) -> Values:
    """Return the temperature of each cell [K].

    T = (gamma - 1) (u / kB) (UE/UM) mu with mu = 4 mp / (1 + 3 X_H + 4 X_H x_e). Star-forming gas lies
    on an effective equation of state that stands for unresolved cold and hot gas: its u gives no
    temperature (table of faults, row 19), so it is kept, set to 1e4 K, or left out (NaN).
    """
    x_e = cells["electron_abundance"].astype(np.float64)
    mu_g = 4.0 * PROTON_MASS_G / (1.0 + 3.0 * HYDROGEN_FRACTION + 4.0 * HYDROGEN_FRACTION * x_e)
    u_cgs = cells["internal_energy"].astype(np.float64) * ENERGY_OVER_MASS_CGS
    kelvin = (GAMMA - 1.0) * u_cgs / BOLTZMANN_ERG_K * mu_g
    if view.projection.star_forming_gas == "raw":
        return kelvin
    instead = EFFECTIVE_TEMPERATURE_K if view.projection.star_forming_gas == "fixed_1e4K" else np.nan
    return np.where(star_forming(cells), instead, kelvin)


@field(
    unit="keV cm^2",
    needs=("internal_energy", "electron_abundance", "density"),
    reduction=None,
    of_temperature=True,
)
def entropy(cells: Cells, view: View) -> Values:
    """Return the entropy of each cell [keV cm^2], K = kB T / n^(2/3); NaN where n = 0.

    n is the number density of electrons, x_e X_H rho / mp, or that of the gas as rho / mp (table of
    faults, row 6).
    """
    n_cm3 = density_g_cm3(cells["density"], view.header) / PROTON_MASS_G
    if view.projection.entropy_density == "electron":
        n_cm3 = n_cm3 * HYDROGEN_FRACTION * cells["electron_abundance"]
    n_cm3 = np.where(n_cm3 > 0, n_cm3, np.nan)
    return BOLTZMANN_KEV_K * temperature(cells, view) / n_cm3 ** (2.0 / 3.0)


@field(unit="kpc", needs=("density",))
def radius(cells: Cells, view: View) -> Values:
    """Return the radius of each cell [kpc, physical], r = (3 V / 4 pi)^(1/3) with V = m / rho."""
    cubic_ckpc_h = cells["mass"].astype(np.float64) / cells["density"]
    return np.cbrt(3.0 * cubic_ckpc_h / (4.0 * np.pi)) * length_kpc(1.0, view.header.h, view.header.redshift)


@field(unit="cm^-3", needs=("density",))
def hydrogen_density(cells: Cells, view: View) -> Values:
    """Return the number density of hydrogen in each cell [1/cm^3, physical]: X_H rho / mp with X_H = 0.76."""
    return density_g_cm3(cells["density"], view.header) * (HYDROGEN_FRACTION / PROTON_MASS_G)


@field(unit="1", needs=("metallicity",))
def metallicity(cells: Cells, view: View) -> Values:
    """Return the mass fraction of elements beyond helium in each cell (the Sun has 0.0127 in TNG)."""
    return cells["metallicity"].astype(np.float64)


@field(unit="uG", needs=("magnetic_field",))
def magnetic_field(cells: Cells, view: View) -> Values:
    """Return the strength of the magnetic field in each cell [uG, physical]: the stored |B| times h/a^2."""
    stored = np.linalg.norm(cells["magnetic_field"].astype(np.float64), axis=1)
    return stored * (CODE_MAGNETIC_FIELD_UG * view.header.h / view.header.scale_factor**2)


@field(
    unit="Msun",
    needs=("neutral_hydrogen_abundance", "star_formation_rate"),
    reduction="surface_density",
)
def neutral_hydrogen(cells: Cells, view: View) -> Values:
    """Return the mass of neutral hydrogen, atomic and molecular, in each cell [Msun].

    X_H m (n_HI / n_H) with X_H = 0.76 and the neutral fraction as the simulation has it; star-forming cells
    are taken as all neutral: their cold clouds, which that fraction does not see, hold nearly all of their
    mass in the two-phase model behind the effective equation of state (Springel & Hernquist 2003). Only
    full snapshots of TNG have the neutral fraction.
    """
    fraction = np.where(star_forming(cells), 1.0, cells["neutral_hydrogen_abundance"])
    return HYDROGEN_FRACTION * mass(cells, view) * fraction


@field(unit="Msun yr^-1", needs=("star_formation_rate",), reduction="surface_density")
def star_formation_rate(cells: Cells, view: View) -> Values:
    """Return the star formation rate of each cell [Msun/yr]."""
    return cells["star_formation_rate"].astype(np.float64)


def density_g_cm3(code: NDArray[Any], header: Header) -> Values:
    """Return physical densities [g/cm^3] from code ones [(1e10 Msun/h) / (ckpc/h)^3]."""
    cubic_cm = (KPC_CM * header.scale_factor / header.h) ** 3
    return code.astype(np.float64) * (CODE_MASS_MSUN / header.h * SOLAR_MASS_G / cubic_cm)


def star_forming(cells: Cells) -> NDArray[np.bool_]:
    """Return which cells form stars, and so lie on the effective equation of state."""
    return np.asarray(cells["star_formation_rate"] > 0)


def left_out(cells: Cells, view: View) -> NDArray[np.bool_]:
    """Return which cells have no temperature because the settings say so."""
    if view.projection.star_forming_gas != "masked":
        return np.zeros(len(cells["mass"]), bool)
    return star_forming(cells)
