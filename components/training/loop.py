"""The training loop: epochs over features, best weights, checkpoints, and a resume that changes nothing."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np

from components.config import TrainingSettings
from components.errors import InputError
from components.models.networks import LOSSES
from components.progress import Progress
from components.storage.artifact import atomic_file

CHECKPOINT = "checkpoint.npz"
_WARMUP = 0.05
"""Share of a cosine schedule in which the rate rises from zero."""
_CLIP_NORM = 1.0
_PREDICT_BATCH = 128
_LOOK = 256
"""Training galaxies looked at when the validation set says that the network is dead."""


@dataclass(frozen=True)
class Dataset:
    """Features and labels of the galaxies that train and validate.

    Attributes
    ----------
    features
        (n, ...) floats, read by batch: may be a memory map.
    labels
        (n,) float32, standardised.
    train, validation
        Rows of each set.
    unit
        The network is trained on features in this unit.
    """

    features: np.ndarray
    labels: np.ndarray
    train: np.ndarray
    validation: np.ndarray
    unit: float = 1.0

    def read(self, rows: np.ndarray) -> np.ndarray:
        """Return (len(rows), ...) float32 features."""
        return np.asarray(self.features[rows], dtype=np.float32) / np.float32(self.unit)


@dataclass
class State:
    """Where a training stands after `epoch` epochs, besides the network's and the optimizer's variables."""

    epoch: int = 0
    best_epoch: int = 0
    best_loss: float = math.inf
    best: list[np.ndarray] = field(default_factory=list)
    history: list[dict[str, float]] = field(default_factory=list)


def fit(
    network: keras.Model,
    data: Dataset,
    settings: TrainingSettings,
    seed: int,
    case: str,
    checkpoint: Path,
    progress: Progress,
) -> State:
    """Train, and leave the weights that `settings.keep` names in `network`.

    Everything random in an epoch is drawn from (seed, epoch) or is a variable of the network, and both
    are in the checkpoint: a run killed anywhere and started again ends with the weights of one that was
    not.

    Parameters
    ----------
    network
        Features -> outputs, initialised.
    data
        See `Dataset`.
    settings
        Of training.
    seed
        Of the order of galaxies and of the augmentation.
    case
        For progress and errors.
    checkpoint
        File that is written every `settings.checkpoint_every` epochs, and read if it is there.
    progress
        Gets an epoch at a time: training loss, validation loss (mean per galaxy), seconds left.

    Raises
    ------
    InputError
        The loss is not finite, or the network answers the same for every galaxy (dead ReLUs).
    """
    steps = math.ceil(len(data.train) / settings.batch)
    optimizer = build_optimizer(settings, steps)
    # JAX has no graph but a compiled one; TensorFlow's own graph starts sooner and is as fast here.
    compiled = keras.backend.backend() == "jax"
    network.compile(optimizer=optimizer, loss=LOSSES[settings.loss], jit_compile=compiled)
    optimizer.build(network.trainable_variables)
    state = _restore(checkpoint, network, optimizer)
    with progress.task(f"training {case}", settings.epochs, "epochs", state.epoch) as task:
        while state.epoch < settings.epochs and not _has_stalled(state, settings):
            started = time.monotonic()
            rate = float(keras.ops.convert_to_numpy(optimizer.learning_rate))
            loss = _train_epoch(network, data, settings, seed, state.epoch)
            state.epoch += 1
            validation = _validate(network, data, settings, case, state.epoch, loss)
            figures = {"loss": loss, "validation_loss": validation, "learning_rate": rate}
            state.history.append({"epoch": state.epoch, **figures, "seconds": time.monotonic() - started})
            watched = loss if settings.keep == "best_training" else validation
            if settings.keep == "last" or watched < state.best_loss:
                state.best_epoch, state.best_loss = state.epoch, watched
                state.best = network.get_weights()
            if state.epoch % settings.checkpoint_every == 0:
                _save(checkpoint, network, optimizer, state)
            task.advance(
                1, **{"loss": loss, "validation": validation} if len(data.validation) else {"loss": loss}
            )
    network.set_weights(state.best)
    return state


def build_optimizer(settings: TrainingSettings, steps: int) -> keras.optimizers.Optimizer:
    """Build the optimizer for `steps` batches an epoch; a cosine schedule ends at 0 in the last batch."""
    rate: Any = settings.rate
    if settings.schedule == "cosine":
        total = steps * settings.epochs
        warmup = max(1, round(_WARMUP * total))
        rate = keras.optimizers.schedules.CosineDecay(
            0.0, max(1, total - warmup), warmup_target=settings.rate, warmup_steps=warmup
        )
    if settings.optimizer == "adadelta":
        return keras.optimizers.Adadelta(rate, weight_decay=settings.weight_decay or None)
    return keras.optimizers.AdamW(rate, weight_decay=settings.weight_decay, global_clipnorm=_CLIP_NORM)


def predict(network: keras.Model, data: Dataset, rows: np.ndarray) -> np.ndarray:
    """Return the (len(rows), outputs) outputs, read and computed by batch."""
    parts = [
        network.predict_on_batch(data.read(part))
        for part in np.split(rows, range(_PREDICT_BATCH, len(rows), _PREDICT_BATCH))
    ]
    return np.concatenate(parts)


def turned(images: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Turn each of (n, P, P, C) images by a random multiple of 90 degrees, and mirror a random half."""
    result = np.empty_like(images)
    quarters = generator.integers(4, size=len(images))
    mirrored = generator.integers(2, size=len(images))
    for i, image in enumerate(images):
        result[i] = np.rot90(image[:, ::-1] if mirrored[i] else image, quarters[i])
    return result


