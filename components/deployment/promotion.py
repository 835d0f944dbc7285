"""Champion or challenger: the decision which version is labelled stable, and its reason in a sentence."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ssfr.components.config import DeploymentSettings, Settings
from ssfr.components.errors import InputError
from ssfr.components.identity.base import Identity
from ssfr.components.identity.labels import LabelIdentity
from ssfr.components.identity.maps import MapIdentity
from ssfr.components.imagesets.reader import MapReader, in_batches
from ssfr.components.labels.served import label_among
from ssfr.components.results.files import METRICS, read_metrics, read_predictions
from ssfr.components.runtime.progress import Progress
from ssfr.components.serving.protocol.names import DEFAULT_SIGNATURE, PREDICT_MAPS
from ssfr.components.serving.repository.folder import DESCRIPTION
from ssfr.components.serving.server.servable import Servable
from ssfr.components.storage.artifact import read_json

_IDENTITIES: dict[str, type[Identity]] = {"maps": MapIdentity, "label": LabelIdentity}
_SPLIT = "split_settings"

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
        """Read the best model of a finished evaluation.

        Raises
        ------
        InputError
            It is not one.
        """
        metrics = read_metrics(evaluation_dir)
        try:
            case = str(metrics["best_case"])
            scores = metrics["cases"][case]
            beats, not_beaten = bool(scores["beats_baselines"]), tuple(scores["not_beaten"])
        except (KeyError, TypeError):
            raise InputError(
                f"{evaluation_dir / METRICS}: no best_case with its scores; evaluate the models again"
            ) from None
        table = read_predictions(evaluation_dir)
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


@dataclass(frozen=True)
class ChampionScore:
    """The score of the champion on a challenger's promotion galaxies.

    Attributes
    ----------
    version
        Its number.
    rmse_dex
        [dex] None where there are no such galaxies, or the champion can't be compared.
    problem
        Why it can't be compared; empty if it can.
    usable
        Whether it can be loaded and predicts at all.
    """

    version: int
    rmse_dex: float | None = None
    problem: str = ""
    usable: bool = True


def study_of(settings: Settings) -> dict[str, Any]:
    """Return which galaxies are in which set, for a model's description."""
    preprocessing = settings.preprocessing
    split = preprocessing.split.model_dump(mode="json")
    return {_SPLIT: {"seed": settings.seed, "group_column": preprocessing.images.group_column, **split}}


def decide(challenger: Candidate, champion: ChampionScore | None, settings: DeploymentSettings) -> Verdict:
    """Decide on a challenger.

    Parameters
    ----------
    challenger
        Scored on the promotion set by evaluation.
    champion
        The champion; None: there is none yet.
    settings
        margin_dex, require_beats_baselines.
    """
    held_out = challenger.of("promotion")
    own = rmse_dex(held_out["label"].to_numpy(), held_out["predicted"].to_numpy())
    figures: dict[str, float | int | str | None] = {
        "promotion_galaxies": len(held_out),
        "challenger_rmse_dex": own if math.isfinite(own) else None,
        "champion": champion.version if champion else None,
        "champion_rmse_dex": champion.rmse_dex if champion else None,
    }
    if settings.require_beats_baselines and not challenger.beats_baselines:
        beaten_by = ", ".join(challenger.not_beaten)
        return Verdict(False, f"it does not beat every baseline on the promotion set: {beaten_by}", figures)
    if len(held_out) and not math.isfinite(own):
        return Verdict(False, "its predictions of the promotion galaxies are not all finite", figures)
    if champion is None:
        return Verdict(True, "it is the first champion", figures)
    promoted, reason = _against(champion, own, len(held_out), settings.margin_dex)
    return Verdict(promoted, reason, figures)


def _against(champion: ChampionScore, own: float, galaxies: int, margin_dex: float) -> tuple[bool, str]:
    """Return whether a challenger with RMSE `own` [dex] replaces the champion, and why."""
    version = f"version {champion.version}"
    if not champion.usable:
        return True, f"the champion, {version}, can't be used: {champion.problem}"
    if champion.problem:
        way_out = "to serve both, set another deployment.name"
        return False, f"it can't be compared with {version}: {champion.problem}; {way_out}"
    if champion.rmse_dex is None:
        return False, "there are no promotion galaxies to compare on"
    return champion.rmse_dex - own > margin_dex, (
        f"RMSE {own:.4f} dex on {galaxies} promotion galaxies, champion {version} "
        f"{champion.rmse_dex:.4f} dex, margin {margin_dex:g} dex"
    )


def _differs(ours: Mapping[str, Any], theirs: Mapping[str, Any], where: str) -> str:
    """Return why a comparison of two models on the same galaxies would not be fair, if so."""
    way_out = "it was exported by another version"
    for key, kind in _IDENTITIES.items():
        champion = kind.parse(theirs.get(key), f"{where}: {key}", way_out)
        found = kind.parse(ours.get(key), key, way_out).differences(champion)
        if found:
            return f"it is of other {kind.noun}: {'; '.join(found)}"
    if theirs.get(_SPLIT) != ours.get(_SPLIT):
        return f"{_SPLIT}: its are {theirs.get(_SPLIT)}, these are {ours.get(_SPLIT)}"
    return ""


def score_champion(
    directory: Path, description: Mapping[str, Any], reader: MapReader, true: np.ndarray, progress: Progress
) -> ChampionScore:
    """Run the champion's SavedModel on the promotion galaxies.

    Parameters
    ----------
    directory
        Of the champion's version.
    description
        Of the challenger, as exported: the champion must take the same input, and have been trained for
        the same label on the same side of the same split.
    reader
        Of the promotion galaxies; there may be none.
    true : (n,)
        Their labels [dex].
    progress
        Shows the galaxies done.
    """
    version = int(directory.name)
    try:
        champion = Servable.load(directory, directory.parent.name, version)
        theirs = read_json(directory / DESCRIPTION)
    except InputError as error:
        return ChampionScore(version, problem=str(error), usable=False)
    kind, name = ("maps", PREDICT_MAPS) if "maps" in description["takes"] else ("images", DEFAULT_SIGNATURE)
    signature = champion.signatures.get(name)
    if signature is None or kind not in signature.inputs:
        return ChampionScore(version, problem=f"it does not take {kind}")
    try:
        differs = _differs(description, theirs, str(directory / DESCRIPTION))
    except InputError as error:
        return ChampionScore(version, problem=str(error))
    if differs:
        return ChampionScore(version, problem=differs)
    label = label_among(description["outputs"])
    predicted = [np.empty(0)]
    with progress.task("the champion on the promotion set", len(true), "galaxies") as task:
        for rows in in_batches(np.arange(len(true)), _BATCH):
            raw = reader.maps(rows)
            inputs = {"images": raw.transpose(0, 2, 3, 1)} if kind == "images" else {"maps": raw}
            predicted.append(signature(inputs)[label])
            task.advance(len(rows))
    answers = np.concatenate(predicted)
    if not np.isfinite(answers).all():
        return ChampionScore(version, problem="its predictions are not all finite", usable=False)
    return ChampionScore(version, rmse_dex(true, answers) if len(true) else None)
