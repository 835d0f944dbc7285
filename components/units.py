"""Constants and conversions of the TNG data format, cgs unless the name says otherwise.

Sources: CODATA and IAU values through astropy; unit system and mean molecular weight from the TNG
data specifications.
"""

from __future__ import annotations

from astropy import constants, units

PROTON_MASS_G: float = constants.m_p.cgs.value
BOLTZMANN_ERG_K: float = constants.k_B.cgs.value
BOLTZMANN_KEV_K: float = constants.k_B.to("keV/K").value
SOLAR_MASS_G: float = constants.M_sun.cgs.value
KPC_CM: float = constants.kpc.cgs.value

CODE_MASS_MSUN = 1e10
"""The code's unit of mass, Msun/h."""

CODE_MAGNETIC_FIELD_UG: float = 1e6 * float(
    (1e10 * constants.M_sun * (1e5 * units.cm / units.s) ** 2 / constants.kpc**3).cgs.value ** 0.5
)
"""The code's unit of the magnetic field [microgauss a^2/h], the square root of its unit of pressure: 2.60."""

ENERGY_OVER_MASS_CGS = 1e10
"""(km/s)^2 in erg/g: the factor UE/UM of the TNG specifications."""

GAMMA = 5.0 / 3.0
"""Adiabatic index of a monatomic gas."""

HYDROGEN_FRACTION = 0.76
"""X_H, primordial mass fraction of hydrogen, as the specifications fix it for the temperature."""


def mass_msun(code_mass: float, h: float) -> float:
    """Convert a mass of the code [1e10 Msun/h] to Msun; arrays pass through as arrays."""
    return code_mass * CODE_MASS_MSUN / h


def length_kpc(ckpc_h: float, h: float, redshift: float) -> float:
    """Convert a comoving length [ckpc/h] to a physical one [kpc] at `redshift`."""
    return ckpc_h / h / (1.0 + redshift)
