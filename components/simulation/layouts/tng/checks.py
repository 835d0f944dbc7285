"""What is checked of the fields and headers of a TNG directory before they are read."""

from __future__ import annotations

from typing import Any

import numpy as np
from illustris_python import snapshot as particles
from numpy.typing import NDArray

from ssfr.components.errors import InputError
from ssfr.components.simulation.hdf5_safety import Survey


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
