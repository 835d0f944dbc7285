"""A halo's cells, particles and catalogue rows in the units and with the names of TNG."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssfr.components.config import UniverseSettings
from ssfr.components.simulation.universe.cosmology import (
    BOX_CKPC_H,
    HUBBLE,
    REDSHIFTS,
    age_gyr,
    scale_factor,
)
from ssfr.components.simulation.universe.extras import (
    DARK_FIELDS,
    EXTRA_GAS_FIELDS,
    dark_matter,
    dark_particles,
    extra_rng,
    half_dark_mass_kpc,
    write_extra_fields,
)
from ssfr.components.simulation.universe.gas import Gas, Phase, electron_abundance, make_gas
from ssfr.components.simulation.universe.halos import (
    FRAGMENT,
    OUTER_FUZZ_CELLS,
    Halo,
    Member,
    halo_count,
    make_halo,
)
from ssfr.components.simulation.universe.laws import star_formation_rate
from ssfr.components.simulation.universe.recipe import HYDROGEN_PER_MSUN_KPC3, Array
from ssfr.components.simulation.universe.stars import make_stars
from ssfr.components.units import (
    BOLTZMANN_ERG_K,
    CODE_MASS_MSUN,
    ENERGY_OVER_MASS_CGS,
    GAMMA,
    HYDROGEN_FRACTION,
    PROTON_MASS_G,
)

Table = dict[str, NDArray[Any]]

GAS_FIELDS: dict[str, tuple[type, int]] = {
    "Coordinates": (np.float64, 3),
    "Velocities": (np.float32, 3),
    "Masses": (np.float32, 1),
    "Density": (np.float32, 1),
    "InternalEnergy": (np.float32, 1),
    "ElectronAbundance": (np.float32, 1),
    "StarFormationRate": (np.float32, 1),
    "ParticleIDs": (np.uint64, 1),
}
STAR_FIELDS: dict[str, tuple[type, int]] = {
    "Coordinates": (np.float64, 3),
    "Velocities": (np.float32, 3),
    "Masses": (np.float32, 1),
    "GFM_StellarFormationTime": (np.float32, 1),
    "ParticleIDs": (np.uint64, 1),
}
SUBHALO_FIELDS: dict[str, tuple[type, int]] = {
    "SubhaloMass": (np.float32, 1),
    "SubhaloMassType": (np.float32, 6),
    "SubhaloMassInRad": (np.float32, 1),
    "SubhaloMassInRadType": (np.float32, 6),
    "SubhaloHalfmassRadType": (np.float32, 6),
    "SubhaloSFR": (np.float32, 1),
    "SubhaloSFRinRad": (np.float32, 1),
    "SubhaloFlag": (np.int16, 1),
    "SubhaloGrNr": (np.int32, 1),
    "SubhaloPos": (np.float32, 3),
    "SubhaloVel": (np.float32, 3),
    "SubhaloLen": (np.int32, 1),
    "SubhaloLenType": (np.int32, 6),
}
GROUP_FIELDS: dict[str, tuple[type, int]] = {
    "GroupMass": (np.float32, 1),
    "GroupMassType": (np.float32, 6),
    "GroupSFR": (np.float32, 1),
    "GroupLen": (np.int32, 1),
    "GroupLenType": (np.int32, 6),
    "GroupFirstSub": (np.int32, 1),
    "GroupNsubs": (np.int32, 1),
    "GroupPos": (np.float32, 3),
}

GAS, DARK, STARS = 0, 1, 4
_STAR_ID, _DARK_ID = np.uint64(1 << 31), np.uint64(1 << 30)


@dataclass(frozen=True)
class HaloData:
    """A halo as it goes to disk: cells and particles in the order of TNG, subhalo by subhalo, then fuzz.

    `subhalos` has a row a subhalo, `group` one row; SubhaloGrNr and GroupFirstSub are for the caller to fill.
    """

    gas: Table
    stars: Table
    dark: Table
    subhalos: Table
    group: Table


def empty_table(fields: dict[str, tuple[type, int]], rows: int) -> Table:
    """Return zeros of the fields' types and shapes."""
    return {
        name: np.zeros(rows if width == 1 else (rows, width), dtype)
        for name, (dtype, width) in fields.items()
    }


