"""Train the networks of one case: from maps and a split to a model folder."""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd

from ssfr.components.config import Settings, TrainingSettings
from ssfr.components.identity.labels import LabelIdentity
from ssfr.components.imagesets.reader import ImageSet, MapReader, load_spec
from ssfr.components.imagesets.spec import ImageSpec
from ssfr.components.models.architecture import Architecture, Frozen, architecture_of
from ssfr.components.models.folder import (
    HISTORY,
    failure,
    is_complete,
    members,
    read_description,
    write_failure,
    write_model,
)
from ssfr.components.models.interval import calibrate
from ssfr.components.models.outputs import mean_and_log_variance
from ssfr.components.models.weights import VGG16_MD5
from ssfr.components.runtime.progress import Progress
from ssfr.components.storage.artifact import atomic_file
from ssfr.components.training.features import FeatureFile, compute_features
from ssfr.components.training.loop import BrokenTrainingError, Dataset, fit, predict
from ssfr.components.training.plan import Fit, find_case, fits, read_galaxies, rows_of
from ssfr.components.training.runtime import prepare_backend

_UNFINISHED = "unfinished"
"""Folder of features and checkpoints; removed when the last network is complete."""
_LOOK = 256
"""Training galaxies that set the start of the head."""
_NEXT_START = 1_000_003
"""Between the seeds of two starts of a network: far from those of the other networks of a case."""
_FIGURES = ("case", "model", "parameters", "validation")


def run(
    output: Path,
    maps_dir: Path,
    prepared_dir: Path,
    case_name: str,
    settings: Settings,
    progress: Progress,
    expected_md5: str = VGG16_MD5,
    audit: bool = False,
) -> dict[str, Any]:
    """Train the networks of one case and write its model folder (see `ssfr.components.models.folder`).

    The frozen part of the network is run once an image; every seed, milestone and split of the audit is
    trained on the same features. The scales of the channels are those fitted on the real training set,
    for the audit too.

    A training that breaks down is no error of this call: it is warned of, and started again from other
    first weights as often as the settings allow, which model.json tells (``broken_starts``); then it is
    written as failed.json. If that is the first seed's, the case has failed, and nothing else of it is
    trained.

    Parameters
    ----------
    output
        Exists; may hold what an earlier, killed call with the same arguments had finished.
    maps_dir, prepared_dir
        Of projection (or ingestion) and of preparation.
    case_name
        Among `settings.cases`.
    settings
        Of the run; seed, cases, preprocessing, training and evaluation.interval are used.
    progress
        Is given images, then epochs.
    expected_md5
        Of VGG16's weights file, where the model needs it.
    audit
        Train those of the leakage audit too.

    Returns
    -------
    dict
        Figures of the first seed: parameters, epochs, validation scores; ``networks``, how many were
        trained; ``failed``, why the case failed; ``seconds`` of this call.

    Raises
    ------
    InputError
        No such case, nothing to train or validate on, images that don't fit the network, or weights that
        can't be had.
    """
    started = time.monotonic()
    case = find_case(settings, case_name)
    planned = fits(output, case_name, settings, audit)
    galaxies = read_galaxies(prepared_dir, planned, settings.training)
    unfinished = output / _UNFINISHED
    if _remaining(planned):
        prepare_backend(settings.seed, settings.training.threads, settings.training.deterministic, progress)
        unfinished.mkdir(exist_ok=True)
        with MapReader(maps_dir, galaxies) as reader:
            label = LabelIdentity.of_table(prepared_dir / "galaxies.parquet")
            spec = load_spec(case, settings.preprocessing, maps_dir, prepared_dir)
            images = ImageSet(reader, spec)
            trainer = _prepare(unfinished, images, label, galaxies, settings, progress, expected_md5)
        while remaining := _remaining(planned):
            trainer.train(remaining[0])
    if unfinished.exists():
        shutil.rmtree(unfinished)
    seconds = round(time.monotonic() - started, 1)
    if reason := failure(output):
        return {"case": case_name, "failed": reason, "seconds": seconds}
    description = read_description(output)
    networks = sum(failure(one.folder) is None for one in planned) + len(members(output, "milestones"))
    return {**{name: description[name] for name in _FIGURES}, "networks": networks, "seconds": seconds}


def _remaining(planned: Sequence[Fit]) -> list[Fit]:
    """Return the fits that are neither complete nor broken down; none if the primary one broke down."""
    if failure(planned[0].folder):
        return []
    return [one for one in planned if not (is_complete(one.folder) or failure(one.folder))]


def _prepare(
    unfinished: Path,
    image_set: ImageSet,
    label: LabelIdentity,
    galaxies: pd.DataFrame,
    settings: Settings,
    progress: Progress,
    expected_md5: str,
) -> _Trainer:
    """Compute the features that are missing, and return what trains on them."""
    training, spec = settings.training, image_set.spec
    model, chosen = architecture_of(training), training.section
    network = model.network(spec, settings.seed, chosen.feature_type, expected_md5)
    features = FeatureFile(unfinished / "features.npy", network.feature_shape, chosen.feature_type)
    batch = chosen.images_at_a_time
    compute_features(features, image_set, list(galaxies["galaxy"]), network, batch, progress)
    return _Trainer(
        unfinished,
        settings,
        spec,
        label,
        galaxies,
        features.open(),
        model,
        network.frozen,
        progress,
    )


