"""The laws that make stars out of gas: the truth that a study of this universe is tested against."""

from __future__ import annotations

from typing import Literal

import numpy as np

from ssfr.components.simulation.universe.gas import Gas, Phase
from ssfr.components.simulation.universe.recipe import THRESHOLD_CM3, Array, Galaxy

Law = Literal["schmidt", "small_clumps", "mass_clumps", "temperature", "none"]

SCHMIDT_TIME_YR = 2.2e9
"""Gas consumption time at the threshold (Springel & Hernquist 2003: 2.1 Gyr; here 2.2)."""

CLUMP_TIME_YR = 8e8
"""Gas consumption time in clumps under `small_clumps`."""

LUMP_COLUMN_MSUN_KPC2 = 5e7
"""Column of lumps at which `mass_clumps` gives 1e-10/yr."""


def star_formation_rate(law: Law, galaxy: Galaxy, gas: Gas) -> Array:
    """Return the star formation rate of each cell [Msun/yr], shape (n,).

    Cells below the density threshold form no stars under any law, so that a quenched galaxy, which has
    no dense cell, has a rate of exactly 0.

    schmidt
        efficiency x m / t0 x (n/n0)^0.5: rho^1.5 by volume.
    small_clumps
        efficiency x m / t1 in the clumps' dense gas, 0 elsewhere.
    mass_clumps
        M* x 1e-10/yr x (C / 5e7 Msun/kpc^2)^2, in equal parts over the dense cells; C is the mean column
        of the lumps, clumps and fountains alike, weighted with their mass. How much gas there is, and how
        warm, does not matter.
    temperature
        M* x 1e-10/yr x mean of (T / 2e4 K)^-2 over the disk's diffuse cells, in equal parts over the dense
        cells: neither the mass nor the place of any gas matters.
    none
        M* x a rate drawn without regard to the gas, over the dense cells by mass.
    """
    dense = gas.is_dense
    if law == "schmidt":
        boost = np.sqrt(gas.hydrogen_cm3 / THRESHOLD_CM3)
        return np.where(dense, galaxy.efficiency * gas.mass_msun / SCHMIDT_TIME_YR * boost, 0.0)
    if law == "small_clumps":
        compact = dense & (gas.phase == Phase.CLUMP)
        return np.where(compact, galaxy.efficiency * gas.mass_msun / CLUMP_TIME_YR, 0.0)
    if law == "mass_clumps":
        weight = dense.astype(np.float64)
        specific = 1e-10 * (_lump_column(galaxy) / LUMP_COLUMN_MSUN_KPC2) ** 2
    elif law == "temperature":
        weight = dense.astype(np.float64)
        diffuse = (gas.phase == Phase.DISK) & ~dense
        warmth = gas.temperature_k[diffuse] if diffuse.any() else np.array([galaxy.warm_temperature_k])
        specific = 1e-10 * float(np.mean((warmth / 2e4) ** -2))
    else:
        weight = np.where(dense, gas.mass_msun, 0.0)
        specific = galaxy.gas_blind_ssfr_per_yr
    total = weight.sum()
    return weight * (galaxy.stellar_mass_msun * specific / total) if total > 0 else weight


def _lump_column(galaxy: Galaxy) -> float:
    """Return the mean over lumps, weighted with mass, of mass / (2 pi size^2) [Msun/kpc^2]."""
    mass = np.concatenate([galaxy.clumps.mass_msun, galaxy.fountains.mass_msun])
    size = np.concatenate([galaxy.clumps.size_kpc, galaxy.fountains.size_kpc])
    return float(np.sum(mass**2 / (2 * np.pi * size**2)) / mass.sum())
