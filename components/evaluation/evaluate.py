"""Score every model beside the baselines on galaxies that did not train it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ssfr.components.config import Settings
from ssfr.components.errors import InputError
from ssfr.components.evaluation import audit, baselines
from ssfr.components.evaluation.assess import HELD_OUT, assess
from ssfr.components.evaluation.features import extract
from ssfr.components.evaluation.rows import PRIMARY, held_out_rows, predictions_table
from ssfr.components.identity.labels import LabelIdentity
from ssfr.components.identity.maps import MapIdentity
from ssfr.components.imagesets.reader import MapReader
from ssfr.components.models.folder import DESCRIPTION, failure, read_description
from ssfr.components.results.files import EXTRA_PREDICTIONS, METRICS, PREDICTIONS
from ssfr.components.runtime.progress import Progress
from ssfr.components.storage.artifact import atomic_file, write_json

_PARTS = "parts"
"""Folder of the predictions of finished cases; removed when those of all cases are written."""


def run(
    output: Path,
    model_dirs: Mapping[str, Path],
    maps_dir: Path,
    prepared_dir: Path,
    settings: Settings,
    progress: Progress,
) -> dict[str, Any]:
    """Write predictions.parquet, extra_predictions.parquet and metrics.json.

    Parameters
    ----------
    output
        Exists; may hold what an earlier, killed call with the same arguments had finished.
    model_dirs
        Case -> folder of its model.
    maps_dir, prepared_dir
        Of projection (or ingestion) and of preparation.
    settings
        seed, evaluation, cases and preprocessing.split are used.
    progress
        Shows the galaxies predicted, case by case, and the result of the leakage audit.

    Returns
    -------
    dict
        best_case, beats_baselines, failed cases, and the best case's test scores and gain over the
        strongest baseline.

    Raises
    ------
    InputError
        No model or none that was trained to its end, a model of other maps or labels, an artifact that is
        absent, predictions that are not finite.
    """
    if not model_dirs:
        raise InputError("evaluation: no model to evaluate; train at least one case")
    trained, failed = _outcomes(model_dirs, progress)
    galaxies = _read_galaxies(prepared_dir)
    label = LabelIdentity.of_table(prepared_dir / "galaxies.parquet")
    with MapReader(maps_dir, galaxies) as reader:
        for folder in trained.values():
            _require_same_data(folder, reader, label)
        predictions, extra = _predictions(output, trained, reader, galaxies, settings, progress)
    metrics = assess(predictions, extra, galaxies, settings, failed)
    write_json(output / METRICS, metrics)
    if "audit" in metrics:
        audit.announce(metrics["audit"], progress)
    summary = _summary(metrics)
    _warn(metrics, summary["best_case"], progress)
    return summary


def _outcomes(model_dirs: Mapping[str, Path], progress: Progress) -> tuple[dict[str, Path], dict[str, str]]:
    """Return (case -> folder of those that were trained, case -> why of those that were not)."""
    reasons = {case: failure(folder) for case, folder in model_dirs.items()}
    failed = {case: reason for case, reason in reasons.items() if reason is not None}
    trained = {case: folder for case, folder in model_dirs.items() if case not in failed}
    for case, reason in failed.items():
        progress.warn(f"case '{case}' has no model and is left out: {reason}")
    if not trained:
        case, reason = next(iter(failed.items()))
        raise InputError(f"evaluation: the training of every case broke down; '{case}': {reason}")
    for folder in trained.values():
        read_description(folder)
    return trained, failed


def _require_same_data(folder: Path, reader: MapReader, label: LabelIdentity) -> None:
    """Refuse a model that was trained on other maps or labels than those it would be scored on."""
    description, where, way_out = read_description(folder), folder / DESCRIPTION, "train it again"
    maps = MapIdentity.parse(description["spec"].get("maps"), f"{where}: spec.maps", way_out)
    maps.require_same(reader.identity, where, f"those of {reader.directory}", way_out)
    stored = description["label"].get("identity")
    trained_for = LabelIdentity.parse(stored, f"{where}: label.identity", way_out)
    trained_for.require_same(label, where, "those that were prepared", way_out)


def _predictions(
    output: Path,
    model_dirs: Mapping[str, Path],
    reader: MapReader,
    galaxies: pd.DataFrame,
    settings: Settings,
    progress: Progress,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return both tables of predictions, from an earlier call as far as that came."""
    path, extra_path, parts = output / PREDICTIONS, output / EXTRA_PREDICTIONS, output / _PARTS
    if not path.is_file():
        tables = [
            _once(parts / f"{case}.parquet", _predict, case, folder, reader, galaxies, progress)
            for case, folder in model_dirs.items()
        ]
        fitted = parts / f"{baselines.PREFIX}all.parquet"
        tables.append(_once(fitted, _fit_baselines, reader, galaxies, settings, progress))
        together = pd.concat(tables, ignore_index=True)
        first = together["kind"] == PRIMARY
        _write(together[~first], extra_path)
        _write(
            together[first].drop(columns=["kind", "key"]), path
        )  # last: its presence means that both are complete
    shutil.rmtree(parts, ignore_errors=True)
    return pd.read_parquet(path), pd.read_parquet(extra_path)


