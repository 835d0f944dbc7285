"""Training: it learns, is the same twice and after a SIGKILL, and says in one line what went wrong."""

import os
import signal
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import RidgeCV
from training_samples import discs, write_prepared

from components.config import Case, CompactSettings, Settings, TrainingSettings, Vgg16Settings
from components.errors import InputError
from components.models.folder import read_description, read_weights
from components.models.networks import build_head
from components.models.predictor import Predictor
from components.progress import SILENT, Progress
from components.training.interval import calibrate
from components.training.loop import Dataset, fit, turned
from components.training.train import run

SMALL = CompactSettings(input_pixels=16, widths=(8, 16), dense=16)


def settings(**training):
    training = {"epochs": 3, "compact": SMALL, **training}
    return Settings(cases=[Case(name="composite")], training=TrainingSettings(**training))


def train(output, folders, chosen, progress=SILENT):
    output.mkdir(exist_ok=True)
    return run(output, *folders, "composite", chosen, progress)


@pytest.fixture(scope="module")
def few(tmp_path_factory):
    """40 discs of 32 pixels: maps and prepared folder."""
    return write_prepared(tmp_path_factory.mktemp("few"), *discs(40, 32))


class Heard:
    """Keeps every event."""

    def __init__(self):
        self.events = []

    def emit(self, event):
        self.events.append(event)


def test_compact_learns_a_nonlinear_sum_that_ridge_on_the_fluxes_cannot(tmp_path):
    maps, label = discs(350, 32, seed=1)
    folders = write_prepared(tmp_path, maps, label)
    chosen = settings(epochs=25, compact=CompactSettings(input_pixels=32))
    train(tmp_path / "out", folders, chosen)
    split = pd.read_parquet(folders[1] / "galaxies.parquet")["split"].to_numpy()
    fitted, test = split == "train", split == "test"
    prediction = Predictor.load(tmp_path / "out").predict_maps(maps[test])
    fluxes = np.log10(maps.sum(axis=(2, 3)))
    ridge = RidgeCV(np.logspace(-4, 4, 9)).fit(fluxes[fitted], label[fitted]).predict(fluxes[test])
    rmse = np.sqrt(np.mean((prediction.log10_ssfr - label[test]) ** 2))
    assert rmse < 0.6 * np.sqrt(np.mean((ridge - label[test]) ** 2))
    covered = np.mean((prediction.lower < label[test]) & (label[test] < prediction.upper))
    assert 0.5 < covered < 0.85


def test_the_model_folder_holds_what_it_takes_to_predict_and_nothing_unfinished(few, tmp_path):
    heard = Heard()
    figures = train(tmp_path / "out", few, settings(), Progress(heard))
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "model.json",
        "weights.npz",
        "history.csv",
    }
    description = read_description(tmp_path / "out")
    assert description["format"] == 1
    assert description["input"] == {
        "kind": "maps",
        "fields": ["entropy", "mass", "temperature"],
        "channels": ["entropy", "mass", "temperature"],
        "pixels": 32,
    }
    assert description["interval"]["kind"] == "scaled_sigma"
    assert description["parameters"] == figures["parameters"]
    history = pd.read_csv(tmp_path / "out" / "history.csv")
    assert list(history) == ["epoch", "loss", "validation_loss", "learning_rate", "seconds"]
    assert list(history["epoch"]) == [1, 2, 3]
    best = int(history["validation_loss"].idxmin()) + 1
    assert description["validation"]["best_epoch"] == figures["validation"]["best_epoch"] == best
    tasks = [event for event in heard.events if event["kind"] == "task"]
    assert {event["label"] for event in tasks} == {"features of composite", "training composite"}
    assert set(tasks[-1]["figures"]) == {"loss", "validation"}


def test_the_same_seed_gives_the_same_weights_bit_for_bit(few, tmp_path):
    for name, seed in (("one", 1), ("two", 1), ("three", 2)):
        train(tmp_path / name, few, settings().model_copy(update={"seed": seed}))
    one, two, three = ((tmp_path / name / "weights.npz").read_bytes() for name in ("one", "two", "three"))
    assert one == two
    assert one != three