def particle_fields(settings: UniverseSettings) -> dict[str, tuple[int, dict[str, tuple[type, int]]]]:
    """Return each group of cells or particles, their type, and their fields: dtype and width."""
    gas = GAS_FIELDS | EXTRA_GAS_FIELDS if settings.extra_fields else GAS_FIELDS
    groups = {"PartType0": (GAS, gas), "PartType4": (STARS, STAR_FIELDS)}
    return groups if settings.dark_particle_msun is None else groups | {"PartType1": (DARK, DARK_FIELDS)}


def make_halo_data(settings: UniverseSettings, index: int, snapshot: int) -> HaloData:
    """Sample halo `index` at a snapshot.

    The noise depends on the seed, the halo and the snapshot only: neither on the process that does the
    work, nor, but for the star formation rates and the stars, on the law.
    """
    halo = make_halo(settings, index, snapshot)
    rng = np.random.default_rng(np.random.SeedSequence(settings.seed, spawn_key=(index, snapshot)))
    redshift = REDSHIFTS[snapshot]
    extra = extra_rng(settings, index, snapshot, "gas")
    gas = empty_table(particle_fields(settings)["PartType0"][1], halo.cells)
    stars = empty_table(STAR_FIELDS, halo.stars)
    subhalos = empty_table(SUBHALO_FIELDS, len(halo.members))
    gas_end = star_end = 0
    for row, member in enumerate(halo.members):
        gas_slice = slice(gas_end, gas_end := gas_end + member.galaxy.cells)
        star_slice = slice(star_end, star_end := star_end + member.galaxy.stars)
        rows = _rows(gas, gas_slice), _rows(stars, star_slice)
        _write_member(halo, member, settings, redshift, (rng, extra), *rows)
        dark_count = dark_particles(member.galaxy.dark_mass_msun, settings)
        _describe(halo, member, redshift, *rows, dark_count, subhalos, row)
    fuzz = _inner_fuzz(halo, rng)
    centre = (halo.position_ckpc_h, halo.velocity_km_s)
    fuzz_rows = _rows(gas, slice(gas_end, None))
    _write_gas(fuzz, np.zeros(halo.fuzz_cells), centre, redshift, fuzz_rows)
    if settings.extra_fields:
        write_extra_fields(fuzz, None, redshift, extra, fuzz_rows)
    gas["ParticleIDs"][:] = (np.uint64(index + 1) << np.uint64(32)) + np.arange(halo.cells, dtype=np.uint64)
    stars["ParticleIDs"][:] = (
        (np.uint64(index + 1) << np.uint64(32)) + _STAR_ID + np.arange(halo.stars, dtype=np.uint64)
    )
    dark = _dark_table(halo, index, settings, redshift, extra_rng(settings, index, snapshot, "dark"))
    return HaloData(gas, stars, dark, subhalos, _describe_group(halo, gas, stars, dark, subhalos))


def _dark_table(
    halo: Halo, index: int, settings: UniverseSettings, redshift: float, rng: np.random.Generator
) -> Table:
    positions, velocities = (np.concatenate(parts) for parts in dark_matter(halo, settings, rng))
    table = empty_table(DARK_FIELDS, len(positions))
    centre = (halo.position_ckpc_h, halo.velocity_km_s)
    _write_motion(positions, velocities, centre, redshift, table)
    table["ParticleIDs"][:] = (np.uint64(index + 1) << np.uint64(32)) + _DARK_ID
    table["ParticleIDs"] += np.arange(len(positions), dtype=np.uint64)
    return table


def make_outer_fuzz(settings: UniverseSettings, snapshot: int) -> Table:
    """Sample the gas between the halos: thin, at 2e4 K, anywhere in the box."""
    rng = np.random.default_rng(np.random.SeedSequence(settings.seed, spawn_key=(2**31, snapshot)))
    gas = empty_table(particle_fields(settings)["PartType0"][1], OUTER_FUZZ_CELLS)
    n = OUTER_FUZZ_CELLS
    temperature = np.full(n, 2e4)
    fuzz = Gas(
        position_kpc=np.zeros((n, 3)),
        velocity_km_s=rng.normal(0, 150, (n, 3)),
        mass_msun=np.full(n, 1e5),
        hydrogen_cm3=np.full(n, 1e-6),
        temperature_k=temperature,
        electron_abundance=electron_abundance(temperature),
        phase=np.full(n, Phase.INFLOW, dtype=np.int8),
    )
    centre = (rng.uniform(0, BOX_CKPC_H, (n, 3)), np.zeros(3))
    _write_gas(fuzz, np.zeros(n), centre, REDSHIFTS[snapshot], gas)
    if settings.extra_fields:
        write_extra_fields(fuzz, None, REDSHIFTS[snapshot], extra_rng(settings, 2**31, snapshot, "gas"), gas)
    first = np.uint64(halo_count(settings) + 1) << np.uint64(32)
    gas["ParticleIDs"][:] = first + np.arange(n, dtype=np.uint64)
    return gas


