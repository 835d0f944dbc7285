"""Which galaxies train, validate, test, and decide on promotion: by a hash, so that sets stay stable.

A group's place depends on the seed and its own name alone. Re-ordering the sample, adding snapshots
or adding galaxies moves no galaxy from one set to another.
"""

from __future__ import annotations

import hashlib

import numpy as np
import pandas as pd

from ssfr.components.config import SplitSettings
from ssfr.components.errors import InputError, nearest

SPLITS = ("train", "validation", "test", "promotion")
AUDITS = ("random", "tree", "halo")
"""Ways of splitting that the leakage audit compares."""


def split(sample: pd.DataFrame, settings: SplitSettings, seed: int) -> pd.DataFrame:
    """Put every galaxy in a set.

    Parameters
    ----------
    sample
        One row a galaxy: snapshot, subhalo_id, halo_id, tree_id, in_tree; `file` or the column of
        `settings.column` (as ``table_NAME``) where needed.
    settings, seed
        Shares and grouping; the seed of the hash.

    Returns
    -------
    DataFrame
        With the sample's index: `split` (one of `SPLITS`), `group` (int64, the same for galaxies that
        must stay together).

    Raises
    ------
    InputError
        A set that should have galaxies has none, or the deciding column does not fit.
    """
    keys = group_keys(sample, settings.method)
    place = np.array([_uniform(f"{seed}:{key}") for key in keys])
    group = np.array([stable_id(key) for key in keys], dtype=np.int64)
    if settings.method == "column":
        sides = _sides(sample, settings)
        _refuse_straddling(group, sides, settings)
        names = np.where(sides == "test", "test", _named(place, settings, test=0.0))
    else:
        names = _named(place, settings, test=settings.test)
    _refuse_empty(names, settings, "preprocessing.split")
    return pd.DataFrame({"split": names.astype(object), "group": group}, index=sample.index)


def audit_splits(sample: pd.DataFrame, settings: SplitSettings, seed: int) -> pd.DataFrame:
    """Split once more in each of the ways that the leakage audit compares.

    The sets are of equal size in all of them, to one group, so that scores differ only by the galaxies of the
    training set: groups fill the test set in the order of their hash, then the validation set.
    Galaxies of the promotion set train here.

    Returns
    -------
    DataFrame
        With the sample's index: `audit_random`, `audit_tree`, `audit_halo`, each train, validation or
        test. In an image catalogue tree and halo are both its `group_column`.

    Raises
    ------
    InputError
        There are too few groups for a set.
    """
    shares = settings.model_copy(update={"promotion": 0.0})
    splits = {}
    for method in AUDITS:
        keys = _galaxy_keys(sample) if method == "random" else group_keys(sample, method)
        names = _named(_places_in_order(keys, seed), shares, test=shares.test)
        _refuse_empty(names, shares, f"evaluation.audit_case: split by {method}")
        splits[f"audit_{method}"] = names.astype(object)
    return pd.DataFrame(splits, index=sample.index)


def group_keys(sample: pd.DataFrame, method: str) -> list[str]:
    """Return the name of every galaxy's group.

    The merger tree where there is one, else the halo (fault 12); with method ``random`` the galaxy
    itself. In an image catalogue the value of its `group_column`, whose equal values are kept together,
    stands for the tree, and the file for the halo, whatever the method is.
    """
    if method == "random" and "file" not in sample:
        return _galaxy_keys(sample)
    return [
        f"tree:{tree}" if use_tree else f"halo:{snapshot}:{halo}"
        for use_tree, tree, snapshot, halo in zip(
            _by_tree(sample, method), sample["tree_id"], sample["snapshot"], sample["halo_id"], strict=True
        )
    ]


def twins_apart(sample: pd.DataFrame, method: str) -> int:
    """Count the galaxies that may be in another set at another time: several snapshots, not by tree."""
    if sample["snapshot"].nunique() < 2:
        return 0
    return int((~_by_tree(sample, method)).sum())


def stable_id(key: str) -> int:
    """Return a non-negative 63-bit number that depends on `key` alone."""
    return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest(), "big") >> 1


def _galaxy_keys(sample: pd.DataFrame) -> list[str]:
    return [
        f"galaxy:{snapshot}:{subhalo}"
        for snapshot, subhalo in zip(sample["snapshot"], sample["subhalo_id"], strict=True)
    ]


def _places_in_order(keys: list[str], seed: int) -> np.ndarray:
    """Return where each galaxy's group is, when groups lie end to end from 0 to 1, in the order of hashes."""
    names, group, sizes = np.unique(keys, return_inverse=True, return_counts=True)
    order = np.argsort([_uniform(f"{seed}:{name}") for name in names], kind="stable")
    middle = np.empty(len(names))
    middle[order] = np.cumsum(sizes[order]) - sizes[order] / 2.0
    return middle[group] / len(keys)


def _by_tree(sample: pd.DataFrame, method: str) -> np.ndarray:
    kept = "file" in sample or method not in ("halo", "random")
    return sample["in_tree"].to_numpy(bool) & kept


def _uniform(key: str) -> float:
    return stable_id(key) / 2.0**63


def _named(place: np.ndarray, settings: SplitSettings, test: float) -> np.ndarray:
    edges = np.cumsum([test, settings.validation, settings.promotion])
    names = np.array(["test", "validation", "promotion", "train"])
    return names[np.searchsorted(edges, place, side="right")]


def _sides(sample: pd.DataFrame, settings: SplitSettings) -> np.ndarray:
    column = settings.column or ""
    name = f"table_{column}" if f"table_{column}" in sample else column
    if name not in sample:
        known = [str(known).removeprefix("table_") for known in sample.columns]
        raise InputError(f"split.column: no column '{column}' in the label table{nearest(column, known)}")
    values = sample[name].astype(str).to_numpy(dtype=object)
    found = sorted(set(values))
    for value in found:
        if value not in settings.column_values:
            raise InputError(
                f"split.column_values: '{value}' of column '{column}' is in the label table but is given "
                "to neither train nor test"
            )
    for value in settings.column_values:
        if value not in found:
            raise InputError(
                f"split.column_values: no galaxy has '{value}' in column '{column}'{nearest(value, found)}"
            )
    return np.array([settings.column_values[value] for value in values])


def _refuse_straddling(group: np.ndarray, sides: np.ndarray, settings: SplitSettings) -> None:
    both = np.intersect1d(group[sides == "train"], group[sides == "test"])
    if len(both):
        raise InputError(
            f"split.column: {len(both)} groups have galaxies on both sides of column '{settings.column}'; "
            "choose a column that keeps them together"
        )


def _refuse_empty(names: np.ndarray, settings: SplitSettings, where: str) -> None:
    counts = {name: int(np.sum(names == name)) for name in SPLITS}
    wanted = {
        "train": 1.0,
        "validation": settings.validation,
        "test": 1.0 if settings.method == "column" else settings.test,
        "promotion": settings.promotion,
    }
    empty = [name for name in SPLITS if wanted[name] > 0 and counts[name] == 0]
    if empty:
        shown = ", ".join(f"{name} {count}" for name, count in counts.items())
        raise InputError(
            f"{where}: the {empty[0]} set is empty ({shown}, of {len(names)} galaxies); take "
            f"more galaxies, a larger share than {wanted[empty[0]]:g}, or another seed"
        )
