"""Paired differences in score between cases, with intervals that include the scatter between seeds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from ssfr.components.statistics.bootstrap import Floats, Resamples, gain
from ssfr.components.statistics.scores import NAMES, Sample, resampled_scores, scores

METRICS = ("r", "rmse")
"""The scores whose differences are given."""

RULE = (
    "by how much a is better than b: r of a minus r of b, RMSE of b minus RMSE of a, each the mean over a "
    "case's seeds, on the same resamples of groups; with several seeds every resample also draws the scatter "
    "between seeds, of their standard deviation pooled over the cases"
)
_BETTER = {"r": 1.0, "rmse": -1.0}
_SEED_SCATTER = 1  # the stream of random numbers of `seed_scatter`
_SHOWN_FIRST = ("test", "promotion", "validation")


def shown_set(metrics: Mapping[str, Any]) -> str:
    """Return the set that results are shown for: test, or the first of the others that has galaxies."""
    sets = metrics["sets"]
    return next((name for name in _SHOWN_FIRST if sets[name]["galaxies"]), _SHOWN_FIRST[0])


def compared(metrics: Mapping[str, Any], split: str) -> tuple[str, list[dict[str, Any]]]:
    """Return the galaxies of a set that cases are compared on, and their differences there.

    Censored galaxies are left out where there are any: their lack of gas sets them apart from the
    others under any law of star formation, and would raise r in every case.

    Parameters
    ----------
    metrics
        metrics.json.
    split
        Name of the set.

    Returns
    -------
    population
        "uncensored" or "all".
    differences
        Records as `pairs` makes them.
    """
    any_censored = metrics["sets"][split]["censored"] > 0
    key = "differences_uncensored" if any_censored else "differences"
    return "uncensored" if any_censored else "all", metrics.get(key, {}).get(split, [])


def exchanged(difference: Mapping[str, Any]) -> dict[str, Any]:
    """Return a record of `pairs` with the two cases exchanged: "a over b" becomes "b over a"."""
    share = difference["probability"]
    ends = {"value": "value", "lower": "upper", "upper": "lower"}
    return dict(difference) | {
        **{name: None if difference[end] is None else -difference[end] for name, end in ends.items()},
        "a": difference["b"],
        "b": difference["a"],
        "probability": None if share is None else 1.0 - share,
    }


@dataclass(frozen=True)
class Networks:
    """The scores of the networks of one case on one set.

    Attributes
    ----------
    values
        Score -> (seeds,) float64.
    draws
        Score -> (resamples,) float64: the mean over the seeds in each resample of the set.
    """

    values: Mapping[str, Floats]
    draws: Mapping[str, Floats]

    @classmethod
    def score(cls, samples: Mapping[str, Sample], resamples: Resamples) -> Networks:
        """Score the networks of a case, seed -> predictions of the same galaxies."""
        values = [scores(sample) for sample in samples.values()]
        draws = [resampled_scores(sample, resamples, METRICS) for sample in samples.values()]
        return cls(
            {name: np.array([one[name] for one in values]) for name in NAMES},
            {name: np.mean([one[name] for one in draws], axis=0) for name in METRICS},
        )

    def spread(self) -> dict[str, dict[str, float | None]]:
        """Return mean, standard deviation (None for a single seed) and range of each score over seeds."""
        result = {}
        for name, values in self.values.items():
            defined = bool(np.isfinite(values).all())
            result[name] = {
                "mean": float(values.mean()) if defined else None,
                "std": float(values.std(ddof=1)) if defined and len(values) > 1 else None,
                "min": float(values.min()) if defined else None,
                "max": float(values.max()) if defined else None,
            }
        return result


def seed_sigma(networks: Mapping[str, Networks], metric: str) -> float | None:
    """Return the standard deviation between networks that differ by their seed alone.

    Pooled over the cases, since a case has few seeds; None where no case has two.
    """
    squares, freedom = 0.0, 0
    for case in networks.values():
        values = case.values[metric]
        if len(values) > 1 and np.isfinite(values).all():
            squares += float(np.sum((values - values.mean()) ** 2))
            freedom += len(values) - 1
    return float(np.sqrt(squares / freedom)) if freedom else None


def pairs(networks: Mapping[str, Networks], count: int, confidence: float, seed: int) -> list[dict[str, Any]]:
    """Return the difference of every pair of cases in every metric, as metrics.json holds them.

    Parameters
    ----------
    networks
        Case -> its networks, all scored on the same `Resamples`.
    count
        Number of resamples.
    confidence
        Of the interval.
    seed
        Of the scatter between seeds that is drawn.

    Returns
    -------
    list of dict
        a, b, metric, value, lower, upper, probability (that a is better), seed_sigma (standard deviation
        of one network between seeds, None with a single seed). See `RULE`.
    """
    result = []
    for metric in METRICS:
        sigma = seed_sigma(networks, metric)
        scatter = seed_scatter(networks, metric, count, seed)
        for a, b in combinations(networks, 2):
            sign = _BETTER[metric]
            value = sign * float(networks[a].values[metric].mean() - networks[b].values[metric].mean())
            draws = sign * (networks[a].draws[metric] + scatter[a] - networks[b].draws[metric] - scatter[b])
            found = gain(value, draws, confidence).to_json()
            result.append({"a": a, "b": b, "metric": metric, **found, "seed_sigma": sigma})
    return result


def seed_scatter(networks: Mapping[str, Networks], metric: str, count: int, seed: int) -> dict[str, Floats]:
    """Draw errors of the mean over a case's seeds, case -> (count,) float64; zeros with a single seed."""
    sigma = seed_sigma(networks, metric) or 0.0
    random = np.random.default_rng((seed, _SEED_SCATTER))
    return {
        case: random.normal(0.0, sigma / np.sqrt(len(found.values[metric])), count)
        for case, found in networks.items()
    }
