"""Step 2, project: draw the maps of every galaxy of a sample, several at a time."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections import Counter, deque
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing
from dataclasses import asdict, fields
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from ssfr.components.config import ProjectionSettings, Settings
from ssfr.components.errors import InputError
from ssfr.components.identity.galaxies import galaxy_name
from ssfr.components.projection.draw import GalaxyMaps, Place, UnusableGalaxyError, draw_galaxy, places
from ssfr.components.projection.fields import outside_versions
from ssfr.components.projection.layers import layers
from ssfr.components.projection.map_files import Record, file_name, read_records, write_maps
from ssfr.components.runtime.processes import die_with
from ssfr.components.runtime.progress import SILENT, Progress, Task
from ssfr.components.shards import GALAXIES_A_FILE, Shard
from ssfr.components.simulation import Source
from ssfr.components.storage.artifact import atomic_file, keep_file, sha256_json

_SAMPLE = "sample.parquet"
_COLUMNS = ["snapshot", "subhalo_id", "halo_id"]
_WAITING = 2
"""Galaxies a worker has in hand or drawn: reading goes on while an earlier galaxy is written."""


class _File(NamedTuple):
    name: str
    snapshot: int
    galaxies: pd.DataFrame


class _Galaxy(NamedTuple):
    snapshot: int
    subhalo_id: int
    halo_id: int
    view: int
    place: Place


def run(
    output: Path,
    source: Source,
    sample_dir: Path,
    settings: Settings,
    progress: Progress,
    shard: Shard | None = None,
) -> dict[str, Any]:
    """Draw every galaxy of the sample; the result is the same for any number of workers, and of shards.

    Parameters
    ----------
    output
        Gets maps-SSS-KKK.h5, projection.csv and rejected.csv. Files of maps that an earlier, killed call
        left there are kept.
    source
        Where the cells are; each worker process has a copy of it.
    sample_dir
        With sample.parquet.
    settings
        Of the run; `projection`, `gas_of` and `catalog.little_h` are used.
    progress
        Shows every galaxy done, and of what the axes were taken from.
    shard
        Draw only its galaxies; `join` makes one of all.

    Returns
    -------
    dict
        Numbers of galaxies, drawn and rejected; by axis; and of gas cells.

    Raises
    ------
    InputError
        The sample or the source cannot be read, or too large a share of the galaxies is unusable.
    """
    layers(settings)  # an unknown field is refused before the first galaxy is read
    sample = _read_sample(sample_dir / _SAMPLE)
    files = _files(sample, shard)
    finished = _finished(output, files, progress)
    todo = [file for file in files if file.name not in finished]
    done = sum(map(len, finished.values()))
    views = settings.projection.views
    total = views * sum(len(file.galaxies) for file in files)
    label = shard.label if shard else "projection"
    with progress.task(label, total, _counted(views), done) as task:
        watch = _Watch(task, views * len(sample), settings.projection, finished.values())
        with closing(_drawn(source, settings, _galaxies(source, todo, settings))) as drawn:
            for file in todo:
                mine = watch.over(islice(drawn, views * len(file.galaxies)))
                header = source.header(file.snapshot)
                finished[file.name] = write_maps(output / file.name, header, settings, mine)
        watch.check()
    summary = SILENT if shard else progress  # `join` tells it of all
    return _conclude(output, {file.name: finished[file.name] for file in files}, settings, summary)


def rows_of(sample_dir: Path, shard: Shard) -> str:
    """Return a digest of the rows of the sample that a shard draws: nothing else of it matters to its maps.

    Raises
    ------
    InputError
        The sample cannot be read.
    """
    files = _files(_read_sample(sample_dir / _SAMPLE), shard)
    return sha256_json([(file.name, file.galaxies[_COLUMNS].to_numpy().tolist()) for file in files])


def outside_code(settings: Settings) -> str:
    """Return a digest of the packages whose fields are drawn: their maps depend on it.

    Raises
    ------
    InputError
        A field that no package offers, or an unusable one.
    """
    return sha256_json(outside_versions([layer.name for layer in layers(settings)]))


def join(
    output: Path, drawn: Iterable[Path], sample_dir: Path, settings: Settings, progress: Progress
) -> dict[str, Any]:
    """Make of the shards one artifact: the same files and figures as if `run` had drawn the sample at once.

    Parameters
    ----------
    output, sample_dir, settings, progress
        As of `run`.
    drawn
        Folders with the shards' files of maps.

    Raises
    ------
    InputError
        The sample cannot be read, a file of maps is absent, or too large a share of the galaxies is
        unusable.
    """
    sample = _read_sample(sample_dir / _SAMPLE)
    there = {path.name: path for folder in drawn for path in folder.glob("maps-*.h5")}
    files = _files(sample)
    missing = [file.name for file in files if file.name not in there]
    if missing:
        raise InputError(f"projection: no shard drew {missing[0]}; was the sample selected anew? run again")
    records: dict[str, list[Record]] = {}
    views = settings.projection.views
    with progress.task("projection", views * len(sample), _counted(views)) as task:
        for file in files:
            keep_file(there[file.name], output / file.name)
            records[file.name] = read_records(output / file.name)
            task.advance(len(records[file.name]))
        _Watch(task, views * len(sample), settings.projection, records.values()).check()
    return _conclude(output, records, settings, progress)


def _finished(output: Path, files: Iterable[_File], progress: Progress) -> dict[str, list[Record]]:
    """Return the records of the files that an earlier call finished; one that cannot be read is redrawn."""
    records = {}
    for path in (output / file.name for file in files):
        if path.exists():
            try:
                records[path.name] = read_records(path)
            except (OSError, KeyError, ValueError):
                progress.warn(f"{path}: damaged; its galaxies are drawn again")
    return records


def _read_sample(path: Path) -> pd.DataFrame:
    try:
        sample = pd.read_parquet(path)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; select the sample first") from None
    except (OSError, ValueError) as error:  # pyarrow's own errors are among these
        raise InputError(f"{path}: not a parquet file: {' '.join(str(error).split())}") from None
    for column in _COLUMNS:
        if column not in sample:
            raise InputError(f"{path}: no column '{column}'; expected {', '.join(_COLUMNS)}")
    if sample.empty:
        raise InputError(f"{path}: no galaxy in the sample")
    return sample


def _files(sample: pd.DataFrame, shard: Shard | None = None) -> list[_File]:
    """Return the files of maps of the sample, or those that are a shard's."""
    files = []
    for snapshot in sample["snapshot"].unique().tolist():
        galaxies = sample[sample["snapshot"] == snapshot]
        for number, first in enumerate(range(0, len(galaxies), GALAXIES_A_FILE)):
            rows = galaxies.iloc[first : first + GALAXIES_A_FILE]
            files.append(_File(file_name(snapshot, number), snapshot, rows))
    if shard is None:
        return files
    return [file for file in files if file.snapshot == shard.snapshot][shard.shard :: shard.shards]


