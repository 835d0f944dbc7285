"""What a study found, in words: the tables behind a report, its verdict, and what limits it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from components.config import Settings

SMALL_GROUPS = 100
"""Fewer independent groups than this in the test set, and the page says that the sample is small."""

_GROUPS = {"tree": "merger trees", "halo": "halos", "random": "galaxies", "column": "groups"}
SET_NAMES = {"train": "training", "validation": "validation", "test": "test", "promotion": "promotion"}


@dataclass(frozen=True)
class Study:
    """Everything a report is made of.

    Attributes
    ----------
    origin
        What the data are, in the user's words.
    settings
        Of the run.
    galaxies
        galaxies.parquet.
    predictions, metrics
        As written beside the report.
    models, histories
        Case -> model.json, case -> history.csv.
    preparation
        preparation.json.
    set_aside
        set_aside.csv: snapshot, subhalo_id, reason.
    """

    origin: str
    settings: Settings
    galaxies: pd.DataFrame
    predictions: pd.DataFrame
    metrics: Mapping[str, Any]
    models: Mapping[str, Mapping[str, Any]]
    histories: Mapping[str, pd.DataFrame]
    preparation: Mapping[str, Any]
    set_aside: pd.DataFrame

    @property
    def best(self) -> str:
        """The best case."""
        return str(self.metrics["best_case"])

    @property
    def groups(self) -> str:
        """What a group of galaxies is, in the plural."""
        method = self.settings.preprocessing.split.method
        if self.from_images and method != "random":
            return "groups of the catalogue"
        if method == "tree" and not self.galaxies["in_tree"].any():
            method = "halo"  # as preparation did
        return _GROUPS[method]

    @property
    def not_by_tree(self) -> int:
        """Galaxies that the split did not keep together with themselves at other times."""
        if self.settings.preprocessing.split.method in ("random", "halo") and not self.from_images:
            return len(self.galaxies)
        return int((~self.galaxies["in_tree"].to_numpy(bool)).sum())

    @property
    def shown_set(self) -> str:
        """The set of the figures: test, or the first other one that has galaxies."""
        present = self.metrics["sets"]
        return next(name for name in ("test", "promotion", "validation") if present[name]["galaxies"])

    @property
    def is_synthetic(self) -> bool:
        """Whether `origin` says that the galaxies are made up."""
        return "synthetic" in self.origin.lower()

    @property
    def from_images(self) -> bool:
        """Whether the data are an image catalogue, not maps of a simulation."""
        return bool(self.models[self.best]["spec"]["source"] == "images")

    @property
    def random_weights(self) -> bool:
        """Whether the best case's backbone was never pretrained, on explicit request."""
        return (self.models[self.best].get("backbone") or {}).get("weights") == "random"

    def size(self, counts: Mapping[str, int]) -> str:
        """Return a set's size: its galaxies, and its groups where these are not the galaxies."""
        galaxies = f"{counts['galaxies']} galaxies"
        alone = counts["groups"] == counts["galaxies"]
        return galaxies if alone else f"{galaxies} in {counts['groups']} {self.groups}"

    def label(self, case: str) -> str:
        """Return a case's name for the reader."""
        return str(self.metrics["cases"][case]["description"])


def verdict(study: Study) -> list[str]:
    """Return the summary in two or three sentences of plain text."""
    shown = study.shown_set
    case = study.metrics["cases"][study.best]
    score = case["scores"][shown]["all"]
    confidence = f"{study.metrics['confidence']:.0%}"
    lines = [
        f"On the {SET_NAMES[shown]} set ({study.size(score)}), {study.best} predicts log10 sSFR with "
        f"RMSE {interval(score['rmse'])} dex and r = {interval(score['r'])} ({confidence} intervals)."
    ]
    gain = strongest_gain(study, shown)
    if gain:
        lines.append(_on_gain(study, *gain))
    promotion = study.metrics["sets"]["promotion"]
    if not promotion["galaxies"]:
        lines.append("The promotion set is empty, so that nothing can be said for promoting it.")
    elif case["beats_baselines"]:
        sure = min(
            (one["rmse"]["probability"] for one in case["gains"]["promotion"]["all"].values()),
            key=lambda probability: -1.0 if probability is None else probability,
        )
        with_probability = "" if sure is None else f" (the strongest with a probability of {sure:.0%})"
        lines.append(
            f"On the promotion set ({study.size(promotion)}) it is better than every baseline"
            f"{with_probability}: it may be promoted."
        )
    else:
        names = ", ".join(study.label(name) for name in case["not_beaten"])
        lines.append(
            f"On the promotion set ({study.size(promotion)}) it does not beat: {names}. It has shown no "
            "knowledge that these simple numbers lack, and is not to be promoted."
        )
    return lines


