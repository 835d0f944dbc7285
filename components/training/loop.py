"""The training loop: epochs over features, best weights, checkpoints, and a resume that changes nothing."""

from __future__ import annotations

import itertools
import json
import math
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np

from ssfr.components.config import TrainingSettings
from ssfr.components.errors import InputError
from ssfr.components.models.layers import dropouts
from ssfr.components.models.outputs import LOSSES
from ssfr.components.runtime.progress import Progress
from ssfr.components.storage.artifact import atomic_file
from ssfr.components.training.compiled import CompiledStep

_WARMUP = 0.05
"""Share of a cosine schedule in which the rate rises from zero."""
_CLIP_NORM = 1.0
_PREDICT_BATCH = 128
_LOOK = 64
"""Training galaxies looked at when the validation set says that the network is dead, or there is none."""
_RESIDENT_BYTES = 2 * 1024**3
"""Features up to this size are held in memory while a network is trained; others are read by batch."""
_Batch = tuple[Any, ...]
"""Arguments of a `CompiledStep`."""


class BrokenTrainingError(InputError):
    """The loss is not finite, or the network answers the same for every galaxy (dead ReLUs)."""


@dataclass(frozen=True)
class Dataset:
    """Features and labels of the galaxies that train and validate.

    Attributes
    ----------
    features
        (n, ...) floats; may be a memory map, of which only a small one is held (`build_step`).
    labels
        (n,) float32, standardised.
    train, validation
        Rows of each set.
    unit
        The network is trained on features in this unit, and answers for features as they are.
    """

    features: np.ndarray
    labels: np.ndarray
    train: np.ndarray
    validation: np.ndarray
    unit: float = 1.0


@dataclass
class State:
    """Where a training stands after `epoch` epochs, besides the variables of its `CompiledStep`."""

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
    name: str,
    checkpoint: Path,
    progress: Progress,
    after_epoch: Callable[[int], None] = lambda epoch: None,
) -> State:
    """Train, and leave the weights that `settings.keep` names in `network`.

    Everything random in an epoch (the order of galaxies, their turns, dropout) is drawn from (seed, epoch):
    a run killed anywhere and started again ends with the weights of one that was not.

    Parameters
    ----------
    network
        Features -> outputs, initialised.
    data
        See `Dataset`.
    settings
        Of training.
    seed
        Of the order of galaxies, of the augmentation and of dropout.
    name
        Of the network, for progress and errors.
    checkpoint
        File that is written every `settings.checkpoint_every` epochs, and read if it is there.
    progress
        Gets an epoch at a time: training loss, validation loss (mean per galaxy), seconds left.
    after_epoch
        Called with the number of epochs done, before that is in a checkpoint: what it leaves on disk is
        there whenever training goes on after it.

    Raises
    ------
    BrokenTrainingError
        It cannot go on.
    """
    steps = math.ceil(len(data.train) / settings.batch)
    optimizer = build_optimizer(settings, steps)
    step = build_step(network, optimizer, data, settings)
    state = _restore(checkpoint, step)
    with progress.task(f"training {name}", settings.epochs, "epochs", state.epoch) as task:
        while state.epoch < settings.epochs and not _has_stalled(state, settings):
            started = time.monotonic()
            rate = float(keras.ops.convert_to_numpy(optimizer.learning_rate))
            loss = train_epoch(step, data, settings, seed, state.epoch)
            step.publish()
            state.epoch += 1
            validation = _validate(network, data, settings, name, state.epoch, loss)
            figures = {"loss": loss, "validation_loss": validation, "learning_rate": rate}
            state.history.append({"epoch": state.epoch, **figures, "seconds": time.monotonic() - started})
            watched = loss if settings.keep == "best_training" else validation
            if settings.keep == "last" or watched < state.best_loss:
                state.best_epoch, state.best_loss = state.epoch, watched
                state.best = network.get_weights()
            after_epoch(state.epoch)
            if state.epoch % settings.checkpoint_every == 0:
                _save(checkpoint, step, state)
            task.advance(
                1, **{"loss": loss, "validation": validation} if len(data.validation) else {"loss": loss}
            )
    network.set_weights(state.best)
    return state


class _Cosine(keras.optimizers.schedules.CosineDecay):
    """Keras counts steps from 0, where the rate of a warm-up is 0 and nothing would be learned."""

    def __call__(self, step: Any) -> Any:
        return super().__call__(step + 1)


def build_optimizer(settings: TrainingSettings, steps: int) -> keras.optimizers.Optimizer:
    """Build the optimizer for `steps` batches an epoch.

    A cosine schedule rises to the full rate, and would fall to 0 in the batch after the last.
    """
    rate: Any = settings.rate
    if settings.schedule == "cosine":
        total = steps * settings.epochs
        warmup = max(1, round(_WARMUP * total))
        rate = _Cosine(0.0, total + 1 - warmup, warmup_target=settings.rate, warmup_steps=warmup)
    if settings.optimizer == "adadelta":
        return keras.optimizers.Adadelta(rate, weight_decay=settings.weight_decay or None)
    return keras.optimizers.AdamW(rate, weight_decay=settings.weight_decay, global_clipnorm=_CLIP_NORM)


def build_step(
    network: keras.Model, optimizer: keras.optimizers.Optimizer, data: Dataset, settings: TrainingSettings
) -> CompiledStep:
    """Compile the step; the features go with it where they fit and don't change from epoch to epoch."""
    resident = None
    if not _augments(settings) and data.features.nbytes <= _RESIDENT_BYTES:
        resident = np.asarray(data.features), data.labels[:, None]
    return CompiledStep(
        network, optimizer, LOSSES[settings.loss], data.unit, settings.section.fused, resident
    )


def _augments(settings: TrainingSettings) -> bool:
    return settings.augment and settings.section.turns


def predict(network: keras.Model, data: Dataset, rows: np.ndarray) -> np.ndarray:
    """Return the (len(rows), outputs) outputs, read and computed by batch."""
    outputs = [
        keras.ops.convert_to_numpy(network(np.asarray(data.features[part]), training=False))
        for part in _batches(rows, _PREDICT_BATCH)
    ]
    return np.concatenate(outputs)


def turned(images: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Turn each (y, x, C) image by a random number of quarters and mirror half of them."""
    result = np.empty_like(images)
    quarters = generator.integers(4, size=len(images))
    mirrored = generator.integers(2, size=len(images))
    for quarter, mirror in itertools.product(range(4), range(2)):
        chosen = (quarters == quarter) & (mirrored == mirror)
        some = images[chosen]
        result[chosen] = np.rot90(some[:, :, ::-1] if mirror else some, quarter, axes=(1, 2))
    return result


def train_epoch(
    step: CompiledStep, data: Dataset, settings: TrainingSettings, seed: int, epoch: int
) -> float:
    """Do the steps of an epoch, and return the mean loss of its galaxies."""
    generator = np.random.default_rng([seed, epoch])
    dropping, tensor = dropouts(step.network), keras.ops.convert_to_tensor

    def read(rows: np.ndarray) -> _Batch:
        inputs: _Batch = (rows,)
        if not step.resident:
            features = np.asarray(data.features[rows])
            features = turned(features, generator) if _augments(settings) else features
            inputs = features, data.labels[rows, None]
        kept = [tensor(layer.draw(generator, len(rows))) for layer in dropping]
        return *(tensor(array) for array in inputs), kept

    batches = list(_batches(generator.permutation(data.train), settings.batch))
    losses = [step(*batch) for batch in _read_ahead(read, batches)]
    sizes = [len(rows) for rows in batches]
    return float(np.average([float(keras.ops.convert_to_numpy(loss)) for loss in losses], weights=sizes))


def _read_ahead(read: Callable[[np.ndarray], _Batch], batches: Sequence[np.ndarray]) -> Iterator[_Batch]:
    """Yield what `read` returns for each batch, in their order, the next one read while one is used."""
    with ThreadPoolExecutor(max_workers=1) as reader:
        following = reader.submit(read, batches[0])
        for rows in batches[1:]:
            current, following = following.result(), reader.submit(read, rows)
            yield current
        yield following.result()


def _batches(rows: np.ndarray, size: int) -> Iterator[np.ndarray]:
    for start in range(0, len(rows), size):
        yield rows[start : start + size]


def _validate(
    network: keras.Model, data: Dataset, settings: TrainingSettings, name: str, epoch: int, loss: float
) -> float:
    """Return the mean loss over the validation set (NaN where there is none); refuse a broken network."""
    validation, suspicious = math.nan, True
    if len(data.validation):
        outputs = predict(network, data, data.validation)
        losses = LOSSES[settings.loss](data.labels[data.validation, None], outputs)
        validation = float(np.mean(keras.ops.convert_to_numpy(losses)))
        suspicious = np.ptp(outputs[:, 0]) == 0
    if not math.isfinite(loss) or (len(data.validation) and not math.isfinite(validation)):
        raise BrokenTrainingError(
            f"case '{name}': the loss is {loss} (validation {validation}) after epoch {epoch}; lower"
            f" training.learning_rate (now {settings.rate:g})"
        )
    if suspicious:
        _check_alive(network, data, settings, name, epoch)
    return validation


def _check_alive(
    network: keras.Model, data: Dataset, settings: TrainingSettings, name: str, epoch: int
) -> None:
    some = data.train[:_LOOK]
    outputs = predict(network, data, some)[:, 0]
    if np.ptp(outputs) > 0 or np.ptp(data.labels[some]) == 0:
        return
    way_out = f"change seed or lower training.learning_rate (now {settings.rate:g})"
    if settings.section.last_unit == "ReLU":
        way_out = f"{settings.section.way_out_when_dead}, or {way_out}"
    raise BrokenTrainingError(
        f"case '{name}': after epoch {epoch} the network answers {outputs[0]:g} for every galaxy: its ReLUs"
        f" are dead and no longer learn; {way_out}"
    )


def _has_stalled(state: State, settings: TrainingSettings) -> bool:
    if settings.patience is None or not state.history:
        return False
    best = int(np.argmin([row["validation_loss"] for row in state.history]))
    return len(state.history) - 1 - best >= settings.patience


def _save(path: Path, step: CompiledStep, state: State) -> None:
    """Write the variables (weights, moments, steps done), the best weights and the history."""
    numbers = {"epoch": state.epoch, "best_epoch": state.best_epoch, "history": state.history}
    arrays: dict[str, Any] = {
        **{f"step/{i:04d}": keras.ops.convert_to_numpy(v) for i, v in enumerate(step.variables)},
        **{f"best/{i:04d}": array for i, array in enumerate(state.best)},
        "best_loss": np.float64(state.best_loss),
        "numbers": np.frombuffer(json.dumps(numbers).encode(), np.uint8),
    }
    with atomic_file(path) as part, part.open("wb") as stream:
        np.savez(stream, **arrays)


def _restore(path: Path, step: CompiledStep) -> State:
    if not path.is_file():
        return State()
    with np.load(path, allow_pickle=False) as arrays:
        for i, variable in enumerate(step.variables):
            variable.assign(arrays[f"step/{i:04d}"])
        best = [arrays[name] for name in sorted(arrays.files) if name.startswith("best/")]
        numbers = json.loads(arrays["numbers"].tobytes())
        return State(best_loss=float(arrays["best_loss"]), best=best, **numbers)
