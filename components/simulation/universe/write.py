"""Write a synthetic universe to disk: in processes, chunk by chunk, completely or not at all."""

from __future__ import annotations

import errno
import fcntl
import multiprocessing
import os
import shutil
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from ssfr.components.config import UniverseSettings
from ssfr.components.errors import InputError, LockedError
from ssfr.components.runtime.processes import die_with
from ssfr.components.runtime.progress import Progress, Task
from ssfr.components.simulation.layouts.tng.files import (
    catalogue_path,
    offsets_path,
    snapshot_path,
    tree_path,
)
from ssfr.components.simulation.opening import MARKER
from ssfr.components.simulation.universe.cells import GAS, HaloData, Table, make_halo_data, make_outer_fuzz
from ssfr.components.simulation.universe.cosmology import REDSHIFTS
from ssfr.components.simulation.universe.layout import (
    ChunkWriter,
    Plan,
    h5_file,
    make_plan,
    write_offsets,
    write_table,
)
from ssfr.components.simulation.universe.trees import build_trees, rows_of_snapshot
from ssfr.components.storage.artifact import atomic_file, read_json, write_json

RECIPE = 2
"""Version of docs/universe.md: universes of another version are never continued."""


def write_universe(directory: Path, settings: UniverseSettings, progress: Progress) -> None:
    """Write a synthetic universe in TNG layout (docs/universe.md), to be read like any TNG directory.

    Parameters
    ----------
    directory
        Where ``output/``, ``postprocessing/`` and ``universe.json`` will be. It appears when all is
        written. A finished universe of the same settings is left as it is; a killed call's work, in a
        hidden folder beside `directory`, is continued.
    settings
        What to write. The bytes depend on all of them but `workers`.
    progress
        Shows every galaxy done.

    Raises
    ------
    InputError
        `directory` holds something else, a snapshot has no known redshift, or the disk is too small.
    LockedError
        Another process is writing this universe.
    """
    identity = {
        "format": "TNG layout, synthetic",
        "recipe": RECIPE,
        "settings": settings.model_dump(mode="json", exclude={"workers"}),
    }
    _check_snapshots(settings)
    directory = directory.absolute()
    if _is_finished(directory, identity):
        progress.say(f"{directory}: this universe is there already")
        return
    staging = directory.with_name(f".{directory.name}.universe-staging")
    with _lock(staging), _clear_errors(directory):
        _open_staging(staging, identity)
        plans = [make_plan(settings, snapshot) for snapshot in sorted(settings.snapshots, reverse=True)]
        _check_space(staging, sum(sum(plan.chunk_bytes(k)) for plan in plans for k in range(settings.chunks)))
        _write_snapshots(staging, plans, settings, progress)
        _write_trees(staging, plans, settings.chunks)
        staging.rename(directory)


def _check_snapshots(settings: UniverseSettings) -> None:
    unknown = [snapshot for snapshot in settings.snapshots if snapshot not in REDSHIFTS]
    if unknown:
        known = f"{min(REDSHIFTS)} to {max(REDSHIFTS)}"
        raise InputError(f"snapshots: {unknown[0]} has no known redshift; choose from {known}")


def _is_finished(directory: Path, identity: dict[str, Any]) -> bool:
    """Tell whether this very universe is there; refuse to touch anything else that is."""
    if not directory.exists():
        return False
    if directory.is_dir() and not any(directory.iterdir()):
        return False
    if not (directory / MARKER).is_file():
        raise InputError(f"{directory}: exists and is not a synthetic universe; name a new or empty folder")
    found = read_json(directory / MARKER, "name another folder")
    if found == identity:
        return True
    what = _first_difference(found, identity)
    raise InputError(f"{directory}: holds a universe with other settings ({what}); name another folder")


def _first_difference(found: dict[str, Any], wanted: dict[str, Any]) -> str:
    if not isinstance(found.get("settings"), dict):
        return f"{MARKER} is not of this program"
    if found.get("recipe") != wanted["recipe"]:
        return f"recipe {found.get('recipe')} instead of {wanted['recipe']}"
    for key, value in wanted["settings"].items():
        if found["settings"].get(key) != value:
            return f"{key} {found['settings'].get(key)} instead of {value}"
    return f"{MARKER} differs"


