"""What every source of catalogues and cells offers, and how one is opened by its location."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from ssfr.components.config import SimulationSettings
from ssfr.components.errors import InputError

MARKER = "universe.json"
"""Lies beside the data of a universe that ssfr wrote."""
_OF_SNAPSHOT = re.compile(r"(?:^|/)(?:(groups|snapdir)_(\d{3,})/[^/]+|offsets/offsets_(\d{3,}))\.hdf5$")
_OF_TREES = re.compile(r"(?:^|/)trees/SubLink/[^/]+\.hdf5$")

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
    """Catalogues, cells and merger trees of one simulation, in code units and as stored on disk.

    Code units are those of the TNG specifications: mass 1e10 Msun/h, length ckpc/h, star formation rate
    Msun/yr; see the `units` module. Only the fields asked for are read. Whatever is wrong with the data
    ends in an `InputError` that names the file and the field.
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
        """Return RootDescendantID, (n,) int64, of the subhalos `of` (all without it); -1: in no tree."""

    def fingerprint(self, snapshot: int | None = None) -> str:
        """Return a digest of the names, sizes and times of all files: it changes when the data do.

        With a snapshot, only of its catalogue and its cells.
        """


def is_synthetic(location: str, uploaded: Collection[str] | None = None) -> bool:
    """Whether a TNG directory, or the `output` in it, is a universe that ssfr wrote.

    Parameters
    ----------
    location
        Of the directory.
    uploaded
        Names of its files where they are not on this machine.
    """
    if uploaded is not None:
        return MARKER in uploaded
    folder = Path(location)
    return any((place / MARKER).exists() for place in (folder, folder.parent))


def is_of_snapshot(snapshot: int, name: str) -> bool:
    """Whether a file of a TNG directory holds catalogue, cells or offsets of a snapshot.

    These are all that is read of it, but for the merger trees, which are of all snapshots together.
    """
    found = _OF_SNAPSHOT.search(name)
    return found is not None and int(found[2] or found[3]) == snapshot


def is_of_simulation(name: str) -> bool:
    """Whether a file of a TNG directory is read at all: catalogues, cells, offsets and merger trees are."""
    return _OF_SNAPSHOT.search(name) is not None or _OF_TREES.search(name) is not None


def is_of_cells(name: str) -> bool:
    """Whether a file of a TNG directory holds cells: most bytes of it, which no catalogue needs."""
    found = _OF_SNAPSHOT.search(name)
    return found is not None and found[1] == "snapdir"


def open_source(location: str, settings: SimulationSettings) -> Source:
    """Open a source of galaxies.

    Parameters
    ----------
    location
        A TNG directory: the folder with ``output/`` (and ``postprocessing/``), or ``output/`` itself.
    settings
        Limits on what is read.

    Raises
    ------
    InputError
        Nothing there that can be read.
    """
    if location.startswith("api:"):
        raise InputError(f"{location}: the web API is not a source of this version; give a TNG directory")
    # h5py and illustris_python load only where a directory is read
    from ssfr.components.simulation.layouts.tng.directory import TngDirectory

    return TngDirectory(location, settings)