# Trains into the folders named; where a number of epochs stands beside one, is killed after them.
SCRIPT = """
import json, os, signal, sys
from pathlib import Path
from components.config import parse_settings
from components.progress import Progress
from components.training.train import run

maps, prepared, settings, *runs = sys.argv[1:]
settings = parse_settings(json.loads(settings), "test")

class Killer:
    def __init__(self, epochs):
        self.epochs = float(epochs or "inf")

    def emit(self, event):
        if event["label"] == "training composite" and event["done"] >= self.epochs:
            os.kill(os.getpid(), signal.SIGKILL)

for name in runs:
    output, _, epochs = name.partition("@")
    Path(output).mkdir(exist_ok=True)
    run(Path(output), Path(maps), Path(prepared), "composite", settings, Progress(Killer(epochs)))
"""


def start(folders, chosen, *runs, **environment):
    command = [sys.executable, "-c", SCRIPT, *map(str, folders), chosen.model_dump_json(), *runs]
    return subprocess.run(
        command, capture_output=True, text=True, check=False, env=os.environ | environment, timeout=300
    )


def test_a_run_killed_and_started_again_ends_with_the_weights_of_one_that_was_not(few, tmp_path):
    chosen = settings(epochs=7, checkpoint_every=2)
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    first = start(few, chosen, str(whole), f"{killed}@5")
    assert first.returncode == -signal.SIGKILL, first.stderr
    assert not (killed / "model.json").exists()
    assert (killed / "unfinished" / "checkpoint.npz").is_file()
    again = start(few, chosen, str(killed))
    assert again.returncode == 0, again.stderr
    one, other = (read_weights(folder, read_description(folder)) for folder in (whole, killed))
    assert all((a == b).all() for a, b in zip(one, other, strict=True))
    histories = [pd.read_csv(folder / "history.csv").drop(columns="seconds") for folder in (whole, killed)]
    pd.testing.assert_frame_equal(*histories, check_exact=True)


def test_a_loss_that_is_not_a_number_names_the_case_the_epoch_and_the_rate(few, tmp_path):
    chosen = settings(loss="mse", learning_rate=1e30, schedule="constant", optimizer="adadelta")
    with pytest.raises(
        InputError, match=r"case 'composite': the loss is .*(nan|inf).* after epoch 1; lower training"
    ):
        train(tmp_path / "out", few, chosen)


def test_a_dead_relu_is_found_after_the_epoch_in_which_it_died(tmp_path):
    generator = np.random.default_rng(0)
    features = -np.abs(generator.normal(size=(20, 2, 2, 512))).astype(np.float32)
    labels = generator.normal(4, 1, 20).astype(np.float32)
    data = Dataset(features, labels, np.arange(15), np.arange(15, 20))
    head = build_head("relu", side=2)
    kernel, bias = head.layers[1].get_weights()
    head.layers[1].set_weights([np.abs(kernel), bias])
    chosen = TrainingSettings(model="vgg16", loss="mse", vgg16=Vgg16Settings(last_activation="relu"))
    with pytest.raises(
        InputError, match=r"case 'mass': after epoch 1 .* every galaxy: .*last_activation: linear"
    ):
        fit(head, data, chosen, 0, "mass", tmp_path / "checkpoint.npz", SILENT)


@pytest.mark.parametrize(
    ("split", "changes", "message"),
    [
        (["test"] * 39 + ["train"], {}, "1 galaxies to train on, expected at least 2"),
        (["train"] * 40, {}, "no galaxy to validate on, as training.keep: best_validation needs"),
        (
            ["train"] * 40,
            {"keep": "last", "patience": 3},
            "no galaxy to validate on, as training.patience needs",
        ),
    ],
)
def test_too_few_galaxies_are_an_error(tmp_path, split, changes, message):
    folders = write_prepared(tmp_path, *discs(40, 16), split=np.array(split))
    with pytest.raises(InputError, match=message):
        train(tmp_path / "out", folders, settings(**changes))


def test_without_a_validation_set_the_interval_is_the_training_galaxies_and_that_is_said(tmp_path):
    folders = write_prepared(tmp_path, *discs(12, 16), split=np.array(["train"] * 12))
    heard = Heard()
    figures = train(tmp_path / "out", folders, settings(keep="best_training", epochs=2), Progress(heard))
    assert figures["validation"]["set"] == "train"
    assert any("too narrow" in event["text"] for event in heard.events if event["kind"] == "warn")


