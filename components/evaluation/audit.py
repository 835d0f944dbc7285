"""The leakage audit: how much of r comes from galaxies that the network saw in another snapshot."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from ssfr.components.runtime.progress import Progress
from ssfr.components.statistics.bootstrap import Resamples, gain, with_interval
from ssfr.components.statistics.scores import Sample, resampled_scores, scores

METHODS = ("random", "halo", "tree")
"""The splits, from the one with most to the one with least leakage."""


def audit(
    case: str, samples: Mapping[str, Sample], count: int, confidence: float, seed: int, sigma: float | None
) -> dict[str, Any]:
    """Score one case under each split, and the gaps in r between them.

    Every method has a test set of its own, so that gaps are not paired: each set is resampled by its own
    groups, and the interval of a gap is that of the differences of the draws. Galaxies that are in two
    sets make the two scores alike, so that the interval is too wide rather than too narrow.

    Parameters
    ----------
    case
        Its name.
    samples
        Method -> its test set, grouped by `same_galaxy` under every method.
    count, confidence, seed
        Of the resamples.
    sigma
        Standard deviation of r between seeds, drawn into every gap; None: left out.

    Returns
    -------
    dict
        As metrics.json holds it: case, methods (scores with intervals, galaxies, groups), gap
        ("random-tree" -> value, lower, upper, probability that the first is higher).
    """
    methods: dict[str, dict[str, Any]] = {}
    draws: dict[str, npt.NDArray[np.float64]] = {}
    values: dict[str, float] = {}
    for number, method in enumerate(name for name in METHODS if name in samples):
        sample = samples[method]
        resamples = Resamples(sample.group, count, seed + number)
        drawn, found = resampled_scores(sample, resamples), scores(sample)
        methods[method] = {"galaxies": len(sample), "groups": resamples.groups} | {
            name: with_interval(value, drawn[name], confidence).to_json() for name, value in found.items()
        }
        scatter = np.random.default_rng((seed, number)).normal(0.0, sigma or 0.0, count)
        draws[method], values[method] = drawn["r"] + scatter, found["r"]
    gap = {
        f"{a}-{b}": gain(values[a] - values[b], draws[a] - draws[b], confidence).to_json()
        for a, b in combinations(methods, 2)
    }
    return {"case": case, "methods": methods, "gap": gap, "seed_sigma": sigma}


def same_galaxy(galaxies: pd.DataFrame) -> npt.NDArray[np.int64]:
    """Return (n,) int64, equal for rows that are one galaxy in several snapshots.

    That is its merger tree under every split; for a galaxy in no tree the group of the split.
    """
    if "tree_id" not in galaxies:
        return galaxies["group"].to_numpy(np.int64)
    in_tree = galaxies["in_tree"].to_numpy(bool)
    keys = np.where(in_tree, galaxies["tree_id"].astype(str), "group " + galaxies["group"].astype(str))
    return np.unique(keys, return_inverse=True)[1].astype(np.int64)


def announce(found: Mapping[str, Any], progress: Progress) -> None:
    """Say the scores and the gaps."""
    parts = [f"{_interval(score['r'])} ({method})" for method, score in found["methods"].items()]
    progress.say(f"leakage audit of {found['case']}: r = {', '.join(parts)}")
    for name, gap in found["gap"].items():
        first, second = name.split("-")
        progress.say(f"leakage audit of {found['case']}: r {first} - {second} = {_interval(gap)}")


def _interval(score: Mapping[str, float | None]) -> str:
    if score["value"] is None:
        return "not defined"
    if score["lower"] is None or score["upper"] is None:
        return f"{score['value']:.3f}"
    return f"{score['value']:.3f} [{score['lower']:.3f}, {score['upper']:.3f}]"
