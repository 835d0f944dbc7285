"""Training: it learns, is the same twice and after a SIGKILL, and says in one line what went wrong."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys

import keras
import ml_dtypes
import numpy as np
import pandas as pd
import pytest
from identities import label_identity, map_identity
from sklearn.linear_model import RidgeCV
from training_samples import discs, write_prepared

from ssfr.components.config import (
    Case,
    CompactSettings,
    EvaluationSettings,
    Settings,
    TrainingSettings,
    Vgg16Settings,
    parse_settings,
)
from ssfr.components.errors import InputError
from ssfr.components.models.compact import build_compact
from ssfr.components.models.folder import members, read_description, read_weights, write_failure
from ssfr.components.models.interval import calibrate
from ssfr.components.models.layers import dropouts
from ssfr.components.models.outputs import LOSSES
from ssfr.components.models.predictor import Predictor, predict_all
from ssfr.components.models.vgg16 import build_head, wake_head
from ssfr.components.models.weights import random_weights
from ssfr.components.runtime.progress import SILENT, Progress
from ssfr.components.training.loop import BrokenTrainingError, Dataset, build_optimizer, fit, turned
from ssfr.components.training.plan import check_settings, engine
from ssfr.components.training.train import run

SMALL = CompactSettings(input_pixels=16, widths=(8, 16), dense=16)


def settings(**training):
    training = {"epochs": 3, "seeds": 1, "compact": SMALL, **training}
    return Settings(cases=[Case(name="composite")], training=TrainingSettings(**training))


def train(output, folders, chosen, progress=SILENT):
    output.mkdir(exist_ok=True)
    audit = chosen.evaluation.audit_case == "composite"
    return run(output, *folders, "composite", chosen, progress, audit=audit)


@pytest.fixture(scope="module")
def few(tmp_path_factory):
    """40 discs of 32 pixels: maps and prepared folder."""
    return write_prepared(tmp_path_factory.mktemp("few"), *discs(40, 32))


class RunEvents:
    """Keeps every event."""

    def __init__(self):
        self.events = []

    def emit(self, event):
        self.events.append(event)


@pytest.mark.slow
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
    rmse = np.sqrt(np.mean((prediction.predicted - label[test]) ** 2))
    assert rmse < 0.6 * np.sqrt(np.mean((ridge - label[test]) ** 2))
    covered = np.mean((prediction.lower < label[test]) & (label[test] < prediction.upper))
    assert 0.5 < covered < 0.85


def test_the_model_folder_holds_what_it_takes_to_predict_and_nothing_unfinished(few, tmp_path):
    heard = RunEvents()
    figures = train(tmp_path / "out", few, settings(), Progress(heard))
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "model.json",
        "weights.npz",
        "history.csv",
    }
    description = read_description(tmp_path / "out")
    assert description["format"] == 1
    assert description["spec"]["maps"] == map_identity(pixels=32).model_dump(mode="json")
    assert description["label"]["identity"] == label_identity().model_dump(mode="json")
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


NEVER = {"preprocessing": {"split": {"validation": 0.0}}}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (NEVER, "training.keep: best_validation needs galaxies to validate on"),
        ({**NEVER, "training": {"keep": "last", "patience": 2}}, "training.patience needs galaxies to valid"),
        ({"projection": {"pixels": 100}}, "input_pixels: 64 does not divide the image's 100 pixels"),
        (
            {"projection": {"pixels": 8}, "training": {"compact": {"widths": [8, 8, 8, 8]}}},
            "widths: 4 stages halve the image as often, and one of 8 pixels is too small",
        ),
        ({"evaluation": {"audit_case": "composit"}}, "no case 'composit' (did you mean 'composite'?)"),
        ({"training": {"milestones": [0]}}, "training.milestones.0"),
    ],
)
def test_settings_that_could_never_train_are_refused_when_they_are_read(data, message):
    with pytest.raises(InputError, match=re.escape(message)):
        parse_settings(data, "my.yaml")


def test_absent_weights_of_vgg16_are_found_before_the_first_step(tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    training = {"model": "vgg16", "loss": "mse"}
    with pytest.raises(InputError, match=r"VGG16's ImageNet weights are not there; fetch https://"):
        check_settings(parse_settings({"training": training}, "x"))
    check_settings(parse_settings({"training": {**training, "vgg16": {"weights": "random"}}}, "x"))
    check_settings(Settings())


def test_another_backend_is_another_engine_and_is_named_without_being_loaded(tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.delenv("KERAS_BACKEND", raising=False)
    assert engine() == {"keras": keras.__version__, "backend": "tensorflow"}
    (tmp_path / "keras.json").write_text('{"backend": "torch"}')
    assert engine()["backend"] == "torch"
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    assert engine()["backend"] == "jax"


def test_the_same_seed_gives_the_same_weights_bit_for_bit(few, tmp_path):
    for name, seed in (("one", 1), ("two", 1), ("three", 2)):
        train(tmp_path / name, few, settings().model_copy(update={"seed": seed}))
    one, two, three = ((tmp_path / name / "weights.npz").read_bytes() for name in ("one", "two", "three"))
    assert one == two
    assert one != three


# Trains into OUTPUT; with a NAME and EPOCH, is killed as soon as that network has done as many epochs.
SCRIPT = """
import json, os, signal, sys
from pathlib import Path
from ssfr.components.runtime import progress
from ssfr.components.config import parse_settings
from ssfr.components.training.train import run

