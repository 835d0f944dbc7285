"""The synthetic universe's box and clock: TNG50's header, flat Lambda-CDM without radiation.

The two closed forms stay here although the rest uses astropy: it searches for the scale factor at an age,
star by star, and the last digit of its ages differs, which would move the galaxies of every universe
that a seed stands for. The tests compare with astropy.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

HUBBLE = 0.6774
OMEGA_MATTER = 0.3089
OMEGA_LAMBDA = 0.6911
OMEGA_BARYON = 0.0486
BOX_CKPC_H = 35000.0

REDSHIFTS = {
    99: 0.0,
    98: 0.00952,
    97: 0.02397,
    96: 0.03372,
    95: 0.04852,
    94: 0.05851,
    93: 0.07366,
    92: 0.08388,
    91: 0.09940,
    90: 0.10987,
    89: 0.12576,
}
"""Redshift of a TNG snapshot: the eleven that the source work used."""

KPC_PER_KM_S_GYR = 1.02271
"""kpc that 1 km/s covers in 1 Gyr."""

_HUBBLE_PER_GYR = 0.1 * HUBBLE * KPC_PER_KM_S_GYR
_GRAVITY = 4.30092e-6  # kpc (km/s)^2 / Msun


def age_gyr(redshift: float) -> float:
    """Return the age of the universe [Gyr]: t = 2/(3 H0 sqrt(OL)) asinh(sqrt(OL/OM) a^1.5)."""
    scale = 1.0 / (1.0 + redshift)
    root = np.sqrt(OMEGA_LAMBDA)
    return float(
        2.0 / (3.0 * _HUBBLE_PER_GYR * root) * np.arcsinh(np.sqrt(OMEGA_LAMBDA / OMEGA_MATTER) * scale**1.5)
    )


def scale_factor(age: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the scale factor at an age of the universe [Gyr]: the inverse of `age_gyr`."""
    phase = np.sinh(1.5 * _HUBBLE_PER_GYR * np.sqrt(OMEGA_LAMBDA) * age)
    return np.asarray((OMEGA_MATTER / OMEGA_LAMBDA) ** (1 / 3) * phase ** (2 / 3))


def lookback_gyr(snapshot: int) -> float:
    """Return the time [Gyr] between a snapshot and snapshot 99."""
    return age_gyr(0.0) - age_gyr(REDSHIFTS[snapshot])


def virial_velocity_km_s(halo_mass_msun: float) -> float:
    """Return the circular velocity [km/s] at the radius within which the density is 200 times critical."""
    return float((10.0 * _GRAVITY * 0.1 * HUBBLE * halo_mass_msun) ** (1 / 3))
