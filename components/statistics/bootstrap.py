"""Bootstrap resamples of groups of galaxies, and the intervals that follow from them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

_BLOCK_ELEMENTS = 2_000_000  # resamples are drawn in blocks of this many weights (16 MB)


@dataclass(frozen=True)
class Score:
    """A score and the percentile interval of its resamples; NaN where not defined."""

    value: float
    lower: float
    upper: float

    def to_json(self) -> dict[str, float | None]:
        """Return value, lower and upper, None where not defined."""
        return {name: _or_none(number) for name, number in asdict(self).items()}


@dataclass(frozen=True)
class Gain(Score):
    """A difference (positive: the first is better), its interval, and the share of resamples above zero."""

    probability: float


class Resamples:
    """Seeded bootstrap resamples of groups of galaxies.

    Groups are drawn with replacement, as many as there are; the weight of a galaxy is the number of times
    that its group was drawn. Two predictions of the same galaxies are scored on the same resamples, which
    makes the difference of their scores a paired one.

    Parameters
    ----------
    group
        (n,) int64; equal numbers are one group.
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
        """Yield the integer weights of n galaxies in blocks (b, n) float64, `count` rows in all.

        Yields nothing for fewer than two groups, whose resamples have no spread.
        """
        if self.groups < 2:
            return
        random = np.random.default_rng(self._seed)
        rows = max(1, _BLOCK_ELEMENTS // len(self._codes))
        for start in range(0, self.count, rows):
            size = min(rows, self.count - start)
            drawn = random.multinomial(self.groups, np.full(self.groups, 1 / self.groups), size=size)
            yield drawn[:, self._codes].astype(np.float64)


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


def _interval(value: float, draws: Floats, confidence: float) -> tuple[float, float]:
    defined = draws[np.isfinite(draws)]
    if math.isnan(value) or 2 * len(defined) < len(draws):
        return math.nan, math.nan
    lower, upper = np.quantile(defined, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(lower), float(upper)


def _or_none(number: float) -> float | None:
    return number if math.isfinite(number) else None
