"""Train the network of one case: from maps and a split to a model folder."""

from __future__ import annotations

import shutil
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd

from components.config import Case, Settings, TrainingSettings
from components.errors import InputError, nearest
from components.imagesets.reader import ImageSet, MapReader
from components.imagesets.spec import load_spec
from components.models.folder import HISTORY, write_model
from components.models.networks import build_network, fold_unit, mean_and_log_variance, wake_head
from components.models.weights import VGG16_MD5
from components.progress import Progress
from components.storage.artifact import atomic_file
from components.training.features import FeatureFile, compute_features
from components.training.interval import calibrate
from components.training.loop import CHECKPOINT, Dataset, fit, predict
from components.training.runtime import prepare_backend

_UNFINISHED = "unfinished"
"""Folder of features and checkpoint; gone when the model folder is whole."""
_REDUCE_BATCH = 32
_FEWEST = 2
"""Galaxies to train on: one has no spread."""
_LOOK = 256
"""Training galaxies that set the start of the head."""
_THESIS_OFFSET = -15.0
"""The thesis' label is log10(1e15 sSFR): the only one here that a final ReLU can reach."""


def run(
    output: Path,
    maps_dir: Path,
    prepared_dir: Path,
    case_name: str,
    settings: Settings,
    progress: Progress,
    expected_md5: str = VGG16_MD5,
) -> dict[str, Any]:
    """Train one case and write its model folder: model.json, weights.npz, history.csv.

    Parameters
    ----------
    output
        Exists; may hold what an earlier, killed call with the same arguments had finished.
    maps_dir, prepared_dir
        Of projection (or ingestion) and of preparation.
    case_name
        Among `settings.cases`.
    settings
        Of the whole run; seed, cases, preprocessing, training and evaluation.interval are used.
    progress
        Is given images, then epochs.
    expected_md5
        Of VGG16's weights file, where the model needs it.

    Returns
    -------
    dict
        Figures: parameters, epochs, validation scores, seconds.

    Raises
    ------
    InputError
        No such case, nothing to train or validate on, images that don't fit the network, weights that
        can't be had, or a training that broke down.
    """
    started = time.monotonic()
    training = settings.training
    case = _case(settings, case_name)
    galaxies = _galaxies(prepared_dir, training)
    prepare_backend(settings.seed, training.threads, training.deterministic, progress)
    unfinished = output / _UNFINISHED
    unfinished.mkdir(exist_ok=True)

    vgg16 = training.model == "vgg16"
    dtype = training.vgg16.features if vgg16 else "float32"
    with MapReader(maps_dir, galaxies) as reader:
        spec = load_spec(case, settings.preprocessing, reader.attributes, prepared_dir)
        network = build_network(training, spec, settings.seed, dtype, expected_md5)
        features = FeatureFile(unfinished / "features.npy", network.feature_shape, dtype)
        batch = training.vgg16.feature_batch if vgg16 else _REDUCE_BATCH
        compute_features(features, ImageSet(reader, spec), list(galaxies["galaxy"]), network, batch, progress)

    split = galaxies["split"].to_numpy(dtype=object)
    log10_ssfr = galaxies["log10_ssfr"].to_numpy(dtype=np.float64)
    label = _label(log10_ssfr[split == "train"], training)
    data = Dataset(
        features.open(),
        ((log10_ssfr - label["offset"]) / label["scale"]).astype(np.float32),
        train=np.flatnonzero(split == "train"),
        validation=np.flatnonzero(split == "validation"),
    )
    if vgg16:
        some = data.read(data.train[:_LOOK])
        wake_head(network.trained, some)
        # Steps of an optimizer know nothing of the size of features, which differs by backbone.
        data = replace(data, unit=float(np.sqrt(np.mean(some**2))) or 1.0)
    # From bias 0 a final ReLU would start dead for about half of all seeds.
    network.trained.layers[-1].bias.assign(_mean_label(data, training))
    state = fit(network.trained, data, training, settings.seed, case_name, unfinished / CHECKPOINT, progress)

    held_out = data.validation if len(data.validation) else data.train
    mean, sigma = _in_dex(predict(network.trained, data, held_out), label)
    interval = calibrate(log10_ssfr[held_out], mean, sigma, settings.evaluation.interval)
    if vgg16:
        fold_unit(network.trained, data.unit)
    residuals = mean - log10_ssfr[held_out]
    figures = {
        "case": case_name,
        "model": training.model,
        "parameters": {"trainable": network.trained.count_params(), "frozen": network.frozen_parameters},
        "validation": {
            "set": "validation" if len(data.validation) else "train",
            "galaxies": len(held_out),
            "rmse_dex": float(np.sqrt(np.mean(residuals**2))),
            "bias_dex": float(np.mean(residuals)),
            "epochs": state.epoch,
            "best_epoch": state.best_epoch,
        },
    }
    if not len(data.validation):
        progress.warn(
            f"case '{case_name}': without a validation set the interval is that of the training galaxies, and"
            " too narrow; set preprocessing.split.validation"
        )
    with atomic_file(output / HISTORY) as part:
        pd.DataFrame(state.history).to_csv(part, index=False)
    description = {
        **figures,
        "training": training.model_dump(mode="json"),
        "spec": spec.model_dump(mode="json"),
        "input": {
            "kind": spec.source,
            "fields": list(spec.fields),
            "channels": list(spec.channels),
            "pixels": spec.pixels,
        },
        "label": label,
        "interval": interval,
        "seed": settings.seed,
        "backbone": network.backbone,
        "versions": {"keras": keras.__version__, "backend": keras.backend.backend()},
    }
    write_model(output, description, network.trained.get_weights())
    shutil.rmtree(unfinished)
    return {**figures, "seconds": round(time.monotonic() - started, 1)}


