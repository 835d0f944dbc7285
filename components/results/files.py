"""The files that evaluation writes, and the report, deployment and a scientist read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from ssfr.components.errors import InputError
from ssfr.components.storage.artifact import read_json

PREDICTIONS = "predictions.parquet"
EXTRA_PREDICTIONS = "extra_predictions.parquet"
METRICS = "metrics.json"
METRICS_FORMAT = 3
"""Of metrics.json: another number has other keys."""
_WAY_OUT = "evaluate again"


def read_predictions(folder: Path) -> pd.DataFrame:
    """Return predictions.parquet of an evaluation: a row a case and held-out galaxy.

    Raises
    ------
    InputError
        There is no such file.
    """
    return _table(folder / PREDICTIONS)


def read_extra_predictions(folder: Path) -> pd.DataFrame:
    """Return extra_predictions.parquet of an evaluation: other seeds, milestones and the audit.

    Raises
    ------
    InputError
        There is no such file.
    """
    return _table(folder / EXTRA_PREDICTIONS)


def read_metrics(folder: Path) -> dict[str, Any]:
    """Return metrics.json of an evaluation: scores, gains and differences with their intervals.

    Raises
    ------
    InputError
        There is no such file, or it is not JSON, or of another version of ssfr.
    """
    path = folder / METRICS
    metrics: dict[str, Any] = read_json(path, _WAY_OUT)
    if (found := metrics.get("format")) != METRICS_FORMAT:
        raise InputError(f"{path}: format {found}, expected {METRICS_FORMAT}; {_WAY_OUT}")
    return metrics


def _table(path: Path) -> pd.DataFrame:
    if not path.is_file():
        raise InputError(f"{path}: no such file; {_WAY_OUT}")
    return pd.read_parquet(path)
