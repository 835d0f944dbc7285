"""Fields of the gas: what a map can show, with its unit and the particle fields that it needs.

A field is a function that `gas_field` has registered; to add one, write it here and name it in the
settings. Equations: the TNG data specifications (temperature); K = kB T / n^(2/3) (entropy).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ssfr.components.config import ProjectionSettings, Settings
from ssfr.components.errors import InputError, nearest
from ssfr.components.simulation import Header
from ssfr.components.units import (
    BOLTZMANN_ERG_K,
    BOLTZMANN_KEV_K,
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

Cells = Mapping[str, NDArray[Any]]
"""Particle field -> (cells, ...), in code units."""

Values = NDArray[np.float64]

EFFECTIVE_TEMPERATURE_K = 1e4
"""[K] of the gas between the stars, given to cells on the effective equation of state."""


@dataclass(frozen=True)
class Gas:
    """What the fields of a snapshot's gas depend on beside the cells.

    Attributes
    ----------
    header
        Of the snapshot: h and the scale factor turn code units into physical ones.
    entropy_density, star_forming_gas
        As in the settings.
    little_h
        applied: masses in Msun; ignored: in 1e10 Msun/h, as stored.
    """

    header: Header
    entropy_density: Literal["electron", "gas"] = "electron"
    star_forming_gas: Literal["raw", "fixed_1e4K", "masked"] = "fixed_1e4K"
    little_h: Literal["applied", "ignored"] = "applied"


@dataclass(frozen=True)
class GasField:
    """A property of gas cells that can be drawn.

    Attributes
    ----------
    name, unit
        As they are written beside the maps.
    needs
        Particle fields, beside Coordinates and Masses.
    compute
        The property of each cell, NaN where it is not defined.
    """

    name: str
    unit: str
    needs: tuple[str, ...]
    compute: Callable[[Cells, Gas], Values]


_FIELDS: dict[str, GasField] = {}


def gas_field(
    unit: str, needs: tuple[str, ...] = ()
) -> Callable[[Callable[[Cells, Gas], Values]], Callable[[Cells, Gas], Values]]:
    """Register the decorated function as the field of its name: see `GasField`."""

    def register(compute: Callable[[Cells, Gas], Values]) -> Callable[[Cells, Gas], Values]:
        _FIELDS[compute.__name__] = GasField(compute.__name__, unit, needs, compute)
        return compute

    return register


def field_named(name: str) -> GasField:
    """Return a registered field.

    Raises
    ------
    InputError
        There is none of this name; the nearest one is given.
    """
    if name not in _FIELDS:
        raise InputError(f"projection.fields: no field '{name}'{nearest(name, _FIELDS)}")
    return _FIELDS[name]


def gas_of(header: Header, settings: Settings) -> Gas:
    """Return what the fields depend on, from a run's settings."""
    projection = settings.projection
    return Gas(header, projection.entropy_density, projection.star_forming_gas, settings.catalog.little_h)


def particle_fields(names: tuple[str, ...], settings: ProjectionSettings) -> list[str]:
    """Return the particle fields that have to be read for these fields."""
    needed = {"Coordinates", "Masses"}.union(*(field_named(name).needs for name in names))
    if settings.star_forming_gas != "raw":
        needed.add("StarFormationRate")
    if settings.deposition == "smoothed":
        needed.update(field_named("radius").needs)
    return sorted(needed)


@gas_field(unit="Msun")
def mass(cells: Cells, gas: Gas) -> Values:
    """Return the mass of each cell [Msun], or [1e10 Msun/h] where h is ignored."""
    code = cells["Masses"].astype(np.float64)
    return code * mass_msun(1.0, gas.header.h) if gas.little_h == "applied" else code


@gas_field(unit="K", needs=("InternalEnergy", "ElectronAbundance"))
def temperature(cells: Cells, gas: Gas) -> Values:
    """Return the temperature of each cell [K].

    T = (gamma - 1) (u / kB) (UE/UM) mu with mu = 4 mp / (1 + 3 X_H + 4 X_H x_e). Star-forming gas lies
    on an effective equation of state that stands for unresolved cold and hot gas: its u gives no
    temperature (table of faults, row 19), so it is kept, set to 1e4 K, or left out (NaN).
    """
    x_e = cells["ElectronAbundance"].astype(np.float64)
    mu_g = 4.0 * PROTON_MASS_G / (1.0 + 3.0 * HYDROGEN_FRACTION + 4.0 * HYDROGEN_FRACTION * x_e)
    u_cgs = cells["InternalEnergy"].astype(np.float64) * ENERGY_OVER_MASS_CGS
    kelvin = (GAMMA - 1.0) * u_cgs / BOLTZMANN_ERG_K * mu_g
    if gas.star_forming_gas == "raw":
        return kelvin
    instead = EFFECTIVE_TEMPERATURE_K if gas.star_forming_gas == "fixed_1e4K" else np.nan
    return np.where(star_forming(cells), instead, kelvin)


@gas_field(unit="keV cm^2", needs=("InternalEnergy", "ElectronAbundance", "Density"))
def entropy(cells: Cells, gas: Gas) -> Values:
    """Return the entropy of each cell [keV cm^2], K = kB T / n^(2/3); NaN where n = 0.

    n is the number density of electrons, x_e X_H rho / mp, or that of the gas as rho / mp (table of
    faults, row 6).
    """
    n_cm3 = density_g_cm3(cells["Density"], gas.header) / PROTON_MASS_G
    if gas.entropy_density == "electron":
        n_cm3 = n_cm3 * HYDROGEN_FRACTION * cells["ElectronAbundance"]
    n_cm3 = np.where(n_cm3 > 0, n_cm3, np.nan)
    return BOLTZMANN_KEV_K * temperature(cells, gas) / n_cm3 ** (2.0 / 3.0)


@gas_field(unit="kpc", needs=("Density",))
def radius(cells: Cells, gas: Gas) -> Values:
    """Return the radius of each cell [kpc, physical], r = (3 V / 4 pi)^(1/3) with V = m / rho."""
    cubic_ckpc_h = cells["Masses"].astype(np.float64) / cells["Density"]
    return np.cbrt(3.0 * cubic_ckpc_h / (4.0 * np.pi)) * length_kpc(1.0, gas.header.h, gas.header.redshift)


def density_g_cm3(code: NDArray[Any], header: Header) -> Values:
    """Return physical densities [g/cm^3] from code ones [(1e10 Msun/h) / (ckpc/h)^3]."""
    cubic_cm = (KPC_CM * header.scale_factor / header.h) ** 3
    return code.astype(np.float64) * (CODE_MASS_MSUN / header.h * SOLAR_MASS_G / cubic_cm)


def star_forming(cells: Cells) -> NDArray[np.bool_]:
    """Return which cells form stars, and so lie on the effective equation of state."""
    return np.asarray(cells["StarFormationRate"] > 0)


def left_out(cells: Cells, gas: Gas) -> NDArray[np.bool_]:
    """Return which cells have no temperature because the settings say so."""
    if gas.star_forming_gas != "masked":
        return np.zeros(len(cells["Masses"]), bool)
    return star_forming(cells)