def test_an_unknown_case_is_an_error_that_names_the_nearest(few, tmp_path):
    with pytest.raises(InputError, match=r"no case 'composit' \(did you mean 'composite'\?\)"):
        run(tmp_path, *few, "composit", settings(), SILENT)


def test_patience_ends_training_and_keep_says_which_weights_stay(few, tmp_path):
    """At a rate of nearly zero nothing improves beyond rounding, so patience runs out at once."""
    chosen = settings(epochs=30, patience=2, learning_rate=1e-12, schedule="constant", weight_decay=0)
    figures = train(tmp_path / "out", few, chosen)
    assert figures["validation"]["epochs"] < 30
    last = train(tmp_path / "last", few, settings(keep="last"))
    assert last["validation"]["best_epoch"] == last["validation"]["epochs"] == 3


def test_the_learning_rate_fits_the_model_unless_it_is_given():
    vgg16 = TrainingSettings(model="vgg16", loss="mse")
    thesis = TrainingSettings(model="vgg16", loss="mse", optimizer="adadelta")
    given = TrainingSettings(learning_rate=0.1)
    assert (TrainingSettings().rate, vgg16.rate, thesis.rate, given.rate) == (5e-3, 2e-4, 1.0, 0.1)


def test_augmentation_turns_and_mirrors_whole_images():
    image = np.arange(12, dtype=np.float32).reshape(2, 2, 3)
    seen = turned(np.repeat(image[None], 300, axis=0), np.random.default_rng(0))
    assert len(np.unique(seen.reshape(300, -1), axis=0)) == 8
    np.testing.assert_array_equal(
        np.sort(seen.reshape(300, 4, 3), axis=1),
        np.sort(np.broadcast_to(image.reshape(4, 3), (300, 4, 3)), axis=1),
    )


@pytest.mark.parametrize("probability", [0.68, 0.9])
def test_calibrated_intervals_cover_new_galaxies_as_often_as_promised(probability):
    """A sigma that is wrong by a factor of 3, and skewed residuals without a sigma."""
    generator = np.random.default_rng(0)
    sigma = generator.uniform(0.1, 0.5, 40_000)
    labels, mean = sigma * generator.standard_normal(40_000), np.zeros(40_000)
    known, new = slice(0, 20_000), slice(20_000, None)
    found = calibrate(labels[known], mean[known], sigma[known] / 3, probability)
    covered = np.abs(labels[new]) < found["factor"] * sigma[new] / 3
    assert covered.mean() == pytest.approx(probability, abs=0.01)
    skewed = generator.exponential(1.0, 40_000)
    found = calibrate(skewed[known], mean[known], None, probability)
    covered = (skewed[new] > found["lower"]) & (skewed[new] < found["upper"])
    assert covered.mean() == pytest.approx(probability, abs=0.01)
    assert found["galaxies"] == 20_000


def test_vgg16_trains_on_cached_features_and_predicts_with_the_whole_network(tmp_path):
    maps, label = discs(8, 256)
    split = np.array(["train"] * 5 + ["validation"] * 3)
    folders = write_prepared(tmp_path, maps, label, split=split)
    chosen = settings(
        model="vgg16", loss="mse", learning_rate=1e-4, vgg16={"weights": "random", "features": "float32"}
    )
    figures = train(tmp_path / "out", folders, chosen)
    assert figures["parameters"] == {"trainable": 309_186, "frozen": 14_714_688}
    description = read_description(tmp_path / "out")
    assert description["backbone"] == {"weights": "random", "seed": 1}
    assert description["interval"]["kind"] == "residuals"
    prediction = Predictor.load(tmp_path / "out").predict_maps(maps[5:])
    rmse = np.sqrt(np.mean((prediction.log10_ssfr - label[5:]) ** 2))
    assert rmse == pytest.approx(figures["validation"]["rmse_dex"], rel=1e-4)


def test_training_runs_on_jax_as_well(few, tmp_path):
    pytest.importorskip("jax", reason="JAX is not installed; where it is, training runs on it here")
    done = start(few, settings(), str(tmp_path), KERAS_BACKEND="jax")
    assert done.returncode == 0, done.stderr
    assert read_description(tmp_path)["versions"]["backend"] == "jax"
