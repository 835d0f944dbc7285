"""Write a tiny universe in TNG layout, every number of which is known: for tests of edge cases.

Halo i has `members` subhalos, then particles bound to none; after the last halo come particles of no halo.
A particle's mass is its index in the snapshot plus one, so that what was read can be told.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import h5py
import numpy as np

HEADER = {
    "HubbleParam": 0.6774,
    "Redshift": 0.0485,
    "Time": 1 / 1.0485,
    "Omega0": 0.3089,
    "OmegaLambda": 0.6911,
    "BoxSize": 35000.0,
}
GAS, STARS = 0, 4
UNBOUND, OUTSIDE = 2, 3


def catalogue_file(root: Path, chunk: int, snapshot: int = 99) -> Path:
    return root / f"output/groups_{snapshot:03d}/fof_subhalo_tab_{snapshot:03d}.{chunk}.hdf5"


def cell_file(root: Path, chunk: int, snapshot: int = 99) -> Path:
    return root / f"output/snapdir_{snapshot:03d}/snap_{snapshot:03d}.{chunk}.hdf5"


def offset_file(root: Path, snapshot: int = 99) -> Path:
    return root / f"postprocessing/offsets/offsets_{snapshot:03d}.hdf5"


def tree_file(root: Path, chunk: int) -> Path:
    return root / f"postprocessing/trees/SubLink/tree_extended.{chunk}.hdf5"


@contextmanager
def changed(path: Path) -> Any:
    """Open a file that was written, to damage it."""
    with h5py.File(path, "r+") as file:
        yield file


def replace(file: h5py.File, name: str, values: Any) -> None:
    """Put other values, of any shape and type, in the place of a dataset."""
    del file[name]
    file[name] = np.asarray(values)


def write_universe(
    root: Path,
    *,
    snapshot: int = 99,
    members: tuple[int, ...] = (2, 1, 3),
    gas: Iterable[int] = (5, 0, 7, 1, 4, 2),
    stars: Iterable[int] = (3, 2, 0, 6, 1, 1),
    chunks: int = 3,
    subhalo: Mapping[str, Any] | None = None,
    group: Mapping[str, Any] | None = None,
    tree_rows: Any = None,
) -> dict[str, Any]:
    """Write catalogue, cells and offsets of one snapshot; return what must be read back.

    Parameters
    ----------
    root
        Gets ``output/`` and ``postprocessing/``.
    members
        Subhalos of each halo.
    gas, stars
        Particles of each subhalo.
    chunks
        Files of catalogue and of cells.
    subhalo, group
        Fields of the catalogue to add or replace.
    tree_rows
        RowNum of SubLink for each subhalo; None: the offsets know of no trees.
    """
    halo_of = np.repeat(np.arange(len(members)), members)
    n_subhalos, n_halos = len(halo_of), len(members)
    bound = np.zeros((n_subhalos, 6), np.int64)
    bound[:, GAS], bound[:, STARS] = list(gas), list(stars)
    in_halo = np.zeros((n_halos, 6), np.int64)
    np.add.at(in_halo, halo_of, bound)
    in_halo[:, [GAS, STARS]] += UNBOUND
    halo_start = np.cumsum(in_halo, axis=0) - in_halo
    within = np.cumsum(bound, axis=0) - bound
    first = np.searchsorted(halo_of, np.arange(n_halos))
    subhalo_start = halo_start[halo_of] + within - within[first][halo_of]
    total = in_halo.sum(axis=0)
    total[[GAS, STARS]] += OUTSIDE

    position = np.random.default_rng(snapshot).uniform(0, 35000, (n_subhalos, 3)).astype("f4")
    subhalos = {
        "SubhaloGrNr": halo_of.astype("i4"),
        "SubhaloLenType": bound.astype("i4"),
        "SubhaloPos": position,
        "SubhaloMass": np.linspace(10, 20, n_subhalos, dtype="f4"),
        "SubhaloMassType": np.tile(np.array([1, 5, 0, 0, 2, 0], "f4"), (n_subhalos, 1)),
        "SubhaloSFR": np.linspace(0, 2, n_subhalos, dtype="f4"),
        "SubhaloFlag": np.ones(n_subhalos, bool),
        **(subhalo or {}),
    }
    groups = {
        "GroupLenType": in_halo.astype("i4"),
        "GroupFirstSub": first.astype("i4"),
        "GroupNsubs": np.array(members, "i4"),
        "GroupPos": position[first],
        "GroupMass": np.linspace(30, 60, n_halos, dtype="f4"),
        **(group or {}),
    }
    cells = {kind: _particles(kind, int(total[kind])) for kind in (GAS, STARS)}

    halo_edges = np.linspace(0, n_halos, chunks + 1).astype(int)
    subhalo_edges = np.append(first, n_subhalos)[halo_edges]
    cell_edges = np.linspace(np.zeros(6, int), total, chunks + 1).astype(int)
    for chunk in range(chunks):
        g, s = (slice(*edges[chunk : chunk + 2]) for edges in (halo_edges, subhalo_edges))
        counts = {
            "NumFiles": chunks,
            "Ngroups_ThisFile": g.stop - g.start,
            "Nsubgroups_ThisFile": s.stop - s.start,
            "Ngroups_Total": n_halos,
            "Nsubgroups_Total": n_subhalos,
        }
        tables = {"Group": _rows(groups, g), "Subhalo": _rows(subhalos, s)}
        _write(catalogue_file(root, chunk, snapshot), counts, tables)
        begin, end = cell_edges[chunk], cell_edges[chunk + 1]
        counts = {
            "NumFilesPerSnapshot": chunks,
            "NumPart_ThisFile": (end - begin).astype("i4"),
            "NumPart_Total": total.astype("u4"),
            "NumPart_Total_HighWord": np.zeros(6, "u4"),
            "MassTable": np.zeros(6),
        }
        parts = {
            f"PartType{kind}": _rows(cells[kind], slice(begin[kind], end[kind]))
            for kind in cells
            if end[kind] > begin[kind]
        }
        _write(cell_file(root, chunk, snapshot), counts, parts)
    offsets = {
        "FileOffsets": {
            "Group": halo_edges[:-1],
            "Subhalo": subhalo_edges[:-1],
            "SnapByType": cell_edges[:-1],
        },
        "Group": {"SnapByType": halo_start},
        "Subhalo": {"SnapByType": subhalo_start},
    }
    if tree_rows is not None:
        offsets["Subhalo/SubLink"] = {"RowNum": np.asarray(tree_rows, np.int64)}
    _write(offset_file(root, snapshot), None, offsets)
    return {
        "subhalos": subhalos,
        "groups": groups,
        "cells": cells,
        "subhalo_start": subhalo_start,
        "halo_start": halo_start,
    }


def write_trees(root: Path, columns: Mapping[str, Any], edges: tuple[int, ...]) -> None:
    """Write SubLink trees whose rows are cut into files at `edges`."""
    for chunk, (begin, end) in enumerate(pairwise(edges)):
        _write(tree_file(root, chunk), None, {"/": _rows(columns, slice(begin, end))})


def _particles(kind: int, count: int) -> dict[str, Any]:
    index = np.arange(count)
    fields: dict[str, Any] = {
        "Masses": (index + 1).astype("f4"),
        "Coordinates": np.stack([index, index + 0.25, index + 0.5], axis=1),
        "Velocities": np.zeros((count, 3), "f4"),
    }
    if kind == STARS:
        fields["GFM_StellarFormationTime"] = np.where(index % 3, 0.9, -0.9).astype("f4")
    return fields


def _rows(fields: Mapping[str, Any], rows: slice) -> dict[str, Any]:
    # as in the real catalogues, a chunk without objects has a group without fields
    return (
        {name: np.asarray(values)[rows] for name, values in fields.items()} if rows.stop > rows.start else {}
    )


def _write(path: Path, counts: Mapping[str, Any] | None, groups: Mapping[str, Mapping[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        if counts is not None:
            file.create_group("Header").attrs.update({**HEADER, **counts})
        for name, fields in groups.items():
            place = file.require_group(name)
            for field, values in fields.items():
                place[field] = values