@contextmanager
def _lock(staging: Path) -> Iterator[None]:
    """Own the staging folder; the kernel lets go of the lock when the process dies."""
    staging.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(staging, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise LockedError(f"{staging}: another process is writing this universe; wait for it") from None
    finally:
        os.close(descriptor)


@contextmanager
def _clear_errors(directory: Path) -> Iterator[None]:
    """Say in one line what the machine lacks."""
    try:
        yield
    except BrokenProcessPool:
        raise InputError(
            f"{directory}: a worker process was killed, probably for want of memory; "
            "run again with fewer workers or cells (finished chunks are kept)"
        ) from None
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise InputError(
                f"{directory}: the disk is full; free some space and run again (finished chunks are kept)"
            ) from None
        raise


def _open_staging(staging: Path, identity: dict[str, Any]) -> None:
    """Keep what a killed call of the same universe had finished; clear anything else."""
    marker = staging / MARKER
    try:
        goes_on = read_json(marker) == identity
    except InputError:
        goes_on = False
    if not goes_on:
        for old in staging.iterdir():
            shutil.rmtree(old) if old.is_dir() else old.unlink()
        write_json(marker, identity)
    for part in staging.rglob(".*.part"):
        part.unlink()


def _check_space(staging: Path, needed: int) -> None:
    written = sum(path.stat().st_size for path in staging.rglob("*.hdf5"))
    free = shutil.disk_usage(staging).free
    if needed - written > free:
        raise InputError(
            f"{staging.parent}: the universe needs {needed / 1e9:.1f} GB, {free / 1e9:.1f} GB are free; "
            "choose fewer galaxies, snapshots or cells"
        )


def _write_snapshots(
    staging: Path, plans: Sequence[Plan], settings: UniverseSettings, progress: Progress
) -> None:
    chunks = [(plan, chunk) for plan in plans for chunk in range(settings.chunks)]
    open_chunks = [(plan, chunk) for plan, chunk in chunks if not _is_written(staging, plan, chunk)]
    total = sum(len(plan.subhalo_length) for plan in plans)
    left = sum(_galaxies(plan, chunk) for plan, chunk in open_chunks)
    with (
        progress.task("synthetic universe", total, "galaxies", total - left) as task,
        _pool(settings.workers if open_chunks else 1) as pool,
    ):
        for plan, chunk in open_chunks:
            _write_chunk(staging, plan, chunk, settings, pool, task)


def _is_written(staging: Path, plan: Plan, chunk: int) -> bool:
    return all(path(staging, plan.snapshot, chunk).exists() for path in (snapshot_path, catalogue_path))


def _galaxies(plan: Plan, chunk: int) -> int:
    low, high = plan.first_subhalo[plan.first_halo[chunk : chunk + 2]]
    return int(high - low)


def _write_chunk(
    staging: Path,
    plan: Plan,
    chunk: int,
    settings: UniverseSettings,
    pool: ProcessPoolExecutor | None,
    task: Task,
) -> None:
    cells_size, catalogue_size = plan.chunk_bytes(chunk)
    with (
        atomic_file(catalogue_path(staging, plan.snapshot, chunk)) as catalogue_part,
        atomic_file(snapshot_path(staging, plan.snapshot, chunk)) as snapshot_part,
        h5_file(catalogue_part, catalogue_size) as catalogue,
        h5_file(snapshot_part, cells_size) as cells,
    ):
        writer = ChunkWriter(plan, chunk, cells, catalogue)
        for number, data in _halos(writer.halos, plan, settings, pool):
            writer.add(number, data)
            if number < plan.first_halo[chunk + 1]:
                task.advance(len(plan.slots[number]))
        if chunk == settings.chunks - 1:
            outside = int(plan.group_offset[-1, GAS])
            writer.add_cells("PartType0", outside, make_outer_fuzz(settings, plan.snapshot))
        writer.finish()


@contextmanager
def _pool(workers: int) -> Iterator[ProcessPoolExecutor | None]:
    if workers == 1:
        yield None
        return
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, context, die_with, (os.getpid(),))
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def _halos(
    numbers: Iterable[int], plan: Plan, settings: UniverseSettings, pool: ProcessPoolExecutor | None
) -> Iterator[tuple[int, HaloData]]:
    """Make halos in order; with a pool, at most two a worker are under way, so that memory stays bounded."""
    if pool is None:
        for number in numbers:
            yield number, make_halo_data(settings, int(plan.halo[number]), plan.snapshot)
        return
    waiting: deque[tuple[int, Future[HaloData]]] = deque()
    for number in numbers:
        future = pool.submit(make_halo_data, settings, int(plan.halo[number]), plan.snapshot)
        waiting.append((number, future))
        if len(waiting) >= 2 * settings.workers:
            first, done = waiting.popleft()
            yield first, done.result()
    while waiting:
        first, done = waiting.popleft()
        yield first, done.result()


def _write_trees(staging: Path, plans: Sequence[Plan], chunks: int) -> None:
    """Write the trees, spread over files at the ends of trees, and the offsets that point into them."""
    trees = build_trees(plans)
    masses = {plan.snapshot: _masses(staging, plan.snapshot, chunks) for plan in plans}
    edges = [round(len(trees) * k / chunks) for k in range(chunks + 1)]
    for chunk, (low, high) in enumerate(pairwise(edges)):
        path = tree_path(staging, chunk)
        columns = {
            name: np.concatenate([trees[0][name][:0], *(t[name] for t in trees[low:high])])
            for name in trees[0]
        }
        where = list(zip(columns["SnapNum"].tolist(), columns["SubfindID"].tolist(), strict=True))
        for name, width in (("SubhaloMass", ()), ("SubhaloMassType", (6,))):
            rows = [masses[snapshot][name][subfind] for snapshot, subfind in where]
            columns[name] = np.array(rows, dtype=np.float32).reshape(len(rows), *width)
        with atomic_file(path) as part:
            write_table(part, columns)
    for plan in plans:
        with atomic_file(offsets_path(staging, plan.snapshot)) as part:
            write_offsets(part, plan, rows_of_snapshot(plan, trees))


def _masses(staging: Path, snapshot: int, chunks: int) -> Table:
    columns: dict[str, list[Any]] = {"SubhaloMass": [], "SubhaloMassType": []}
    for chunk in range(chunks):
        with h5py.File(catalogue_path(staging, snapshot, chunk)) as file:
            for name, parts in columns.items():
                if name in file["Subhalo"]:
                    parts.append(file["Subhalo"][name][()])
    return {name: np.concatenate(parts) for name, parts in columns.items()}
