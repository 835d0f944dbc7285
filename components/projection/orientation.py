"""Which way a galaxy faces: recentring in a periodic box, rotation axis, and the turn to a line of sight."""

from __future__ import annotations

from functools import cache
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ssfr.components.simulation import Header
from ssfr.components.units import length_kpc

Axis = Literal["young_stars", "gas", "none", "random", "matrix"]
"""What the line of sight was taken from: the angular momentum of the young stars or of the gas, the box's z
axis where neither rotates (none), a random direction, or a matrix of the settings."""

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


def offsets_kpc(
    coordinates: NDArray[Any], centre_ckpc_h: NDArray[Any], header: Header
) -> NDArray[np.float64]:
    """Return positions (n, 3) [kpc, physical] from a centre, along the axes of the box.

    Parameters
    ----------
    coordinates, centre_ckpc_h
        (n, 3) and (3,) [ckpc/h] in the box.
    header
        Of the snapshot.
    """
    offset_ckpc_h = recentred(coordinates, centre_ckpc_h, header.box_ckpc_h)
    return offset_ckpc_h * length_kpc(1.0, header.h, header.redshift)


def ages_myr(formation_scale_factor: NDArray[np.floating[Any]], header: Header) -> NDArray[np.float64]:
    """Return the ages of stars [Myr] at the time of the snapshot; NaN for wind, which has none.

    Parameters
    ----------
    formation_scale_factor
        (n,) formation_scale_factor; 0 or less: not a star but gas in a wind.
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
    positions and of any velocity that is common to all. Only the direction is returned, so the units, and the
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


_EDGE_ON = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, -1.0, 0.0]])
"""A quarter turn about x: what was along z, towards the observer, points up along y."""


def edge_on(axis: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the rotation R, (3, 3) with det = +1, that turns a unit vector to +y: R @ axis = (0, 1, 0)."""
    return _EDGE_ON @ face_on(axis)


def random_rotation(seed: int, snapshot: int, subhalo_id: int, view: int = 0) -> NDArray[np.float64]:
    """Return a rotation, (3, 3), uniform over all orientations: the same for the same seed, galaxy and view.

    A unit quaternion of four normal numbers is uniform on its sphere (Shoemake 1992, Graphics Gems III).
    """
    key = (snapshot, subhalo_id, view) if view else (snapshot, subhalo_id)  # as before there were views
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=key))
    quaternion = rng.normal(size=4)
    w, x, y, z = quaternion / np.linalg.norm(quaternion)
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )
