"""What is checked of the fields and headers of a TNG directory before they are read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
from illustris_python import snapshot as particles
from numpy.typing import NDArray

from ssfr.components.errors import InputError
from ssfr.components.simulation.hdf5_safety import Survey, readable, survey


def check_field(file: Survey, field: str, rows: int, kinds: dict[str, tuple[Any, ...]]) -> int:
    """Return the bytes of a field that has as many rows as the header says, and is alike in every chunk."""
    declared = file.field(field)
    if declared.shape[:1] != (rows,):
        raise InputError(
            f"{file.path}: {file.group}/{field} has shape {declared.shape}, Header says {rows} rows"
        )
    kind = (declared.shape[1:], declared.dtype)
    if kinds.setdefault(field, kind) != kind:
        raise InputError(
            f"{file.path}: {file.group}/{field} is {declared.dtype} {declared.shape[1:]}, "
            f"in an earlier chunk {kinds[field][1]} {kinds[field][0]}"
        )
    return declared.nbytes


def offset_field(path: Path, name: str, shape: tuple[int, ...], read: bool = True) -> NDArray[np.int64]:
    """Return a field of the offsets file, which must have this shape; empty where it is not to be read."""
    if not path.is_file():
        raise InputError(f"{path}: missing; cells and trees are found through it, get it from the release")
    group, _, field = name.rpartition("/")
    declared = survey(path, group).field(field)
    # unsigned offsets would wrap round in illustris_python's subtraction, and lead to other galaxies
    if declared.shape != shape or declared.dtype.kind != "i":
        raise InputError(
            f"{path}: {name} is {declared.dtype} {declared.shape}, expected signed integers {shape} "
            "to fit catalogue and chunks; offsets of another simulation?"
        )
    if not read:
        return np.empty(0, np.int64)
    with readable(path), h5py.File(path, "r") as file:
        values: NDArray[np.int64] = file[name][()].astype(np.int64)
    return values


def particle_counts(first: Survey) -> NDArray[np.int64]:
    """Return the particles of a snapshot by type, (6,)."""
    high = "NumPart_Total_HighWord"
    names = ["NumPart_Total", high] if first.has_attribute(high) else ["NumPart_Total"]
    header = {name: first.attribute(name) for name in names}
    for name, value in header.items():
        if value.shape != (6,) or value.dtype.kind not in "iu":
            raise InputError(f"{first.path}: Header/{name} is {value.tolist()}, expected six counts")
    return np.asarray(particles.getNumPart(header), np.int64)


def edges_of(starts: NDArray[np.int64], total: Any, name: str) -> NDArray[np.int64]:
    """Return where chunks begin, and the total after the last; they must begin at 0 and never go back."""
    edges = np.concatenate([starts, np.reshape(total, (1, *starts.shape[1:]))])
    if (edges[0] != 0).any() or (np.diff(edges, axis=0) < 0).any():
        raise InputError(
            f"{name}: does not run from 0 up to {np.ravel(total).tolist()}; offsets of another simulation?"
        )
    return edges