def strongest_gain(study: Study, split: str) -> tuple[str, dict[str, float | None]] | None:
    """Return the baseline over which the best case gains least in RMSE, and the gain; None without any."""
    over = {
        name: gain["rmse"]
        for name, gain in study.metrics["cases"][study.best]["gains"][split]["all"].items()
        if gain["rmse"]["value"] is not None
    }
    return min(over.items(), key=lambda item: item[1]["value"]) if over else None


def caveats(study: Study) -> list[str]:
    """Return what limits the result, most important first, as plain text."""
    settings, counts = study.settings, study.metrics["sets"]
    test = counts[study.shown_set]
    found = []
    if study.is_synthetic:
        found.append(
            "The galaxies are synthetic: the scores say that the program works, nothing about real galaxies."
        )
    if study.random_weights:
        found.append("RANDOM backbone weights: the network was never pretrained.")
    if test["groups"] < SMALL_GROUPS:
        found.append(
            f"Small sample: the {SET_NAMES[study.shown_set]} set has {study.size(test)}. Differences within "
            "the intervals are not findings."
        )
    snapshots = study.galaxies["snapshot"].nunique()
    if snapshots > 1 and study.not_by_tree:
        found.append(
            f"{study.not_by_tree} of {len(study.galaxies)} galaxies, over {snapshots} snapshots, are not "
            "kept together by merger tree: the same galaxy at another time may be in the training set, so "
            "the scores are too good."
        )
    if not counts["validation"]["galaxies"]:
        found.append("There is no validation set: nothing was chosen on held-out galaxies.")
    if test["at_floor"]:
        found.append(
            f"{test['at_floor']} of the {test['galaxies']} {SET_NAMES[study.shown_set]} galaxies are at the "
            f"floor ({settings.preprocessing.label.floor_log10_ssfr:g} dex of 1/yr): scores are given with "
            "and without them."
        )
    if "baseline_cells" not in study.metrics["cases"]:
        found.append("The data have no count of gas cells: that baseline is left out.")
    if not study.from_images:
        found.append(
            "In the simulations the SFR of a cell follows from its density, so a map of gas mass nearly "
            "holds the label. What the network learned from structure is its gain over the baselines, not r."
        )
    return found


def interval(score: Mapping[str, float | None]) -> str:
    """Return 'value [lower, upper]' with three digits, or a dash where not defined."""
    value, low, high = (number(score[name]) for name in ("value", "lower", "upper"))
    return value if score["lower"] is None else f"{value} [{low}, {high}]"


def _on_gain(study: Study, baseline: str, gain: Mapping[str, float | None]) -> str:
    lower = (gain["value"] or 0.0) >= 0.0
    ends = {"value": gain["value"], "lower": gain["upper"], "upper": gain["lower"]}
    worse = {name: None if end is None else -end for name, end in ends.items()}
    zero = ""
    if gain["lower"] is not None and gain["upper"] is not None:
        zero = f"; the interval {'excludes' if gain['lower'] > 0 or gain['upper'] < 0 else 'includes'} zero"
    return (
        f"Its RMSE is {'lower' if lower else 'higher'} than that of the strongest baseline there, "
        f"{study.label(baseline)}, by {interval(gain if lower else worse)} dex{zero}."
    )


def number(value: float | None, signed: bool = False) -> str:
    """Return a score with three digits, a dash where it is not defined."""
    if value is None:
        return "–"
    return f"{value:{'+' if signed else ''}.3f}".replace("-", "−")