def _galaxies(source: Source, files: Iterable[_File], settings: Settings) -> Iterator[_Galaxy]:
    for file in files:
        subhalos = file.galaxies["subhalo_id"].to_numpy()
        halos = file.galaxies["halo_id"].to_numpy()
        found = places(source, file.snapshot, subhalos, settings)
        for subhalo, halo, place in zip(subhalos, halos, found, strict=True):
            for view in range(settings.projection.views):
                yield _Galaxy(file.snapshot, int(subhalo), int(halo), view, place)


class _Watch:
    """Counts galaxies as they go by, and ends the run when too many of them are unusable."""

    def __init__(
        self, task: Task, total: int, settings: ProjectionSettings, earlier: Iterable[list[Record]]
    ) -> None:
        self._task, self._total, self._settings = task, total, settings
        self._rejected = [
            f"{_name(record)}: {record.reason}" for records in earlier for record in records if record.reason
        ]

    def over(
        self, drawn: Iterable[tuple[_Galaxy, GalaxyMaps | str]]
    ) -> Iterator[tuple[int, int, GalaxyMaps | str]]:
        for galaxy, result in drawn:
            if isinstance(result, str):
                self._rejected.append(f"{_name(galaxy)}: {result}")
                self.check()
            yield galaxy.subhalo_id, galaxy.view, result
            self._task.advance(1, rejected=len(self._rejected))

    def check(self) -> None:
        """End the run if too many galaxies of the whole sample are unusable."""
        share = self._settings.max_rejected
        if len(self._rejected) > share * self._total:
            raise InputError(
                f"{len(self._rejected)} of {self._total} {_counted(self._settings.views)} cannot be drawn, "
                f"more than projection.max_rejected = {share:g}; the last, {self._rejected[-1]}"
            )


def _counted(views: int) -> str:
    return "galaxies" if views == 1 else "views of galaxies"


