"""Score every model beside the baselines on galaxies that did not train it, and write the report."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from components.config import Settings
from components.errors import InputError
from components.evaluation import baselines
from components.evaluation.metrics import Resamples, Sample, bootstrap, gains, scores, with_interval
from components.evaluation.report import write_report
from components.evaluation.study import Study
from components.imagesets.reader import MapReader, in_batches
from components.models.folder import HISTORY, read_description
from components.progress import Progress
from components.storage.artifact import atomic_file, read_json, write_json

FORMAT = 1
HELD_OUT = ("validation", "test", "promotion")
POPULATIONS = {
    "all": "every galaxy, those with SFR = 0 and those at the floor included",
    "above_floor": "without the galaxies whose label is the floor (SFR = 0 among them)",
}
BEST_CASE_RULE = (
    "the model with the lowest RMSE on the validation set (all galaxies); without a validation set, on the "
    "promotion set"
)
BEATS_RULE = (
    "a model beats the baselines if its RMSE on the promotion set (all galaxies) is lower than that of each; "
    "the test set is only reported"
)
_PARTS = "parts"
"""Folder of the cases that are done; gone when predictions.parquet is whole."""
_BATCH = 32


def run(
    output: Path,
    model_dirs: Mapping[str, Path],
    maps_dir: Path,
    prepared_dir: Path,
    settings: Settings,
    progress: Progress,
    origin: str,
) -> dict[str, Any]:
    """Write predictions.parquet, metrics.json, report.html and figures/.

    Parameters
    ----------
    output
        Exists; may hold what an earlier, killed call with the same arguments had finished.
    model_dirs
        Case -> folder of its model.
    maps_dir, prepared_dir
        Of projection (or ingestion) and of preparation.
    settings
        seed, evaluation, and for the report the rest.
    progress
        Is given galaxies, case by case.
    origin
        What the data are, for the report's headline.

    Returns
    -------
    dict
        best_case, beats_baselines, and the best case's test scores and gain over the strongest baseline.

    Raises
    ------
    InputError
        No model, a case named like a baseline, an artifact that is absent, predictions that are not
        finite.
    """
    if not model_dirs:
        raise InputError("evaluation: no model to evaluate; train at least one case")
    for case in model_dirs:
        if case.startswith(baselines.PREFIX):
            raise InputError(
                f"cases: '{case}': names that begin with '{baselines.PREFIX}' are the baselines'"
            )
    models = {case: read_description(folder) for case, folder in model_dirs.items()}
    galaxies = _read_galaxies(prepared_dir / "galaxies.parquet")
    with MapReader(maps_dir, galaxies) as reader:
        predictions = _predictions(output, model_dirs, reader, galaxies, settings, progress)
        metrics = assess(predictions, settings) | {"format": FORMAT, "origin": origin, "sets": sets(galaxies)}
        write_json(output / "metrics.json", metrics)
        study = Study(
            origin=origin,
            settings=settings,
            galaxies=galaxies,
            predictions=predictions,
            metrics=metrics,
            models=models,
            histories={case: pd.read_csv(folder / HISTORY) for case, folder in model_dirs.items()},
            preparation=read_json(prepared_dir / "preparation.json"),
            set_aside=_read_set_aside(maps_dir / "set_aside.csv"),
        )
        write_report(output, study, reader)
    summary = _summary(metrics)
    if not summary["beats_baselines"]:
        beaten_by = ", ".join(metrics["cases"][summary["best_case"]]["not_beaten"])
        progress.warn(
            f"{summary['best_case']} does not beat every baseline on the promotion set: {beaten_by}"
        )
    return summary


def sets(galaxies: pd.DataFrame) -> dict[str, dict[str, int]]:
    """Count the galaxies of each set, their groups, and how many have SFR = 0 or a floored label."""
    counts = {}
    for name in ("train", *HELD_OUT):
        chosen = galaxies[galaxies["split"] == name]
        counts[name] = {
            "galaxies": len(chosen),
            "groups": int(chosen["group"].nunique()),
            "zero_sfr": int(chosen["zero_sfr"].sum()),
            "at_floor": int(chosen["at_floor"].sum()),
        }
    return counts


def assess(predictions: pd.DataFrame, settings: Settings) -> dict[str, Any]:
    """Score every case of a table of predictions, and every model against every baseline.

    Parameters
    ----------
    predictions
        As predictions.parquet: case, galaxy, group, split, log10_ssfr, predicted, lower, upper, at_floor;
        every case has the same galaxies in the same order.
    settings
        seed, evaluation.bootstrap and evaluation.confidence are used.

    Returns
    -------
    dict
        What metrics.json holds, but for the counts of the sets; None where a number is not defined.
    """
    tables = {str(case): table for case, table in predictions.groupby("case", sort=False)}
    references = [case for case in tables if case.startswith(baselines.PREFIX)]
    models = [case for case in tables if case not in references]
    cases: dict[str, dict[str, Any]] = {
        case: {
            "kind": "baseline" if case in references else "model",
            "description": baselines.DESCRIPTIONS.get(case, case),
            "scores": {split: {} for split in HELD_OUT},
            "gains": {split: {} for split in HELD_OUT},
        }
        for case in tables
    }
    for split in HELD_OUT:
        for population in POPULATIONS:
            found = _assess_set(tables, split, population, settings)
            for case, (own_scores, own_gains) in found.items():
                cases[case]["scores"][split][population] = own_scores
                if case in models:
                    cases[case]["gains"][split][population] = own_gains
    for case in references:
        del cases[case]["gains"]
    for case in models:
        promotion = cases[case]["gains"]["promotion"]["all"]
        not_beaten = [name for name in references if (promotion[name]["rmse"]["value"] or 0.0) <= 0.0]
        cases[case] |= {"beats_baselines": not not_beaten, "not_beaten": not_beaten}
    return {
        "seed": settings.seed,
        "resamples": settings.evaluation.bootstrap,
        "resampled": "groups",
        "confidence": settings.evaluation.confidence,
        "interval": settings.evaluation.interval,
        "populations": POPULATIONS,
        "best_case": _best(cases, models),
        "best_case_rule": BEST_CASE_RULE,
        "beats_baselines_rule": BEATS_RULE,
        "cases": cases,
    }


def _assess_set(
    tables: Mapping[str, pd.DataFrame], split: str, population: str, settings: Settings
) -> dict[str, tuple[dict[str, Any], dict[str, Any]]]:
    """Return (scores, gains over the baselines) of every case for one set and population."""
    samples = {case: _sample(table, split, population) for case, table in tables.items()}
    group = next(iter(samples.values())).group
    resamples = Resamples(group, settings.evaluation.bootstrap, settings.seed)
    confidence = settings.evaluation.confidence
    values = {case: scores(sample) for case, sample in samples.items()}
    draws = {case: bootstrap(sample, resamples) for case, sample in samples.items()}
    result = {}
    for case in tables:
        own: dict[str, Any] = {"galaxies": len(group), "groups": resamples.groups}
        for name, value in values[case].items():
            own[name] = with_interval(value, draws[case][name], confidence).to_json()
        over = {
            other: {
                name: gain.to_json()
                for name, gain in gains(
                    values[case], draws[case], values[other], draws[other], confidence
                ).items()
            }
            for other in tables
            if other.startswith(baselines.PREFIX)
        }
        result[case] = own, over
    return result


def _sample(table: pd.DataFrame, split: str, population: str) -> Sample:
    chosen = table[table["split"] == split]
    if population == "above_floor":
        chosen = chosen[~chosen["at_floor"]]
    columns = ("log10_ssfr", "predicted", "lower", "upper")
    truth, predicted, lower, upper = (chosen[column].to_numpy(np.float64) for column in columns)
    return Sample(truth, predicted, lower, upper, chosen["group"].to_numpy(np.int64))


def _best(cases: Mapping[str, dict[str, Any]], models: list[str]) -> str:
    """Return the best model; without a validation set the promotion set decides, never the test set."""
    for split in ("validation", "promotion"):
        rmse = {case: cases[case]["scores"][split]["all"]["rmse"]["value"] for case in models}
        if None not in rmse.values():
            return min(models, key=lambda case: rmse[case])
    return models[0]


def _predictions(
    output: Path,
    model_dirs: Mapping[str, Path],
    reader: MapReader,
    galaxies: pd.DataFrame,
    settings: Settings,
    progress: Progress,
) -> pd.DataFrame:
    """Return the table of predictions, from an earlier call as far as that came."""
    path, parts = output / "predictions.parquet", output / _PARTS
    if not path.is_file():
        held_out = np.flatnonzero(galaxies["split"].isin(HELD_OUT))
        tables = []
        for case, folder in model_dirs.items():
            part = parts / f"{case}.parquet"
            if not part.is_file():
                _write(_predict(case, folder, reader, galaxies, held_out, progress), part)
            tables.append(pd.read_parquet(part))
        part = parts / f"{baselines.PREFIX}all.parquet"
        if not part.is_file():
            _write(_fit_baselines(reader, galaxies, held_out, settings, progress), part)
        tables.append(pd.read_parquet(part))
        _write(pd.concat(tables, ignore_index=True), path)
    shutil.rmtree(parts, ignore_errors=True)
    return pd.read_parquet(path)


def _predict(
    case: str,
    folder: Path,
    reader: MapReader,
    galaxies: pd.DataFrame,
    held_out: np.ndarray,
    progress: Progress,
) -> pd.DataFrame:
    from components.models.predictor import Predictor

    predictor = Predictor.load(folder)
    columns: dict[str, list[np.ndarray]] = {"predicted": [], "lower": [], "upper": []}
    with progress.task(f"predictions of {case}", len(held_out), "galaxies") as task:
        for rows in in_batches(held_out, _BATCH):
            found = predictor.predict_maps(reader.maps(rows), _BATCH)
            columns["predicted"].append(found.log10_ssfr)
            columns["lower"].append(found.lower)
            columns["upper"].append(found.upper)
            task.advance(len(rows))
    numbers = {name: np.concatenate([*parts, np.empty(0)]) for name, parts in columns.items()}
    lost = int(np.sum(~np.isfinite(np.stack(list(numbers.values()))).all(axis=0)))
    if lost:
        raise InputError(
            f"{folder}: the model of case '{case}' predicts no finite sSFR for {lost} of {len(held_out)} "
            "galaxies: its training diverged; lower training.learning_rate"
        )
    return _table(case, galaxies.iloc[held_out], **numbers)


def _fit_baselines(
    reader: MapReader, galaxies: pd.DataFrame, held_out: np.ndarray, settings: Settings, progress: Progress
) -> pd.DataFrame:
    fitted = baselines.fit(
        baselines.extract(reader, galaxies, progress),
        galaxies["log10_ssfr"].to_numpy(np.float64),
        galaxies["split"].to_numpy(dtype=object),
        settings.evaluation.interval,
    )
    chosen = galaxies.iloc[held_out]
    return pd.concat(
        [
            _table(name, chosen, found.predicted[held_out], found.lower[held_out], found.upper[held_out])
            for name, found in fitted.items()
        ],
        ignore_index=True,
    )


def _table(
    case: str, galaxies: pd.DataFrame, predicted: np.ndarray, lower: np.ndarray, upper: np.ndarray
) -> pd.DataFrame:
    names = ["galaxy", "snapshot", "subhalo_id", "group", "split", "log10_ssfr"]
    table = galaxies[names].reset_index(drop=True)
    table.insert(0, "case", case)
    at_floor = galaxies["at_floor"].to_numpy(bool)
    return table.assign(predicted=predicted, lower=lower, upper=upper, at_floor=at_floor)


def _write(table: pd.DataFrame, path: Path) -> None:
    with atomic_file(path) as part:
        table.to_parquet(part, index=False)


def _read_galaxies(path: Path) -> pd.DataFrame:
    if not path.is_file():
        raise InputError(f"{path}: no such file; prepare the data first")
    galaxies = pd.read_parquet(path)
    if not galaxies["split"].isin(HELD_OUT).any():
        raise InputError(f"{path}: split: no galaxy was held out; raise the shares in preprocessing.split")
    return galaxies


def _read_set_aside(path: Path) -> pd.DataFrame:
    if not path.is_file():
        return pd.DataFrame(columns=["snapshot", "subhalo_id", "reason"])
    return pd.read_csv(path)


def _summary(metrics: Mapping[str, Any]) -> dict[str, Any]:
    best = metrics["best_case"]
    found = metrics["cases"][best]
    test = found["scores"]["test"]["all"]
    over = found["gains"]["test"]["all"]
    known = {name: gain["rmse"] for name, gain in over.items() if gain["rmse"]["value"] is not None}
    strongest = min(known, key=lambda name: known[name]["value"], default=None)
    return {
        "best_case": best,
        "beats_baselines": found["beats_baselines"],
        "test_galaxies": test["galaxies"],
        "test_r": test["r"]["value"],
        "test_rmse_dex": test["rmse"]["value"],
        "strongest_baseline": strongest,
        "gain_dex": known[strongest] if strongest else None,
    }
