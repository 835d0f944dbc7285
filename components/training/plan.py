"""Which networks a case needs, and what is checked before the first of them is trained."""

from __future__ import annotations

import importlib.metadata
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from ssfr.components.config import Case, Settings, TrainingSettings
from ssfr.components.config.models import ENTRY_POINTS
from ssfr.components.errors import InputError, nearest
from ssfr.components.labels.registry import label_of
from ssfr.components.models.weights import VGG16_MD5, published_file
from ssfr.components.runtime.outside import package_code

AUDITS = ("random", "tree", "halo")
"""Splits of the leakage audit: audit_splits.parquet has a column ``audit_NAME`` for each."""
_FEWEST = 2
"""Galaxies to train on: one has no spread."""


@dataclass(frozen=True)
class Fit:
    """One network of a case.

    Attributes
    ----------
    name
        For progress and errors.
    folder
        Its model folder.
    seed
        Of its first weights, its dropout, the order of galaxies and their turns.
    split
        Column, of galaxies.parquet or audit_splits.parquet, that names the training and the validation
        galaxies.
    milestones
        Epochs after which it is kept as well.
    """

    name: str
    folder: Path
    seed: int
    split: str = "split"
    milestones: tuple[int, ...] = ()


def fits(output: Path, case: str, settings: Settings, audit: bool = False) -> list[Fit]:
    """Return the networks of a case: the primary first, then the other seeds, then any of the audit."""
    training, seed = settings.training, settings.seed
    primary = Fit(case, output, seed, milestones=training.milestones)
    seeds = [
        Fit(f"{case}, seed {other}", output / "seeds" / str(other), other)
        for other in range(seed + 1, seed + training.seeds)
    ]
    audits = [
        Fit(f"{case}, audit {method}", output / "audit" / method, seed, f"audit_{method}")
        for method in AUDITS
        if audit
    ]
    return [primary, *seeds, *audits]


def find_case(settings: Settings, name: str) -> Case:
    """Return the case of that name.

    Raises
    ------
    InputError
        There is none.
    """
    cases = {case.name: case for case in settings.cases}
    if name not in cases:
        raise InputError(f"cases: no case '{name}'{nearest(name, cases)}")
    return cases[name]


def engine() -> dict[str, str]:
    """Return what trains, Keras' version and its backend, without loading either.

    The same seed gives other weights on another backend, and their checkpoints must not be mixed.
    """
    home = Path(os.environ.get("KERAS_HOME") or Path.home() / ".keras")
    chosen = home / "keras.json"
    backend = json.loads(chosen.read_text()).get("backend") if chosen.is_file() else None
    return {
        "keras": importlib.metadata.version("keras"),
        "backend": os.environ.get("KERAS_BACKEND") or backend or "tensorflow",
    }


def outside_code(training: TrainingSettings) -> str | None:
    """Return package, version and digest of a model's code; None: it is a model of ssfr."""
    offered = importlib.metadata.entry_points(group=ENTRY_POINTS, name=training.model)
    network = training.section.network.partition(":")[0]
    return package_code(next(iter(offered)), network) if offered else None


def check_settings(settings: Settings, expected_md5: str = VGG16_MD5) -> None:
    """Refuse, before the first step, what training would only refuse after hours of the others.

    Raises
    ------
    InputError
        There is no such label, or the published weights that the model starts from are absent or others.
    """
    label_of(settings.preprocessing.label)
    weights = settings.training.section.published_weights
    if weights is not None:
        published_file(weights, expected_md5)


def read_galaxies(prepared_dir: Path, planned: Sequence[Fit], training: TrainingSettings) -> pd.DataFrame:
    """Return the galaxies that train or validate in any of the fits.

    Raises
    ------
    InputError
        No table, or one with too few galaxies for a fit.
    """
    path = prepared_dir / "galaxies.parquet"
    if not path.is_file():
        raise InputError(f"{path}: no such file; prepare the data first")
    table = pd.read_parquet(path)
    splits = prepared_dir / "audit_splits.parquet"
    if any(fit.split != "split" for fit in planned) and splits.is_file():
        table = table.merge(pd.read_parquet(splits), on="galaxy", validate="one_to_one")
    for fit in planned:
        _check_split(path, table, fit.split, training)
    columns = [fit.split for fit in planned]
    used = table[columns].isin(["train", "validation"]).any(axis=1)
    return table[used].reset_index(drop=True)


def rows_of(galaxies: pd.DataFrame, fit: Fit) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows that train and those that validate."""
    split = galaxies[fit.split].to_numpy(dtype=object)
    return np.flatnonzero(split == "train"), np.flatnonzero(split == "validation")


def _check_split(path: Path, table: pd.DataFrame, column: str, training: TrainingSettings) -> None:
    if column not in table:
        raise InputError(f"{path}: no column '{column}', which evaluation.audit_case needs; prepare again")
    count = table[column].value_counts()
    if count.get("train", 0) < _FEWEST:
        raise InputError(
            f"{path}: {column}: {count.get('train', 0)} galaxies to train on, expected at least {_FEWEST};"
            " select more, or lower preprocessing.split's shares"
        )
    for setting, used in (
        ("keep: best_validation", training.keep == "best_validation"),
        ("patience", training.patience is not None),
    ):
        if used and not count.get("validation", 0):
            raise InputError(
                f"{path}: {column}: no galaxy to validate on, as training.{setting} needs; raise"
                " preprocessing.split.validation, or set training.keep: last and training.patience: null"
            )
