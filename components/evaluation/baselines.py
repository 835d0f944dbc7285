"""Baselines: predictions from a few numbers of each map, without a network; a network has to beat them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ssfr.components.errors import InputError
from ssfr.components.models.interval import calibrate

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

PREFIX = "baseline_"
MEAN, FLUXES, CELLS, PROFILES, SPECTRUM, BOOSTING = (
    PREFIX + name for name in ("mean", "fluxes", "cells", "profiles", "spectrum", "boosting")
)

DESCRIPTIONS = {
    MEAN: "mean of the training set",
    FLUXES: "ridge on integrated fluxes",
    CELLS: "number of gas cells alone",
    PROFILES: "ridge on radial profiles",
    SPECTRUM: "ridge on power spectra",
    BOOSTING: "gradient boosting on all of these numbers",
}
"""Every baseline, in the order of the report; all maps' fields are used, whatever a case's channels."""

_ALPHAS = np.logspace(-2, 5, 29)
_FOLDS = 5
_LEAVES = (2, 4, 8, 16)
"""Sizes of the trees of boosting that are tried; 2 leaves: no two features at once."""
_TREES = 200
_RATE = 0.07
_SMALLEST_LEAF = 10
_CHOOSING_SHARE = 5
"""Without a validation set, one group in so many of the training set chooses the size of the trees."""


@dataclass(frozen=True)
class Baseline:
    """The predictions of a fitted baseline for n galaxies.

    Attributes
    ----------
    predicted, lower, upper
        (n,) float64, in the label's unit, log10(sSFR / yr^-1) by default.
    choice
        Settings that the validation set chose: the ridge's penalty on standardised features (alpha), or
        the size and number of boosted trees (leaves, trees); empty for the mean.
    features
        Numbers a galaxy that the baseline is fitted to.
    """

    predicted: Floats
    lower: Floats
    upper: Floats
    choice: Mapping[str, float]
    features: int


def fit(
    features: Mapping[str, Floats],
    label: Floats,
    split: npt.NDArray[np.object_],
    group: npt.NDArray[np.int64],
    interval: float,
    seed: int,
) -> dict[str, Baseline]:
    """Fit every baseline on the training set; choose its settings, and its interval, on the validation set.

    Ridges take the log10 of features that are nowhere negative, and standardise all of them. Predictions
    are clipped to the range of the training labels. The interval is calibrated as a network's is
    (`models.interval`). Without a validation set, ridges are chosen by leave-one-out (where groups have
    several rows: by leaving out a fifth of the groups), boosting by a fifth of the training set's groups, and
    the interval comes from the training set.

    Parameters
    ----------
    features
        fluxes, profiles, spectrum, cells -> (n, k), from `features.extract`.
    label : (n,)
        The true label, log10(sSFR / yr^-1) by default.
    split : (n,)
        train, validation, or another name.
    group : (n,)
        Galaxies that share a number are not independent.
    interval
        Probability of the predicted interval.
    seed
        Draws the groups of that fifth.

    Raises
    ------
    InputError
        No galaxy to train on.
    """
    train, validation = split == "train", split == "validation"
    if not train.any():
        raise InputError("galaxies.parquet: the train set is empty; use more galaxies or change the split")
    calibrating = validation if validation.any() else train
    matrices = {PREFIX + name: matrix for name, matrix in features.items()}
    constant = np.full(len(label), label[train].mean())
    fitted = {MEAN: _with_interval(constant, label, calibrating, interval, {}, 0)}
    for name, matrix in matrices.items():
        predicted, alpha = _ridge(matrix, label, train, validation, group)
        fitted[name] = _with_interval(
            predicted, label, calibrating, interval, {"alpha": alpha}, matrix.shape[1]
        )
    if matrices:
        everything = np.concatenate(list(matrices.values()), axis=1)
        choosing = validation if validation.any() else _some_groups(train, group, seed)
        predicted, choice = _boosting(everything, label, train, choosing)
        fitted[BOOSTING] = _with_interval(
            predicted, label, calibrating, interval, choice, everything.shape[1]
        )
    return {name: fitted[name] for name in DESCRIPTIONS if name in fitted}


def _ridge(
    matrix: Floats, label: Floats, train: Flags, validation: Flags, group: npt.NDArray[np.int64]
) -> tuple[Floats, float]:
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import Ridge
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    standard = make_pipeline(
        SimpleImputer(strategy="median", add_indicator=True, keep_empty_features=True), StandardScaler()
    )
    logarithms = _log_where_positive(matrix, train)
    standard.fit(logarithms[train])
    columns = standard.transform(logarithms)

    def predict(alpha: float) -> Floats:
        return _within(Ridge(alpha=alpha).fit(columns[train], label[train]).predict(columns), label[train])

    if not validation.any():
        alpha = _alpha_by_folds(columns[train], label[train], group[train])
        return predict(alpha), alpha
    alpha = min(_ALPHAS[::-1], key=lambda alpha: float(np.sum((predict(alpha) - label)[validation] ** 2)))
    return predict(alpha), float(alpha)


def _alpha_by_folds(columns: Floats, label: Floats, group: npt.NDArray[np.int64]) -> float:
    """Choose the penalty by leaving out galaxies one by one, or groups where these have several rows."""
    from sklearn.linear_model import RidgeCV
    from sklearn.model_selection import GroupKFold

    groups = len(np.unique(group))
    if groups == len(group):
        return float(RidgeCV(_ALPHAS).fit(columns, label).alpha_)
    folds = GroupKFold(min(_FOLDS, groups)).split(columns, label, group)
    chosen = RidgeCV(_ALPHAS, scoring="neg_mean_squared_error", cv=list(folds)).fit(columns, label)
    return float(chosen.alpha_)


def _boosting(
    matrix: Floats, label: Floats, train: Flags, choosing: Flags
) -> tuple[Floats, dict[str, float]]:
    """Boost trees on `train`, of the size and number with the smallest error on the galaxies `choosing`."""
    from sklearn.ensemble import HistGradientBoostingRegressor
    from threadpoolctl import threadpool_limits

    def booster(leaves: int, trees: int) -> HistGradientBoostingRegressor:
        return HistGradientBoostingRegressor(
            learning_rate=_RATE,
            max_iter=trees,
            max_leaf_nodes=leaves,
            min_samples_leaf=_SMALLEST_LEAF,
            early_stopping=False,
        )

    def staged_errors(model: HistGradientBoostingRegressor) -> list[float]:
        model.fit(matrix[fitting], label[fitting])
        stages = model.staged_predict(matrix[choosing])
        return [float(np.mean((predicted - label[choosing]) ** 2)) for predicted in stages]

    fitting = train & ~choosing
    matrix = matrix[:, ~np.isnan(matrix[fitting]).all(axis=0)]  # a ring of a small map may hold no pixel
    # Threads that wait for each other cost more than they save on trees this small.
    with threadpool_limits(1, "openmp"):
        error = np.array([staged_errors(booster(leaves, _TREES)) for leaves in _LEAVES])
        size, last = np.unravel_index(np.argmin(error), error.shape)
        leaves, trees = _LEAVES[size], int(last) + 1
        predicted = booster(leaves, trees).fit(matrix[train], label[train]).predict(matrix)
    return _within(predicted, label[train]), {"leaves": leaves, "trees": trees}


def _some_groups(train: Flags, group: npt.NDArray[np.int64], seed: int) -> Flags:
    """Return the galaxies of a random fifth, at least one, of the training set's groups."""
    names = np.unique(group[train])
    count = max(1, len(names) // _CHOOSING_SHARE)
    chosen = np.random.default_rng(seed).choice(names, size=count, replace=False)
    some = train & np.isin(group, chosen)
    return some if (train & ~some).any() else train


def _within(predicted: Floats, seen: Floats) -> Floats:
    clipped: Floats = np.clip(predicted, seen.min(), seen.max())
    return clipped


def _log_where_positive(matrix: Floats, train: Flags) -> Floats:
    """Return log10 of the columns that are nowhere negative in the training set, the others as they are.

    A zero counts as the smallest positive value of its column, since an empty corner has no logarithm.
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
    calibrating: Flags,
    interval: float,
    choice: Mapping[str, float],
    features: int,
) -> Baseline:
    found = calibrate(label[calibrating], predicted[calibrating], None, interval)
    return Baseline(predicted, predicted + found["lower"], predicted + found["upper"], choice, features)
