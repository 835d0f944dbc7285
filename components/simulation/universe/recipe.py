"""What a synthetic galaxy is made of: every distribution of docs/universe.md, and its drift with time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ssfr.components.simulation.universe.cosmology import KPC_PER_KM_S_GYR, virial_velocity_km_s
from ssfr.components.units import HYDROGEN_FRACTION, KPC_CM, PROTON_MASS_G, SOLAR_MASS_G

Array = NDArray[np.float64]

THRESHOLD_CM3 = 0.106
"""Hydrogen number density [1/cm^3] above which gas forms stars, and lies on the equation of state."""

HYDROGEN_PER_MSUN_KPC3 = HYDROGEN_FRACTION * SOLAR_MASS_G / PROTON_MASS_G / KPC_CM**3
"""n_H [1/cm^3] of gas of 1 Msun/kpc^3."""

_FOUNTAIN_PEAK_CM3 = 0.07
_QUENCHED_PEAK_CM3 = 0.08


@dataclass(frozen=True)
class Clumps:
    """Gaussian lumps of gas in a disk: arrays of shape (n,), physical kpc in the plane of the disk."""

    mass_msun: Array
    x_kpc: Array
    y_kpc: Array
    size_kpc: Array
    height_kpc: Array


@dataclass(frozen=True)
class Galaxy:
    """One galaxy at one time; masses in Msun, lengths in physical kpc, temperatures in K."""

    stellar_mass_msun: float
    dark_mass_msun: float
    virial_velocity_km_s: float
    disk_mass_msun: float
    scale_kpc: float
    height_kpc: float
    arms: int
    pitch: float
    arm_kappa: float
    arm_phase: float
    lopsidedness: float
    clumps: Clumps
    fountains: Clumps
    corona_mass_msun: float
    corona_temperature_k: float
    inflow_mass_msun: float
    streams: Array
    warm_temperature_k: float
    fountain_temperature_k: float
    efficiency: float
    gas_blind_ssfr_per_yr: float
    quenched: bool
    axes: Array
    cells: int
    stars: int

    @property
    def gas_mass_msun(self) -> float:
        """All gas bound to the galaxy [Msun]."""
        lumps = self.clumps.mass_msun.sum() + self.fountains.mass_msun.sum()
        return float(self.disk_mass_msun + lumps + self.corona_mass_msun + self.inflow_mass_msun)

    @property
    def mass_msun(self) -> float:
        """Gas, stars and dark matter [Msun]."""
        return self.stellar_mass_msun + self.dark_mass_msun + self.gas_mass_msun

    def circular_velocity_km_s(self, radius_kpc: Array) -> Array:
        """Rotation curve [km/s]: rises within 1.5 kpc, then flat at 1.3 virial velocities."""
        return np.asarray(1.3 * self.virial_velocity_km_s * radius_kpc / np.hypot(radius_kpc, 1.5))


@dataclass(frozen=True)
class Drift:
    """A slow oscillation: what lets one galaxy change smoothly from snapshot to snapshot."""

    amplitude: float
    period_gyr: float
    phase: float

    def at(self, lookback_gyr: float) -> float:
        """Return the value at a lookback time."""
        return self.amplitude * float(np.sin(2 * np.pi * lookback_gyr / self.period_gyr + self.phase))


@dataclass(frozen=True)
class Masses:
    """The scales a galaxy is drawn around."""

    halo_msun: float
    stellar_msun: float
    cells: int
    stars: int
    gas_fraction_scale: float = 1.0
    dark_share: float = 0.85
    corona: bool = True
    quenched_share: float = 0.12


class GalaxyTree:
    """One galaxy through time: drawn once, then evaluated at any lookback time."""

    def __init__(self, masses: Masses, rng: np.random.Generator) -> None:
        self._masses = masses
        weight = np.log10(masses.stellar_msun) - 10.35
        self._log_gas_fraction = -0.5 - 0.4 * weight + rng.normal(0, 0.12)
        self._gas_drift = _drift(rng, 0.05)
        self._lump_share = rng.uniform(0.35, 0.60)
        self._log_cold_share = rng.uniform(np.log10(0.08), np.log10(0.92))
        self._cold_drift = _drift(rng, 0.03)
        self._log_scale = np.log10(5.5) + 0.25 * weight + rng.normal(0, 0.10)
        self._log_height = np.log10(1.3) + rng.normal(0, 0.10)
        self._height_drift = _drift(rng, 0.03)
        self._arms = int(rng.choice([2, 3, 4], p=[0.5, 0.25, 0.25]))
        self._pitch = np.deg2rad(rng.uniform(12, 30))
        self._arm_kappa = rng.uniform(0.2, 2.0)
        self._pattern_km_s_kpc = rng.uniform(18, 30)
        self._arm_phase = rng.uniform(0, 2 * np.pi)
        self._lopsidedness = rng.uniform(0, 0.25)
        self._clumps = _LumpTree(rng, flattening=0.2)
        self._fountains = _LumpTree(rng, flattening=3.0)
        self._log_corona = rng.normal(0, 0.1)
        self._log_corona_temperature = rng.normal(0, 0.02)
        self._streams = _directions(rng, int(rng.integers(2, 4)))
        self._log_warm = rng.uniform(4.0, 4.65)
        self._warm_drift = _drift(rng, 0.03)
        self._log_fountain_temperature = rng.normal(4.75, 0.05)
        self._log_efficiency = rng.normal(0, 0.06)
        self._log_gas_blind_ssfr = rng.normal(-10.1, 0.33)
        self._gas_blind_drift = _drift(rng, 0.05)
        quenched = rng.uniform() < masses.quenched_share
        since = rng.uniform(0.0, 3.0)
        self._quenched_since_gyr = since if quenched else -np.inf
        self._axes = _frame(rng)

    def at(self, lookback_gyr: float) -> Galaxy:
        """Return the galaxy `lookback_gyr` before snapshot 99."""
        masses, t = self._masses, lookback_gyr
        quenched = t <= self._quenched_since_gyr
        fading = float(np.clip((t - self._quenched_since_gyr) / 0.8, 0, 1))
        stellar = masses.stellar_msun * 10 ** (-0.04 * t)
        halo = masses.halo_msun * 10 ** (-0.02 * t)
        fraction = masses.gas_fraction_scale * 10 ** (self._log_gas_fraction + self._gas_drift.at(t))
        gas = stellar * fraction * (0.3 + 0.7 * fading)
        lumps = gas * self._lump_share
        cold = lumps * min(10 ** (self._log_cold_share + self._cold_drift.at(t)), 1.0)
        cold *= 0.0 if quenched else 0.1 + 0.9 * fading
        lifted = lumps - cold
        disk = gas - lumps
        scale = 10**self._log_scale * 10 ** (-0.02 * t)
        kappa = self._arm_kappa
        height = 10 ** (self._log_height + self._height_drift.at(t))
        if quenched:
            peak = disk / (2 * np.pi * scale**2) * np.exp(kappa) / np.i0(kappa) / (1 - self._lopsidedness)
            height = max(height, float(_height_below(peak, _QUENCHED_PEAK_CM3)))
        velocity = virial_velocity_km_s(halo)
        flat_velocity = 1.3 * velocity
        return Galaxy(
            stellar_mass_msun=stellar,
            dark_mass_msun=masses.dark_share * halo,
            virial_velocity_km_s=velocity,
            disk_mass_msun=disk,
            scale_kpc=scale,
            height_kpc=height,
            arms=self._arms,
            pitch=self._pitch,
            arm_kappa=kappa,
            arm_phase=self._arm_phase - self._pattern_km_s_kpc * KPC_PER_KM_S_GYR * t,
            lopsidedness=self._lopsidedness,
            clumps=self._clumps.at(t, cold, scale, flat_velocity),
            fountains=_lifted(self._fountains.at(t, lifted, scale, flat_velocity)),
            corona_mass_msun=2.5e9 * (halo / 1e12) ** 0.9 * 10**self._log_corona if masses.corona else 0.0,
            corona_temperature_k=7.4e5 * (velocity / 142.0) ** 2 * 10**self._log_corona_temperature,
            inflow_mass_msun=0.06 * gas if masses.corona else 0.0,
            streams=self._streams,
            warm_temperature_k=10 ** (self._log_warm + self._warm_drift.at(t)),
            fountain_temperature_k=10**self._log_fountain_temperature,
            efficiency=10**self._log_efficiency,
            gas_blind_ssfr_per_yr=10 ** (self._log_gas_blind_ssfr + self._gas_blind_drift.at(t)),
            quenched=quenched,
            axes=self._axes,
            cells=masses.cells,
            stars=masses.stars,
        )


class _LumpTree:
    """The lumps of one kind in one galaxy: they orbit, and wax and wane."""

    def __init__(self, rng: np.random.Generator, flattening: float) -> None:
        n = int(np.exp(rng.uniform(np.log(4), np.log(25))))
        self._weight = 10 ** rng.normal(0, 0.35, n)
        self._period_gyr = rng.uniform(0.6, 1.5, n)
        self._life_phase = rng.uniform(0, 2 * np.pi, n)
        self._radius_scales = rng.uniform(0.3, 2.2, n)
        self._azimuth = rng.vonmises(rng.uniform(-np.pi, np.pi), rng.uniform(0, 1.5), n)
        self._size_factor = 10 ** (rng.normal(0, 0.08) + rng.normal(0, 0.06, n))
        self._height_kpc = flattening * 10 ** rng.normal(0, 0.12)

    def at(self, t: float, mass_msun: float, scale_kpc: float, flat_velocity: float) -> Clumps:
        life = self._weight * (1 + 0.6 * np.sin(2 * np.pi * t / self._period_gyr + self._life_phase))
        mass = mass_msun * life / life.sum()
        radius = scale_kpc * self._radius_scales
        azimuth = self._azimuth - flat_velocity * KPC_PER_KM_S_GYR / np.hypot(radius, 1.5) * t
        size = 0.7 * (np.maximum(mass, 1e4) / 1e8) ** 0.35 * self._size_factor
        height = np.minimum(np.full_like(size, self._height_kpc), 10 * size)
        return Clumps(mass, radius * np.cos(azimuth), radius * np.sin(azimuth), size, height)


def _lifted(lumps: Clumps) -> Clumps:
    """Stretch fountains upwards until their peak density is below the threshold."""
    column = lumps.mass_msun / (2 * np.pi * lumps.size_kpc**2)
    height = np.maximum(lumps.height_kpc, _height_below(column, _FOUNTAIN_PEAK_CM3))
    return Clumps(lumps.mass_msun, lumps.x_kpc, lumps.y_kpc, lumps.size_kpc, height)


def _height_below(column_msun_kpc2: Array, peak_cm3: float) -> Array:
    return column_msun_kpc2 * HYDROGEN_PER_MSUN_KPC3 / (np.sqrt(2 * np.pi) * peak_cm3)


def _drift(rng: np.random.Generator, amplitude: float) -> Drift:
    return Drift(amplitude, rng.uniform(0.8, 2.5), rng.uniform(0, 2 * np.pi))


def _directions(rng: np.random.Generator, n: int) -> Array:
    vectors = rng.normal(size=(n, 3))
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))


def _frame(rng: np.random.Generator) -> Array:
    """Return a random rotation, uniform over all orientations: rows are the disk's x, y and spin axis."""
    spin, other = _directions(rng, 2)
    first = np.cross(other, spin)
    first /= np.linalg.norm(first)
    return np.stack([first, np.cross(spin, first), spin])
