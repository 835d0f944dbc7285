"""How well a label is predicted: r, RMSE, NMAD, bias and coverage, of a sample and of its resamples."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ssfr.components.statistics.bootstrap import Floats, Gain, Resamples, gain

NAMES = ("r", "rmse", "nmad", "bias", "coverage")
"""The scores: Pearson r; RMSE, NMAD and bias [dex]; coverage, the share of truths in their interval."""

_NMAD_TO_SIGMA = 1.4826022185056018  # 1 / Phi^-1(3/4): makes the NMAD of a Gaussian its sigma
_CONSTANT_DEX = 1e-5  # a spread below this is a constant: float32 rounds log10 sSFR at 1e-6


@dataclass(frozen=True)
class Sample:
    """The true and predicted labels of n galaxies.

    Attributes
    ----------
    truth, predicted, lower, upper
        (n,) float64, in the label's unit: the true label, the prediction, and the ends of its interval.
    group
        (n,) int64. Galaxies with the same number are not independent (one merger tree or halo), and are
        drawn together in a resample.
    """

    truth: Floats
    predicted: Floats
    lower: Floats
    upper: Floats
    group: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.truth)


def scores(sample: Sample) -> dict[str, float]:
    """Return the scores of a sample, name -> value; NaN for an empty sample, and for r of a constant."""
    if not len(sample):
        return dict.fromkeys(NAMES, math.nan)
    once = _weighted(sample, np.ones((1, len(sample))), NAMES)
    return {name: float(values[0]) for name, values in once.items()}


def resampled_scores(
    sample: Sample, resamples: Resamples, names: Collection[str] = NAMES
) -> dict[str, Floats]:
    """Return the scores `names` of every resample, name -> (count,) float64; NaN where not defined."""
    blocks = [_weighted(sample, weights, names) for weights in resamples.weights()]
    if not blocks:
        return {name: np.full(resamples.count, np.nan) for name in names}
    return {name: np.concatenate([block[name] for block in blocks]) for name in names}


def gains(
    model: Mapping[str, float],
    model_draws: Mapping[str, Floats],
    baseline: Mapping[str, float],
    baseline_draws: Mapping[str, Floats],
    confidence: float,
) -> dict[str, Gain]:
    """Return the gains of a model over a baseline: RMSE of the baseline minus its own [dex], and r minus r.

    All four come from `scores` and `resampled_scores` with the same `Resamples`.
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
    """Return the median (b,) of ascending rows (b, n), each value repeated as often as its integer weight."""
    reached = np.cumsum(weights, axis=1)
    total = reached[:, -1:]
    rows = np.arange(len(values))
    below, above = (
        values[rows, np.sum(reached <= position, axis=1)] for position in ((total - 1) // 2, total // 2)
    )
    return (below + above) / 2
