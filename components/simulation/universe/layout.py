"""Where every halo, subhalo, cell and particle of a snapshot goes: TNG's order, chunks, offsets and files."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from ssfr.components.config import UniverseSettings
from ssfr.components.simulation.universe import cosmology
from ssfr.components.simulation.universe.cells import (
    DARK,
    GAS,
    GROUP_FIELDS,
    STARS,
    SUBHALO_FIELDS,
    HaloData,
    Table,
    empty_table,
    particle_fields,
)
from ssfr.components.simulation.universe.extras import dark_particles
from ssfr.components.simulation.universe.halos import OUTER_FUZZ_CELLS, Halo, halo_count, make_halo
from ssfr.components.units import CODE_MASS_MSUN

Integers = NDArray[np.int64]

_HDF5_OVERHEAD = 1 << 15

ParticleFields = dict[str, tuple[int, dict[str, tuple[type, int]]]]
"""Group of cells or particles -> their type, and their fields: dtype and width."""


@dataclass(frozen=True)
class Plan:
    """One snapshot before a cell of it exists.

    Halos are sorted by falling mass, so a galaxy has another number in every snapshot.

    Attributes
    ----------
    halo
        (h,) index of each halo in the recipe.
    slots
        For each halo, the slots of its subhalos, in the catalogue's order.
    group_length, subhalo_length
        (h, 6), (s, 6) cells and particles by type.
    first_halo
        (chunks + 1,) the catalogue's halos begin in these chunks.
    cut
        (chunks + 1, 6) the snapshot's cells and particles are cut here: in the middle of a halo.
    fields
        Of each group of cells or particles.
    dark_particle_msun
        Mass of a dark matter particle [Msun]; 0: there are none.
    """

    snapshot: int
    halo: Integers
    slots: tuple[tuple[int, ...], ...]
    group_length: Integers
    subhalo_length: Integers
    first_halo: Integers
    cut: Integers
    fields: ParticleFields
    dark_particle_msun: float

    @property
    def first_subhalo(self) -> Integers:
        """(h + 1,) number of subhalos in all halos before."""
        return _starts(np.array([len(slots) for slots in self.slots]))

    @property
    def group_offset(self) -> Integers:
        """(h + 1, 6) number of cells and particles in all halos before."""
        return _starts(self.group_length)

    @property
    def subhalo_offset(self) -> Integers:
        """(s, 6) where a subhalo's cells and particles begin: after those of the halo's earlier subhalos."""
        first = self.first_subhalo
        before = _starts(self.subhalo_length)
        host = np.repeat(np.arange(len(self.halo)), np.diff(first))
        return self.group_offset[host] + before[:-1] - before[first[host]]

    @property
    def totals(self) -> Integers:
        """(6,) cells and particles of the snapshot, those outside all halos included."""
        return np.asarray(self.cut[-1])

    def chunk_bytes(self, chunk: int) -> tuple[int, int]:
        """Return what a chunk takes on disk, at most: its snapshot and its catalogue file."""
        cells = self.cut[chunk + 1] - self.cut[chunk]
        groups = self.first_halo[chunk + 1] - self.first_halo[chunk]
        first = self.first_subhalo[self.first_halo[chunk : chunk + 2]]
        rows = groups * _row_bytes(GROUP_FIELDS) + (first[1] - first[0]) * _row_bytes(SUBHALO_FIELDS)
        data = sum(int(cells[kind]) * _row_bytes(fields) for kind, fields in self.fields.values())
        return data + _HDF5_OVERHEAD, int(rows) + _HDF5_OVERHEAD


def make_plan(settings: UniverseSettings, snapshot: int) -> Plan:
    """Count and order everything in a snapshot, and cut it into chunks of about equally many gas cells."""
    halos = [make_halo(settings, index, snapshot) for index in range(halo_count(settings))]
    order = np.argsort([-halo.mass_msun for halo in halos], kind="stable")
    ordered = [halos[i] for i in order]
    group_length = np.zeros((len(halos), 6), dtype=np.int64)
    group_length[:, GAS] = [halo.cells for halo in ordered]
    group_length[:, STARS] = [halo.stars for halo in ordered]
    group_length[:, DARK] = [_dark_particles_of(halo, settings) for halo in ordered]
    members = [member for halo in ordered for member in halo.members]
    subhalo_length = np.zeros((len(members), 6), dtype=np.int64)
    subhalo_length[:, GAS] = [member.galaxy.cells for member in members]
    subhalo_length[:, STARS] = [member.galaxy.stars for member in members]
    subhalo_length[:, DARK] = [dark_particles(each.galaxy.dark_mass_msun, settings) for each in members]
    offset = _starts(group_length)
    shares = offset[-1, GAS] * np.arange(1, settings.chunks) / settings.chunks
    inner = np.searchsorted(offset[:, GAS], shares, side="right") - 1
    first_halo = np.concatenate([[0], inner, [len(halos)]])
    cut = np.zeros((settings.chunks + 1, 6), dtype=np.int64)
    cut[1:-1] = offset[inner] + group_length[inner] // 2
    cut[-1] = offset[-1]
    cut[-1, GAS] += OUTER_FUZZ_CELLS
    return Plan(
        snapshot=snapshot,
        halo=np.asarray(order, dtype=np.int64),
        slots=tuple(tuple(member.slot for member in halo.members) for halo in ordered),
        group_length=group_length,
        subhalo_length=subhalo_length,
        first_halo=first_halo,
        cut=cut,
        fields=particle_fields(settings),
        dark_particle_msun=settings.dark_particle_msun or 0.0,
    )


def _dark_particles_of(halo: Halo, settings: UniverseSettings) -> int:
    masses = [member.galaxy.dark_mass_msun for member in halo.members]
    return sum(dark_particles(mass, settings) for mass in [*masses, halo.dark_mass_msun])


class ChunkWriter:
    """Takes the halos of one chunk in order, and lays down its snapshot and its catalogue file.

    The halo at each end of a chunk straddles two: its first cells are in the chunk before, where they are
    written too, and its rows of the catalogue are in the chunk that `Plan.first_halo` says.
    """

    def __init__(self, plan: Plan, chunk: int, snapshot_file: h5py.File, catalogue_file: h5py.File) -> None:
        self._plan, self._chunk = plan, chunk
        self._low, self._high = plan.cut[chunk], plan.cut[chunk + 1]
        self._offset, self._first_subhalo = plan.group_offset, plan.first_subhalo
        self._from, self._to = (int(i) for i in plan.first_halo[chunk : chunk + 2])
        self._cells, self._catalogue = snapshot_file, catalogue_file
        self._groups = empty_table(GROUP_FIELDS, self._to - self._from)
        self._subhalos = empty_table(
            SUBHALO_FIELDS, int(self._first_subhalo[self._to] - self._first_subhalo[self._from])
        )
        _write_snapshot_header(plan, chunk, snapshot_file)
        for group, (kind, fields) in plan.fields.items():
            n = int(self._high[kind] - self._low[kind])
            for name, (dtype, width) in fields.items() if n else ():
                snapshot_file.create_dataset(f"{group}/{name}", (n,) if width == 1 else (n, width), dtype)

    @property
    def halos(self) -> range:
        """Halos, by their number in the catalogue, that have rows or cells in this chunk."""
        return range(self._from, min(self._to + 1, len(self._plan.halo)))

    def add(self, number: int, data: HaloData) -> None:
        """Write halo `number` of the catalogue, or the part of it that lies in this chunk."""
        tables = {GAS: data.gas, DARK: data.dark, STARS: data.stars}
        for group, (kind, _) in self._plan.fields.items():
            self.add_cells(group, int(self._offset[number, kind]), tables[kind])
        if not self._from <= number < self._to:
            return
        first = int(self._first_subhalo[number])
        has_subhalos = len(data.subhalos["SubhaloMass"]) > 0
        data.subhalos["SubhaloGrNr"][:] = number
        data.group["GroupFirstSub"][:] = first if has_subhalos else -1
        row = first - int(self._first_subhalo[self._from])
        _copy_rows(data.subhalos, self._subhalos, row)
        _copy_rows(data.group, self._groups, number - self._from)

    def add_cells(self, group: str, offset: int, table: Table) -> None:
        """Write the part of a table that lies in this chunk; its row 0 is row `offset` of the snapshot."""
        kind = self._plan.fields[group][0]
        n = len(table["ParticleIDs"])
        low, high = (int(np.clip(edge[kind] - offset, 0, n)) for edge in (self._low, self._high))
        if low == high:
            return
        start = offset + low - int(self._low[kind])
        for name, values in table.items():
            self._cells[group][name][start : start + high - low] = values[low:high]

    def finish(self) -> None:
        """Write the catalogue."""
        plan = self._plan
        header = self._catalogue.create_group("Header").attrs
        header["NumFiles"] = np.int32(len(plan.first_halo) - 1)
        header["Ngroups_ThisFile"] = np.int32(self._to - self._from)
        header["Ngroups_Total"] = np.int32(len(plan.halo))
        header["Nsubgroups_ThisFile"] = np.int32(len(self._subhalos["SubhaloMass"]))
        header["Nsubgroups_Total"] = np.int32(len(plan.subhalo_length))
        _write_cosmology(plan.snapshot, header)
        for group, table in (("Group", self._groups), ("Subhalo", self._subhalos)):
            self._catalogue.create_group(group)
            for name, values in table.items() if len(next(iter(table.values()))) else ():
                self._catalogue.create_dataset(f"{group}/{name}", data=values)


def write_offsets(path: Path, plan: Plan, tree_rows: Table) -> None:
    """Write the offsets file; `tree_rows` holds RowNum, SubhaloID and LastProgenitorID of every subhalo."""
    columns = {
        "FileOffsets/Group": plan.first_halo[:-1],
        "FileOffsets/Subhalo": plan.first_subhalo[plan.first_halo[:-1]],
        "FileOffsets/SnapByType": plan.cut[:-1],
        "Group/SnapByType": plan.group_offset[:-1],
        "Subhalo/SnapByType": plan.subhalo_offset,
    }
    columns |= {f"Subhalo/SubLink/{name}": values for name, values in tree_rows.items()}
    write_table(path, columns)


def write_table(path: Path, columns: Table) -> None:
    """Write a new HDF5 file with one dataset a column."""
    with h5_file(path, _HDF5_OVERHEAD + sum(values.nbytes for values in columns.values())) as file:
        for name, values in columns.items():
            file[name] = values


@contextmanager
def h5_file(path: Path, size: int = _HDF5_OVERHEAD) -> Iterator[h5py.File]:
    """Open a new HDF5 file whose bytes depend on nothing but what is written, `size` bytes at most.

    Raises
    ------
    OSError
        The disk has no space for `size` bytes. HDF5 itself must never find the disk full: it leaves
        objects that can't be closed, and complains until the process ends. So the space is taken first,
        once before HDF5 writes anything and, since it empties the file, once after. What it does not need
    stays behind its end as zeros.
    """
    _reserve(path, size)
    with h5py.File(path, "w") as file:
        file.flush()
        _reserve(path, size)
        yield file


def _reserve(path: Path, size: int) -> None:
    with path.open("ab") as stream:
        os.posix_fallocate(stream.fileno(), 0, size)


def _row_bytes(fields: dict[str, tuple[type, int]]) -> int:
    return sum(np.dtype(dtype).itemsize * width for dtype, width in fields.values())


def _starts(lengths: Integers) -> Integers:
    return np.concatenate([np.zeros_like(lengths[:1]), np.cumsum(lengths, axis=0)]).astype(np.int64)


def _copy_rows(source: Table, target: Table, row: int) -> None:
    for name, values in source.items():
        target[name][row : row + len(values)] = values


def _write_snapshot_header(plan: Plan, chunk: int, file: h5py.File) -> None:
    header = file.create_group("Header").attrs
    header["NumFilesPerSnapshot"] = np.int32(len(plan.first_halo) - 1)
    header["NumPart_ThisFile"] = (plan.cut[chunk + 1] - plan.cut[chunk]).astype(np.int32)
    header["NumPart_Total"] = (plan.totals & 0xFFFFFFFF).astype(np.uint32)
    header["NumPart_Total_HighWord"] = (plan.totals >> 32).astype(np.uint32)
    dark = plan.dark_particle_msun * cosmology.HUBBLE / CODE_MASS_MSUN
    header["MassTable"] = np.array([0.0, dark, 0.0, 0.0, 0.0, 0.0])
    header["OmegaBaryon"] = cosmology.OMEGA_BARYON
    header["UnitLength_in_cm"] = 3.085678e21
    header["UnitMass_in_g"] = 1.989e43
    header["UnitVelocity_in_cm_per_s"] = 1e5
    _write_cosmology(plan.snapshot, header)


def _write_cosmology(snapshot: int, header: Any) -> None:
    redshift = cosmology.REDSHIFTS[snapshot]
    header["Time"] = 1.0 / (1.0 + redshift)
    header["Redshift"] = redshift
    header["BoxSize"] = cosmology.BOX_CKPC_H
    header["HubbleParam"] = cosmology.HUBBLE
    header["Omega0"] = cosmology.OMEGA_MATTER
    header["OmegaLambda"] = cosmology.OMEGA_LAMBDA
