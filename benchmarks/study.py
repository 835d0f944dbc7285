"""The thesis' study at its full size: what a head-epoch and the features cost, beside the thesis' own way.

7881 images, 7092 of them training, ten cases, 1500 epochs, batch 100. The best of several rounds counts, and
ours and the peer's are measured in turns: other work on the machine only ever slows one down.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from benchmarks.figure import row
from ssfr.components.config import load_settings
from ssfr.pipelines.options import preset_path

IMAGES, TRAINING, CASES, EPOCHS, BATCH = 7881, 7092, 10, 1500, 100
_ROUNDS = 4
_EPOCHS = 12
_READY = "ready"
_PLAIN_STEPS = 15
_WHOLE_STEPS = 2
_FEATURE_BATCH = 16
_SAMPLE, _SAMPLE_TRAIN, _SAMPLE_EPOCHS, _SEEDS = 300, 200, 60, 5
_DTYPES: tuple[Literal["bfloat16", "float32"], ...] = ("bfloat16", "float32")


def run() -> list[dict[str, Any]]:
    """Measure the study.

    Returns
    -------
    list of dict
        study_features [s/image]: bfloat16 beside float32.
        head_epoch [s]: one epoch of the compiled steps, two heads at the same time, beside Keras'
        train_on_batch, two at a time or one with all threads, whichever is faster; both dtypes.
        study [h]: features and heads of all cases, beside VGG16's whole forward pass in every epoch with
        model.fit in float32, from a few steps of it; ours in bfloat16 and in float32.
        bfloat16_loss_r, bfloat16_loss_dex: Pearson r and RMSE [dex] of heads trained on bfloat16
        features, beside those trained on float32, means over seeds; all answer from float32 features, as
        served.
        head_memory [GB]: peak of the processes that train heads on all images, two at a time.
        What a run does besides (checkpoints, evaluation, the report) is not in these.
    """
    images = _discs(_SAMPLE)[0]
    feature_s, features = _features(images)
    with tempfile.TemporaryDirectory() as folder:
        epoch_s = {dtype: _epoch_s(Path(folder), dtype) for dtype in _DTYPES}
        workers = load_settings(preset_path("thesis")).training.workers
        memory = workers * _peak_memory(Path(folder))
    whole_h = CASES * EPOCHS * (TRAINING / BATCH) * _whole_step_s(images[:BATCH]) / 3600
    ours_h = {
        dtype: CASES * (IMAGES * feature_s[dtype] + EPOCHS * epoch_s[dtype][0]) / 3600 for dtype in _DTYPES
    }
    scores = _scores(features)
    return [
        _faster("study_features", feature_s["bfloat16"], "s/image", "float32", feature_s["float32"]),
        *(
            _faster(f"head_epoch_{dtype}", epoch_s[dtype][0], "s", "Keras train_on_batch", epoch_s[dtype][1])
            for dtype in _DTYPES
        ),
        *(
            _faster(f"study_{dtype}", ours_h[dtype], "h", "whole VGG16 in every epoch, float32", whole_h)
            for dtype in _DTYPES
        ),
        *(
            row(
                f"bfloat16_loss_{name}",
                scores["bfloat16"][i],
                unit,
                "float32 features",
                scores["float32"][i],
            )
            for i, (name, unit) in enumerate((("r", "Pearson r"), ("dex", "RMSE, dex")))
        ),
        _faster("head_memory", memory, "GB", "the bound", 6.0),
    ]


def _faster(name: str, value: float, unit: str, peer: str, peer_value: float) -> dict[str, Any]:
    """Return a row whose ratio says how many times less ours is."""
    return {**row(name, value, unit, peer, peer_value), "ratio": peer_value / value}


def _seconds(work: Callable[[], Any]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def _features(images: np.ndarray) -> tuple[dict[str, float], dict[str, np.ndarray]]:
    """Return seconds an image, and the features of all images, for each type."""
    from ssfr.components.models.outputs import traced
    from ssfr.components.models.vgg16 import build_backbone
    from ssfr.components.models.weights import random_weights

    backbones = {dtype: build_backbone(dtype=dtype) for dtype in _DTYPES}
    calls = {dtype: traced(backbone) for dtype, backbone in backbones.items()}
    seconds: dict[str, float] = dict.fromkeys(_DTYPES, np.inf)
    features: dict[str, list[np.ndarray]] = {dtype: [] for dtype in _DTYPES}
    for dtype, backbone in backbones.items():
        random_weights(backbone, seed=0)
        np.asarray(calls[dtype](images[:_FEATURE_BATCH]))
    for start in range(0, len(images), _FEATURE_BATCH):
        part = images[start : start + _FEATURE_BATCH]
        for dtype, call in calls.items():
            started = time.perf_counter()
            features[dtype].append(np.asarray(call(part)))
            seconds[dtype] = min(seconds[dtype], (time.perf_counter() - started) / len(part))
    return seconds, {dtype: np.concatenate(parts) for dtype, parts in features.items()}


def _thesis(**changes: Any) -> Any:
    from ssfr.components.config import TrainingSettings

    return TrainingSettings(
        **{
            "model": "vgg16",
            "loss": "mse",
            "optimizer": "adadelta",
            "schedule": "constant",
            "batch": BATCH,
            "weight_decay": 0.0,
            "keep": "last",
            "augment": False,
            **changes,
        }
    )


def _head(features: np.ndarray, mean: float, seed: int = 1) -> Any:
    from ssfr.components.models.vgg16 import build_head, wake_head
    from ssfr.components.models.weights import random_weights

    head = build_head("linear")
    random_weights(head, seed)
    wake_head(head, np.asarray(features[:64], dtype=np.float32))
    head.layers[-1].bias.assign(np.full(1, mean, np.float32))
    return head


def _write_features(path: Path, count: int, dtype: Literal["bfloat16", "float32"]) -> np.ndarray:
    from ssfr.components.training.features import FeatureFile

    some = np.abs(np.random.default_rng(0).standard_normal((128, 8, 8, 512), dtype=np.float32))
    file = FeatureFile(path, (8, 8, 512), dtype)
    file.fill(count, 128, lambda rows: np.roll(some, rows.start, axis=-1)[: rows.stop - rows.start])
    return file.open()


def _epoch_s(folder: Path, dtype: Literal["bfloat16", "float32"]) -> tuple[float, float]:
    """Return seconds of a head-epoch: ours, and Keras' train_on_batch on the same file of features.

    Both at several cases at the same time, as the thesis preset does it: the epoch's share of that time.
    """
    path = folder / f"{dtype}.npy"
    _write_features(path, TRAINING, dtype)
    training = load_settings(preset_path("thesis")).training
    command = [sys.executable, "-m", "benchmarks.study", str(path), dtype]
    ours = peer = np.inf
    for _ in range(_ROUNDS):
        ours = min(ours, _together([*command, "ours", str(training.threads)], training.workers))
        # Whichever suits Keras better: one head with all threads, or several as we do.
        peer = min(peer, _together([*command, "plain", "0"], 1))
        peer = min(peer, _together([*command, "plain", str(training.threads)], training.workers))
    return ours, peer


def _together(command: Sequence[str], workers: int) -> float:
    """Return the share of an epoch in the time of processes of this command that begin at the same time."""
    pipe = subprocess.PIPE
    running = [subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) for _ in range(workers)]
    for process in running:
        assert process.stdout is not None
        if process.stdout.readline().strip() != _READY:
            raise RuntimeError(f"{' '.join(command)} failed")
    for process in running:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    printed = [process.communicate()[0] for process in running]
    return float(np.mean([float(text.split()[-1]) for text in printed])) / workers


def time_epochs(path: str, dtype: Literal["bfloat16", "float32"], way: str, threads: int) -> float:
    """Return the seconds of a head-epoch in this process, the mean of some, begun when a line comes in.

    Parameters
    ----------
    path
        File of features.
    dtype
        Of the features.
    way
        "ours", or "plain": Keras' train_on_batch.
    threads
        Of TensorFlow; 0: as many as there are processors.
    """
    from ssfr.components.models.outputs import LOSSES
    from ssfr.components.runtime.progress import SILENT
    from ssfr.components.training.features import FeatureFile
    from ssfr.components.training.loop import Dataset, build_optimizer, build_step, train_epoch
    from ssfr.components.training.runtime import prepare_backend

    prepare_backend(0, threads, True, SILENT)
    features = FeatureFile(Path(path), (8, 8, 512), dtype).open()
    labels = np.random.default_rng(1).normal(4.0, 1.0, TRAINING).astype(np.float32)
    data = Dataset(features, labels, np.arange(TRAINING), np.arange(0))
    settings = _thesis()
    steps = -(-TRAINING // BATCH)
    head = _head(features, 4.0)
    if way == "ours":
        step = build_step(head, build_optimizer(settings, steps), data, settings)
        train_epoch(step, data, settings, 1, 0)  # compiles
        _wait_for_the_others()
        return _seconds(lambda: [train_epoch(step, data, settings, 1, e) for e in range(_EPOCHS)]) / _EPOCHS
    head.compile(optimizer=build_optimizer(settings, steps), loss=LOSSES["mse"])
    order = np.random.default_rng(0).permutation(TRAINING)

    def some_steps(count: int) -> None:
        for start in range(0, count * BATCH, BATCH):
            rows = order[start : start + BATCH]
            head.train_on_batch(features[rows].astype(np.float32), labels[rows, None])

    some_steps(1)
    _wait_for_the_others()
    return _seconds(lambda: some_steps(_PLAIN_STEPS)) / _PLAIN_STEPS * steps


def _wait_for_the_others() -> None:
    print(_READY, flush=True)
    sys.stdin.readline()


def _whole_step_s(images: np.ndarray) -> float:
    """Return seconds of a step of the thesis' way: VGG16, frozen, and the head as one model, model.fit."""
    import keras

    from ssfr.components.models.outputs import LOSSES
    from ssfr.components.models.vgg16 import build_backbone, build_head
    from ssfr.components.models.weights import random_weights

    inputs = keras.Input(images.shape[1:])
    whole = keras.Model(inputs, build_head("linear")(build_backbone()(inputs)))
    random_weights(whole, seed=0)
    whole.compile(optimizer=keras.optimizers.Adadelta(1.0), loss=LOSSES["mse"])
    labels = np.zeros((len(images), 1), np.float32)
    whole.fit(images, labels, batch_size=len(images), verbose=0)
    return min(
        _seconds(lambda: whole.fit(images, labels, batch_size=len(images), verbose=0))
        for _ in range(_WHOLE_STEPS)
    )


