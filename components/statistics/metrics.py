"""How well log10 sSFR is predicted, with bootstrap intervals over groups of galaxies, and paired gains."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

NAMES = ("r", "rmse", "nmad", "bias", "coverage")
"""The scores: Pearson r; RMSE, NMAD and bias [dex]; coverage, the share of truths in their interval."""

_NMAD_TO_SIGMA = 1.4826022185056018  # 1 / Phi^-1(3/4): makes the NMAD of a Gaussian its sigma
_CONSTANT_DEX = 1e-5  # a spread below this is a constant: float32 rounds log10 sSFR at 1e-6
_BLOCK_ELEMENTS = 2_000_000  # resamples are drawn in blocks of this many weights (16 MB)


@dataclass(frozen=True)
class Sample:
    """Galaxies with a true and a predicted value, all (n,) and in dex of 1/yr.

    `group` (n,) says which galaxies are not independent: the same value is the same merger tree (or
    halo), which a resample takes or leaves as a whole.
    """

    truth: Floats
    predicted: Floats
    lower: Floats
    upper: Floats
    group: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.truth)


@dataclass(frozen=True)
class Score:
    """A score and the percentile interval of its resamples; NaN where it is not defined."""

    value: float
    lower: float
    upper: float

    def to_json(self) -> dict[str, float | None]:
        """Return the numbers, None for those that are not defined."""
        return {name: _or_none(number) for name, number in asdict(self).items()}


@dataclass(frozen=True)
class Gain(Score):
    """By how much a model is better than a baseline (positive: better), and how probably it is."""

    probability: float


class Resamples:
    """Seeded bootstrap resamples of groups.

    Two samples of the same galaxies see the same resamples, which is what makes their difference
    paired. Groups are drawn with replacement, as many as there are; a galaxy weighs as often as its
    group was drawn.

    Parameters
    ----------
    group
        (n,) of any integer.
    count
        Number of resamples.
    seed
        Same seed, same resamples.
    """

    def __init__(self, group: npt.NDArray[np.int64], count: int, seed: int) -> None:
        names, self._codes = np.unique(group, return_inverse=True)
        self.groups = len(names)
        self.count = count
        self._seed = seed

    def weights(self) -> Iterator[Floats]:
        """Yield blocks (b, n) of whole weights, `count` rows in all.

        Nothing is yielded for fewer than two groups: resampling them says nothing about the spread.
        """
        if self.groups < 2:
            return
        random = np.random.default_rng(self._seed)
        rows = max(1, _BLOCK_ELEMENTS // len(self._codes))
        for start in range(0, self.count, rows):
            size = min(rows, self.count - start)
            drawn = random.multinomial(self.groups, np.full(self.groups, 1 / self.groups), size=size)
            yield drawn[:, self._codes].astype(np.float64)


def scores(sample: Sample) -> dict[str, float]:
    """Return the scores of a sample, NaN where one is not defined (no galaxy; r of a constant)."""
    if not len(sample):
        return dict.fromkeys(NAMES, math.nan)
    whole = _weighted(sample, np.ones((1, len(sample))), NAMES)
    return {name: float(values[0]) for name, values in whole.items()}


def bootstrap(sample: Sample, resamples: Resamples, names: Collection[str] = NAMES) -> dict[str, Floats]:
    """Return the scores `names` of every resample, each (count,); NaN where a score is not defined."""
    blocks = [_weighted(sample, weights, names) for weights in resamples.weights()]
    if not blocks:
        return {name: np.full(resamples.count, np.nan) for name in names}
    return {name: np.concatenate([block[name] for block in blocks]) for name in names}


def with_interval(value: float, draws: Floats, confidence: float) -> Score:
    """Return a score with the percentile interval of its resamples.

    The interval is not defined where the value is not, or where fewer than half the resamples are.
    """
    return Score(value, *_interval(value, draws, confidence))


def gain(value: float, draws: Floats, confidence: float) -> Gain:
    """Return a paired difference with its interval and the share of resamples in which it is positive."""
    lower, upper = _interval(value, draws, confidence)
    if math.isnan(lower):
        return Gain(value, lower, upper, math.nan)
    defined = draws[np.isfinite(draws)]
    probability = float(np.mean(defined > 0) + 0.5 * np.mean(defined == 0))
    return Gain(value, lower, upper, probability)


def gains(
    model: Mapping[str, float],
    model_draws: Mapping[str, Floats],
    baseline: Mapping[str, float],
    baseline_draws: Mapping[str, Floats],
    confidence: float,
) -> dict[str, Gain]:
    """Return by how much a model's RMSE is lower [dex] and its r higher than a baseline's.

    All four come from `scores` and `bootstrap` with the same `Resamples`.
    """
    return {
        "rmse": gain(
            baseline["rmse"] - model["rmse"], baseline_draws["rmse"] - model_draws["rmse"], confidence
        ),
        "r": gain(model["r"] - baseline["r"], model_draws["r"] - baseline_draws["r"], confidence),
    }


def nmad(residual: npt.ArrayLike) -> float:
    """Return 1.4826 median(abs(residual - median)): a sigma that outliers do not move."""
    values = np.asarray(residual, dtype=np.float64)
    return float(_NMAD_TO_SIGMA * np.median(np.abs(values - np.median(values)))) if values.size else math.nan


def _weighted(sample: Sample, weights: Floats, names: Collection[str]) -> dict[str, Floats]:
    residual = sample.predicted - sample.truth
    inside = (sample.truth >= sample.lower) & (sample.truth <= sample.upper)
    # Sums of centred values: dex are of order -10, and squares of them would lose the variance.
    x = sample.truth - sample.truth.mean()
    y = sample.predicted - sample.predicted.mean()
    columns = np.stack([x, y, x * x, y * y, x * y, residual, residual * residual, inside], axis=1)
    total = weights.sum(axis=1, keepdims=True)
    mean_x, mean_y, xx, yy, xy, bias, squares, coverage = ((weights @ columns) / total).T
    found = {
        "r": _pearson(xx - mean_x**2, yy - mean_y**2, xy - mean_x * mean_y),
        "rmse": np.sqrt(squares),
        "bias": bias,
        "coverage": coverage,
    }
    if "nmad" in names:  # the only one that sorts, and by far the slowest
        found["nmad"] = _weighted_nmad(residual, weights)
    return {name: found[name] for name in names}


def _pearson(variance_x: Floats, variance_y: Floats, covariance: Floats) -> Floats:
    defined = (variance_x > _CONSTANT_DEX**2) & (variance_y > _CONSTANT_DEX**2)
    product = np.where(defined, variance_x * variance_y, 1.0)
    return np.where(defined, np.clip(covariance / np.sqrt(product), -1.0, 1.0), np.nan)


def _weighted_nmad(residual: Floats, weights: Floats) -> Floats:
    order = np.argsort(residual, kind="stable")
    ordered = np.broadcast_to(residual[order], weights.shape)
    middle = _median_of_ordered(ordered, weights[:, order])
    deviation = np.abs(residual - middle[:, None])
    order_of_each = np.argsort(deviation, axis=1, kind="stable")
    return _NMAD_TO_SIGMA * _median_of_ordered(
        np.take_along_axis(deviation, order_of_each, axis=1),
        np.take_along_axis(weights, order_of_each, axis=1),
    )


def _median_of_ordered(values: Floats, weights: Floats) -> Floats:
    """Return the median (b,) of rows (b, n) that ascend, each value as often as its whole weight says."""
    reached = np.cumsum(weights, axis=1)
    total = reached[:, -1:]
    rows = np.arange(len(values))
    below, above = (
        values[rows, np.sum(reached <= position, axis=1)] for position in ((total - 1) // 2, total // 2)
    )
    return (below + above) / 2


def _interval(value: float, draws: Floats, confidence: float) -> tuple[float, float]:
    defined = draws[np.isfinite(draws)]
    if math.isnan(value) or 2 * len(defined) < len(draws):
        return math.nan, math.nan
    lower, upper = np.quantile(defined, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(lower), float(upper)


def _or_none(number: float) -> float | None:
    return number if math.isfinite(number) else None
