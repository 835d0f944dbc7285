"""A TNG directory on disk, read with illustris_python after every file was looked at.

illustris_python trusts what it finds: a missing chunk, a field that one chunk lacks, counts or offsets that
do not fit end there in a misleading path, a bare exception, zeros, or the cells of another galaxy. So the
files are surveyed first, and it reads only what the survey found complete.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import h5py
import numpy as np
from illustris_python import groupcat
from illustris_python import snapshot as particles
from numpy.typing import NDArray

from ssfr.components.config import SimulationSettings
from ssfr.components.errors import InputError
from ssfr.components.simulation.hdf5_safety import DAMAGE, Survey, readable, survey
from ssfr.components.simulation.layouts.tng.checks import check_field, edges_of, offset_field, particle_counts
from ssfr.components.simulation.layouts.tng.files import is_of_snapshot
from ssfr.components.simulation.layouts.tng.names import (
    DARK,
    GAS,
    HALOS,
    PARTICLES,
    STARS,
    SUBHALOS,
    TYPES,
    VECTORS,
    TngField,
    stored_as,
)
from ssfr.components.simulation.layouts.tng.sublink import root_descendants, tree_files
from ssfr.components.simulation.source import Aperture, Columns, Header
from ssfr.components.storage.artifact import sha256_json

_Table = Literal["Subhalo", "Group"]
_COUNTED: dict[_Table, tuple[str, ...]] = {"Subhalo": ("subgroups", "subhalos"), "Group": ("groups",)}
_TABLE_OF: dict[Aperture, _Table] = {"subhalo": "Subhalo", "halo": "Group"}


class _Offsets(NamedTuple):
    """Where a snapshot's objects and chunks begin.

    Attributes
    ----------
    catalogue
        (catalogue chunks + 1,) first object of each chunk, and the number of objects.
    chunks
        (snapshot chunks + 1, 6) first particle of each chunk by type, and the number of particles.
    """

    catalogue: NDArray[np.int64]
    chunks: NDArray[np.int64]


class TngDirectory:
    """Catalogues, cells and trees in the layout of the TNG public release.

    Parameters
    ----------
    location
        The folder that holds ``output/`` and ``postprocessing/``, or ``output/`` itself.
    settings
        Limits on what is read.

    Raises
    ------
    InputError
        No group catalogue and no snapshot there.
    """

    def __init__(self, location: str, settings: SimulationSettings) -> None:
        root = Path(location).expanduser().resolve()
        if not root.is_dir():
            raise InputError(f"{location}: no such directory; give the folder that holds output/")
        # illustris_python takes the parent of this path for the home of postprocessing/: it must be absolute
        self._output = root / "output" if (root / "output").is_dir() else root
        self._postprocessing = self._output.parent / "postprocessing"
        self._limit_bytes = settings.max_declared_gb * 1e9
        self._offsets_read: dict[tuple[int, _Table], _Offsets] = {}
        if not self.snapshots():
            raise InputError(
                f"{location}: neither groups_NNN/ nor snapdir_NNN/ in {self._output}; "
                "expected a TNG directory: output/groups_099/, output/snapdir_099/, postprocessing/"
            )

    def snapshots(self) -> list[int]:
        """Return the snapshots that have a group catalogue (if none has: that have cells), latest first."""
        for kind in ("groups", "snapdir"):
            names = (re.fullmatch(rf"{kind}_(\d{{3,}})", path.name) for path in self._output.iterdir())
            found = sorted((int(match[1]) for match in names if match), reverse=True)
            if found:
                return found
        return []

    def header(self, snapshot: int) -> Header:
        """Return the header of the snapshot, or of its catalogue where there are no cells."""
        cells = self._cell_chunk(snapshot, 0)
        file = (
            survey(cells, "PartType0") if cells.parent.is_dir() else self._table_chunk(snapshot, 0, "Group")
        )
        names = ("HubbleParam", "Redshift", "Time", "Omega0", "OmegaLambda", "BoxSize")
        values = {name: float(file.attribute(name).item()) for name in names}
        for name in ("HubbleParam", "Time", "BoxSize"):
            if values[name] <= 0:
                raise InputError(f"{file.path}: Header/{name} is {values[name]}, expected more than 0")
        return Header(snapshot, *values.values())

    def subhalos(self, snapshot: int, fields: Sequence[str]) -> Columns:
        """Return fields of all subhalos of a snapshot, in code units."""
        return self._columns(snapshot, "Subhalo", SUBHALOS, fields)

    def halos(self, snapshot: int, fields: Sequence[str]) -> Columns:
        """Return fields of all friends-of-friends halos of a snapshot, in code units."""
        return self._columns(snapshot, "Group", HALOS, fields)

    def gas(self, snapshot: int, of: Aperture, number: int, fields: Sequence[str]) -> dict[str, Any]:
        """Return the gas cells (PartType0) of a subhalo or halo."""
        return self._particles(snapshot, of, number, GAS, fields)

    def stars(self, snapshot: int, of: Aperture, number: int, fields: Sequence[str]) -> dict[str, Any]:
        """Return the star particles and wind cells (PartType4) of a subhalo or halo."""
        return self._particles(snapshot, of, number, STARS, fields)

    def dark_matter(self, snapshot: int, of: Aperture, number: int, fields: Sequence[str]) -> dict[str, Any]:
        """Return the dark matter particles (PartType1) of a subhalo or halo.

        All have the mass that the header gives, which no dataset holds.
        """
        masses = [field for field in fields if stored_as(field, PARTICLES).name == "Masses"]
        read = self._particles(snapshot, of, number, DARK, [field for field in fields if field not in masses])
        if masses:
            file = self._first_cells(snapshot)
            table = file.attribute("MassTable")
            if table.shape != (6,) or not table[DARK] > 0:
                raise InputError(
                    f"{file.path}: Header/MassTable is {table.tolist()}, expected six masses, that of type "
                    f"{DARK} more than 0; are there dark matter particles?"
                )
            read |= {field: np.full(read["count"], table[DARK]) for field in masses}
        return read

    def tree_roots(self, snapshot: int, of: NDArray[np.int64] | None = None) -> NDArray[np.int64]:
        """Return RootDescendantID of subhalos; -1 where a subhalo is in no tree, or there are no trees."""
        count = self._count(snapshot, "Subhalo")
        subhalos = np.arange(count) if of is None else np.asarray(of, np.int64)
        files = tree_files(self._postprocessing / "trees" / "SubLink")
        if not files:
            return np.full(len(subhalos), -1, np.int64)
        path, field = self._offset_file(snapshot), "Subhalo/SubLink/RowNum"
        rows = offset_field(path, field, (count,))
        return root_descendants(files, snapshot, subhalos, rows[subhalos], f"{path}: {field}")

    def fingerprint(self, snapshot: int | None = None) -> str:
        """Return a digest of names, sizes and modification times of catalogue, cell and tree files.

        With a snapshot, of those that `is_of_snapshot` finds its own.
        """
        folders = [*self._output.glob("groups_*"), *self._output.glob("snapdir_*")]
        folders += [self._postprocessing / "offsets", self._postprocessing / "trees" / "SubLink"]
        files = sorted(path for folder in folders for path in folder.glob("*.hdf5") if path.is_file())
        status = [(str(path.relative_to(self._output.parent)), path.stat()) for path in files]
        return sha256_json(
            [
                (name, found.st_size, found.st_mtime_ns)
                for name, found in status
                if snapshot is None or is_of_snapshot(snapshot, name)
            ]
        )

    # --- group catalogue

    def _table_chunk(self, snapshot: int, chunk: int, table: _Table) -> Survey:
        """Survey a chunk of the catalogue: the very file that illustris_python would open."""
        folder = self._output / f"groups_{snapshot:03d}"
        if not folder.is_dir():
            raise InputError(
                f"{folder}: no group catalogue of snapshot {snapshot}; get groups_{snapshot:03d}/"
            )
        path = Path(groupcat.gcPath(str(self._output), snapshot, chunk))
        expected = f"fof_subhalo_tab_{snapshot:03d}.{chunk}.hdf5"
        if path.name != expected:
            raise InputError(f"{path}: a catalogue of the old format; expected {expected}")
        return survey(path, table)

    def _count(self, snapshot: int, table: _Table) -> int:
        names = [f"N{name}_Total" for name in _COUNTED[table]]
        return self._table_chunk(snapshot, 0, table).count(*names)

    def _columns(
        self, snapshot: int, table: _Table, names: Mapping[str, TngField], fields: Sequence[str]
    ) -> Columns:
        """Return catalogue fields by the names of the interface, or by their own."""
        datasets = {field: stored_as(field, names) for field in fields}
        read = self._catalogue(snapshot, table, list(dict.fromkeys(each.name for each in datasets.values())))
        columns: Columns = {}
        for field, (name, column) in datasets.items():
            values = read[name]
            if column is not None and len(values):
                if values.shape != (len(values), TYPES):
                    raise InputError(
                        f"{self._output}/groups_{snapshot:03d}: {table}/{name} has shape {values.shape}, "
                        f"expected {TYPES} columns, one a type of particles"
                    )
                values = values[:, column]
            columns[field] = values
        return columns

    def _catalogue(self, snapshot: int, table: _Table, fields: Sequence[str]) -> Columns:
        count = self._check_catalogue(snapshot, table, fields)
        if not count or not fields:
            return {field: np.empty(0) for field in fields}
        # one thread: more would fork a pool, which a process with threads does not survive
        read = self._read(
            [self._table_chunk(snapshot, k, table) for k in range(self._table_files(snapshot))],
            fields,
            lambda: groupcat.loadObjects(
                str(self._output), snapshot, table, _COUNTED[table][0], list(fields), nThreads=1
            ),
        )
        return {fields[0]: read} if isinstance(read, np.ndarray) else {field: read[field] for field in fields}

    def _check_catalogue(self, snapshot: int, table: _Table, fields: Sequence[str]) -> int:
        """Return the number of objects, after all chunks were seen to hold the fields for all of them."""
        count, rows, nbytes = self._count(snapshot, table), 0, 0
        kinds: dict[str, tuple[Any, ...]] = {}
        for chunk in range(self._table_files(snapshot)):
            file = self._table_chunk(snapshot, chunk, table)
            here = file.count(*(f"N{name}_ThisFile" for name in _COUNTED[table]))
            rows += here
            # an empty chunk has no fields in real catalogues; if it has, illustris_python looks at them
            for field in fields if here or not file.empty else ():
                nbytes += check_field(file, field, here, kinds)
        if rows != count:
            raise InputError(
                f"{self._table_chunk(snapshot, 0, table).path}: Header says {count} rows of {table}, "
                f"the chunks hold {rows}; they are not of one catalogue"
            )
        self._check_size(f"{self._output}/groups_{snapshot:03d}", nbytes, fields)
        return count

    def _table_files(self, snapshot: int) -> int:
        return self._table_chunk(snapshot, 0, "Group").count("NumFiles")

    # --- cells

    def _cell_chunk(self, snapshot: int, chunk: int) -> Path:
        path = Path(particles.snapPath(str(self._output), snapshot, chunk))
        # for an absent chunk illustris_python names a file that nobody has
        return path if path.is_file() else path.with_name(f"snap_{snapshot:03d}.{chunk}.hdf5")

    def _particles(
        self, snapshot: int, of: Aperture, number: int, kind: int, fields: Sequence[str]
    ) -> dict[str, Any]:
        """Return particle fields by the names of the interface, or by their own."""
        names = {field: stored_as(field, PARTICLES).name for field in fields}
        read = self._cells(snapshot, of, number, kind, list(dict.fromkeys(names.values())))
        return {"count": read["count"]} | {field: read[name] for field, name in names.items()}

    def _cells(
        self, snapshot: int, of: Aperture, number: int, kind: int, fields: Sequence[str]
    ) -> dict[str, Any]:
        table = _TABLE_OF[of]
        offsets = self._offsets(snapshot, table)
        objects = int(offsets.catalogue[-1])
        if not 0 <= number < objects:
            raise InputError(f"{of} {number} of snapshot {snapshot}: the catalogue has 0 to {objects - 1}")
        self._check_lengths(snapshot, table, number, offsets)
        with readable(self._offset_file(snapshot)):
            subset = particles.getSnapOffsets(str(self._output), snapshot, number, table)
        begin, count = int(subset["offsetType"][kind]), int(subset["lenType"][kind])
        total = int(offsets.chunks[-1, kind])
        if count < 0 or begin < 0 or begin + count > total:
            raise InputError(
                f"{self._offset_file(snapshot)}: {table}/SnapByType puts {of} {number} at PartType{kind} "
                f"{begin} to {begin + count}, the snapshot has {total}; offsets of another simulation?"
            )
        if not count or not fields:
            return {"count": count} | {name: np.empty((0, 3) if name in VECTORS else 0) for name in fields}
        touched = self._check_cells(snapshot, kind, begin, count, fields, offsets)
        # 32-bit counts of the catalogue would be mixed with 64-bit offsets
        subset["lenType"] = subset["lenType"].astype(np.int64)
        read = self._read(
            touched,
            fields,
            lambda: particles.loadSubset(
                str(self._output), snapshot, kind, list(fields), subset=subset, sq=False
            ),
        )
        return {"count": count} | {field: read[field] for field in fields}

    def _check_lengths(self, snapshot: int, table: _Table, number: int, offsets: _Offsets) -> None:
        """See that the chunk with an object's row has the rows that the offsets give it."""
        chunk = int(np.searchsorted(offsets.catalogue, number, side="right")) - 1
        file = self._table_chunk(snapshot, chunk, table)
        shape = (int(offsets.catalogue[chunk + 1] - offsets.catalogue[chunk]), 6)
        found = file.field(f"{table}LenType").shape
        if found != shape:
            raise InputError(
                f"{file.path}: {table}/{table}LenType has shape {found}, FileOffsets/{table} of "
                f"{self._offset_file(snapshot)} says {shape}; offsets of another simulation?"
            )

    def _check_cells(
        self, snapshot: int, kind: int, begin: int, count: int, fields: Sequence[str], offsets: _Offsets
    ) -> list[Survey]:
        """Return the chunks that hold particles begin to begin + count, all surveyed."""
        group = f"PartType{kind}"
        edges = offsets.chunks[:, kind]
        kinds: dict[str, tuple[Any, ...]] = {}
        # the first chunk that has the type is where illustris_python looks up shapes
        candidates = (survey(self._cell_chunk(snapshot, k), group) for k in range(len(edges) - 1))
        first = next((file for file in candidates if file.present), None)
        if first is None:
            raise InputError(
                f"{self._first_cells(snapshot).path.parent}: no chunk has {group}, Header counts some"
            )
        row_bytes = sum(first.field(field).row_bytes for field in fields)
        self._check_size(f"{group} of {first.path.parent}", count * row_bytes, fields)
        touched = []
        for chunk in np.flatnonzero((edges[1:] > begin) & (edges[:-1] < begin + count)):
            file = survey(self._cell_chunk(snapshot, int(chunk)), group)
            here = int(edges[chunk + 1] - edges[chunk])
            counted = file.attribute("NumPart_ThisFile")
            if counted.shape != (6,) or counted[kind] != here:
                raise InputError(
                    f"{file.path}: Header/NumPart_ThisFile is {counted.tolist()}, FileOffsets/SnapByType of "
                    f"{self._offset_file(snapshot)} says {here} of type {kind}; they are not of one snapshot"
                )
            for field in fields:
                check_field(file, field, here, kinds)
            touched.append(file)
        return touched

    # --- offsets

    def _offset_file(self, snapshot: int) -> Path:
        return Path(groupcat.offsetPath(str(self._output), snapshot))

    def _offsets(self, snapshot: int, table: _Table) -> _Offsets:
        """Return the offsets of a snapshot, after they were seen to fit catalogue and chunks."""
        key = snapshot, table
        if key not in self._offsets_read:
            objects = self._count(snapshot, table)
            first = self._first_cells(snapshot)
            files = first.count("NumFilesPerSnapshot")
            for chunk in range(files):
                path = self._cell_chunk(snapshot, chunk)
                if not path.is_file():
                    raise InputError(f"{path}: missing, Header says {files} files; get it again")
            path = self._offset_file(snapshot)
            catalogue = offset_field(path, f"FileOffsets/{table}", (self._table_files(snapshot),))
            chunks = offset_field(path, "FileOffsets/SnapByType", (files, 6))
            offset_field(path, f"{table}/SnapByType", (objects, 6), read=False)
            self._offsets_read[key] = _Offsets(
                edges_of(catalogue, objects, f"{path}: FileOffsets/{table}"),
                edges_of(chunks, particle_counts(first), f"{path}: FileOffsets/SnapByType"),
            )
        return self._offsets_read[key]

    def _first_cells(self, snapshot: int) -> Survey:
        folder = self._output / f"snapdir_{snapshot:03d}"
        if not folder.is_dir():
            raise InputError(f"{folder}: no cells of snapshot {snapshot}; get snapdir_{snapshot:03d}/")
        return survey(self._cell_chunk(snapshot, 0), "PartType0")

    # --- reading

    def _check_size(self, what: str, nbytes: int, fields: Sequence[str]) -> None:
        if nbytes > self._limit_bytes:
            raise InputError(
                f"{what}: {', '.join(fields)} declare {nbytes / 1e9:.3g} GB, more than "
                f"simulation.max_declared_gb = {self._limit_bytes / 1e9:g}"
            )

    def _read(self, files: Sequence[Survey], fields: Sequence[str], load: Callable[[], Any]) -> Any:
        """Read, and where that fails find out which file is damaged."""
        try:
            return load()
        except DAMAGE:
            for file in files:
                with readable(file.path), h5py.File(file.path, "r") as opened:
                    for field in fields if file.group in opened else ():
                        opened[f"{file.group}/{field}"][()]
            raise
