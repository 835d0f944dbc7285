"""The label table of an image catalogue: a CSV or parquet file, or the thesis' allsfr.pkl and valid.pkl.

Both end as one table of candidates. A table that is built wrongly is an error; a row that is wrong
(a negative SFR, say) is a candidate with a reason to be rejected.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from ssfr.components.config import ImageCatalogSettings
from ssfr.components.errors import InputError, nearest
from ssfr.components.imagesets.safe_image import inside
from ssfr.components.preprocessing.safe_pickle import load_arrays
from ssfr.components.preprocessing.split import stable_id

MAX_ROWS = 5_000_000
THESIS_LAST_SNAPSHOT = 99
"""allsfr.pkl: the snapshot of entry i is 99 - i (SEED 3)."""

_THESIS_NAME = re.compile(r"Snap(\d{1,4})ID(\d{1,12})\.\w+")


def read_candidates(folder: Path, settings: ImageCatalogSettings) -> pd.DataFrame:
    """Read the table of an image catalogue.

    Parameters
    ----------
    folder
        Of the catalogue; `settings.table` is relative to it.
    settings
        Names of the columns.

    Returns
    -------
    DataFrame
        A row an image, by falling snapshot and rising subhalo_id: the columns of ``sample.parquet``,
        `file` (normalised), the table's own columns as ``table_NAME``, and `reason` (empty, or why the
        row is rejected).

    Raises
    ------
    InputError
        The file is absent or unreadable, a column is absent, a file name or group is missing, a name
        leads out of the folder of images, or a file is there twice.
    """
    path = folder / settings.table
    candidates = _thesis_candidates(path) if path.suffix == ".pkl" else _table_candidates(path, settings)
    paths = pd.Series([str(inside(folder / settings.images, name)) for name in candidates["file"]])
    twice = candidates["file"][paths.duplicated()]
    if len(twice):
        raise InputError(
            f"{path}: '{twice.iloc[0]}' is there twice, by this name or another ({len(twice)} such rows); "
            "expected one row an image"
        )
    same = candidates[candidates.duplicated(["snapshot", "subhalo_id"])]
    if len(same):
        raise InputError(
            f"{path}: '{same['file'].iloc[0]}' has the snapshot and id of another file; expected one image "
            "a galaxy"
        )
    order = candidates.sort_values(["snapshot", "subhalo_id"], ascending=[False, True], kind="stable")
    return order.reset_index(drop=True)


def _table_candidates(path: Path, settings: ImageCatalogSettings) -> pd.DataFrame:
    table = _read_table(path)
    if table.empty:
        raise InputError(f"{path}: no rows; expected one an image")
    files = [posixpath.normpath(name) for name in _text(path, table, settings.file_column, "file_column")]
    rows = len(table)
    reason = np.full(rows, "", dtype=object)
    mass, sfr = np.full(rows, np.nan), np.full(rows, np.nan)
    if settings.ssfr_column is not None:
        ssfr = _numbers(path, table, settings.ssfr_column, "ssfr_column")
        _mark(reason, ~(np.isfinite(ssfr) & (ssfr >= 0)), table[settings.ssfr_column], "sSFR", "0 or more")
        if settings.stellar_mass_column in table:
            mass = _numbers(path, table, settings.stellar_mass_column, "stellar_mass_column")
        if settings.sfr_column in table:
            sfr = _numbers(path, table, settings.sfr_column, "sfr_column")
    else:
        if settings.stellar_mass_column is None or settings.sfr_column is None:
            raise InputError(
                "preprocessing.images: expected ssfr_column, or both sfr_column and stellar_mass_column"
            )
        mass = _numbers(path, table, settings.stellar_mass_column, "stellar_mass_column")
        sfr = _numbers(path, table, settings.sfr_column, "sfr_column")
        bad_mass, bad_sfr = ~(np.isfinite(mass) & (mass > 0)), ~(np.isfinite(sfr) & (sfr >= 0))
        _mark(reason, bad_mass, table[settings.stellar_mass_column], "stellar mass", "above 0")
        _mark(reason, bad_sfr, table[settings.sfr_column], "SFR", "0 or more")
        ssfr = sfr / np.where(bad_mass, np.nan, mass)
    names = [_THESIS_NAME.fullmatch(file) for file in files]
    matches = [match for match in names if match]
    if len(matches) == rows:
        snapshot = np.array([int(match[1]) for match in matches], np.int32)
        subhalo = np.array([int(match[2]) for match in matches], np.int64)
    else:
        snapshot, subhalo = np.zeros(rows, np.int32), np.arange(rows, dtype=np.int64)
    groups = [f"file:{file}" for file in files]
    if settings.group_column is not None:
        groups = [f"group:{value}" for value in _text(path, table, settings.group_column, "group_column")]
    candidates = _candidates(files, snapshot, subhalo, groups, settings.group_column is not None, reason)
    candidates["stellar_mass_msun"] = candidates["label_stellar_mass_msun"] = mass
    candidates["sfr_msun_per_yr"] = sfr
    candidates["ssfr_stellar_per_yr"] = ssfr
    own = table.rename(columns=lambda name: f"table_{name}")
    mixed = own.select_dtypes(include="object").columns
    return candidates.join(own.astype(dict.fromkeys(mixed, str)))


def _thesis_candidates(path: Path) -> pd.DataFrame:
    """Read the thesis' pair of pickles: sSFR, by total mass (fault 1), and subhalo ids, in step (SEED 3)."""
    ssfr, ids = load_arrays(path), load_arrays(path.with_name("valid.pkl"))
    if [len(part) for part in ssfr] != [len(part) for part in ids]:
        raise InputError(
            f"{path}: {[len(part) for part in ssfr]} values a snapshot, but valid.pkl beside it has "
            f"{[len(part) for part in ids]} subhalo ids"
        )
    if not 1 <= len(ssfr) <= THESIS_LAST_SNAPSHOT + 1 or not sum(map(len, ssfr)):
        raise InputError(f"{path}: {len(ssfr)} snapshots, {sum(map(len, ssfr))} galaxies; expected some")
    subhalo, value = np.concatenate(ids), np.concatenate(ssfr).astype(np.float64)
    if np.any(subhalo != subhalo.astype(np.int64)) or np.any(subhalo < 0):
        raise InputError(f"{path.with_name('valid.pkl')}: expected subhalo ids, integers from 0")
    subhalo = subhalo.astype(np.int64)
    snapshot = THESIS_LAST_SNAPSHOT - np.repeat(np.arange(len(ids)), [len(part) for part in ids])
    files = [f"Snap{number}ID{identity}.png" for number, identity in zip(snapshot, subhalo, strict=True)]
    reason = np.full(len(files), "", dtype=object)
    _mark(reason, ~(np.isfinite(value) & (value >= 0)), pd.Series(value), "sSFR", "0 or more")
    groups = [f"file:{file}" for file in files]
    candidates = _candidates(files, snapshot.astype(np.int32), subhalo, groups, False, reason)
    candidates["ssfr_total_per_yr"] = value
    return candidates