maps, prepared, settings, output, name, epoch = sys.argv[1:]
progress.Task._every_s = 0.0  # every event counts here

class Killer:
    def emit(self, event):
        if event.get("label") == f"training {name}" and event["done"] >= int(epoch):
            os.kill(os.getpid(), signal.SIGKILL)

Path(output).mkdir(exist_ok=True)
settings = parse_settings(json.loads(settings), "test")
audit = settings.evaluation.audit_case == "composite"
run(Path(output), Path(maps), Path(prepared), "composite", settings, progress.Progress(Killer()), audit=audit)
"""


def start(folders, chosen, output, name="nothing", epoch=0, **environment):
    arguments = [*map(str, folders), chosen.model_dump_json(), str(output), name, str(epoch)]
    return subprocess.run(
        [sys.executable, "-c", SCRIPT, *arguments],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | environment,
        timeout=300,
    )


def epoch_of(checkpoint):
    with np.load(checkpoint) as arrays:
        return json.loads(arrays["numbers"].tobytes())["epoch"]


@pytest.fixture(scope="module")
def audited(tmp_path_factory):
    """40 discs with the splits of the leakage audit."""
    maps_dir, prepared_dir = write_prepared(tmp_path_factory.mktemp("audited"), *discs(40, 32))
    table = pd.read_parquet(prepared_dir / "galaxies.parquet")
    splits = table[["galaxy"]].copy()
    for number, method in enumerate(("random", "tree", "halo")):
        splits[f"audit_{method}"] = np.roll(table["split"], number + 1)
    splits.to_parquet(prepared_dir / "audit_splits.parquet")
    return maps_dir, prepared_dir


def several(**training):
    chosen = settings(epochs=5, checkpoint_every=2, seeds=2, milestones=(1, 4, 9), **training)
    return chosen.model_copy(update={"evaluation": EvaluationSettings(audit_case="composite")})


MODELS = ["", "audit/halo", "audit/random", "audit/tree", "milestones/1", "milestones/4", "seeds/2"]


@pytest.mark.slow
def test_a_run_killed_and_started_again_ends_with_the_weights_of_one_that_was_not(audited, tmp_path):
    """Killed in the first network after a milestone, and again in the second: every network is the same."""
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    train(whole, audited, several())
    first = start(audited, several(), killed, "composite", 5)
    assert first.returncode == -signal.SIGKILL, first.stderr
    assert epoch_of(killed / "unfinished" / "split-1.npz") == 4
    assert not (killed / "model.json").exists()
    second = start(audited, several(), killed, "composite, seed 2", 3)
    assert second.returncode == -signal.SIGKILL, second.stderr
    assert epoch_of(killed / "unfinished" / "split-2.npz") == 2
    assert (killed / "model.json").exists()
    third = start(audited, several(), killed)
    assert third.returncode == 0, third.stderr
    for name in MODELS:
        one, other = (read_weights(at / name, read_description(at / name)) for at in (whole, killed))
        assert all((a == b).all() for a, b in zip(one, other, strict=True)), name
    for name in ("", "seeds/2", "audit/tree"):
        histories = [pd.read_csv(at / name / "history.csv").drop(columns="seconds") for at in (whole, killed)]
        pd.testing.assert_frame_equal(*histories, check_exact=True)


def test_a_case_has_a_model_folder_for_every_seed_milestone_and_split_of_the_audit(audited, tmp_path):
    out = tmp_path / "out"
    figures = train(out, audited, several())
    assert sorted(str(path.parent.relative_to(out)) for path in out.rglob("model.json")) == [
        name or "." for name in MODELS
    ]
    assert figures["networks"] == len(MODELS)
    assert list(members(out, "milestones")) == ["1", "4"]
    descriptions = {name: read_description(out / name) for name in MODELS}
    assert {name: description["seed"] for name, description in descriptions.items() if name} == {
        **dict.fromkeys(MODELS[1:], 1),
        "seeds/2": 2,
    }
    assert descriptions["audit/tree"]["split"] == "audit_tree"
    assert descriptions["milestones/4"]["validation"]["best_epoch"] == 4
    weights = {name: read_weights(out / name, descriptions[name])[0] for name in MODELS}
    assert all((weights[a] != weights[b]).any() for a in MODELS[1:] for b in MODELS[1:] if a < b)
    intervals = {description["interval"]["factor"] for description in descriptions.values()}
    assert len(intervals) >= len(MODELS) - 1  # the last milestone may be the best epoch


@pytest.mark.slow
def test_several_networks_answer_together_as_each_does_alone(audited, tmp_path):
    train(tmp_path / "out", audited, several())
    folders = [tmp_path / "out" / name for name in MODELS]
    maps = discs(10, 32, seed=3)[0]
    together = predict_all(folders, iter([maps[:4], maps[4:]]))
    for folder, found in zip(folders, together, strict=True):
        alone = Predictor.load(folder).predict_maps(maps)
        for name in ("predicted", "lower", "upper"):
            np.testing.assert_allclose(getattr(found, name), getattr(alone, name), atol=1e-5)


def test_networks_of_different_cases_do_not_answer_together(few, tmp_path):
    train(tmp_path / "one", few, settings())
    description = read_description(tmp_path / "one")
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    description["spec"]["case"] = "mass"
    (tmp_path / "two" / "model.json").write_text(json.dumps(description))
    with pytest.raises(InputError, match=r"two/model.json: spec: not that of the network"):
        predict_all([tmp_path / "one", tmp_path / "two"], iter([]))


def test_a_call_after_the_last_network_trains_nothing_whatever_a_kill_left_behind(few, tmp_path):
    """A kill while the features are removed, or before the folder is published, costs no training."""
    out = tmp_path / "out"
    first = train(out, few, settings())
    before = (out / "model.json").stat().st_mtime_ns
    unfinished = out / "unfinished"
    unfinished.mkdir()
    (unfinished / "features.rows.json").write_text('{"rows": 32}')
    heard = RunEvents()
    again = train(out, few, settings(), Progress(heard))
    assert {**again, "seconds": 0} == {**first, "seconds": 0}
    assert (out / "model.json").stat().st_mtime_ns == before
    assert not heard.events
    assert not unfinished.exists()


def test_damaged_weights_are_trained_again(few, tmp_path):
    out = tmp_path / "out"
    train(out, few, settings())
    whole = (out / "weights.npz").read_bytes()
    (out / "weights.npz").write_bytes(whole[:-1])
    train(out, few, settings())
    assert (out / "weights.npz").read_bytes() == whole


def test_a_case_that_diverges_is_written_down_and_ends_nothing_else(few, tmp_path):
    out, heard = tmp_path / "out", RunEvents()
    chosen = settings(
        loss="mse",
        learning_rate=1e30,
        schedule="constant",
        optimizer="adadelta",
        seeds=3,
        milestones=(1,),
        restarts=1,
    )
    figures = train(out, few, chosen, Progress(heard))
    reason = (
        r"case 'composite': the loss is .*(nan|inf).* after epoch 1; lower training.*the last of 2 starts"
    )
    assert re.search(reason, figures["failed"])
    assert json.loads((out / "failed.json").read_text()) == {"case": "composite", "reason": figures["failed"]}
    assert [path.name for path in out.iterdir()] == ["failed.json"]
    warned = [event["text"] for event in heard.events if event["kind"] == "warn"]
    assert [text[:7] for text in warned if "the loss is" in text] == ["start 1", "start 2"]
    assert train(out, few, chosen)["failed"] == figures["failed"]


@pytest.mark.slow
def test_a_broken_training_is_started_afresh_only_where_that_is_asked_for(few, tmp_path):
    chosen = settings(checkpoint_every=1)
    start(few, chosen, tmp_path / "killed", "composite", 2)
    checkpoint = tmp_path / "killed" / "unfinished" / "split-1.npz"
    with np.load(checkpoint) as arrays:
        broken = {name: arrays[name] for name in arrays.files}
    broken["step/0000"] = np.full_like(broken["step/0000"], np.nan)
    np.savez(checkpoint, **broken)
    shutil.copytree(tmp_path / "killed", tmp_path / "again")

    given_up = train(tmp_path / "killed", few, settings(checkpoint_every=1, restarts=0))
    assert "the loss is nan" in given_up["failed"]
    train(tmp_path / "again", few, settings(checkpoint_every=1, restarts=1))
    (told,) = read_description(tmp_path / "again")["broken_starts"]
    assert "the loss is nan" in told
    train(tmp_path / "other", few, settings())
    assert read_description(tmp_path / "other")["broken_starts"] == []
    weights = [(tmp_path / name / "weights.npz").read_bytes() for name in ("again", "other")]
    assert weights[0] != weights[1]


def test_a_seed_that_breaks_down_costs_only_itself(few, tmp_path):
    write_failure(tmp_path / "out" / "seeds" / "2", "composite", "dead")
    figures = train(tmp_path / "out", few, settings(seeds=3))
    assert figures["networks"] == 2
    assert list(members(tmp_path / "out", "seeds")) == ["3"]


def plain_loop(network, optimizer, data, chosen, epochs):
    """Train as any Keras user would, on the same batches."""
    network.compile(optimizer=optimizer, loss=LOSSES[chosen.loss])
    losses = []
    for epoch in range(epochs):
        order = np.random.default_rng([1, epoch]).permutation(data.train)
        total = 0.0
        for start in range(0, len(order), chosen.batch):
            rows = order[start : start + chosen.batch]
            features = data.features[rows].astype(np.float32) / np.float32(data.unit)
            network.reset_metrics()
            total += len(rows) * float(network.train_on_batch(features, data.labels[rows, None]))
        losses.append(total / len(order))
    return losses


@pytest.mark.parametrize(
    ("build", "shape", "unit", "chosen"),
    [
        (
            lambda: build_head(side=2),
            (2, 2, 512),
            4.0,
            {"model": "vgg16", "loss": "mse", "optimizer": "adadelta", "schedule": "constant"},
        ),
        (lambda: build_compact(16, 2, SMALL, 2), (16, 16, 2), 1.0, {"augment": False}),
    ],
    ids=["head", "compact"],
)
@pytest.mark.parametrize("resident", [True, False], ids=["resident", "by batch"])
def test_the_compiled_steps_are_those_of_the_plain_keras_loop(
    tmp_path, monkeypatch, resident, build, shape, unit, chosen
):
    """Same batches, a last one that is smaller, no dropout: the same weights, to float32 rounding."""
    if not resident:
        monkeypatch.setattr("ssfr.components.training.loop._RESIDENT_BYTES", 0)
    generator = np.random.default_rng(0)
    features = unit * np.abs(generator.normal(size=(50, *shape))).astype(ml_dtypes.bfloat16)
    labels = generator.normal(0.5, 1, 50).astype(np.float32)
    data = Dataset(features, labels, np.arange(44), np.arange(44, 50), unit)
    training = TrainingSettings(batch=8, epochs=3, keep="last", **chosen)
    networks = [build(), build()]
    random_weights(networks[0], 5)
    if training.model == "vgg16":
        wake_head(networks[0], features.astype(np.float32))
    networks[1].set_weights(networks[0].get_weights())
    for network in networks:
        for layer in dropouts(network):
            layer.rate = 0.0
    begun = networks[0].get_weights()
    state = fit(networks[0], data, training, 1, "case", tmp_path / "checkpoint.npz", SILENT)
    losses = plain_loop(networks[1], build_optimizer(training, 6), data, training, 3)
    np.testing.assert_allclose([row["loss"] for row in state.history], losses, rtol=1e-4)
    ours, plain = networks[0].get_weights(), networks[1].get_weights()
    ours[0] = ours[0] * unit
    assert np.abs(ours[-2] - begun[-2]).max() > 1e-4
    for one, other in zip(ours, plain, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=2e-5)


def test_dropout_is_drawn_from_the_seed_and_keeps_the_mean():
    layer = dropouts(build_head(side=2))[0]
    one, same, other = (layer.draw(np.random.default_rng(seed), 400) for seed in (1, 1, 2))
    assert one.shape == (400, 256)
    assert set(np.unique(one)) == {np.float32(0), np.float32(1.25)}
    assert one.mean() == pytest.approx(1.0, abs=0.01)
    assert (one == same).all()
    assert (one != other).any()


@pytest.mark.parametrize("epochs", [1, 20])
def test_a_cosine_schedule_wastes_neither_the_first_batch_nor_the_last(epochs):
    chosen = TrainingSettings(epochs=epochs, learning_rate=0.5)
    schedule = build_optimizer(chosen, 1)._learning_rate
    rates = [float(schedule(step)) for step in range(epochs)]
    assert min(rates) > 0
    assert max(rates) == 0.5
    assert float(schedule(epochs)) == pytest.approx(0.0, abs=1e-8) or epochs == 1


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
        BrokenTrainingError, match=r"case 'mass': after epoch 1 .* every galaxy: .*last_activation: linear"
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
    heard = RunEvents()
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
    rmse = np.sqrt(np.mean((prediction.predicted - label[5:]) ** 2))
    assert rmse == pytest.approx(figures["validation"]["rmse_dex"], rel=1e-4)


@pytest.mark.slow
def test_training_runs_on_jax_as_well(few, tmp_path):
    pytest.importorskip("jax", reason="JAX is not installed; where it is, training runs on it here")
    done = start(few, settings(), str(tmp_path), KERAS_BACKEND="jax")
    assert done.returncode == 0, done.stderr
    assert read_description(tmp_path)["versions"]["backend"] == "jax"
