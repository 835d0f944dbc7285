"""SubLink merger trees: which root each subhalo of a snapshot descends to."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from ssfr.components.errors import InputError
from ssfr.components.simulation.hdf5_safety import readable, survey

_FIELDS = ("RootDescendantID", "SnapNum", "SubfindID")
_BLOCK_ROWS = 1 << 20
_GAP_ROWS = 1 << 12


def tree_files(folder: Path) -> list[Path]:
    """Return ``tree_extended.0.hdf5``, ``.1.``, ... of a SubLink folder; empty when there are no trees.

    Raises
    ------
    InputError
        A file of the sequence is missing.
    """
    found = {path.name for path in folder.glob("tree_extended.*.hdf5")}
    files = [folder / f"tree_extended.{number}.hdf5" for number in range(len(found))]
    for path in files:
        if path.name not in found:
            raise InputError(f"{path}: missing, but there are {len(found)} tree files; get it again")
    return files


def root_descendants(
    files: list[Path], snapshot: int, subhalos: NDArray[np.int64], rows: NDArray[np.int64], origin: str
) -> NDArray[np.int64]:
    """Return RootDescendantID of subhalos, read block by block.

    Parameters
    ----------
    files
        The tree files in order; their rows are numbered through.
    snapshot
        Number of the snapshot.
    subhalos
        (n,) SubfindID.
    rows
        (n,) rows in the trees; -1: in no tree.
    origin
        Where `rows` come from, for the error.

    Returns
    -------
    ndarray
        (n,) int64; -1: in no tree.

    Raises
    ------
    InputError
        A row is past the end of the trees, or is another subhalo's.
    """
    roots = np.full(len(rows), -1, np.int64)
    order = np.argsort(rows, kind="stable")
    order = order[np.searchsorted(rows[order], 0) :]
    start = 0
    for path in files:
        length = _length(path)
        end = int(np.searchsorted(rows[order], start + length))
        mine, order = order[:end], order[end:]
        if len(mine):
            with readable(path), h5py.File(path, "r") as file:
                for block, take in _blocks(rows[mine] - start):
                    here = mine[block]
                    root, number, subfind = (take(file[name]) for name in _FIELDS)
                    if (number != snapshot).any() or (subfind != subhalos[here]).any():
                        raise InputError(
                            f"{origin}: rows lead to other subhalos in {path.name}; "
                            "offsets and trees are of different releases"
                        )
                    roots[here] = root
        start += length
    if len(order):
        raise InputError(f"{origin}: row {rows[order[-1]]} is past the {start} rows of the trees")
    return roots


def _length(path: Path) -> int:
    """Return the rows of a tree file, after a look at every field that will be read."""
    file = survey(path, "/")
    declared = [file.field(name) for name in _FIELDS]
    if any(field.shape != declared[0].shape or len(field.shape) != 1 for field in declared):
        raise InputError(f"{path}: {', '.join(_FIELDS)} differ in length")
    return declared[0].shape[0]


def _blocks(rows: NDArray[np.int64]) -> Iterator[tuple[slice, Callable[[Any], NDArray[Any]]]]:
    """Split sorted rows where many unwanted ones lie between, and where a slab would outgrow a block.

    Yields
    ------
    slice, callable
        Which of `rows`, and a function that takes them out of a dataset.
    """
    gaps = [*(np.flatnonzero(np.diff(rows) > _GAP_ROWS) + 1).tolist(), len(rows)]
    begin = 0
    for gap in gaps:
        while begin < gap:
            first = int(rows[begin])
            end = min(gap, int(np.searchsorted(rows, first + _BLOCK_ROWS)))
            yield slice(begin, end), partial(_take, rows=rows[begin:end])
            begin = end


def _take(dataset: Any, rows: NDArray[np.int64]) -> NDArray[Any]:
    slab: NDArray[Any] = dataset[int(rows[0]) : int(rows[-1]) + 1]
    return slab[rows - rows[0]]