def internal_energy(temperature_k: Array, electrons: Array) -> Array:
    """Return u [(km/s)^2]: the inverse of T = (gamma-1) u/kB (UE/UM) 4 m_p/(1 + 3 X_H + 4 X_H x_e)."""
    weight = 4 * PROTON_MASS_G / (1 + 3 * HYDROGEN_FRACTION + 4 * HYDROGEN_FRACTION * electrons)
    return temperature_k * BOLTZMANN_ERG_K / ((GAMMA - 1) * weight * ENERGY_OVER_MASS_CGS)


def _rows(table: Table, rows: slice) -> Table:
    return {name: values[rows] for name, values in table.items()}


def _write_member(
    halo: Halo,
    member: Member,
    settings: UniverseSettings,
    redshift: float,
    rngs: tuple[np.random.Generator, np.random.Generator],
    gas_rows: Table,
    star_rows: Table,
) -> None:
    galaxy, (rng, extra) = member.galaxy, rngs
    gas = make_gas(galaxy, rng)
    sfr = star_formation_rate(settings.law, galaxy, gas)
    universe_age = age_gyr(redshift)
    stars = make_stars(galaxy, gas, sfr, universe_age, rng)
    centre = (
        halo.position_ckpc_h + member.offset_kpc * HUBBLE * (1 + redshift),
        halo.velocity_km_s + member.velocity_km_s,
    )
    _write_gas(gas, sfr, centre, redshift, gas_rows)
    if settings.extra_fields:
        write_extra_fields(gas, galaxy, redshift, extra, gas_rows)
    _write_motion(stars.position_kpc, stars.velocity_km_s, centre, redshift, star_rows)
    star_rows["Masses"][:] = stars.mass_msun * HUBBLE / CODE_MASS_MSUN
    is_wind = np.isnan(stars.age_gyr)
    formed = scale_factor(universe_age - np.where(is_wind, 0.0, stars.age_gyr))
    star_rows["GFM_StellarFormationTime"][:] = np.where(is_wind, -formed, formed)


def _write_gas(gas: Gas, sfr: Array, centre: tuple[Array, Array], redshift: float, rows: Table) -> None:
    _write_motion(gas.position_kpc, gas.velocity_km_s, centre, redshift, rows)
    rows["Masses"][:] = gas.mass_msun * HUBBLE / CODE_MASS_MSUN
    rows["Density"][:] = (
        gas.hydrogen_cm3 / HYDROGEN_PER_MSUN_KPC3 / (CODE_MASS_MSUN * HUBBLE**2 * (1 + redshift) ** 3)
    )
    rows["InternalEnergy"][:] = internal_energy(gas.temperature_k, gas.electron_abundance)
    rows["ElectronAbundance"][:] = gas.electron_abundance
    rows["StarFormationRate"][:] = sfr


def _write_motion(
    position_kpc: Array, velocity_km_s: Array, centre: tuple[Array, Array], redshift: float, rows: Table
) -> None:
    """Write place and velocity; TNG stores peculiar velocity / sqrt(a)."""
    rows["Coordinates"][:] = in_box(centre[0] + position_kpc * HUBBLE * (1 + redshift))
    rows["Velocities"][:] = (centre[1] + velocity_km_s) * np.sqrt(1 + redshift)


def in_box(position_ckpc_h: Array) -> Array:
    """Wrap positions into [0, box): a remainder that rounds to the box itself becomes 0."""
    wrapped = np.mod(position_ckpc_h, BOX_CKPC_H)
    return np.where(wrapped.astype(np.float32) >= BOX_CKPC_H, 0.0, wrapped)


def _inner_fuzz(halo: Halo, rng: np.random.Generator) -> Gas:
    """Gas of a halo that is bound to no subhalo: a thin warm shell, 120 to 250 kpc from its centre."""
    n = halo.fuzz_cells
    vectors = rng.normal(size=(n, 3))
    radius = rng.uniform(120, 250, n)
    temperature = 10 ** rng.normal(5.3, 0.15, n)
    return Gas(
        position_kpc=vectors * (radius / np.linalg.norm(vectors, axis=1))[:, None],
        velocity_km_s=rng.normal(0, 80, (n, 3)),
        mass_msun=np.full(n, halo.fuzz_cell_mass_msun),
        hydrogen_cm3=10 ** rng.normal(-4.7, 0.1, n),
        temperature_k=temperature,
        electron_abundance=electron_abundance(temperature),
        phase=np.full(n, Phase.CORONA, dtype=np.int8),
    )


