"""Which way a galaxy faces: recentring in a periodic box, rotation axis, and face-on rotation."""

from __future__ import annotations

from functools import cache
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ssfr.components.simulation import Header

Axis = Literal["young_stars", "gas", "none"]
"""What the rotation axis was taken from; none: the box's own z axis."""

_MIN_ROTATION = 1e-6
"""|L| / sum(m |r| |v|) below which matter does not rotate: float32 velocities carry no more."""


def recentred(
    coordinates: NDArray[np.floating[Any]], centre: NDArray[np.floating[Any]], box: float
) -> NDArray[np.float64]:
    """Return positions from a centre, by the shortest way through a periodic box.

    Parameters
    ----------
    coordinates
        (n, 3) in the box, any unit of length.
    centre
        (3,) in the same unit.
    box
        Side of the box in the same unit.
    """
    offset = coordinates.astype(np.float64) - centre.astype(np.float64)
    offset -= box * np.round(offset / box)
    return offset


def ages_myr(formation_scale_factor: NDArray[np.floating[Any]], header: Header) -> NDArray[np.float64]:
    """Return the ages of stars [Myr] at the time of the snapshot; NaN for wind, which has none.

    Parameters
    ----------
    formation_scale_factor
        (n,) GFM_StellarFormationTime; 0 or less: not a star but gas in a wind.
    header
        Of the snapshot; its h and Omega_m make the cosmology, taken to be flat.
    """
    cosmology = _cosmology(header.h, header.omega_matter)
    born = formation_scale_factor.astype(np.float64)
    star = born > 0
    ages = np.full(born.shape, np.nan)
    now = cosmology.age(1.0 / header.scale_factor - 1.0)
    ages[star] = (now - cosmology.age(1.0 / born[star] - 1.0)).to_value("Myr")
    return ages


@cache
def _cosmology(h: float, omega_matter: float) -> Any:
    """Return the FlatLambdaCDM of a simulation; making one takes longer than drawing a galaxy."""
    # seconds to import, and the process that only hands out the work needs none of it
    from astropy.cosmology import FlatLambdaCDM

    return FlatLambdaCDM(H0=100.0 * h, Om0=omega_matter)


def rotation_axis(
    positions: NDArray[np.float64], velocities: NDArray[np.floating[Any]], masses: NDArray[np.floating[Any]]
) -> NDArray[np.float64] | None:
    """Return the direction of the angular momentum, L = sum m r x (v - <v>), or None if there is none.

    <v> is the mean velocity by mass of this very matter, which makes L independent of the origin of the
    positions, and of the frame of the velocities. Only the direction is returned, so the units, and the
    factor sqrt(a) of the velocities of cells, do not matter.

    Parameters
    ----------
    positions, velocities
        (n, 3).
    masses
        (n,).
    """
    m = masses.astype(np.float64)
    if m.sum() <= 0:
        return None
    v = velocities.astype(np.float64)
    v = v - m @ v / m.sum()
    momentum = m @ np.cross(positions, v)
    length = np.linalg.norm(momentum)
    ordered = m @ (np.linalg.norm(positions, axis=1) * np.linalg.norm(v, axis=1))
    if not length > _MIN_ROTATION * ordered:
        return None
    axis: NDArray[np.float64] = momentum / length
    return axis


def face_on(axis: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the rotation R, (3, 3) with det = +1, that turns a unit vector to +z: R @ axis = (0, 0, 1).

    The two rows beside the axis are those of Duff et al. (2017, JCGT 6, 1), without a singular
    direction: the identity for +z, a half turn about x for -z.
    """
    x, y, z = axis
    sign = np.copysign(1.0, z)
    a = -1.0 / (sign + z)
    b = x * y * a
    return np.array([[1.0 + sign * x * x * a, sign * b, -sign * x], [b, sign + y * y * a, -y], [x, y, z]])
