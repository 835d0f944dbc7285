"""The differences in r between the cases of a study, in either order of the two cases."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ssfr.components.statistics.differences import compared, exchanged, shown_set

Difference = Mapping[str, Any]
"""A record of `differences.pairs`: a, b, value (positive: a is better), lower, upper, probability."""


@dataclass(frozen=True)
class PairwiseR:
    """The differences in r between all models of a study, on one set and population.

    Attributes
    ----------
    shown, population
        The set and the galaxies of it that answers are given on.
    models
        Cases that have a model and channels.
    scores
        Case -> scores on that set and population.
    channels, filters
        Case -> what its images are made of.
    differences
        (a, b) -> difference on `shown`.
    to_choose
        (a, b) -> difference on the set `chooses`.
    chooses
        The set on which the case that stands for a property is chosen: validation, where there is one.
    """

    shown: str
    population: str
    models: tuple[str, ...]
    scores: Mapping[str, Mapping[str, Any]]
    channels: Mapping[str, tuple[str, ...]]
    filters: Mapping[str, Mapping[str, Any]]
    differences: Mapping[tuple[str, str], Difference]
    to_choose: Mapping[tuple[str, str], Difference]
    chooses: str

    @classmethod
    def of(cls, metrics: Mapping[str, Any]) -> PairwiseR:
        """Read the differences out of metrics.json."""
        shown = shown_set(metrics)
        chooses = "validation" if metrics["sets"]["validation"]["galaxies"] else shown
        population, differences = compared(metrics, shown)
        key = "differences" if population == "all" else "differences_uncensored"
        models = {
            name: case
            for name, case in metrics["cases"].items()
            if case["kind"] == "model" and "failed" not in case and case["channels"]
        }
        return cls(
            shown=shown,
            population=population,
            models=tuple(models),
            scores={name: case["scores"][shown][population] for name, case in models.items()},
            channels={name: tuple(case["channels"]) for name, case in models.items()},
            filters={name: case["filter"] for name, case in models.items()},
            differences=_in_r(differences),
            to_choose=_in_r(metrics[key][chooses]),
            chooses=chooses,
        )

    def ranking(self, cases: Sequence[str]) -> list[str]:
        """Return cases from the highest to the lowest r on the set `chooses`."""

        def above_others(case: str) -> float:
            values = [self.to_choose[case, other]["value"] for other in cases if other != case]
            return sum(-1.0 if value is None else value for value in values)

        return sorted(cases, key=above_others, reverse=True)

    def find(self, channels: tuple[str, ...], kind: str, sigma: float | None = None) -> str | None:
        """Return the first case of these channels, filter and width; None if there is no such case."""
        for case in self.models:
            own = self.filters[case]
            same = self.channels[case] == channels and own["kind"] == kind
            if same and sigma in (None, own["sigma"]):
                return case
        return None


def is_decided(difference: Difference) -> bool:
    """Return whether the interval of a difference or score lies above zero."""
    return difference["lower"] is not None and difference["lower"] > 0.0


def is_negative(difference: Difference) -> bool:
    """Return whether the first case is the worse one."""
    return difference["value"] is not None and difference["value"] < 0.0


def lowest_probability(differences: Sequence[Difference]) -> float | None:
    """Return the lowest probability of several differences; None if there is none, or one is undefined."""
    probabilities = [one["probability"] for one in differences]
    return min(probabilities) if probabilities and None not in probabilities else None


def _in_r(records: Iterable[Difference]) -> dict[tuple[str, str], Difference]:
    in_r = [one for one in records if one["metric"] == "r"]
    return {(one["a"], one["b"]): one for record in in_r for one in (record, exchanged(record))}
