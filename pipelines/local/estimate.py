"""Says, before a run starts, how long it will take and how much disk it needs."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from ssfr.components.config import Case, Settings
from ssfr.components.errors import InputError
from ssfr.components.projection.layers import layers
from ssfr.components.storage.artifact import STAGING, read_json
from ssfr.components.storage.manifest import MANIFEST

# Measured on two cores of a 2024 server processor; an estimate need only be right to a factor of two.
_CELLS_PER_S = 1.5e6
_START_S = 60.0
_AUDITS = 3
_SHARDS = "projection_shard"
_MOST_WORKERS = 2  # of Kubeflow's runner on one machine


@dataclass(frozen=True)
class Estimate:
    """Of a run that finds nothing done yet.

    Attributes
    ----------
    galaxies
        In the sample.
    seconds
        In all.
    map_bytes
        Of the maps, before compression.
    feature_bytes
        Of the features of the cases that are trained at the same time; removed when a case is done.
    settings
        Of the run.
    """

    settings: Settings
    galaxies: int
    seconds: float
    map_bytes: float
    feature_bytes: float

    @property
    def disk_bytes(self) -> float:
        """The most that is on the disk at a time."""
        return self.map_bytes + self.feature_bytes

    def __str__(self) -> str:
        return (
            f"{self.galaxies} galaxies: about {_duration(self.seconds)} on two cores, "
            f"{self.disk_bytes / 1e9:.2g} GB of disk at most"
        )


def estimate(sample: Path, settings: Settings) -> Estimate:
    """Return the time and disk that a run needs for the sample in the folder `sample`."""
    projection = settings.projection
    column = "halo_gas_cells" if settings.gas_of == "halo" else "gas_cells"
    table = pd.read_parquet(sample / "sample.parquet")
    galaxies, cells = len(table), int(table[column].sum()) if column in table else 0
    of_images = any(sample.glob("maps-*.h5"))  # an image catalogue is sample and maps in one
    views = 1 if of_images else projection.views
    costs = [_case(case, views * galaxies, settings) for case in settings.cases]
    return Estimate(
        settings,
        galaxies,
        seconds=_START_S + views * cells / _CELLS_PER_S + sum(seconds for seconds, _ in costs),
        map_bytes=0.0 if of_images else 4.0 * views * galaxies * len(layers(settings)) * projection.pixels**2,
        feature_bytes=sum(
            sorted(feature_bytes for _, feature_bytes in costs)[
                -min(settings.training.workers, _MOST_WORKERS) :
            ]
        ),
    )


def check_disk(needed: Estimate, workdir: Path) -> None:
    """Refuse to start what cannot end.

    Parameters
    ----------
    needed
        Of the run.
    workdir
        Of the run; what an earlier one with the same sample and settings left there counts as done.

    Raises
    ------
    InputError
        The file system of `workdir` has less space than is still needed.
    """
    drawn = sum(_drawn(folder, needed.settings) for folder in (workdir / _SHARDS).glob("*/*"))
    maps = needed.map_bytes * (1.0 - min(1.0, drawn / needed.galaxies))
    maps -= min(maps, _held(workdir, _SHARDS))
    missing = maps + needed.feature_bytes - min(needed.feature_bytes, _held(workdir, "training"))
    free = shutil.disk_usage(workdir).free
    if free < missing:
        raise InputError(
            f"{workdir}: {free / 1e9:.2g} GB free, but the run may need {missing / 1e9:.2g} GB more; "
            "free some, or choose another --workdir"
        )


def _case(case: Case, galaxies: int, settings: Settings) -> tuple[float, float]:
    """Return the seconds of training and evaluating a case, and the bytes of its features."""
    training, split = settings.training, settings.preprocessing.split
    audits = _AUDITS if settings.evaluation.audit_case == case.name else 0
    channels = 3 if settings.preprocessing.pixel_type == "uint8" else len(case.channels)
    cost = training.section.cost(settings.projection.pixels, channels)
    held_out = split.validation + split.test + split.promotion + audits * split.test
    network_epochs = training.epochs * (training.seeds + audits)
    seconds = cost.feature_s + held_out * cost.served_s + network_epochs * cost.epoch_s
    return galaxies * seconds, galaxies * cost.feature_bytes


def _drawn(folder: Path, settings: Settings) -> int:
    """Return the galaxies of a shard that is done, 0 if it was drawn with other settings."""
    wanted = settings.projection.model_dump(mode="json")
    try:
        made = read_json(folder / MANIFEST)
        same = all(wanted.get(name) == value for name, value in made["settings"]["projection"].items())
        return int(made["figures"]["galaxies"]) if same else 0
    except (InputError, AttributeError, KeyError, TypeError, ValueError):
        return 0  # unfinished or none of ours: whoever reads it says so


def _held(workdir: Path, step: str) -> int:
    """Return the bytes that a killed run left of a step; a run that ends removes them."""
    return sum(path.stat().st_size for path in _files(workdir / STAGING, f"{step}*/**/*"))


def _files(folder: Path, pattern: str) -> Iterator[Path]:
    return (path for path in folder.glob(pattern) if path.is_file())


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