def _candidates(
    files: list[str],
    snapshot: np.ndarray,
    subhalo: np.ndarray,
    groups: list[str],
    grouped: bool,
    reason: np.ndarray,
) -> pd.DataFrame:
    number = np.array([stable_id(group) for group in groups], np.int64)
    unknown = np.full(len(files), np.nan)
    none = np.zeros(len(files), np.int64)
    return pd.DataFrame(
        {
            "snapshot": snapshot,
            "subhalo_id": subhalo,
            "halo_id": number,
            "tree_id": number,
            "in_tree": np.full(len(files), grouped),
            "redshift": unknown,
            "stellar_mass_msun": unknown,
            "total_mass_msun": unknown,
            "halo_mass_msun": unknown,
            "sfr_msun_per_yr": unknown,
            "ssfr_stellar_per_yr": unknown,
            "ssfr_total_per_yr": unknown,
            "label_stellar_mass_msun": unknown,
            "gas_fraction": unknown,
            "gas_cells": none,
            "halo_gas_cells": none,
            "star_particles": none,
            "file": np.array(files, dtype=object),
            "reason": reason,
        }
    )


def _read_table(path: Path) -> pd.DataFrame:
    if not path.is_file():
        raise InputError(f"{path}: no such label table; name it in preprocessing.images.table")
    try:
        if path.suffix == ".parquet":
            rows = pq.read_metadata(path).num_rows
            if rows > MAX_ROWS:
                raise InputError(f"{path}: declares {rows} rows; expected at most {MAX_ROWS}")
            return pd.read_parquet(path)
        if path.suffix == ".csv":
            # text stays text: an identity such as 007 keeps its zeros, a file called NA its name
            return pd.read_csv(path, compression=None, encoding="utf-8", dtype=str, keep_default_na=False)
    except (pa.ArrowException, pd.errors.ParserError, pd.errors.EmptyDataError, ValueError, OSError) as error:
        raise InputError(f"{path}: not a readable table ({' '.join(str(error).split())})") from None
    raise InputError(f"{path}: expected a .csv or .parquet table, or the thesis' allsfr.pkl")


def _column(path: Path, table: pd.DataFrame, name: str, setting: str) -> pd.Series:
    if name not in table:
        known = [str(column) for column in table.columns]
        raise InputError(f"{path}: no column '{name}' (preprocessing.images.{setting}){nearest(name, known)}")
    return table[name]


def _text(path: Path, table: pd.DataFrame, name: str, setting: str) -> list[str]:
    column = _column(path, table, name, setting)
    text = column.astype(str).str.strip()
    missing = np.flatnonzero(column.isna() | (text == ""))
    if len(missing):
        raise InputError(f"{path}: row {missing[0] + 1} has no '{name}' ({len(missing)} such rows)")
    return [str(value) for value in text]


def _numbers(path: Path, table: pd.DataFrame, name: str | None, setting: str) -> np.ndarray:
    column = _column(path, table, str(name), setting)
    numbers: np.ndarray = pd.to_numeric(column, errors="coerce").to_numpy(np.float64, na_value=np.nan)
    return numbers


def _mark(reason: np.ndarray, bad: np.ndarray, values: pd.Series, what: str, expected: str) -> None:
    for row in np.flatnonzero(bad & (reason == "")):
        reason[row] = f"{what} is {str(values.iloc[row])[:40]!r}; expected a number {expected}"