@dataclass(frozen=True)
class _Trainer:
    """Trains one network of a case after the other on the same features."""

    unfinished: Path
    settings: Settings
    spec: ImageSpec
    label: LabelIdentity
    galaxies: pd.DataFrame
    features: np.ndarray
    model: Architecture[Any]
    frozen: Frozen
    progress: Progress

    def train(self, one: Fit) -> None:
        """Train a network, afresh if it breaks down, and write its model folder or why there is none."""
        broken: list[str] = []
        while len(broken) <= self.settings.training.restarts:
            try:
                self._train(one, broken)
                return
            except BrokenTrainingError as error:
                shutil.rmtree(one.folder / "milestones", ignore_errors=True)
                broken.append(str(error))
                self.progress.warn(f"start {len(broken)}: {error}")
        often = f" (the last of {len(broken)} starts)" if len(broken) > 1 else ""
        write_failure(one.folder, self.spec.case, broken[-1] + often)

    def _train(self, one: Fit, broken: Sequence[str]) -> None:
        """Train a network from first weights that none of the starts in `broken` had."""
        start = one.seed + _NEXT_START * len(broken)
        training = self.settings.training
        train, validation = rows_of(self.galaxies, one)
        truth = self.galaxies["label"].to_numpy(dtype=np.float64)
        label = self._label(truth[train])
        labels = ((truth - label["offset"]) / label["scale"]).astype(np.float32)
        data = Dataset(self.features, labels, train, validation)
        network = self.model.trained(self.spec, start)
        some = np.asarray(self.features[train[:_LOOK]], dtype=np.float32)
        data = replace(data, unit=self.model.begin(network, some))
        # From bias 0 a final ReLU would start dead for about half of all seeds.
        network.layers[-1].bias.assign(_mean_label(data, training))

        def keep(folder: Path, epochs: int, best_epoch: int) -> None:
            self._write(folder, one, broken, network, data, label, epochs, best_epoch)

        def milestone(epoch: int) -> None:
            if epoch in one.milestones:
                keep(one.folder / "milestones" / str(epoch), epoch, epoch)

        checkpoint = self.unfinished / f"{one.split}-{start}.npz"
        state = fit(network, data, training, start, one.name, checkpoint, self.progress, milestone)
        if not len(validation):
            self.progress.warn(
                f"case '{one.name}': without a validation set the interval is that of the training galaxies,"
                " and too narrow; set preprocessing.split.validation"
            )
        with atomic_file(one.folder / HISTORY) as part:
            pd.DataFrame(state.history).to_csv(part, index=False)
        keep(one.folder, state.epoch, state.best_epoch)

    def _label(self, truth: np.ndarray) -> dict[str, float]:
        """Return how the network's first output becomes the label [dex]: offset + scale x output."""
        of_sample = float(np.mean(truth)), float(np.std(truth)) or 1.0
        offset, scale = self.settings.training.section.label_scale or of_sample
        return {"offset": offset, "scale": scale}

    def _write(
        self,
        folder: Path,
        one: Fit,
        broken: Sequence[str],
        network: keras.Model,
        data: Dataset,
        label: dict[str, float],
        epochs: int,
        best_epoch: int,
    ) -> None:
        """Write a model folder of the network as it is now, with an interval of its own."""
        training, spec = self.settings.training, self.spec
        held_out = data.validation if len(data.validation) else data.train
        truth = self.galaxies["label"].to_numpy(dtype=np.float64)[held_out]
        mean, sigma = _in_dex(predict(network, data, held_out), label)
        residuals = mean - truth
        description = {
            "case": spec.case,
            "model": training.model,
            "parameters": {"trainable": network.count_params(), "frozen": self.frozen.parameters},
            "validation": {
                "set": "validation" if len(data.validation) else "train",
                "galaxies": len(held_out),
                "rmse_dex": float(np.sqrt(np.mean(residuals**2))),
                "bias_dex": float(np.mean(residuals)),
                "epochs": epochs,
                "best_epoch": best_epoch,
            },
            "training": training.model_dump(mode="json"),
            "spec": spec.model_dump(mode="json"),
            "label": {"identity": self.label.model_dump(mode="json"), **label},
            "interval": calibrate(truth, mean, sigma, self.settings.evaluation.interval),
            "seed": one.seed,
            "broken_starts": list(broken),
            "split": one.split,
            "backbone": self.frozen.origin,
            "versions": {"keras": keras.__version__, "backend": keras.backend.backend()},
        }
        write_model(folder, description, network.get_weights())


def _mean_label(data: Dataset, training: TrainingSettings) -> np.ndarray:
    """Return the last layer's first bias: the mean label, and a log variance of 0."""
    bias = np.zeros(2 if training.loss == "gaussian_nll" else 1, np.float32)
    bias[0] = data.labels[data.train].mean()
    return bias


def _in_dex(outputs: np.ndarray, label: dict[str, float]) -> tuple[np.ndarray, np.ndarray | None]:
    """Return predicted mean and, where the network gives one, standard deviation [dex]."""
    mean = label["offset"] + label["scale"] * outputs[:, 0].astype(np.float64)
    if outputs.shape[1] == 1:
        return mean, None
    _, log_variance = mean_and_log_variance(outputs)
    sigma = label["scale"] * np.exp(0.5 * keras.ops.convert_to_numpy(log_variance).astype(np.float64))
    return mean, sigma
