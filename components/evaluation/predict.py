"""Predictions of every network of a case, in one pass over the galaxies that at least one of them needs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from ssfr.components.errors import InputError
from ssfr.components.evaluation.rows import PRIMARY, Rows, held_out_rows, predictions_table, read_maps
from ssfr.components.imagesets.reader import MapReader, in_batches
from ssfr.components.models.folder import Kind, members, read_description
from ssfr.components.models.predictor import Prediction, predict_all
from ssfr.components.runtime.progress import Progress

_KINDS: dict[str, Kind] = {"seed": "seeds", "milestone": "milestones", "audit": "audit"}
_BATCH = 32


@dataclass(frozen=True)
class _Member:
    """One network of a case, the `rows` of the galaxies that it predicts, and the `split` of each."""

    kind: str
    key: str
    folder: Path
    rows: Rows
    split: npt.NDArray[np.object_]


def predict_case(
    case: str, folder: Path, reader: MapReader, galaxies: pd.DataFrame, progress: Progress
) -> pd.DataFrame:
    """Predict the galaxies that did not train a network, with every network of a case.

    Images, and the frozen part of VGG16, are computed once a galaxy for all networks.

    Parameters
    ----------
    case
        Its name.
    folder
        Its model folder.
    reader
        Of the maps of `galaxies`.
    galaxies
        galaxies.parquet, with the column ``audit_METHOD`` of audit_splits.parquet for each network of the
        audit.
    progress
        Shows the galaxies done.

    Returns
    -------
    DataFrame
        case, seed, kind (primary, seed, milestone, audit), key (the seed, epoch or method), the
        galaxies' columns, predicted, lower and upper [unit of the label]. A network of the audit predicts
        the test set of its own split, for which split is "test".

    Raises
    ------
    InputError
        Not model folders of one case, or predictions that are not finite.
    """
    networks = _members(folder, galaxies)
    needed = np.unique(np.concatenate([network.rows for network in networks]))
    with progress.task(f"predictions of {case}", len(needed), "galaxies") as task:

        def batches() -> Iterator[np.ndarray]:
            for rows in in_batches(needed, _BATCH):
                yield read_maps(reader, galaxies, rows)
                task.advance(len(rows))

        found = predict_all([network.folder for network in networks], batches())
    tables = []
    for network, prediction in zip(networks, found, strict=True):
        numbers = _numbers(prediction, np.searchsorted(needed, network.rows))
        _refuse_lost(case, network, numbers, galaxies)
        seed = int(read_description(network.folder)["seed"])
        table = predictions_table(case, seed, galaxies.iloc[network.rows], **numbers)
        tables.append(table.assign(split=network.split, kind=network.kind, key=network.key))
    return pd.concat(tables, ignore_index=True)


def _members(folder: Path, galaxies: pd.DataFrame) -> list[_Member]:
    held_out = held_out_rows(galaxies)
    split = galaxies["split"].to_numpy(dtype=object)[held_out]
    seed = str(read_description(folder)["seed"])
    found = [_Member(PRIMARY, seed, folder, held_out, split)]
    for kind, where in _KINDS.items():
        for key, member in members(folder, where).items():
            if kind == "audit":
                rows = _tested(galaxies, key, member)
                own = np.full(len(rows), "test", dtype=object)
                found.append(_Member(kind, key, member, rows, own))
            else:
                found.append(_Member(kind, key, member, held_out, split))
    return found


def _tested(galaxies: pd.DataFrame, method: str, folder: Path) -> Rows:
    column = f"audit_{method}"
    if column not in galaxies:
        raise InputError(f"{folder}: no audit_splits.parquet with a column {column}; prepare the data again")
    return np.flatnonzero(galaxies[column] == "test").astype(np.int64)


def _numbers(prediction: Prediction, places: Rows) -> dict[str, np.ndarray]:
    columns = {
        "predicted": prediction.predicted,
        "lower": prediction.lower,
        "upper": prediction.upper,
    }
    return {name: values[places].astype(np.float64) for name, values in columns.items()}


def _refuse_lost(case: str, network: _Member, numbers: dict[str, np.ndarray], galaxies: pd.DataFrame) -> None:
    """Refuse what is not finite: for every galaxy it is the fault of the training, for some of the maps."""
    lost = ~np.isfinite(np.stack(list(numbers.values()))).all(axis=0)
    count = int(lost.sum())
    if not count:
        return
    said = (
        f"{network.folder}: the model of case '{case}' predicts no finite label for {count} of {len(lost)} "
        "galaxies"
    )
    if count == len(lost):
        raise InputError(f"{said}: its training diverged; lower training.learning_rate")
    first = galaxies.iloc[network.rows[np.flatnonzero(lost)[0]]]
    raise InputError(
        f"{said}, the first of them {first['galaxy']}, row {first['map_row']} of {first['map_file']}: look "
        "at its pixels, and draw the maps again without it"
    )
