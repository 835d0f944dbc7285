"""Predictions of a server, and the states of its versions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Answer:
    """What was predicted for n galaxies.

    Attributes
    ----------
    label
        Name of what is predicted, for example ``log10_ssfr``.
    predicted, lower, upper
        (n,) float32 [dex]; the interval holds the truth with the model's stated probability.
    linear
        (n,) float32, 10^predicted in the unit of the quantity: for sSFR in 1/yr.
    versions
        (n,) int64, the version of the model that answered.
    """

    label: str
    predicted: np.ndarray
    linear: np.ndarray
    lower: np.ndarray
    upper: np.ndarray
    versions: np.ndarray


@dataclass(frozen=True)
class VersionStatus:
    """State of a version on the server ("AVAILABLE", ...) and what is wrong with it, if anything."""

    version: int
    state: str
    problem: str
