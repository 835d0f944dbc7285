"""What every source of catalogues and cells offers, whatever the simulation: names, units, and methods.

Names are those of the tables below; each layout translates them into its own. A field that a table lacks is
requested by the name that it has in the simulation's own files.

Units are comoving and with h: mass 1e10 Msun/h, length ckpc/h, star formation rate Msun/yr. Velocities of
galaxies are peculiar, in km/s; those of cells and particles are divided by sqrt(a), in km/s sqrt(a).

| particles | unit |
|---|---|
| position | ckpc/h |
| velocity | km/s sqrt(a) |
| mass | 1e10 Msun/h |
| density | (1e10 Msun/h) / (ckpc/h)^3 |
| internal_energy | (km/s)^2 |
| electron_abundance, neutral_hydrogen_abundance | per hydrogen atom |
| star_formation_rate | Msun/yr |
| metallicity | mass fraction |
| magnetic_field | uG a^2/h |
| formation_scale_factor | 1 (of stars; 0 or less: wind) |

| subhalos | |
|---|---|
| halo | row of the halo |
| is_galaxy | 0: not of cosmological origin |
| position, velocity | ckpc/h, km/s |
| mass, stellar_mass, gas_mass, star_formation_rate | of all that is bound |
| the same after inner_ | within twice the stellar half-mass radius |
| stellar_half_mass_radius | ckpc/h |
| gas_cells, star_particles | number |

| halos | |
|---|---|
| mass, position | 1e10 Msun/h, ckpc/h |
| gas_cells | number |
| first_subhalo | row of the first subhalo |
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

Aperture = Literal["subhalo", "halo"]
"""Whose cells: those bound to a subhalo, or all of a friends-of-friends halo."""

Columns = dict[str, NDArray[Any]]
"""Field name -> array; axis 0 is the object."""


@dataclass(frozen=True)
class Header:
    """What the files say of a snapshot's cosmology and box.

    Attributes
    ----------
    snapshot
        Number of the snapshot.
    h
        Hubble constant / (100 km/s/Mpc).
    redshift, scale_factor
        Of the snapshot.
    omega_matter, omega_lambda
        At redshift 0.
    box_ckpc_h
        [ckpc/h] side of the periodic box.
    """

    snapshot: int
    h: float
    redshift: float
    scale_factor: float
    omega_matter: float
    omega_lambda: float
    box_ckpc_h: float


class Source(Protocol):
    """Catalogues, cells and merger trees of one simulation, in the units of this module.

    Only the fields that are requested are read. Whatever is wrong with the data ends in an `InputError` that
    names the file and the field.
    """

    def snapshots(self) -> list[int]:
        """Return the numbers of the snapshots present, latest first."""

    def header(self, snapshot: int) -> Header:
        """Return the snapshot's header, from the files."""

    def subhalos(self, snapshot: int, fields: Sequence[str]) -> Columns:
        """Return fields of the subhalo catalogue, each (n_subhalos, ...)."""

    def halos(self, snapshot: int, fields: Sequence[str]) -> Columns:
        """Return fields of the friends-of-friends catalogue, each (n_halos, ...)."""

    def gas(self, snapshot: int, of: Aperture, number: int, fields: Sequence[str]) -> dict[str, Any]:
        """Return the gas cells of a subhalo or halo: 'count' (int), and each field (count, ...)."""

    def stars(self, snapshot: int, of: Aperture, number: int, fields: Sequence[str]) -> dict[str, Any]:
        """Return star particles like `gas`; wind cells (formation time <= 0) are among them."""

    def dark_matter(self, snapshot: int, of: Aperture, number: int, fields: Sequence[str]) -> dict[str, Any]:
        """Return dark matter particles like `gas`, their masses too."""

    def tree_roots(self, snapshot: int, of: NDArray[np.int64] | None = None) -> NDArray[np.int64]:
        """Return the number of the last descendant, (n,) int64, of subhalos (default all); -1: in no tree."""

    def fingerprint(self, snapshot: int | None = None) -> str:
        """Return a digest of the names, sizes and times of all files: it changes when the data do.

        With a snapshot, only of its catalogue and its cells.
        """
