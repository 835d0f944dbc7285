"""What a synthetic universe holds on request: more fields of the gas, and dark matter particles.

Each has random numbers of its own, so that all else is the same with and without it.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ssfr.components.config import UniverseSettings
from ssfr.components.simulation.universe.cosmology import HUBBLE
from ssfr.components.simulation.universe.gas import Gas, Phase
from ssfr.components.simulation.universe.halos import Halo
from ssfr.components.simulation.universe.recipe import THRESHOLD_CM3, Array, Galaxy
from ssfr.components.units import CODE_MAGNETIC_FIELD_UG

EXTRA_GAS_FIELDS: dict[str, tuple[type, int]] = {
    "GFM_Metallicity": (np.float32, 1),
    "MagneticField": (np.float32, 3),
    "NeutralHydrogenAbundance": (np.float32, 1),
}
DARK_FIELDS: dict[str, tuple[type, int]] = {
    "Coordinates": (np.float64, 3),
    "Velocities": (np.float32, 3),
    "ParticleIDs": (np.uint64, 1),
}

_FULLY_IONISED = 1.158
"""Electrons a hydrogen atom in hot gas."""


def dark_particles(mass_msun: float, settings: UniverseSettings) -> int:
    """Return how many dark matter particles a mass makes: none where the settings want none."""
    return 0 if settings.dark_particle_msun is None else round(mass_msun / settings.dark_particle_msun)


def extra_rng(
    settings: UniverseSettings, index: int, snapshot: int, kind: Literal["gas", "dark"]
) -> np.random.Generator:
    """Return the random numbers for the extras of a halo at a snapshot."""
    key = (index, snapshot, 1 if kind == "gas" else 2)
    return np.random.default_rng(np.random.SeedSequence(settings.seed, spawn_key=key))


def write_extra_fields(
    gas: Gas, galaxy: Galaxy | None, redshift: float, rng: np.random.Generator, rows: dict[str, NDArray[Any]]
) -> None:
    """Write metallicity, magnetic field and neutral fraction of cells, in TNG's units.

    Parameters
    ----------
    gas
        The cells.
    galaxy
        To whose disk they belong; None: gas between galaxies.
    redshift
        Of the snapshot.
    rng
        Source of the scatter.
    rows
        Fields of the cells, (n,) or (n, 3), which are filled.
    """
    n = len(gas.mass_msun)
    metals = np.where(gas.phase == Phase.INFLOW, 0.001, 0.004)
    spin = np.array([0.0, 0.0, 1.0])
    if galaxy is not None:
        spin = galaxy.axes[2]
        plane = gas.position_kpc - (gas.position_kpc @ spin)[:, None] * spin
        in_disk = 0.02 * 10 ** (-0.15 * np.linalg.norm(plane, axis=1) / galaxy.scale_kpc)
        metals = np.where(gas.phase <= Phase.FOUNTAIN, in_disk, metals)
    rows["GFM_Metallicity"][:] = metals * 10 ** rng.normal(0, 0.1, n)
    around = np.cross(spin, gas.position_kpc) + 1e-12
    direction = around / np.linalg.norm(around, axis=1)[:, None] + 0.3 * rng.normal(size=(n, 3))
    direction /= np.linalg.norm(direction, axis=1)[:, None]
    strength_ug = np.minimum(5.0 * (gas.hydrogen_cm3 / THRESHOLD_CM3) ** (2 / 3), 50.0)
    to_code = 1.0 / (CODE_MAGNETIC_FIELD_UG * HUBBLE * (1 + redshift) ** 2)
    rows["MagneticField"][:] = direction * (strength_ug * to_code)[:, None]
    rows["NeutralHydrogenAbundance"][:] = np.clip(1.0 - gas.electron_abundance / _FULLY_IONISED, 0.0, 1.0)


def dark_matter(
    halo: Halo, settings: UniverseSettings, rng: np.random.Generator
) -> tuple[list[Array], list[Array]]:
    """Sample the dark matter of a halo: positions [kpc] and velocities [km/s] from its centre.

    Each subhalo's is an isothermal sphere, cut where it holds all of its mass, with a dispersion of
    V200 / sqrt(2) an axis; what no subhalo binds lies 120 to 250 kpc out.

    Returns
    -------
    positions, velocities
        Arrays (n, 3): one a subhalo in their order, then the rest of the halo's.
    """
    positions, velocities = [], []
    for member in halo.members:
        galaxy = member.galaxy
        n = dark_particles(galaxy.dark_mass_msun, settings)
        radius = 2 * half_dark_mass_kpc(galaxy) * rng.uniform(0, 1, n)
        positions.append(member.offset_kpc + _isotropic(radius, rng))
        spread = galaxy.virial_velocity_km_s / np.sqrt(2)
        velocities.append(member.velocity_km_s + rng.normal(0, spread, (n, 3)))
    n = dark_particles(halo.dark_mass_msun, settings)
    positions.append(_isotropic(rng.uniform(120, 250, n), rng))
    velocities.append(rng.normal(0, 80, (n, 3)))
    return positions, velocities


def half_dark_mass_kpc(galaxy: Galaxy) -> float:
    """Return the radius [kpc, physical] that holds half of a galaxy's dark matter: 0.35 of the virial one."""
    return 0.35 * galaxy.virial_velocity_km_s / (10 * 0.1 * HUBBLE)


def _isotropic(radius: Array, rng: np.random.Generator) -> Array:
    vectors = rng.normal(size=(len(radius), 3))
    return np.asarray(vectors * (radius / np.linalg.norm(vectors, axis=1))[:, None])
