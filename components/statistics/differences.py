"""By how much one case knows more than another: paired differences that include the luck of training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt

from ssfr.components.statistics.metrics import NAMES, Resamples, Sample, bootstrap, gain, scores

Floats = npt.NDArray[np.float64]

METRICS = ("r", "rmse")
"""The scores whose differences are given."""

RULE = (
    "by how much a is better than b: r of a minus r of b, RMSE of b minus RMSE of a, each the mean over a "
    "case's seeds, on the same resamples of groups; with several seeds every resample also draws the luck of "
    "training, of the standard deviation between seeds (pooled over the cases)"
)
_BETTER = {"r": 1.0, "rmse": -1.0}
_TRAINING = 1  # the stream of random numbers for the luck of training


def compared(metrics: Mapping[str, Any], split: str) -> tuple[str, list[dict[str, Any]]]:
    """Return the galaxies of a set that cases are compared on, and their differences there.

    Galaxies at the floor are left out where there are some, since little gas tells them from the others
    under any law.

    Parameters
    ----------
    metrics
        metrics.json.
    split
        Name of the set.

    Returns
    -------
    population
        "above_floor" or "all".
    differences
        Records as `pairs` makes them.
    """
    floored = metrics["sets"][split]["at_floor"] > 0
    key = "differences_above_floor" if floored else "differences"
    return "above_floor" if floored else "all", metrics.get(key, {}).get(split, [])


@dataclass(frozen=True)
class Networks:
    """The scores of one case's networks on one set, metric -> (seeds,), and of the resamples of that set.

    `draws` is metric -> (resamples,): the mean over the seeds in each resample.
    """

    values: Mapping[str, Floats]
    draws: Mapping[str, Floats]

    @classmethod
    def score(cls, samples: Mapping[str, Sample], resamples: Resamples) -> Networks:
        """Score the networks of a case, seed -> predictions of the same galaxies."""
        values = [scores(sample) for sample in samples.values()]
        draws = [bootstrap(sample, resamples, METRICS) for sample in samples.values()]
        return cls(
            {name: np.array([one[name] for one in values]) for name in NAMES},
            {name: np.mean([one[name] for one in draws], axis=0) for name in METRICS},
        )

    def spread(self) -> dict[str, dict[str, float | None]]:
        """Return mean, standard deviation (None for a single seed) and range of each score over seeds."""
        result = {}
        for name, values in self.values.items():
            known = bool(np.isfinite(values).all())
            result[name] = {
                "mean": float(values.mean()) if known else None,
                "std": float(values.std(ddof=1)) if known and len(values) > 1 else None,
                "min": float(values.min()) if known else None,
                "max": float(values.max()) if known else None,
            }
        return result


def seed_sigma(networks: Mapping[str, Networks], metric: str) -> float | None:
    """Return the standard deviation between networks that differ by their seed alone.

    Pooled over the cases, since three seeds of one case say little; None where no case has two.
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
        Of the luck of training that is drawn.

    Returns
    -------
    list of dict
        a, b, metric, value, lower, upper, probability (that a is better), seed_sigma (standard deviation
        of one network between seeds, None if unknown). See `RULE`.
    """
    result = []
    for metric in METRICS:
        sigma = seed_sigma(networks, metric)
        luck = training_luck(networks, metric, count, seed)
        for a, b in combinations(networks, 2):
            sign = _BETTER[metric]
            value = sign * float(networks[a].values[metric].mean() - networks[b].values[metric].mean())
            draws = sign * (networks[a].draws[metric] + luck[a] - networks[b].draws[metric] - luck[b])
            found = gain(value, draws, confidence).to_json()
            result.append({"a": a, "b": b, "metric": metric, **found, "seed_sigma": sigma})
    return result


def training_luck(networks: Mapping[str, Networks], metric: str, count: int, seed: int) -> dict[str, Floats]:
    """Draw how far the mean over a case's seeds may be off, case -> (count,): 0 where nothing is known."""
    sigma = seed_sigma(networks, metric) or 0.0
    random = np.random.default_rng((seed, _TRAINING))
    return {
        case: random.normal(0.0, sigma / np.sqrt(len(found.values[metric])), count)
        for case, found in networks.items()
    }
