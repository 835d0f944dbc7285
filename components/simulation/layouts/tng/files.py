"""Which file of a TNG directory holds what, by its name."""

from __future__ import annotations

import re
from pathlib import Path

_OF_SNAPSHOT = re.compile(r"(?:^|/)(?:(groups|snapdir)_(\d{3,})/[^/]+|offsets/offsets_(\d{3,}))\.hdf5$")
_OF_TREES = re.compile(r"(?:^|/)trees/SubLink/[^/]+\.hdf5$")


def is_of_snapshot(snapshot: int, name: str) -> bool:
    """Return whether a file of a TNG directory holds catalogue, cells or offsets of a snapshot.

    These are all that is read of it, but for the merger trees, which are of all snapshots together.
    """
    found = _OF_SNAPSHOT.search(name)
    return found is not None and int(found[2] or found[3]) == snapshot


def is_of_simulation(name: str) -> bool:
    """Return whether a file is read at all: catalogues, cells, offsets and merger trees are."""
    return _OF_SNAPSHOT.search(name) is not None or _OF_TREES.search(name) is not None


def is_of_cells(name: str) -> bool:
    """Return whether a file of a TNG directory holds cells: most bytes of it, which no catalogue needs."""
    found = _OF_SNAPSHOT.search(name)
    return found is not None and found[1] == "snapdir"


def snapshot_path(root: Path, snapshot: int, chunk: int) -> Path:
    """Return the file of a chunk's cells and particles."""
    return root / f"output/snapdir_{snapshot:03d}/snap_{snapshot:03d}.{chunk}.hdf5"


def catalogue_path(root: Path, snapshot: int, chunk: int) -> Path:
    """Return the file of a chunk's halos and subhalos."""
    return root / f"output/groups_{snapshot:03d}/fof_subhalo_tab_{snapshot:03d}.{chunk}.hdf5"


def offsets_path(root: Path, snapshot: int) -> Path:
    """Return the file that says where every halo's and subhalo's cells and particles begin."""
    return root / f"postprocessing/offsets/offsets_{snapshot:03d}.hdf5"


def tree_path(root: Path, chunk: int) -> Path:
    """Return a file of merger trees."""
    return root / f"postprocessing/trees/SubLink/tree_extended.{chunk}.hdf5"
