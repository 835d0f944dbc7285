"""How a galaxy is seen: all that a field depends on beside the cells themselves."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ssfr.components.config import ProjectionSettings
from ssfr.components.projection.orientation import offsets_kpc
from ssfr.components.simulation import Header


@dataclass(frozen=True)
class View:
    """The snapshot, the galaxy's place and motion, the direction of the line of sight, and the settings.

    Attributes
    ----------
    header
        Of the snapshot: h and the scale factor turn code units into physical ones.
    projection
        Settings; `entropy_density`, `star_forming_gas` and `young_star_age_myr` choose between definitions.
    little_h
        applied: masses in Msun; ignored: in 1e10 Msun/h, as stored.
    rotation
        (3, 3) from the axes of the box to those of the map: x to the right, y up, z towards the observer.
    centre_ckpc_h
        (3,) [ckpc/h] of the galaxy, in the box.
    velocity_km_s
        (3,) [km/s, peculiar] of the galaxy as a whole, along the axes of the box. It is read only if a
        field that is drawn needs velocities.
    """

    header: Header
    projection: ProjectionSettings = field(default_factory=ProjectionSettings)
    little_h: Literal["applied", "ignored"] = "applied"
    rotation: NDArray[np.float64] = field(default_factory=lambda: np.eye(3))
    centre_ckpc_h: NDArray[np.floating[Any]] = field(default_factory=lambda: np.zeros(3))
    velocity_km_s: NDArray[np.floating[Any]] = field(default_factory=lambda: np.zeros(3))

    def positions_kpc(self, coordinates: NDArray[Any]) -> NDArray[np.float64]:
        """Return positions (3, n) [kpc, physical] from the galaxy's centre, along the axes of the map.

        Parameters
        ----------
        coordinates
            (n, 3) [ckpc/h] in the box.
        """
        offsets = offsets_kpc(coordinates, self.centre_ckpc_h, self.header)
        return np.einsum("ij,nj->in", self.rotation, offsets)

    def velocities_km_s(self, velocities: NDArray[Any]) -> NDArray[np.float64]:
        """Return velocities (3, n) [km/s, peculiar] relative to the galaxy, along the axes of the map.

        Parameters
        ----------
        velocities
            (n, 3) [km/s sqrt(a)] of cells or particles, as stored.
        """
        peculiar = velocities.astype(np.float64) * np.sqrt(self.header.scale_factor) - self.velocity_km_s
        return np.einsum("ij,nj->in", self.rotation, peculiar)