def _once(part: Path, work: Callable[..., pd.DataFrame], *arguments: Any) -> pd.DataFrame:
    """Return the table that `work` makes, written to `part` the first time."""
    if not part.is_file():
        _write(work(*arguments), part)
    return pd.read_parquet(part)


def _predict(
    case: str, folder: Path, reader: MapReader, galaxies: pd.DataFrame, progress: Progress
) -> pd.DataFrame:
    from ssfr.components.evaluation.predict import predict_case  # imports the network library

    return predict_case(case, folder, reader, galaxies, progress)


def _fit_baselines(
    reader: MapReader, galaxies: pd.DataFrame, settings: Settings, progress: Progress
) -> pd.DataFrame:
    fitted = baselines.fit(
        extract(reader, galaxies, progress),
        galaxies["label"].to_numpy(np.float64),
        galaxies["split"].to_numpy(dtype=object),
        galaxies["group"].to_numpy(np.int64),
        settings.evaluation.interval,
        settings.seed,
    )
    held_out = held_out_rows(galaxies)
    tables = [
        predictions_table(
            name,
            settings.seed,
            galaxies.iloc[held_out],
            found.predicted[held_out],
            found.lower[held_out],
            found.upper[held_out],
        )
        for name, found in fitted.items()
    ]
    return pd.concat(tables, ignore_index=True).assign(kind=PRIMARY, key=str(settings.seed))


def _write(table: pd.DataFrame, path: Path) -> None:
    with atomic_file(path) as part:
        table.to_parquet(part, index=False)


def _read_galaxies(prepared_dir: Path) -> pd.DataFrame:
    path, splits = prepared_dir / "galaxies.parquet", prepared_dir / "audit_splits.parquet"
    if not path.is_file():
        raise InputError(f"{path}: no such file; prepare the data first")
    galaxies = pd.read_parquet(path)
    if splits.is_file():
        galaxies = galaxies.merge(pd.read_parquet(splits), on="galaxy", validate="one_to_one")
    if not galaxies["split"].isin(HELD_OUT).any():
        raise InputError(f"{path}: split: no galaxy was held out; raise the shares in preprocessing.split")
    return galaxies


def _warn(metrics: Mapping[str, Any], best: str, progress: Progress) -> None:
    """Warn where the best model does not beat the baselines."""
    case = metrics["cases"][best]
    if not metrics["sets"]["promotion"]["galaxies"]:
        progress.warn(
            f"the promotion set is empty: {best} can't be shown to beat the baselines; raise "
            "preprocessing.split.promotion"
        )
    elif not case["beats_baselines"]:
        beaten_by = ", ".join(case["not_beaten"])
        progress.warn(f"{best} does not beat every baseline on the promotion set: {beaten_by}")


def _summary(metrics: Mapping[str, Any]) -> dict[str, Any]:
    best = metrics["best_case"]
    found = metrics["cases"][best]
    test = found["scores"]["test"]["all"]
    over = found["gains"]["test"]["all"]
    in_rmse = {name: gain["rmse"] for name, gain in over.items() if gain["rmse"]["value"] is not None}
    strongest = min(in_rmse, key=lambda name: in_rmse[name]["value"], default=None)
    return {
        "best_case": best,
        "beats_baselines": found["beats_baselines"],
        "failed_cases": [case for case, one in metrics["cases"].items() if "failed" in one],
        "test_galaxies": test["galaxies"],
        "test_r": test["r"]["value"],
        "test_rmse_dex": test["rmse"]["value"],
        "strongest_baseline": strongest,
        "gain_dex": in_rmse[strongest] if strongest else None,
    }
