"""What a server predicted, and what it says of its versions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Answer:
    """What was predicted for n galaxies.

    Attributes
    ----------
    log10_ssfr, lower, upper
        (n,) float32 log10(sSFR / yr^-1); the interval holds the truth with the model's stated probability.
    ssfr
        (n,) float32 [1/yr].
    versions
        (n,) int64, the version of the model that answered.
    """

    log10_ssfr: np.ndarray
    ssfr: np.ndarray
    lower: np.ndarray
    upper: np.ndarray
    versions: np.ndarray


@dataclass(frozen=True)
class VersionStatus:
    """State of a version on the server ("AVAILABLE", ...) and what is wrong with it, if anything."""

    version: int
    state: str
    problem: str