def _scores(features: dict[str, np.ndarray]) -> dict[str, tuple[float, float]]:
    """Return r and RMSE [dex], means over seeds, for heads trained on each type of features."""
    labels = _discs(_SAMPLE)[1].astype(np.float32)
    found = {}
    for dtype, values in features.items():
        seeds = [_score(values, features["float32"], labels, seed) for seed in range(_SEEDS)]
        r, rmse = np.mean(seeds, axis=0)
        found[dtype] = (float(r), float(rmse))
    return found


def _score(features: np.ndarray, served: np.ndarray, labels: np.ndarray, seed: int) -> tuple[float, float]:
    """Return r and RMSE [dex] over galaxies that did not train, answered from the features served."""
    from ssfr.components.runtime.progress import SILENT
    from ssfr.components.training.loop import Dataset, fit, predict

    train, test = np.arange(_SAMPLE_TRAIN), np.arange(_SAMPLE_TRAIN, _SAMPLE)
    settings = _thesis(optimizer="adamw", schedule="cosine", batch=20, epochs=_SAMPLE_EPOCHS)
    unit = float(np.sqrt(np.mean(features[train].astype(np.float32) ** 2)))
    head = _head(features, float(labels[train].mean()), seed)
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = Path(folder) / "checkpoint.npz"
        fit(head, Dataset(features, labels, train, test, unit), settings, seed, "sample", checkpoint, SILENT)
    answers = predict(head, Dataset(served, labels, train, test), test)[:, 0]
    r = float(np.corrcoef(answers, labels[test])[0, 1])
    return r, float(np.sqrt(np.mean((answers - labels[test]) ** 2)))


