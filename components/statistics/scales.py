"""Which scales the filter of a case keeps, and cases whose ranges of scale add up to the full image."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from ssfr.components.statistics.pairwise import PairwiseR

_RANGES: dict[str, Callable[[Mapping[str, Any]], tuple[float, float]]] = {
    "high_pass": lambda one: (0.0, one["sigma"]),
    "band": lambda one: (one["sigma"], one["sigma_max"]),
    "gaussian": lambda one: (one["sigma"], math.inf),
}
"""Kind of filter -> lower and upper end of the scales that it keeps, in the filter's unit."""


def ranges(study: PairwiseR, channels: tuple[str, ...]) -> dict[str, str]:
    """Return case -> its range of scales in words, for the cases whose ranges add up to all scales.

    Of several such sets of cases the one with most cases is taken; where there is a gap, the result is
    empty.
    """
    by_unit: dict[str, dict[str, tuple[float, float]]] = {}
    for case in study.models:
        own = study.filters[case]
        if study.channels[case] == channels and own["kind"] in _RANGES:
            by_unit.setdefault(own["unit"], {})[case] = _RANGES[own["kind"]](own)
    for unit, found in by_unit.items():
        if chain := _longest_chain(found, 0.0):
            return {case: in_words(*found[case], unit) for case in chain}
    return {}


def in_words(begin: float, end: float, unit: str) -> str:
    """Return a range of scales as "below 3 kpc", "1 to 3 kpc" or "above 3 kpc"."""
    if begin == 0.0:
        return f"below {end:g} {unit}"
    return f"above {begin:g} {unit}" if end == math.inf else f"{begin:g} to {end:g} {unit}"


def _longest_chain(ends: Mapping[str, tuple[float, float]], begin: float) -> list[str] | None:
    """Return the most cases whose ranges join from `begin` to infinity; None where they leave a gap."""
    if begin == math.inf:
        return []
    chains = []
    for case, (own, end) in ends.items():
        rest = _longest_chain(ends, end) if own == begin else None
        if rest is not None:
            chains.append([case, *rest])
    return max(chains, key=len, default=None)
