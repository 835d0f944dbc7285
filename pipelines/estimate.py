"""Says, before a run starts, how long it will take and how much disk it needs."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from components.config import Settings
from components.errors import InputError

# Measured on two cores of a 2024 server processor; an estimate need only be right to a factor of two.
_CELLS_PER_S = 1.5e6
_COMPACT_S_PER_PIXEL_EPOCH = 2.5e-7
_FEATURE_S_PER_IMAGE = {"bfloat16": 0.017, "float32": 0.113}
_HEAD_S_PER_IMAGE_EPOCH = 1e-4
_START_S = 60.0
_FEATURE_BYTES = {"bfloat16": 65536, "float32": 131072}


@dataclass(frozen=True)
class Estimate:
    """Of a run that finds nothing done yet."""

    galaxies: int
    seconds: float
    disk_bytes: float

    def __str__(self) -> str:
        return (
            f"{self.galaxies} galaxies: about {_duration(self.seconds)} on two cores, "
            f"{self.disk_bytes / 1e9:.2g} GB of disk at most"
        )


def estimate(sample: Path, settings: Settings) -> Estimate:
    """Return the time and disk that a run needs for the sample in the folder `sample`."""
    column = "halo_gas_cells" if settings.projection.gas_of == "halo" else "gas_cells"
    table = pd.read_parquet(sample / "sample.parquet")
    galaxies, cells = len(table), int(table[column].sum()) if column in table else 0
    projection, training = settings.projection, settings.training
    cases = len(settings.cases)
    seconds = _START_S + cells / _CELLS_PER_S
    disk = 4.0 * galaxies * len(projection.fields) * projection.pixels**2
    if training.model == "vgg16":
        feature = training.vgg16.features
        seconds += cases * galaxies * _FEATURE_S_PER_IMAGE[feature]
        seconds += cases * galaxies * training.epochs * _HEAD_S_PER_IMAGE_EPOCH
        disk += cases * galaxies * _FEATURE_BYTES[feature]
    else:
        pixels = training.compact.input_pixels**2
        seconds += cases * galaxies * training.epochs * pixels * _COMPACT_S_PER_PIXEL_EPOCH
        disk += cases * galaxies * 4.0 * 3 * training.compact.input_pixels**2
    return Estimate(galaxies, seconds, disk)


def check_disk(needed: Estimate, workdir: Path) -> None:
    """Refuse to start what cannot end.

    Raises
    ------
    InputError
        The file system of `workdir` has less space than the estimate, less what is there already.
    """
    held = sum(path.stat().st_size for path in workdir.rglob("*") if path.is_file())
    missing = needed.disk_bytes - held
    free = shutil.disk_usage(workdir).free
    if free < missing:
        raise InputError(
            f"{workdir}: {free / 1e9:.2g} GB free, but the run may need {missing / 1e9:.2g} GB more; "
            "free some, or choose another --workdir"
        )


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