def _describe(
    halo: Halo,
    member: Member,
    redshift: float,
    gas: Table,
    stars: Table,
    dark_count: int,
    subhalos: Table,
    row: int,
) -> None:
    """Measure a subhalo from what was written, so that the catalogue and the cells agree to rounding."""
    to_code = HUBBLE * (1 + redshift)
    centre = in_box(halo.position_ckpc_h + member.offset_kpc * to_code)
    is_wind = stars["GFM_StellarFormationTime"] <= 0
    gas_radius, star_radius = (_distance(table["Coordinates"], centre) for table in (gas, stars))
    half_stars = _half_mass_radius(star_radius[~is_wind], stars["Masses"][~is_wind])
    half_dark = half_dark_mass_kpc(member.galaxy) * to_code
    aperture = 2 * half_stars
    dark = member.galaxy.dark_mass_msun * HUBBLE / CODE_MASS_MSUN
    mass, inside, half = np.zeros(6), np.zeros(6), np.zeros(6)
    for into, radius in ((mass, np.inf), (inside, aperture)):
        into[STARS] = _total(stars["Masses"][~is_wind & (star_radius < radius)])
        into[GAS] = _total(gas["Masses"][gas_radius < radius])
        into[GAS] += _total(stars["Masses"][is_wind & (star_radius < radius)])
    mass[DARK] = dark
    # Isothermal: enclosed mass grows with radius.
    inside[DARK] = dark * min(0.5 * aperture / half_dark, 1.0)
    half[[GAS, DARK, STARS]] = _half_mass_radius(gas_radius, gas["Masses"]), half_dark, half_stars
    lengths = [len(gas_radius), dark_count, 0, 0, len(star_radius), 0]
    values = {
        "SubhaloMass": mass.sum(),
        "SubhaloMassType": mass,
        "SubhaloMassInRad": inside.sum(),
        "SubhaloMassInRadType": inside,
        "SubhaloHalfmassRadType": half,
        "SubhaloSFR": _total(gas["StarFormationRate"]),
        "SubhaloSFRinRad": _total(gas["StarFormationRate"][gas_radius < aperture]),
        "SubhaloFlag": member.slot != FRAGMENT,
        "SubhaloPos": centre,
        "SubhaloVel": halo.velocity_km_s + member.velocity_km_s,
        "SubhaloLen": sum(lengths),
        "SubhaloLenType": lengths,
    }
    for name, value in values.items():
        subhalos[name][row] = value


def _describe_group(halo: Halo, gas: Table, stars: Table, dark: Table, subhalos: Table) -> Table:
    group = empty_table(GROUP_FIELDS, 1)
    fuzz_from = int(subhalos["SubhaloLenType"][:, GAS].sum())
    mass = subhalos["SubhaloMassType"].sum(axis=0, dtype=np.float64)
    mass[GAS] += _total(gas["Masses"][fuzz_from:])
    mass[DARK] += halo.dark_mass_msun * HUBBLE / CODE_MASS_MSUN
    group["GroupMassType"][0] = mass
    group["GroupMass"][0] = mass.sum()
    group["GroupSFR"][0] = _total(gas["StarFormationRate"])
    lengths = [len(table["ParticleIDs"]) for table in (gas, dark, stars)]
    group["GroupLenType"][0, [GAS, DARK, STARS]] = lengths
    group["GroupLen"][0] = sum(lengths)
    group["GroupNsubs"][0] = len(halo.members)
    group["GroupPos"][0] = in_box(halo.position_ckpc_h)
    return group


def _total(values: NDArray[Any]) -> float:
    return float(values.sum(dtype=np.float64))


def _distance(coordinates: Array, centre: Array) -> Array:
    offset = coordinates - centre
    offset -= BOX_CKPC_H * np.round(offset / BOX_CKPC_H)
    return np.asarray(np.sqrt((offset**2).sum(axis=1)))


def _half_mass_radius(radius: Array, mass: NDArray[Any]) -> float:
    if radius.size == 0:
        return 0.0
    order = np.argsort(radius, kind="stable")
    enclosed = np.cumsum(mass[order], dtype=np.float64)
    return float(radius[order][np.searchsorted(enclosed, 0.5 * enclosed[-1])])
