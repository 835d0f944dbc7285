"""What brings channels to order one: softening, mean and scatter, or maxima, seen on the training set.

Pixels are counted in bins of log10 abs(x), by sign. Counts are integers, so the fit is the same
in whatever order and batches the maps come, and needs one pass and no map in memory but the batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ssfr.components.config import Case, PreprocessingSettings
from ssfr.components.errors import InputError, nearest
from ssfr.components.imagesets.reader import MapReader, in_batches
from ssfr.components.imagesets.spec import MASS, ChannelScale, ImageSpec
from ssfr.components.imagesets.transform import physical_channels, stretched
from ssfr.components.runtime.progress import Progress

_BATCH = 16
_QUANTILE, _SIGNED_QUANTILE = 0.1, 0.5
# A map of one sign is seen as its logarithm but for the faintest tenth. The signed difference from a
# blur is centred on zero: a softening at its median keeps its small half linear, not split in two.

_DECADES = (-40.0, 40.0)
_PER_DECADE = 200


@dataclass
class PixelCounts:
    """Pixels of one channel: zeros, and histograms of log10 abs(x) by sign."""

    zeros: int = 0
    signs: dict[int, np.ndarray] = field(
        default_factory=lambda: {sign: np.zeros(_n_bins(), np.int64) for sign in (-1, 1)}
    )

    def add(self, values: np.ndarray) -> None:
        """Count `values` (finite, any shape)."""
        self.zeros += int(np.sum(values == 0))
        for sign in self.signs:
            size = sign * values[sign * values > 0].astype(np.float64)
            place = ((np.log10(size) - _DECADES[0]) * _PER_DECADE).astype(np.int64)
            self.signs[sign] += np.bincount(np.clip(place, 0, _n_bins() - 1), minlength=_n_bins())

    @property
    def total(self) -> int:
        """Pixels counted."""
        return self.zeros + int(sum(counts.sum() for counts in self.signs.values()))

    def softening(self, quantile: float) -> float:
        """Return the quantile of abs(x) over the pixels that are not zero; 1 where all are."""
        both = np.cumsum(self.signs[-1] + self.signs[1])
        if both[-1] == 0:
            return 1.0
        return float(_centres()[np.searchsorted(both, quantile * both[-1])])

    def scale(self, spec: ImageSpec, quantile: float) -> ChannelScale:
        """Return softening, and mean and scatter of the stretched pixels."""
        softening = 1.0 if spec.stretch == "linear" else self.softening(quantile)
        size = stretched(np, _centres(), spec, softening)
        total = max(self.total, 1)
        mean = float((self.signs[1] - self.signs[-1]) @ size / total)
        square = float((self.signs[1] + self.signs[-1]) @ size**2 / total)
        scatter = float(np.sqrt(max(square - mean**2, 0.0)))
        return ChannelScale(softening=softening, mean=mean, std=scatter if scatter > 1e-6 else 1.0)


def fit_scales(
    reader: MapReader,
    rows: np.ndarray,
    cases: Sequence[Case],
    settings: PreprocessingSettings,
    progress: Progress,
) -> dict[str, dict[str, dict[str, float]]]:
    """Fit the float path's scales of every case and channel, over pixels with gas.

    Parameters
    ----------
    reader
        Of the maps.
    rows
        Training rows in an order that does not depend on the sample's; the first
        `settings.scale_galaxies` are used.
    cases, settings
        What is fitted: the filter changes a channel's distribution, so each case has its own.
    progress
        Shows the galaxies done.

    Returns
    -------
    dict
        case -> channel -> {softening, mean, std}; softening in the unit of the map.
    """
    specs = [ImageSpec.build(case, settings, reader.identity) for case in cases]
    counts = {spec.case: {name: PixelCounts() for name in spec.channels} for spec in specs}
    chosen = rows[: settings.scale_galaxies]
    with progress.task("scaling", len(chosen), "galaxies") as task:
        for part in in_batches(chosen, _BATCH):
            maps = reader.maps(part)
            for spec in specs:
                gas = _has_gas(maps, spec)
                for name, layer in zip(spec.channels, physical_channels(np, maps, spec), strict=True):
                    counts[spec.case][name].add(layer[gas & np.isfinite(layer)])
            task.advance(len(part))
    scales: dict[str, dict[str, dict[str, float]]] = {}
    for spec in specs:
        quantile = _SIGNED_QUANTILE if spec.filter.signed else _QUANTILE
        for name, count in counts[spec.case].items():
            if count.total == 0:
                raise InputError(
                    f"case '{spec.case}': field '{name}' has no pixel with gas in {len(chosen)} training maps"
                )
            scales.setdefault(spec.case, {})[name] = count.scale(spec, quantile).model_dump()
    return scales


def fit_maxima(
    reader: MapReader, rows: np.ndarray, spec: ImageSpec, settings: PreprocessingSettings, progress: Progress
) -> dict[str, float]:
    """Return the pixel of largest magnitude of each field of the 8-bit picture over `rows`.

    Returns
    -------
    dict
        field -> that pixel in the map's unit, with its sign where ``preprocessing.maximum`` is signed. The
        thesis' own are positive: 6.21e3 (entropy), 1.56e-2 (mass), 1.25e4 (temperature).

    Raises
    ------
    InputError
        All pixels of a field are 0 or undefined.
    """
    low, high = (np.zeros(len(spec.composite)) for _ in range(2))
    places = [spec.fields.index(name) for name in spec.composite]
    with progress.task("maxima", len(rows), "galaxies") as task:
        for part in in_batches(rows, _BATCH):
            maps = reader.maps(part)[:, places]
            finite = np.where(np.isfinite(maps), maps, 0.0)
            low = np.minimum(low, finite.min(axis=(0, 2, 3)))
            high = np.maximum(high, finite.max(axis=(0, 2, 3)))
            task.advance(len(part))
    largest = np.where(-low > high, low, high)
    if settings.maximum == "magnitude":
        largest = np.abs(largest)
    maxima = dict(zip(spec.composite, largest.tolist(), strict=True))
    for name, value in maxima.items():
        if value == 0.0:
            raise InputError(
                f"preprocessing.normalisation: all pixels of '{name}' over {len(rows)} galaxies are 0; use "
                "normalisation: fixed with fixed_maxima, or pixel_type: float32"
            )
    return maxima


def fixed_maxima(spec: ImageSpec, settings: PreprocessingSettings) -> dict[str, float]:
    """Return the maxima that the settings give, checked against the fields of the picture."""
    given = settings.fixed_maxima
    for name in given:
        if name not in spec.fields:
            raise InputError(
                f"preprocessing.fixed_maxima: no field '{name}' in the maps{nearest(name, spec.fields)}"
            )
    for name in spec.composite:
        if not (given.get(name) and np.isfinite(given[name])):
            raise InputError(
                f"preprocessing.fixed_maxima: expected a number other than 0 for '{name}' "
                f"[{spec.units[spec.fields.index(name)]}]"
            )
    return {name: given[name] for name in spec.composite}


def _has_gas(maps: np.ndarray, spec: ImageSpec) -> Any:
    if spec.source == "images" or MASS not in spec.fields:
        return True
    return maps[:, spec.fields.index(MASS)] > 0


def _n_bins() -> int:
    return int((_DECADES[1] - _DECADES[0]) * _PER_DECADE)


def _centres() -> np.ndarray:
    exponents: np.ndarray = _DECADES[0] + (np.arange(_n_bins()) + 0.5) / _PER_DECADE
    return 10.0**exponents
