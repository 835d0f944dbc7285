"""What a few numbers of each map already know: predictors without a network, which a network must beat."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from components.errors import InputError
from components.imagesets.reader import MapReader, in_batches
from components.imagesets.spec import MASS, MapAttributes
from components.progress import Progress

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

PREFIX = "baseline_"
MEAN, FLUXES, CELLS, PROFILES = (PREFIX + name for name in ("mean", "fluxes", "cells", "profiles"))

DESCRIPTIONS = {
    MEAN: "mean of the training set",
    FLUXES: "ridge on integrated fluxes",
    CELLS: "number of gas cells alone",
    PROFILES: "ridge on radial profiles",
}
"""Every baseline, in the order of the report; all maps' fields are used, whatever a case's channels."""

RINGS = 12
"""Rings between the centre and the frame's edge; the corners are one more."""

_RING_EXPONENT = 1.5  # radii (k/RINGS)^1.5: finer in the centre, where a galaxy is
_ALPHAS = np.logspace(-2, 5, 29)
_BATCH_BYTES = 48_000_000  # of float64 maps in a batch


@dataclass(frozen=True)
class Baseline:
    """A fitted baseline's predictions for every galaxy of the table, (n,) each [dex of 1/yr].

    `alpha` is the ridge's penalty on standardised features, None for the mean.
    """

    predicted: Floats
    lower: Floats
    upper: Floats
    alpha: float | None
    features: int


def rings(pixels: int) -> npt.NDArray[np.int64]:
    """Return (P, P) the number of the ring a pixel is in: 0 the centre, `RINGS` the corners."""
    offset = np.arange(pixels) - (pixels - 1) / 2
    radius = np.hypot(offset[:, None], offset[None, :]) / (pixels / 2)
    edges = (np.arange(1, RINGS + 1) / RINGS) ** _RING_EXPONENT
    return np.searchsorted(edges, radius, side="left").astype(np.int64)


def fluxes(maps: npt.NDArray[np.generic], attributes: MapAttributes) -> Floats:
    """Return (n, F) one number a field: its sum, or its mass-weighted mean where the map is such a mean.

    With star-forming gas masked, a pixel's weight is still its whole mass.

    Parameters
    ----------
    maps : (n, F, P, P)
        In the unit of `attributes`; NaN where there is no gas.
    attributes
        Of the maps.

    Returns
    -------
    (n, F) float64
        In the unit of the maps; NaN for the mean of a galaxy without gas.
    """
    flat = maps.reshape(*maps.shape[:2], -1).astype(np.float64)
    total: Floats = np.nansum(flat, axis=-1)
    if attributes.weighting != "mass_weighted_mean":
        return total
    place = attributes.fields.index(MASS)
    mass = flat[:, place]
    for field in range(len(attributes.fields)):
        if field != place:
            weight = np.where(np.isnan(flat[:, field]), 0.0, mass)
            total[:, field] = _ratio(np.nansum(weight * flat[:, field], axis=-1), weight.sum(axis=-1))
    return total


def profiles(maps: npt.NDArray[np.generic]) -> Floats:
    """Return (n, F * (RINGS + 1) * 2) the mean and the scatter of every field in every ring.

    Parameters
    ----------
    maps : (n, F, P, P)
        NaN, where there is no gas, is left out; a ring without any gas is NaN.

    Returns
    -------
    float64
        In the unit of the maps: all means, then all standard deviations.
    """
    ring = rings(maps.shape[-1]).ravel()
    order = np.argsort(ring, kind="stable")
    present, starts, sizes = np.unique(ring[order], return_index=True, return_counts=True)
    flat = maps.reshape(*maps.shape[:2], -1)[..., order].astype(np.float64)
    gas = ~np.isnan(flat)
    count = np.add.reduceat(gas, starts, axis=-1, dtype=np.float64)
    mean = _ratio(np.add.reduceat(np.where(gas, flat, 0.0), starts, axis=-1), count)
    flat -= np.repeat(mean, sizes, axis=-1)
    scatter = np.sqrt(_ratio(np.add.reduceat(np.where(gas, flat**2, 0.0), starts, axis=-1), count))
    full = np.full((2, *maps.shape[:2], RINGS + 1), np.nan)
    full[..., present] = mean, scatter
    return np.moveaxis(full, 0, 1).reshape(len(maps), -1)


