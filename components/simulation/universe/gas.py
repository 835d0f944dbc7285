"""The gas cells of one synthetic galaxy: where they are, how they move, how dense and warm they are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from ssfr.components.simulation.universe.recipe import (
    HYDROGEN_PER_MSUN_KPC3,
    THRESHOLD_CM3,
    Array,
    Clumps,
    Galaxy,
)


class Phase(IntEnum):
    """Which part of the galaxy a cell belongs to."""

    DISK = 0
    CLUMP = 1
    FOUNTAIN = 2
    CORONA = 3
    INFLOW = 4


@dataclass(frozen=True)
class Gas:
    """Cells of one galaxy; arrays of shape (n,) or (n, 3).

    Positions are physical kpc and velocities km/s, relative to the galaxy, along the box's axes.
    """

    position_kpc: Array
    velocity_km_s: Array
    mass_msun: Array
    hydrogen_cm3: Array
    temperature_k: Array
    electron_abundance: Array
    phase: NDArray[np.int8]

    @property
    def is_dense(self) -> NDArray[np.bool_]:
        """Cells above the threshold of star formation."""
        return np.asarray(self.hydrogen_cm3 > THRESHOLD_CM3)


def electron_abundance(temperature_k: Array) -> Array:
    """Return n_e/n_H: from 0.01 in cold gas to 1.158 (H and He fully ionised), half of it at 14,000 K."""
    return np.asarray(0.01 + 1.148 / (1 + np.exp(-(np.log10(temperature_k) - 4.15) / 0.06)))


def equation_of_state_k(hydrogen_cm3: Array) -> Array:
    """Return the effective temperature [K] of star-forming gas: 1e4 K (n/n_threshold)^0.6, at most 2e5 K."""
    return np.asarray(np.minimum(1e4 * (hydrogen_cm3 / THRESHOLD_CM3) ** 0.6, 2e5))


def make_gas(galaxy: Galaxy, rng: np.random.Generator) -> Gas:
    """Sample a galaxy's gas with cells of nearly equal mass.

    Parameters
    ----------
    galaxy
        What to sample; it holds exactly `galaxy.cells` cells.
    rng
        Source of the sampling noise.

    Notes
    -----
    The density of a cell is that of its own phase at its place, from the same formula that its place
    was drawn from; phases interpenetrate without adding up.
    """
    samplers: dict[Phase, tuple[float, Callable[[Galaxy, int, np.random.Generator], _Sample]]] = {
        Phase.DISK: (galaxy.disk_mass_msun, _disk),
        Phase.CLUMP: (float(galaxy.clumps.mass_msun.sum()), _clumps),
        Phase.FOUNTAIN: (float(galaxy.fountains.mass_msun.sum()), _fountains),
        Phase.CORONA: (galaxy.corona_mass_msun, _corona),
        Phase.INFLOW: (galaxy.inflow_mass_msun, _inflow),
    }
    counts = _shares(galaxy.cells, np.array([mass for mass, _ in samplers.values()]))
    parts, masses, phases = [], [], []
    for (phase, (mass, sampler)), n in zip(samplers.items(), counts, strict=True):
        parts.append(sampler(galaxy, n, rng))
        jitter = rng.uniform(0.7, 1.3, n)
        masses.append(mass * jitter / max(jitter.sum(), 1e-30))
        phases.append(np.full(n, phase, dtype=np.int8))
    position, velocity, density, warmth = (
        np.concatenate([getattr(part, name) for part in parts])
        for name in ("position", "velocity", "density", "temperature")
    )
    phase_of = np.concatenate(phases)
    hydrogen = np.maximum(density * HYDROGEN_PER_MSUN_KPC3, 1e-7)
    dense = hydrogen > THRESHOLD_CM3
    return Gas(
        position_kpc=to_box(position, galaxy.axes),
        velocity_km_s=to_box(velocity, galaxy.axes),
        mass_msun=np.concatenate(masses),
        hydrogen_cm3=hydrogen,
        temperature_k=np.where(dense, equation_of_state_k(hydrogen), warmth),
        # Cold clouds hold most of a star-forming cell's mass, whatever its effective temperature.
        electron_abundance=np.where(dense, 0.1, electron_abundance(warmth)),
        phase=phase_of,
    )


def to_box(vectors: Array, axes: Array) -> Array:
    """Turn vectors (n, 3) of the disk's frame into the box's; rows of `axes` are the disk's axes."""
    # einsum and not @: the sum's order, and so the last bit, must not depend on a BLAS's threads.
    return np.asarray(np.einsum("ij,jk->ik", vectors, axes))


def rotation(galaxy: Galaxy, position: Array, share: float = 1.0) -> Array:
    """Return the velocity [km/s] (n, 3) of a disk that turns around +z, in the disk's frame."""
    radius = np.hypot(position[:, 0], position[:, 1])
    rate = share * galaxy.circular_velocity_km_s(radius) / np.maximum(radius, 1e-3)
    return np.stack([-position[:, 1] * rate, position[:, 0] * rate, np.zeros_like(rate)], axis=1)


@dataclass(frozen=True)
class _Sample:
    """Cells of one phase in the disk's frame: kpc, km/s, Msun/kpc^3, K (of cells that are not dense)."""

    position: Array
    velocity: Array
    density: Array
    temperature: Array


