"""The thesis' own files, written from a run: YValues.npy of every case, allsfr.pkl, valid.pkl, pictures."""

from __future__ import annotations

import os
import pickle
import shutil
from pathlib import Path

import numpy as np

from ssfr.components.identity.galaxies import galaxy_name
from ssfr.components.report.study import SET_NAMES, Study
from ssfr.components.report.thesis_figures import ssfr_per_yr
from ssfr.components.storage.artifact import atomic_file

LAST_SNAPSHOT = 99
"""Entry i of allsfr.pkl and valid.pkl is snapshot 99 - i."""
OFFSET_DEX = 15.0
"""The thesis' networks predict log10(1e15 sSFR)."""


def write(output: Path, study: Study, png_dir: Path | None) -> Path:
    """Write the thesis' files into a folder ``thesis`` in `output`, and return it.

    ``CASE/YValues.npy``: (2, n) float64, true and predicted log10(1e15 sSFR) of the test galaxies, and
    ``CASE/galaxies.txt``, their names in this order. ``allsfr.pkl``, ``valid.pkl``: a list with an array a
    snapshot, from 99 down to the earliest, of sSFR [1/yr] by the label's mass (SFR = 0 as 0) and of subhalo
    ids; a snapshot that the run has not is an empty array. ``png/Snap%dID%d.png``: the pictures.
    ``README.txt`` says what is there.

    Parameters
    ----------
    output
        Of evaluation.
    study
        What was found.
    png_dir
        Pictures that preparation wrote (preprocessing.export_png); None or absent: there are none. They
        are linked where the file system can, copied where not.
    """
    folder = output / "thesis"
    for case in study.models:
        _write_values(folder / case, study, case)
    label = study.settings.preprocessing.label.mass
    notes = [
        f"CASE/YValues.npy: true and predicted log10(1e15 sSFR), {SET_NAMES[study.shown_set]} galaxies, in "
        "the order of CASE/galaxies.txt",
    ]
    if _has_snapshots(study):
        _write_lists(folder, study)
        notes.append(f"allsfr.pkl, valid.pkl: sSFR [1/yr] by {label} mass, and subhalo ids, a snapshot each")
    else:
        why = (
            "the galaxies have no snapshots from 0 to 99 and no ids" if study.views == 1 else "several views"
        )
        notes.append(f"no allsfr.pkl and valid.pkl: {why}")
    if png_dir is not None and png_dir.is_dir():
        count = _link_pictures(png_dir, folder / "png")
        notes.append(f"png: {count} pictures")
    else:
        notes.append("no pictures: preprocessing.export_png was off")
    with atomic_file(folder / "README.txt") as part:
        part.write_text("".join(f"{note}.\n" for note in notes), encoding="utf-8")
    return folder


def _write_values(folder: Path, study: Study, case: str) -> None:
    own = study.predicted(case, study.shown_set)
    values = own[["label", "predicted"]].to_numpy(np.float64).T + OFFSET_DEX
    with atomic_file(folder / "YValues.npy") as part, part.open("wb") as stream:
        np.save(stream, values, allow_pickle=False)
    with atomic_file(folder / "galaxies.txt") as part:
        part.write_text("".join(f"{name}\n" for name in own["galaxy"]), encoding="utf-8")


def _has_snapshots(study: Study) -> bool:
    galaxies = study.galaxies
    names = [
        galaxy_name(snapshot, subhalo)
        for snapshot, subhalo in zip(galaxies["snapshot"], galaxies["subhalo_id"], strict=True)
    ]
    return bool(galaxies["snapshot"].between(0, LAST_SNAPSHOT).all()) and names == list(galaxies["galaxy"])


def _write_lists(folder: Path, study: Study) -> None:
    galaxies = study.galaxies
    ssfr = ssfr_per_yr(study).to_numpy(np.float64)
    snapshot = galaxies["snapshot"].to_numpy()
    ids = galaxies["subhalo_id"].to_numpy(np.int64)
    chosen = [snapshot == number for number in range(LAST_SNAPSHOT, int(snapshot.min()) - 1, -1)]
    for name, values in (("allsfr.pkl", ssfr), ("valid.pkl", ids)):
        with atomic_file(folder / name) as part, part.open("wb") as stream:
            pickle.dump([values[rows] for rows in chosen], stream, protocol=4)


def _link_pictures(source: Path, target: Path) -> int:
    target.mkdir(parents=True, exist_ok=True)
    pictures = sorted(source.glob("*.png"))
    for picture in pictures:
        place = target / picture.name
        if place.exists():
            continue
        try:
            os.link(picture, place)
        except OSError:  # another file system, or one without links
            with atomic_file(place) as part:
                shutil.copyfile(picture, part)
    return len(pictures)
