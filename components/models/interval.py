"""The interval around a prediction, calibrated on galaxies whose labels were not fitted."""

from __future__ import annotations

import math
from typing import Any

import numpy as np


def calibrate(
    labels: np.ndarray,
    mean: np.ndarray,
    sigma: np.ndarray | None,
    probability: float,
) -> dict[str, Any]:
    """Find the interval that holds a new galaxy's true value with `probability`.

    Parameters
    ----------
    labels, mean : (n,)
        True and predicted labels.
    sigma : (n,) or None
        Predicted standard deviation [dex]; None for a network that predicts none.
    probability
        Wanted coverage.

    Returns
    -------
    dict
        ``{"kind": "scaled_sigma", "factor"}``: mean +- factor x sigma; without `sigma`
        ``{"kind": "residuals", "lower", "upper"}`` [dex]: mean + lower to mean + upper. Both with
        ``probability`` and the number of ``galaxies``.

    References
    ----------
    Split conformal prediction (Lei et al. 2018, arXiv:1604.04173): the ceil((n + 1) p)-th smallest score
    covers with at least p if these galaxies and new ones are exchangeable. Here they nearly are: the
    validation set also chooses the epoch that is kept, so its residuals are a little too small, and its
    galaxies come in groups (trees), so that n counts fewer independent ones. The report measures the
    coverage on the test set.
    """
    common = {"probability": probability, "galaxies": len(labels)}
    residuals = labels - mean
    if sigma is not None:
        return {"kind": "scaled_sigma", "factor": _rank(np.abs(residuals) / sigma, probability), **common}
    one_sided = (1.0 + probability) / 2.0
    lower, upper = -_rank(-residuals, one_sided), _rank(residuals, one_sided)
    return {"kind": "residuals", "lower": lower, "upper": upper, **common}


def _rank(scores: np.ndarray, probability: float) -> float:
    """Return the ceil((n + 1) p)-th smallest score, the largest where n is too small for p."""
    place = min(math.ceil((len(scores) + 1) * probability), len(scores))
    return float(np.sort(scores)[place - 1])
