"""The star and wind particles of one synthetic galaxy."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ssfr.components.simulation.universe.gas import Gas, rotation, to_box
from ssfr.components.simulation.universe.recipe import Array, Galaxy

YOUNG_GYR = 0.1


@dataclass(frozen=True)
class Stars:
    """Particles of one galaxy: physical kpc and km/s relative to it along the box's axes, Msun, Gyr.

    `age_gyr` is NaN for wind.
    """

    position_kpc: Array
    velocity_km_s: Array
    mass_msun: Array
    age_gyr: Array


def make_stars(
    galaxy: Galaxy, gas: Gas, sfr_msun_per_yr: Array, universe_age_gyr: float, rng: np.random.Generator
) -> Stars:
    """Sample `galaxy.stars` particles: old disk and bulge, young stars in star-forming gas, wind.

    A tenth of the particles are younger than 100 Myr and hold what the galaxy formed at its present
    rate in that time; a fiftieth are wind. A galaxy that forms no stars has old particles only. Young
    and old stars together weigh exactly the galaxy's stellar mass; wind comes on top.
    """
    total_sfr = float(sfr_msun_per_yr.sum())
    young, wind = (galaxy.stars // 10, galaxy.stars // 50) if total_sfr > 0 else (0, 0)
    old = galaxy.stars - young - wind
    young_mass = min(total_sfr * YOUNG_GYR * 1e9, 0.5 * galaxy.stellar_mass_msun) if young else 0.0
    position, velocity = _old(galaxy, old, rng)
    parts = [to_box(position, galaxy.axes)]
    moves = [to_box(velocity, galaxy.axes)]
    if young + wind:
        birth = rng.choice(sfr_msun_per_yr.size, young + wind, p=sfr_msun_per_yr / total_sfr)
        parts.append(gas.position_kpc[birth] + rng.normal(0, 0.1, (young + wind, 3)))
        kick = rng.normal(0, 1, (young + wind, 3)) * np.repeat([10.0, 100.0], [young, wind])[:, None]
        moves.append(gas.velocity_km_s[birth] + kick)
    wind_mass = 0.5 * galaxy.gas_mass_msun / max(galaxy.cells, 1)
    return Stars(
        position_kpc=np.concatenate(parts),
        velocity_km_s=np.concatenate(moves),
        mass_msun=np.concatenate(
            [
                np.full(old, (galaxy.stellar_mass_msun - young_mass) / max(old, 1)),
                np.full(young, young_mass / max(young, 1)),
                np.full(wind, wind_mass),
            ]
        ),
        age_gyr=np.concatenate(
            [
                rng.uniform(0.5, 0.9 * universe_age_gyr, old),
                rng.uniform(0.001, 0.99 * YOUNG_GYR, young),
                np.full(wind, np.nan),
            ]
        ),
    )


def _old(galaxy: Galaxy, n: int, rng: np.random.Generator) -> tuple[Array, Array]:
    """Three quarters in an exponential disk, half as long as the gas'; the rest in a 1 kpc Plummer bulge."""
    in_bulge = n // 4
    scale = 0.5 * galaxy.scale_kpc
    radius = scale * (rng.gamma(2.0, 1.0, n - in_bulge) % 8.0)
    azimuth = rng.uniform(0, 2 * np.pi, n - in_bulge)
    z = 0.15 * scale * rng.normal(size=n - in_bulge)
    disk = np.stack([radius * np.cos(azimuth), radius * np.sin(azimuth), z], axis=1)
    reach = (rng.uniform(0.001, 0.97, in_bulge) ** (-2 / 3) - 1) ** -0.5
    vectors = rng.normal(size=(in_bulge, 3))
    bulge = vectors * (reach / np.linalg.norm(vectors, axis=1))[:, None]
    spread = galaxy.virial_velocity_km_s
    turning = rotation(galaxy, disk, 0.8) + rng.normal(0, 0.25 * spread, disk.shape)
    return np.concatenate([disk, bulge]), np.concatenate([turning, rng.normal(0, spread, bulge.shape)])