def _disk(galaxy: Galaxy, n: int, rng: np.random.Generator) -> _Sample:
    scale, height, shift = galaxy.scale_kpc, galaxy.height_kpc, galaxy.lopsidedness
    radius = scale * (rng.gamma(2.0, 1.0, n) % 8.0) + 1e-3
    # psi is the angle from the crest of an arm, times the number of arms: von Mises about the crest.
    psi = rng.vonmises(0.0, galaxy.arm_kappa, n)
    arm = rng.integers(0, galaxy.arms, n)
    winding = np.log(radius / scale) / np.tan(galaxy.pitch)
    azimuth = (psi + 2 * np.pi * arm) / galaxy.arms + galaxy.arm_phase - winding
    z = height * rng.normal(size=n)
    # Each ring is displaced by shift x radius, so the outer disk is lopsided; the divisor is the Jacobian.
    position = np.stack([radius * (np.cos(azimuth) + shift), radius * np.sin(azimuth), z], axis=1)
    contrast = np.exp(galaxy.arm_kappa * np.cos(psi)) / np.i0(galaxy.arm_kappa)
    column = galaxy.disk_mass_msun / (2 * np.pi * scale**2) * np.exp(-radius / scale)
    column *= contrast / (1 + shift * np.cos(azimuth))
    density = column / (np.sqrt(2 * np.pi) * height) * np.exp(-0.5 * (z / height) ** 2)
    warmth = galaxy.warm_temperature_k * 10 ** rng.normal(0, 0.08, n)
    velocity = rotation(galaxy, position) + rng.normal(0, 10, (n, 3))
    return _Sample(position, velocity, density, np.maximum(warmth, 6e3))


def _lumps(lumps: Clumps, n: int, rng: np.random.Generator) -> tuple[Array, Array]:
    if n == 0:
        return np.zeros((0, 3)), np.zeros(0)
    # Stratified: a lump's number of cells follows its mass without shot noise.
    shares = np.cumsum(lumps.mass_msun) / lumps.mass_msun.sum()
    which = np.minimum(np.searchsorted(shares, (np.arange(n) + rng.uniform()) / n), len(shares) - 1)
    unit = rng.normal(size=(n, 3))
    size, height = lumps.size_kpc[which], lumps.height_kpc[which]
    centre = np.stack([lumps.x_kpc[which], lumps.y_kpc[which], np.zeros(n)], axis=1)
    position = centre + unit * np.stack([size, size, height], axis=1)
    peak = lumps.mass_msun[which] / ((2 * np.pi) ** 1.5 * size**2 * height)
    return position, peak * np.exp(-0.5 * (unit**2).sum(axis=1))


def _clumps(galaxy: Galaxy, n: int, rng: np.random.Generator) -> _Sample:
    position, density = _lumps(galaxy.clumps, n, rng)
    velocity = rotation(galaxy, position) + rng.normal(0, 10, (n, 3))
    return _Sample(position, velocity, density, 10 ** rng.normal(4.05, 0.05, n))


def _fountains(galaxy: Galaxy, n: int, rng: np.random.Generator) -> _Sample:
    position, density = _lumps(galaxy.fountains, n, rng)
    velocity = rotation(galaxy, position) + rng.normal(0, 1, (n, 3)) * np.array([20.0, 20.0, 60.0])
    return _Sample(position, velocity, density, galaxy.fountain_temperature_k * 10 ** rng.normal(0, 0.08, n))


def _corona(galaxy: Galaxy, n: int, rng: np.random.Generator) -> _Sample:
    stretch = galaxy.virial_velocity_km_s / 142.0
    core, edge = 25.0 * stretch, 110.0 * stretch
    grid = np.linspace(0, edge, 1024)
    inside = grid - core * np.arctan(grid / core)
    radius = np.interp(rng.uniform(0, inside[-1], n), inside, grid)
    position = radius[:, None] * _sphere(n, rng)
    density = galaxy.corona_mass_msun / (4 * np.pi * core**2 * inside[-1]) / (1 + (radius / core) ** 2)
    dispersion = galaxy.virial_velocity_km_s / np.sqrt(2)
    velocity = rotation(galaxy, position, 0.2) + rng.normal(0, dispersion, (n, 3))
    return _Sample(position, velocity, density, galaxy.corona_temperature_k * 10 ** rng.normal(0, 0.08, n))


def _inflow(galaxy: Galaxy, n: int, rng: np.random.Generator) -> _Sample:
    near, far, width, speed = 15.0, 80.0, 3.0, 120.0
    axis = galaxy.streams[rng.integers(0, len(galaxy.streams), n)]
    along = rng.uniform(near, far, n)
    offset = rng.normal(0, width, (n, 3))
    offset -= (offset * axis).sum(axis=1, keepdims=True) * axis
    position = along[:, None] * axis + offset
    line = galaxy.inflow_mass_msun / len(galaxy.streams) / (far - near)
    density = line / (2 * np.pi * width**2) * np.exp(-0.5 * (offset**2).sum(axis=1) / width**2)
    velocity = -speed * axis + rng.normal(0, 15, (n, 3))
    return _Sample(position, velocity, density, 10 ** rng.normal(4.3, 0.08, n))


def _sphere(n: int, rng: np.random.Generator) -> Array:
    vectors = rng.normal(size=(n, 3))
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))


def _shares(total: int, weights: Array) -> list[int]:
    """Split `total` cells in proportion to mass, by largest remainder."""
    exact = total * weights / weights.sum()
    counts = np.floor(exact).astype(int)
    counts[np.argsort(counts - exact, kind="stable")[: total - counts.sum()]] += 1
    return [int(n) for n in counts]