def _train_epoch(
    network: keras.Model, data: Dataset, settings: TrainingSettings, seed: int, epoch: int
) -> float:
    generator = np.random.default_rng([seed, epoch])
    augment = settings.augment and settings.model == "compact"
    network.reset_metrics()
    loss = math.nan
    for rows in _batches(generator.permutation(data.train), settings.batch):
        features = data.read(rows)
        if augment:
            features = turned(features, generator)
        # Keras returns the mean over the epoch so far.
        loss = float(network.train_on_batch(features, data.labels[rows, None]))
    return loss


def _batches(rows: np.ndarray, size: int) -> Iterator[np.ndarray]:
    for start in range(0, len(rows), size):
        yield rows[start : start + size]


def _validate(
    network: keras.Model, data: Dataset, settings: TrainingSettings, case: str, epoch: int, loss: float
) -> float:
    """Return the mean loss over the validation set (NaN where there is none); refuse a broken network."""
    validation, suspicious = math.nan, True
    if len(data.validation):
        outputs = predict(network, data, data.validation)
        losses = LOSSES[settings.loss](data.labels[data.validation, None], outputs)
        validation = float(np.mean(keras.ops.convert_to_numpy(losses)))
        suspicious = np.ptp(outputs[:, 0]) == 0
    if not math.isfinite(loss) or (len(data.validation) and not math.isfinite(validation)):
        raise InputError(
            f"case '{case}': the loss is {loss} (validation {validation}) after epoch {epoch}; lower"
            f" training.learning_rate (now {settings.rate:g})"
        )
    if suspicious:
        _check_alive(network, data, settings, case, epoch)
    return validation


def _check_alive(
    network: keras.Model, data: Dataset, settings: TrainingSettings, case: str, epoch: int
) -> None:
    some = data.train[:_LOOK]
    outputs = predict(network, data, some)[:, 0]
    if np.ptp(outputs) > 0 or np.ptp(data.labels[some]) == 0:
        return
    way_out = f"change seed or lower training.learning_rate (now {settings.rate:g})"
    if settings.model == "vgg16" and settings.vgg16.last_activation == "relu":
        way_out = "set training.vgg16.last_activation: linear, or " + way_out
    raise InputError(
        f"case '{case}': after epoch {epoch} the network answers {outputs[0]:g} for every galaxy: its ReLUs"
        f" are dead and no longer learn; {way_out}"
    )


def _has_stalled(state: State, settings: TrainingSettings) -> bool:
    if settings.patience is None or not state.history:
        return False
    best = int(np.argmin([row["validation_loss"] for row in state.history]))
    return len(state.history) - 1 - best >= settings.patience


def _save(path: Path, network: keras.Model, optimizer: keras.optimizers.Optimizer, state: State) -> None:
    """Write variables (weights, dropout's random state, moments), the best weights and the history."""
    numbers = {"epoch": state.epoch, "best_epoch": state.best_epoch, "history": state.history}
    arrays: dict[str, Any] = {
        **{f"network/{i:04d}": _numpy(v) for i, v in enumerate(network.variables)},
        **{f"optimizer/{i:04d}": _numpy(v) for i, v in enumerate(optimizer.variables)},
        **{f"best/{i:04d}": array for i, array in enumerate(state.best)},
        "best_loss": np.float64(state.best_loss),
        "numbers": np.frombuffer(json.dumps(numbers).encode(), np.uint8),
    }
    with atomic_file(path) as part, part.open("wb") as stream:
        np.savez(stream, allow_pickle=False, **arrays)


def _restore(path: Path, network: keras.Model, optimizer: keras.optimizers.Optimizer) -> State:
    if not path.is_file():
        return State()
    with np.load(path, allow_pickle=False) as arrays:
        for kind, variables in (("network", network.variables), ("optimizer", optimizer.variables)):
            for i, variable in enumerate(variables):
                variable.assign(arrays[f"{kind}/{i:04d}"])
        best = [arrays[name] for name in sorted(arrays.files) if name.startswith("best/")]
        numbers = json.loads(arrays["numbers"].tobytes())
        return State(best_loss=float(arrays["best_loss"]), best=best, **numbers)


def _numpy(variable: keras.Variable) -> np.ndarray:
    return np.asarray(keras.ops.convert_to_numpy(variable))
