"""The tables behind a report, and how their numbers are written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pandas as pd

from ssfr.components.config import Settings
from ssfr.components.imagesets.spec import ImageSpec
from ssfr.components.labels.registry import Label, label_of
from ssfr.components.report.cases import CaseGroups
from ssfr.components.statistics.differences import shown_set

SMALL_GROUPS = 100
"""Fewer independent groups than this in the test set, and the page says that the sample is small."""

SET_NAMES = {"train": "training", "validation": "validation", "test": "test", "promotion": "promotion"}
POPULATION_NAMES = {"all": "", "uncensored": ", uncensored galaxies"}
"""What cases are compared on, after the name of the set."""


@dataclass(frozen=True)
class Study:
    """The settings, tables and numbers that a report is made of.

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
    rejected
        rejected.csv: snapshot, subhalo_id, view, reason.
    extra_predictions
        As written beside the report: of other seeds, milestones and the audit; may be empty.
    synthetic
        Whether the galaxies are those of the synthetic universe, as found when the data were opened.
    """

    origin: str
    settings: Settings
    galaxies: pd.DataFrame
    predictions: pd.DataFrame
    metrics: Mapping[str, Any]
    models: Mapping[str, Mapping[str, Any]]
    histories: Mapping[str, pd.DataFrame]
    preparation: Mapping[str, Any]
    rejected: pd.DataFrame
    extra_predictions: pd.DataFrame
    synthetic: bool = False

    @property
    def target(self) -> Label:
        """What is predicted."""
        return label_of(self.settings.preprocessing.label)

    @property
    def views(self) -> int:
        """Maps of each galaxy."""
        return 1 if self.from_images else self.settings.projection.views

    @property
    def counted(self) -> str:
        """What a number of rows is a number of."""
        return "galaxies" if self.views == 1 else "views of galaxies"

    @property
    def best(self) -> str:
        """The best case."""
        return str(self.metrics["best_case"])

    @property
    def scored(self) -> dict[str, dict[str, Any]]:
        """The entries of metrics.json of the cases and baselines that have predictions."""
        return {name: case for name, case in self.metrics["cases"].items() if "failed" not in case}

    @property
    def failed(self) -> dict[str, str]:
        """Case -> why it has no predictions."""
        cases = self.metrics["cases"]
        return {name: str(case["failed"]) for name, case in cases.items() if "failed" in case}

    @property
    def seeds(self) -> list[int]:
        """Seeds of the networks of every case, the one that may be served first."""
        return list(range(self.settings.seed, self.settings.seed + self.settings.training.seeds))

    @cached_property
    def cases(self) -> CaseGroups:
        """The cases that have a model, by what they are."""
        specs = {case: ImageSpec.model_validate(model["spec"]) for case, model in self.models.items()}
        return CaseGroups.of(specs)

    @property
    def groups(self) -> str:
        """What a group of galaxies is, in the plural."""
        return str(self.metrics["groups"])

    @property
    def not_by_tree(self) -> int:
        """The number of galaxies that the split may put in two sets at two snapshots."""
        if self.settings.preprocessing.split.method in ("random", "halo") and not self.from_images:
            return len(self.galaxies)
        return int((~self.galaxies["in_tree"].to_numpy(bool)).sum())

    @property
    def shown_set(self) -> str:
        """The set of the figures: test, or the first other one that has galaxies."""
        return shown_set(self.metrics)

    @property
    def from_images(self) -> bool:
        """Whether the data are an image catalogue, not maps of a simulation."""
        return bool(self.models[self.best]["spec"]["maps"]["kind"] == "images")

    @property
    def random_weights(self) -> bool:
        """Whether the best case's backbone was never pretrained, on explicit request."""
        return (self.models[self.best].get("backbone") or {}).get("weights") == "random"

    def size(self, counts: Mapping[str, int]) -> str:
        """Return a set's size: its galaxies, and its groups where these are not the galaxies."""
        galaxies = f"{counts['galaxies']} {self.counted}"
        alone = counts["groups"] == counts["galaxies"]
        return galaxies if alone else f"{galaxies} in {counts['groups']} {self.groups}"

    def label(self, case: str) -> str:
        """Return the description of a case or baseline."""
        return str(self.metrics["cases"][case]["description"])

    def predicted(self, case: str, split: str) -> pd.DataFrame:
        """Return the rows of predictions.parquet of a case's first network (or of a baseline)."""
        table = self.predictions
        own = table[(table["case"] == case) & (table["split"] == split)]
        if "seed" in own and case in self.models:
            own = own[own["seed"] == self.models[case]["seed"]]
        return own

    def milestones(self, case: str, split: str) -> dict[int, pd.DataFrame]:
        """Return epoch -> rows of extra_predictions.parquet of a case, in the order of the epochs."""
        table = self.extra_predictions
        own = table[(table["case"] == case) & (table["kind"] == "milestone")]
        epochs = sorted({int(key) for key in own["key"]})
        return {epoch: own[(own["key"] == str(epoch)) & (own["split"] == split)] for epoch in epochs}

    def probability(self, share: float | None) -> str:
        """Return a share of the study's n resamples in percent, between 1/n and 1 - 1/n."""
        return probability(share, int(self.metrics["resamples"]))


def probability(share: float | None, resamples: int) -> str:
    """Return a share of resamples as a percentage between 1/n and 1 - 1/n, a dash where not defined."""
    if share is None:
        return "–"
    least = 1.0 / resamples
    decimals = 0 if resamples < 200 else 1
    if share > 1.0 - least:
        return f"> {1.0 - least:.{decimals}%}"
    if share < least:
        return f"< {least:.{decimals}%}"
    return f"{share:.{decimals}%}"


def number(value: float | None, signed: bool = False) -> str:
    """Return a score with three digits, a dash where it is not defined."""
    if value is None:
        return "–"
    return f"{value:{'+' if signed else ''}.3f}".replace("-", "−")


def interval(score: Mapping[str, float | None]) -> str:
    """Return 'value [lower, upper]' with three digits, or a dash where not defined."""
    value, low, high = (number(score[name]) for name in ("value", "lower", "upper"))
    return value if score["lower"] is None else f"{value} [{low}, {high}]"