def _peak_memory(folder: Path) -> float:
    """Return the peak memory [GB] of a process that trains a head on a file of all images' features."""
    path = folder / "all.npy"
    _write_features(path, IMAGES, "bfloat16")
    command = f"from benchmarks.study import train_two_epochs; train_two_epochs({str(path)!r})"
    done = subprocess.run([sys.executable, "-c", command], capture_output=True, text=True, check=True)
    return float(done.stdout.split()[-1]) / 1e6


def train_two_epochs(path: str) -> None:
    """Train a head for two epochs on a file of features, and print this process' peak memory [kB].

    Linux counts in `getrusage` what the parent held before it started this process, so it isn't asked.
    """
    from ssfr.components.runtime.progress import SILENT
    from ssfr.components.training.features import FeatureFile
    from ssfr.components.training.loop import Dataset, fit

    features = FeatureFile(Path(path), (8, 8, 512), "bfloat16").open()
    labels = np.random.default_rng(1).normal(4.0, 1.0, len(features)).astype(np.float32)
    data = Dataset(features, labels, np.arange(TRAINING), np.arange(TRAINING, len(features)))
    checkpoint = Path(path).with_name("checkpoint.npz")
    fit(_head(features, 4.0), data, _thesis(epochs=2), 1, "memory", checkpoint, SILENT)
    status = Path("/proc/self/status").read_text()
    print(status.partition("VmHWM:")[2].split()[0])


def _discs(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Make clumpy discs, (n, 256, 256, 3) of about ImageNet's spread, and the log10 of a sum over clumps."""
    generator = np.random.default_rng(0)
    y, x = np.mgrid[:256, :256] - 127.5
    scale, total, contrast = (
        generator.uniform(low, high, (count, 1, 1)) for low, high in ((20, 70), (0.3, 3.0), (0.1, 1.0))
    )
    images = np.empty((count, 256, 256, 3), np.float32)
    labels = np.empty(count)
    for i in range(count):
        smooth = total[i] * np.exp(-np.hypot(x, y) / scale[i])
        mass = smooth * np.exp(contrast[i] * generator.standard_normal(smooth.shape) - contrast[i] ** 2 / 2)
        labels[i] = np.log10(np.sum(mass**1.5)) - 3.0
        stretched = 60.0 * np.arcsinh(mass / 0.1)
        images[i] = np.stack([stretched - 60.0, stretched, 60.0 - stretched], axis=-1)
    return images, labels


if __name__ == "__main__":
    file, kind, how, count = sys.argv[1:]
    print(time_epochs(file, "bfloat16" if kind == "bfloat16" else "float32", how, int(count)))