def extract(reader: MapReader, galaxies: pd.DataFrame, progress: Progress) -> dict[str, Floats]:
    """Read every map once and return the features of each baseline that has some, (n, k) float64 each.

    The count of cells is left out for catalogues that have none (images).
    """
    attributes = reader.attributes
    bytes_each = 8 * len(attributes.fields) * attributes.pixels**2
    parts: dict[str, list[Floats]] = {FLUXES: [], PROFILES: []}
    with progress.task("features of the baselines", len(galaxies), "galaxies") as task:
        for rows in in_batches(np.arange(len(galaxies)), max(1, _BATCH_BYTES // bytes_each)):
            maps = reader.maps(rows)
            parts[FLUXES].append(fluxes(maps, attributes))
            parts[PROFILES].append(profiles(maps))
            task.advance(len(rows))
    found = {name: np.concatenate(blocks) for name, blocks in parts.items()}
    cells = galaxies["gas_cells_used"].to_numpy(np.float64)
    if not attributes.is_images and np.any(cells > 0):
        found[CELLS] = cells[:, None]
    return {name: found[name] for name in DESCRIPTIONS if name in found}


def fit(
    features: dict[str, Floats], label: Floats, split: npt.NDArray[np.object_], interval: float
) -> dict[str, Baseline]:
    """Fit every baseline on the training set; choose its penalty, and its interval, on the validation set.

    Non-negative features enter as their log10, all standardised. Predictions stay within the training
    set's labels. The interval holds the middle `interval` of the validation set's residuals. Without a
    validation set the penalty is that of leave-one-out, and the residuals are the training set's.

    Parameters
    ----------
    features
        Baseline -> (n, k), from `extract`.
    label : (n,)
        log10 sSFR [dex of 1/yr].
    split : (n,)
        train, validation, or another name.
    interval
        Probability of the predicted interval.

    Raises
    ------
    InputError
        No galaxy to train on.
    """
    train, validation = split == "train", split == "validation"
    if not train.any():
        raise InputError("galaxies.parquet: the train set is empty; use more galaxies or change the split")
    judges = validation if validation.any() else train
    constant = np.full(len(label), label[train].mean())
    fitted = {MEAN: _with_interval(constant, label, judges, interval, None, 0)}
    for name, matrix in features.items():
        predicted, alpha = _ridge(matrix, label, train, validation)
        fitted[name] = _with_interval(predicted, label, judges, interval, alpha, matrix.shape[1])
    return fitted


def _ridge(matrix: Floats, label: Floats, train: Flags, validation: Flags) -> tuple[Floats, float]:
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import Ridge, RidgeCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    standard = make_pipeline(
        SimpleImputer(strategy="median", add_indicator=True, keep_empty_features=True), StandardScaler()
    )
    logarithms = _log_where_positive(matrix, train)
    standard.fit(logarithms[train])
    columns = standard.transform(logarithms)

    def predict(alpha: float) -> Floats:
        model = Ridge(alpha=alpha).fit(columns[train], label[train])
        within: Floats = np.clip(model.predict(columns), label[train].min(), label[train].max())
        return within

    if not validation.any():
        alpha = float(RidgeCV(_ALPHAS).fit(columns[train], label[train]).alpha_)
        return predict(alpha), alpha
    alpha = min(_ALPHAS[::-1], key=lambda alpha: float(np.sum((predict(alpha) - label)[validation] ** 2)))
    return predict(alpha), float(alpha)


def _log_where_positive(matrix: Floats, train: Flags) -> Floats:
    """Return log10 of the columns that are nowhere negative in the training set, the others as they are.

    A zero counts as the column's smallest positive value: dust in the corner of a frame is not -inf.
    """
    result = matrix.copy()
    for column in range(matrix.shape[1]):
        seen = matrix[train, column]
        positive = seen[seen > 0]
        if positive.size and not (seen < 0).any():
            floor = positive.min()
            values = matrix[:, column]
            result[:, column] = np.log10(np.where(values < floor, floor, values))
    return result


def _with_interval(
    predicted: Floats,
    label: Floats,
    validation: Flags,
    interval: float,
    alpha: float | None,
    features: int,
) -> Baseline:
    residual = (label - predicted)[validation]
    below, above = np.quantile(residual, [(1 - interval) / 2, (1 + interval) / 2])
    return Baseline(predicted, predicted + below, predicted + above, alpha, features)


def _ratio(numerator: Floats, denominator: Floats) -> Floats:
    defined = denominator > 0
    ratio: Floats = np.where(defined, numerator / np.where(defined, denominator, 1.0), np.nan)
    return ratio
