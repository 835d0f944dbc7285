"""The halos and subhalos of a synthetic universe: masses, positions and histories, without any cells."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ssfr.components.config import UniverseSettings
from ssfr.components.simulation.universe.cosmology import (
    BOX_CKPC_H,
    HUBBLE,
    KPC_PER_KM_S_GYR,
    REDSHIFTS,
    lookback_gyr,
)
from ssfr.components.simulation.universe.recipe import Array, Galaxy, GalaxyTree, Masses

FRAGMENT = 99
"""Slot of a lump of gas and stars that is no galaxy (SubhaloFlag 0, in no tree)."""

OUTER_FUZZ_CELLS = 500
"""Gas cells of a snapshot that belong to no halo."""


@dataclass(frozen=True)
class Member:
    """A subhalo: `slot` names it through time (0 is the central one, then satellites, then a fragment).

    `offset_kpc` (physical) and `velocity_km_s` are relative to the halo's centre.
    """

    slot: int
    galaxy: Galaxy
    offset_kpc: Array
    velocity_km_s: Array


@dataclass(frozen=True)
class Halo:
    """A friends-of-friends halo at one snapshot: members by falling mass, then `fuzz_cells` of its own.

    `position_ckpc_h` (3,) is comoving and lies in the box; `velocity_km_s` (3,) is peculiar.
    """

    position_ckpc_h: Array
    velocity_km_s: Array
    members: tuple[Member, ...]
    fuzz_cells: int
    fuzz_cell_mass_msun: float
    dark_mass_msun: float

    @property
    def cells(self) -> int:
        """Gas cells of the halo."""
        return self.fuzz_cells + sum(member.galaxy.cells for member in self.members)

    @property
    def stars(self) -> int:
        """Star and wind particles of the halo."""
        return sum(member.galaxy.stars for member in self.members)

    @property
    def mass_msun(self) -> float:
        """Mass of everything in the halo [Msun]."""
        fuzz = self.fuzz_cells * self.fuzz_cell_mass_msun
        return self.dark_mass_msun + fuzz + sum(member.galaxy.mass_msun for member in self.members)


@dataclass(frozen=True)
class _Orbit:
    radius_kpc: float
    period_gyr: float
    phase: float
    plane: Array

    def at(self, lookback: float) -> tuple[Array, Array]:
        angle = 2 * np.pi * (self.phase - lookback / self.period_gyr)
        speed = 2 * np.pi * self.radius_kpc / self.period_gyr / KPC_PER_KM_S_GYR
        outward = np.cos(angle) * self.plane[0] + np.sin(angle) * self.plane[1]
        onward = np.cos(angle) * self.plane[1] - np.sin(angle) * self.plane[0]
        return self.radius_kpc * outward, speed * onward


def halo_count(settings: UniverseSettings) -> int:
    """Return the number of halos: galaxies inside the cuts, then groups, dwarfs, and halos without galaxy."""
    return sum(_cast(settings))


def make_halo(settings: UniverseSettings, index: int, snapshot: int) -> Halo:
    """Return halo `index` at a snapshot; equal for equal arguments, whatever the law or the process.

    The first `settings.galaxies` indices have a central galaxy inside the cuts at the newest snapshot.
    """
    rng = np.random.default_rng(np.random.SeedSequence(settings.seed, spawn_key=(index,)))
    t = lookback_gyr(snapshot)
    position = rng.uniform(0, BOX_CKPC_H, 3)
    if rng.uniform() < 0.06:
        position[rng.integers(0, 3)] = rng.uniform(-15, 15)
    velocity = rng.normal(0, 100, 3)
    position = (position - velocity * KPC_PER_KM_S_GYR * t * HUBBLE) % BOX_CKPC_H
    kind = int(np.searchsorted(np.cumsum(_cast(settings)), index, side="right"))
    if kind == 3:
        cells = int(rng.integers(0, 40)) if rng.uniform() < 0.7 else 0
        return Halo(position, velocity, (), cells, 5e5, 10 ** rng.uniform(8.8, 9.5))
    masses = (_sample_masses, _group_masses, _dwarf_masses)[kind](settings, rng)
    central = GalaxyTree(masses, rng).at(t)
    members = [Member(0, central, np.zeros(3), np.zeros(3))]
    members += _satellites(settings, masses, kind == 1, t, rng)
    if rng.uniform() < 0.06 and kind == 0:
        members.append(_fragment(settings, t, rng))
    members[1:] = sorted(members[1:], key=lambda member: -member.galaxy.mass_msun)
    cell_mass = central.gas_mass_msun / central.cells
    return Halo(position, velocity, tuple(members), central.cells // 30, cell_mass, 0.05 * masses.halo_msun)


def _cast(settings: UniverseSettings) -> tuple[int, int, int, int]:
    n = settings.galaxies
    return n, max(1, round(0.03 * n)), max(1, round(0.15 * n)), max(2, round(0.10 * n))


def _cells(settings: UniverseSettings, rng: np.random.Generator) -> int:
    """Draw a number of cells, uniform in its logarithm and so blind to everything else about the galaxy."""
    return round(np.exp(rng.uniform(np.log(settings.cells_min), np.log(settings.cells_max))))


def _sample_masses(settings: UniverseSettings, rng: np.random.Generator) -> Masses:
    halo = rng.uniform(11.6, 12.2)
    stellar = max(10.35 + 1.2 * (halo - 11.9) + rng.normal(0, 0.08), np.log10(9e9))
    cells = _cells(settings, rng)
    return Masses(10**halo, 10**stellar, cells, cells // 4)


def _group_masses(settings: UniverseSettings, rng: np.random.Generator) -> Masses:
    """A halo too massive for the cuts, with a galaxy to match."""
    cells = _cells(settings, rng)
    halo, stellar = rng.uniform(13.0, 13.4), rng.uniform(10.95, 11.2)
    return Masses(10**halo, 10**stellar, cells, cells // 4, gas_fraction_scale=0.5, quenched_share=0.6)


def _dwarf_masses(settings: UniverseSettings, rng: np.random.Generator) -> Masses:
    """A galaxy with too few stars for the cuts."""
    cells = max(_cells(settings, rng) // 10, 20)
    return Masses(10 ** rng.uniform(10.6, 11.2), 10 ** rng.uniform(8.8, 9.6), cells, max(cells // 4, 10))


def _satellites(
    settings: UniverseSettings, host: Masses, in_group: bool, t: float, rng: np.random.Generator
) -> list[Member]:
    """Small companions below the cuts; in a group, one that fails only by the mass of its halo."""
    n = min(int(rng.poisson(1.2)), 4) if host.stellar_msun > 5e9 else 0
    oldest = lookback_gyr(min(REDSHIFTS))
    members = []
    for slot in range(1, n + 1 + in_group):
        massive = in_group and slot == 1
        if massive:
            halo, stellar, cells = 3e11, 2e10, settings.cells_min
        else:
            halo, stellar = 10 ** rng.uniform(9.9, 10.6), 10 ** rng.uniform(8.0, 9.5)
            cells = max(host.cells // 25, 20) if rng.uniform() < 0.5 else 0
        stars = max(cells // 4, 20)
        tree = GalaxyTree(Masses(halo, stellar, cells, stars, corona=False, quenched_share=0.3), rng)
        merges_gyr = rng.uniform(0, oldest) if rng.uniform() < 0.25 else -1.0
        orbit = _Orbit(
            radius_kpc=rng.uniform(60, 200),
            period_gyr=rng.uniform(3, 6),
            phase=rng.uniform(),
            plane=np.linalg.qr(rng.normal(size=(3, 3)))[0].T[:2],
        )
        if massive or t > merges_gyr:
            members.append(Member(slot, tree.at(t), *orbit.at(t)))
    return members


def _fragment(settings: UniverseSettings, t: float, rng: np.random.Generator) -> Member:
    """A dense lump without dark matter, with as many stars as a galaxy of the sample."""
    cells = max(settings.cells_min // 10, 20)
    masses = Masses(1e11, rng.uniform(1.0e10, 1.5e10), cells, max(cells // 4, 10), 0.3, 0.0, False, 0.0)
    offset = rng.uniform(-60, 60, 3)
    return Member(FRAGMENT, GalaxyTree(masses, rng).at(t), offset, rng.normal(0, 50, 3))