def _case(settings: Settings, name: str) -> Case:
    cases = {case.name: case for case in settings.cases}
    if name not in cases:
        raise InputError(f"cases: no case '{name}'{nearest(name, cases)}")
    return cases[name]


def _galaxies(prepared_dir: Path, training: TrainingSettings) -> pd.DataFrame:
    """Return the galaxies that train and validate, checked against the settings that need them."""
    path = prepared_dir / "galaxies.parquet"
    if not path.is_file():
        raise InputError(f"{path}: no such file; prepare the data first")
    table = pd.read_parquet(path)
    count = table["split"].value_counts()
    if count.get("train", 0) < _FEWEST:
        raise InputError(
            f"{path}: split: {count.get('train', 0)} galaxies to train on, expected at least {_FEWEST};"
            " select more, or lower preprocessing.split's shares"
        )
    for setting, used in (
        ("keep: best_validation", training.keep == "best_validation"),
        ("patience", training.patience is not None),
    ):
        if used and not count.get("validation", 0):
            raise InputError(
                f"{path}: split: no galaxy to validate on, as training.{setting} needs; raise"
                " preprocessing.split.validation, or set training.keep: last and training.patience: null"
            )
    return table[table["split"].isin(["train", "validation"])].reset_index(drop=True)


def _label(log10_ssfr: np.ndarray, training: TrainingSettings) -> dict[str, Any]:
    """Return how the network's first output becomes log10 sSFR [dex of 1/yr]: offset + scale x output."""
    if training.model == "vgg16" and training.vgg16.last_activation == "relu":
        offset, scale = _THESIS_OFFSET, 1.0
    else:
        offset, scale = float(np.mean(log10_ssfr)), float(np.std(log10_ssfr)) or 1.0
    return {"name": "log10_ssfr", "unit": "dex of 1/yr", "offset": offset, "scale": scale}


def _mean_label(data: Dataset, training: TrainingSettings) -> np.ndarray:
    """Return the last layer's first bias: the mean label, and a log variance of 0."""
    bias = np.zeros(2 if training.loss == "gaussian_nll" else 1, np.float32)
    bias[0] = data.labels[data.train].mean()
    return bias


def _in_dex(outputs: np.ndarray, label: dict[str, Any]) -> tuple[np.ndarray, np.ndarray | None]:
    """Return predicted mean and, where the network gives one, standard deviation [dex]."""
    mean = label["offset"] + label["scale"] * outputs[:, 0].astype(np.float64)
    if outputs.shape[1] == 1:
        return mean, None
    _, log_variance = mean_and_log_variance(outputs)
    sigma = label["scale"] * np.exp(0.5 * keras.ops.convert_to_numpy(log_variance).astype(np.float64))
    return mean, sigma
