"""The way in for images: a folder of pictures and a table of labels become a catalogue of maps.

What others made is not trusted: names stay inside the folder, pictures are checked before they are
unpacked, pickles run nothing. A bad picture or label is rejected, counted and listed.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd

from ssfr.components.config import Settings
from ssfr.components.errors import InputError
from ssfr.components.identity.maps import ATTRIBUTE, picture_identity
from ssfr.components.imagesets.reader import in_batches
from ssfr.components.imagesets.safe_image import inside, read_image
from ssfr.components.preprocessing.label_table import read_candidates
from ssfr.components.runtime.progress import Progress
from ssfr.components.steps.files import SAMPLE
from ssfr.components.steps.tables import write_table
from ssfr.components.storage.artifact import atomic_file, sha256_json

SHARD_GALAXIES = 256


def run(output: Path, folder: Path, settings: Settings, progress: Progress) -> dict[str, Any]:
    """Check and pack an image catalogue.

    Parameters
    ----------
    output
        Gets ``sample.parquet``, ``maps-images-KKK.h5`` (uint8 red, green, blue), ``projection.csv`` and
        ``rejected.csv``. Finished files of a killed call are kept.
    folder
        With the table and the folder of images that `settings.preprocessing.images` names.
    settings
        `preprocessing.images`, and `projection.pixels`: the side that every picture must have.
    progress
        Shows the images done.

    Returns
    -------
    dict
        images, rejected, reasons (text -> count), zero_sfr, not_in_table.

    Raises
    ------
    InputError
        The table is built wrongly, a name leads out of the folder, or more than `max_rejected` of the
        rows are unusable.
    """
    chosen = settings.preprocessing.images
    root = folder / chosen.images
    if not root.is_dir():
        raise InputError(f"{root}: no such folder; name it in preprocessing.images.images")
    candidates = read_candidates(folder, chosen)
    rows = np.arange(len(candidates))
    parts = []
    with progress.task("images", len(rows), "images") as task:
        for number, part in enumerate(in_batches(rows, SHARD_GALAXIES)):
            path = output / f"maps-images-{number:03d}.h5"
            if not path.exists():
                _pack(path, root, candidates.iloc[part], settings)
            parts.append(_packed(path, candidates.iloc[part]))
            task.advance(len(part))
    table = pd.concat(parts, ignore_index=True)
    good, bad = table[table["reason"] == ""], table[table["reason"] != ""]
    figures = {
        "images": len(good),
        "rejected": len(bad),
        "reasons": dict(Counter(_kind(reason) for reason in bad["reason"])),
        "zero_sfr": int(((good["ssfr_stellar_per_yr"] == 0) | (good["ssfr_total_per_yr"] == 0)).sum()),
        "not_in_table": _not_in_table(root, candidates["file"]),
    }
    _refuse_too_many(folder, bad, len(table), chosen.max_rejected)
    _write(output, good, bad)
    if figures["not_in_table"]:
        progress.warn(f"{root}: {figures['not_in_table']} images are not in the table and are not used")
    if len(bad):
        progress.warn(f"{len(bad)} of {len(table)} images rejected, listed in rejected.csv")
    progress.say(f"{len(good)} images, SFR = 0: {figures['zero_sfr']}")
    return figures


def fingerprint(folder: Path, settings: Settings) -> str:
    """Return a digest of names, sizes and times of everything that `run` reads: its key for a resume."""
    chosen = settings.preprocessing.images
    root = folder / chosen.images
    table = folder / chosen.table
    files = [table, *([table.with_name("valid.pkl")] if table.suffix == ".pkl" else [])]
    if root.is_dir():
        files += sorted(path for path in root.rglob("*") if path.is_file())
    entries = []
    for path in files:
        if not path.is_file():
            raise InputError(f"{path}: no such label table; name it in preprocessing.images.table")
        status = path.stat()
        entries.append([os.path.relpath(path, folder), status.st_size, status.st_mtime_ns])
    return sha256_json(entries)


def _pack(shard: Path, root: Path, candidates: pd.DataFrame, settings: Settings) -> None:
    """Write the usable pictures of some candidates, one in memory at a time, and why the others are not."""
    side = settings.projection.pixels
    places: list[int] = []
    reasons = {}
    with atomic_file(shard) as part, h5py.File(part, "w") as file:
        maps = file.create_dataset(
            "maps",
            shape=(0, 3, side, side),
            dtype="u1",
            maxshape=(len(candidates), 3, side, side),
            chunks=(1, 3, side, side),
            shuffle=True,
            compression="gzip",
            compression_opts=1,
        )
        for place, (name, reason) in enumerate(zip(candidates["file"], candidates["reason"], strict=True)):
            path = inside(root, name)
            try:
                if reason:
                    raise InputError(reason)
                picture = read_image(path, side, settings.preprocessing.images.max_pixels)
            except InputError as error:
                reasons[place] = str(error).removeprefix(f"{path}: ")
            else:
                places.append(place)
                maps.resize(len(places), axis=0)
                maps[-1] = picture.transpose(2, 0, 1)
        for name in ("snapshot", "subhalo_id"):
            file[name] = candidates[name].to_numpy(np.int64)[places]
        file["view"] = np.zeros(len(places), np.int64)
        file["candidate"] = np.array(places, np.int64)
        file["rejected"] = json.dumps(reasons)
        file.attrs[ATTRIBUTE] = picture_identity(side).model_dump_json()


def _packed(path: Path, candidates: pd.DataFrame) -> pd.DataFrame:
    """Return candidates with what their file says: map_row (-1: none) and reason."""
    with h5py.File(path, "r") as file:
        places = file["candidate"][:]
        reasons = json.loads(file["rejected"].asstr()[()])
    result = candidates.copy()
    rows = np.full(len(result), -1, np.int64)
    rows[places] = np.arange(len(places))
    result["map_file"], result["map_row"] = path.name, rows
    result["reason"] = [reasons.get(str(place), "") for place in range(len(result))]
    return result


def _write(output: Path, good: pd.DataFrame, bad: pd.DataFrame) -> None:
    sample = good.drop(columns=["reason", "map_file", "map_row"])
    write_table(output / SAMPLE.pattern, sample, SAMPLE)
    projection = good[["snapshot", "subhalo_id", "map_file", "map_row"]].rename(
        columns={"map_file": "file", "map_row": "row"}
    )
    counts = ("gas_cells", "used_cells", "outside_cells", "bad_cells", "edge_cells")
    projection = projection.assign(view=0, axis="none", **dict.fromkeys(counts, 0))
    with atomic_file(output / "projection.csv") as part:
        projection.to_csv(part, index=False)
    with atomic_file(output / "rejected.csv") as part:
        bad.assign(view=0)[["snapshot", "subhalo_id", "view", "reason", "file"]].to_csv(part, index=False)


def _refuse_too_many(folder: Path, bad: pd.DataFrame, total: int, allowed: float) -> None:
    if len(bad) > allowed * total or len(bad) == total:
        first = bad.iloc[0]
        raise InputError(
            f"{folder}: {len(bad)} of {total} images are unusable, more than images.max_rejected = "
            f"{allowed:g} allows (first: {first['file']}: {first['reason']})"
        )


def _kind(reason: str) -> str:
    """Return what a reason has in common with others of its kind, for counting."""
    return reason.split(";", maxsplit=1)[0].split(" (", maxsplit=1)[0].split(" is ", maxsplit=1)[0]


def _not_in_table(root: Path, files: pd.Series) -> int:
    listed = {str(inside(root, name)) for name in files}
    found = [path for path in root.rglob("*") if path.suffix.lower() in (".png", ".jpg", ".jpeg")]
    return sum(str(path.resolve()) not in listed for path in found)