def _name(galaxy: _Galaxy | Record) -> str:
    return galaxy_name(galaxy.snapshot, galaxy.subhalo_id, galaxy.view)


def _drawn(
    source: Source, settings: Settings, galaxies: Iterable[_Galaxy]
) -> Generator[tuple[_Galaxy, GalaxyMaps | str], None, None]:
    """Draw galaxies in worker processes; give them, or why they are unusable, in their order."""
    workers = settings.projection.workers
    if workers == 1:
        for galaxy in galaxies:
            yield galaxy, _draw_or_say_why(source, settings, galaxy)
        return
    # not forked from here: a copy of a process with threads may wait for a lock for ever
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["__main__", __name__, type(source).__module__, "astropy.cosmology"])
    pool = ProcessPoolExecutor(workers, context, _start_worker, (os.getpid(), source, settings))
    waiting: deque[tuple[_Galaxy, Future[GalaxyMaps | str]]] = deque()
    try:
        for galaxy in galaxies:
            waiting.append((galaxy, pool.submit(_work, galaxy)))
            if len(waiting) >= _WAITING * workers:
                first, future = waiting.popleft()
                yield first, future.result()
        while waiting:
            first, future = waiting.popleft()
            yield first, future.result()
    except BrokenProcessPool:
        raise InputError(
            f"projection: one of {workers} processes that draw was killed (out of memory?); "
            "lower projection.workers and run again: finished files of maps are kept"
        ) from None
    finally:
        pool.shutdown(cancel_futures=True)


_OF_THIS_WORKER: list[tuple[Source, Settings]] = []


def _start_worker(owner: int, source: Source, settings: Settings) -> None:
    die_with(owner)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent is interrupted too, and ends its workers
    _OF_THIS_WORKER.append((source, settings))


def _work(galaxy: _Galaxy) -> GalaxyMaps | str:
    return _draw_or_say_why(*_OF_THIS_WORKER[0], galaxy)


def _draw_or_say_why(source: Source, settings: Settings, galaxy: _Galaxy) -> GalaxyMaps | str:
    try:
        of = galaxy.snapshot, galaxy.subhalo_id, galaxy.halo_id
        return draw_galaxy(source, *of, settings, galaxy.place, galaxy.view)
    except UnusableGalaxyError as error:
        return str(error)


def _conclude(
    output: Path, finished: dict[str, list[Record]], settings: Settings, progress: Progress
) -> dict[str, Any]:
    """Write the tables, say what the axes were taken from, and return the figures."""
    records = [{"file": name, **asdict(record)} for name, found in finished.items() for record in found]
    table = pd.DataFrame(records, columns=["file", *(field.name for field in fields(Record))])
    drawn = table[table["reason"] == ""].copy()
    drawn["row"] = drawn.groupby("file").cumcount()
    rejected = table[table["reason"] != ""]
    key = ["snapshot", "subhalo_id", "view"]
    counts = ["gas_cells", "used_cells", "outside_cells", "bad_cells", "edge_cells"]
    for name, rows, columns in (
        ("projection.csv", drawn, [*key, "file", "row", "axis", *counts, "lost_mass"]),
        ("rejected.csv", rejected, [*key, "reason"]),
    ):
        with atomic_file(output / name) as part:
            rows.to_csv(part, columns=columns, index=False)
    what = _counted(settings.projection.views)
    axes = Counter(drawn["axis"])
    for axis, count in axes.items():
        tell = progress.warn if axis in ("gas", "none") else progress.say
        tell(f"line of sight of {count} of {len(drawn)} {what}: {_lines_of_sight(settings)[axis]}")
    if len(rejected):
        progress.warn(f"{len(rejected)} {what} cannot be drawn and are rejected: {output.name}/rejected.csv")
    return {
        "galaxies": len(table) // settings.projection.views,
        "drawn": len(drawn),
        "rejected": len(rejected),
        "axis": dict(axes),
        **{name: int(drawn[name].sum()) for name in counts},
    }


def _lines_of_sight(settings: Settings) -> dict[str, str]:
    projection = settings.projection
    return {
        "young_stars": "by the rotation axis of their young stars",
        "gas": "by the rotation axis of their gas, for they have fewer than "
        f"{projection.min_young_stars} young stars",
        "none": "by the z axis of the box, for neither their stars nor their gas rotate",
        "random": f"random, orientation_seed {projection.orientation_seed}",
        "matrix": "as the matrix of projection.orientation says",
    }
