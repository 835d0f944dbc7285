"""Champion or challenger: who is labelled stable, and the reason in a sentence."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from components.config import DeploymentSettings
from components.errors import InputError
from components.imagesets.reader import MapReader, in_batches
from components.progress import Progress
from components.serving.servable import DEFAULT_SIGNATURE, DESCRIPTION, PREDICT_MAPS, Servable
from components.storage.artifact import read_json

INPUT_KEYS = ("takes", "fields", "units", "pixels", "pixel_kpc", "weighting")
"""What two models must have in common to be asked about the same galaxies."""

_BATCH = 32


@dataclass(frozen=True)
class Candidate:
    """The best model of an evaluation.

    Attributes
    ----------
    case
        With the lowest validation RMSE.
    beats_baselines, not_beaten
        On the promotion set, as evaluation found.
    predictions
        Rows of predictions.parquet of this case.
    """

    case: str
    beats_baselines: bool
    not_beaten: tuple[str, ...]
    predictions: pd.DataFrame

    @classmethod
    def read(cls, evaluation_dir: Path) -> Candidate:
        """Read it from a finished evaluation.

        Raises
        ------
        InputError
            It is not one.
        """
        path = evaluation_dir / "metrics.json"
        metrics = read_json(path)
        try:
            case = str(metrics["best_case"])
            scores = metrics["cases"][case]
            beats, not_beaten = bool(scores["beats_baselines"]), tuple(scores["not_beaten"])
        except (KeyError, TypeError):
            raise InputError(f"{path}: no best_case with its scores; evaluate the models again") from None
        table = pd.read_parquet(evaluation_dir / "predictions.parquet")
        return cls(case, beats, not_beaten, table[table["case"] == case].reset_index(drop=True))

    def of(self, split: str) -> pd.DataFrame:
        """Return the predictions of one set."""
        return self.predictions[self.predictions["split"] == split].reset_index(drop=True)


@dataclass(frozen=True)
class Verdict:
    """Whether a challenger becomes the champion, why, and the figures behind it."""

    promoted: bool
    reason: str
    figures: Mapping[str, float | int | str | None]


def rmse_dex(true: np.ndarray, predicted: np.ndarray) -> float:
    """Return the root mean square of predicted - true [dex]; NaN for no galaxies."""
    if len(true) == 0:
        return math.nan
    residual = np.asarray(predicted, np.float64) - np.asarray(true, np.float64)
    return float(np.sqrt(np.mean(residual**2)))


def decide(
    challenger: Candidate, champion: int | None, champion_rmse: float | str, settings: DeploymentSettings
) -> Verdict:
    """Decide on a challenger.

    Parameters
    ----------
    challenger
        Scored on the promotion set by evaluation.
    champion
        Version that is labelled stable; None: there is none yet.
    champion_rmse
        [dex] of the champion on the same galaxies, or why it can't be had.
    settings
        margin_dex, require_beats_baselines.
    """
    held_out = challenger.of("promotion")
    own = rmse_dex(held_out["log10_ssfr"].to_numpy(), held_out["predicted"].to_numpy())
    figures: dict[str, float | int | str | None] = {
        "promotion_galaxies": len(held_out),
        "challenger_rmse_dex": own if math.isfinite(own) else None,
        "champion": champion,
        "champion_rmse_dex": champion_rmse if not isinstance(champion_rmse, str) else None,
    }
    if settings.require_beats_baselines and not challenger.beats_baselines:
        beaten_by = ", ".join(challenger.not_beaten)
        return Verdict(False, f"it does not beat every baseline on the promotion set: {beaten_by}", figures)
    if champion is None:
        return Verdict(True, "it is the first champion", figures)
    if isinstance(champion_rmse, str):
        return Verdict(False, f"it can't be compared with version {champion}: {champion_rmse}", figures)
    if not math.isfinite(own):
        return Verdict(False, "there are no promotion galaxies to compare on", figures)
    better = champion_rmse - own > settings.margin_dex
    return Verdict(
        better,
        f"RMSE {own:.4f} dex on {len(held_out)} promotion galaxies, champion version {champion} "
        f"{champion_rmse:.4f} dex, margin {settings.margin_dex:g} dex",
        figures,
    )


def champion_rmse(
    directory: Path, description: Mapping[str, Any], reader: MapReader, true: np.ndarray, progress: Progress
) -> float | str:
    """Run the champion's SavedModel on the promotion galaxies.

    Parameters
    ----------
    directory
        Of the champion's version.
    description
        Of the challenger, as exported: the champion must take the same input.
    reader
        Of the promotion galaxies.
    true : (n,)
        Their log10 sSFR [dex of 1/yr].
    progress
        Is given galaxies.

    Returns
    -------
    RMSE [dex], or why it can't be had.
    """
    try:
        champion = Servable.load(directory, directory.parent.name, int(directory.name))
        theirs = read_json(directory / DESCRIPTION)
    except InputError as error:
        return str(error)
    for key in INPUT_KEYS:
        if theirs.get(key) != description[key]:
            return f"{key}: it takes {theirs.get(key)}, these galaxies have {description[key]}"
    images = "maps" not in description["takes"]
    signature = champion.signature(DEFAULT_SIGNATURE if images else PREDICT_MAPS)
    predicted = []
    with progress.task("the champion on the promotion set", len(true), "galaxies") as task:
        for rows in in_batches(np.arange(len(true)), _BATCH):
            raw = reader.maps(rows)
            inputs = {"images": raw.transpose(0, 2, 3, 1)} if images else {"maps": raw}
            predicted.append(signature(inputs)["log10_ssfr"])
            task.advance(len(rows))
    return rmse_dex(true, np.concatenate([*predicted, np.empty(0)]))
