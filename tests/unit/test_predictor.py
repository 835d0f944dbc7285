"""Predictor: one answer from maps, pictures and the exported graph; whole model folders only."""

import json
import shutil

import numpy as np
import pytest
from training_samples import FIELDS, discs, write_prepared, write_vgg16_weights

from ssfr.components.config import (
    Case,
    CompactSettings,
    Filter,
    PreprocessingSettings,
    Settings,
    TrainingSettings,
)
from ssfr.components.errors import DamagedArtifactError, InputError
from ssfr.components.models.predictor import Predictor
from ssfr.components.runtime.progress import SILENT
from ssfr.components.training.train import run
from ssfr.models import load_model

SMALL = CompactSettings(input_pixels=16, widths=(8, 16), dense=16)
NAMES = ("predicted", "lower", "upper")


def trained(folder, maps, label, training=None, preprocessing=None, **case):
    output = folder / "model"
    output.mkdir(parents=True)
    settings = Settings(
        cases=[Case(name="composite", **case)],
        training=training or TrainingSettings(epochs=3, seeds=1, compact=SMALL),
        preprocessing=preprocessing or PreprocessingSettings(),
    )
    run(output, *write_prepared(folder, maps, label), "composite", settings, SILENT)
    return output


@pytest.fixture(scope="module")
def compact(tmp_path_factory):
    """A trained model of blurred maps with pixels without gas, and the maps."""
    maps, label = discs(30, 32)
    maps[:, 0, :3], maps[:, 1, :3], maps[:, 2, :3] = np.nan, 0.0, np.nan
    folder = tmp_path_factory.mktemp("compact")
    model = trained(folder, maps, label, filter=Filter(kind="gaussian", sigma=2.0))
    return model, maps


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """A trained model of an image catalogue, and the pictures (n, 32, 32, 3)."""
    maps, label = discs(30, 32)
    eight_bit = np.clip(40 * np.log1p(maps), 0, 255).astype(np.uint8)
    folder = tmp_path_factory.mktemp("pictures")
    model = trained(
        folder,
        eight_bit,
        label,
        TrainingSettings(epochs=3, seeds=1, loss="mse", compact=SMALL),
        PreprocessingSettings(pixel_type="uint8"),
        channels=("red", "green", "blue"),
    )
    return model, eight_bit.transpose(0, 2, 3, 1)


def test_the_traced_graph_answers_as_offline_for_any_batch_and_for_none(compact):
    tensorflow = pytest.importorskip("tensorflow")
    predictor, maps = Predictor.load(compact[0]), compact[1]
    signature = tensorflow.TensorSpec((None, len(FIELDS), 32, 32), tensorflow.float32)
    graph = tensorflow.function(predictor.graph, input_signature=[signature])
    offline = predictor.predict_maps(maps, batch=7)
    for count in (30, 1, 0):
        served = {name: tensor.numpy() for name, tensor in graph(maps[:count]).items()}
        assert set(served) == {*NAMES, "linear"}
        assert all(values.shape == (count,) and values.dtype == np.float32 for values in served.values())
        for name in NAMES:
            np.testing.assert_allclose(served[name], getattr(offline, name)[:count], atol=1e-5)
        np.testing.assert_allclose(
            served["linear"], 10.0 ** offline.predicted[:count].astype(float), rtol=1e-4
        )
    assert (offline.lower < offline.predicted).all()
    assert (offline.predicted < offline.upper).all()


def test_the_batch_size_changes_nothing_and_no_galaxies_give_no_predictions(compact):
    predictor, maps = Predictor.load(compact[0]), compact[1]
    one, other = predictor.predict_maps(maps, batch=4), predictor.predict_maps(maps, batch=30)
    np.testing.assert_allclose(one.predicted, other.predicted, atol=1e-5)
    assert predictor.predict_maps(maps[:0]).upper.shape == (0,)


def test_a_model_of_pictures_answers_alike_for_pictures_and_their_maps(pictures):
    predictor, images = Predictor.load(pictures[0]), pictures[1]
    from_pictures = predictor.predict_images(images)
    from_maps = predictor.predict_maps(images.transpose(0, 3, 1, 2))
    np.testing.assert_array_equal(from_pictures.predicted, from_maps.predicted)
    graph = predictor.graph(images)
    np.testing.assert_allclose(np.asarray(graph["lower"]), from_pictures.lower, atol=1e-5)
    width = from_pictures.upper - from_pictures.lower
    np.testing.assert_allclose(width, width[0], rtol=1e-4)


def test_input_of_the_wrong_kind_shape_or_type_is_refused(compact, pictures):
    of_maps, of_pictures = Predictor.load(compact[0]), Predictor.load(pictures[0])
    with pytest.raises(InputError, match=r"'composite': the model takes physical maps, not 8-bit images"):
        of_maps.predict_images(pictures[1])
    with pytest.raises(InputError, match=r"expected \(n, 3, 32, 32\), found \(30, 2, 32, 32\)"):
        of_maps.predict_maps(compact[1][:, :2])
    with pytest.raises(InputError, match=r"expected uint8, found float32"):
        of_pictures.predict_images(pictures[1].astype(np.float32))


def test_a_folder_that_is_not_a_whole_model_is_refused(compact, tmp_path):
    with pytest.raises(InputError, match=r"not a model folder \(model.json is absent\)"):
        Predictor.load(tmp_path)
    copy = tmp_path / "copy"
    shutil.copytree(compact[0], copy)
    weights = bytearray((copy / "weights.npz").read_bytes())
    weights[len(weights) // 2] ^= 1
    (copy / "weights.npz").write_bytes(weights)
    with pytest.raises(DamagedArtifactError, match=r"weights.npz: absent or damaged"):
        Predictor.load(copy)
    description = json.loads((copy / "model.json").read_text())
    (copy / "model.json").write_text(json.dumps({**description, "format": 9}))
    with pytest.raises(InputError, match=r"model.json: format: expected 1"):
        Predictor.load(copy)
    description["training"]["model"] = "huge"
    (copy / "model.json").write_text(json.dumps(description))
    with pytest.raises(InputError, match=r"model.json: model: no model 'huge' \(known: compact, vgg16\)"):
        Predictor.load(copy)


@pytest.mark.slow
def test_a_vgg16_model_is_not_used_with_other_backbone_weights(tmp_path):
    """The path is the same, the file another: its SHA-256 is in model.json."""
    maps, label = discs(5, 256)
    weights = tmp_path / "vgg16.h5"
    md5 = write_vgg16_weights(weights, seed=1)
    training = TrainingSettings(
        model="vgg16",
        loss="mse",
        epochs=1,
        seeds=1,
        learning_rate=1e-4,
        keep="last",
        vgg16={"weights": str(weights), "features": "bfloat16"},
    )
    folder = tmp_path / "model"
    folder.mkdir()
    settings = Settings(cases=[Case(name="composite")], training=training)
    run(folder, *write_prepared(tmp_path, maps, label), "composite", settings, SILENT, md5)
    assert Predictor.load(folder, md5).predict_maps(maps[:1]).predicted.shape == (1,)
    other = write_vgg16_weights(weights, seed=2)
    with pytest.raises(InputError, match=r"trained with other published weights"):
        Predictor.load(folder, other)
    with pytest.raises(InputError, match=r"MD5 .*, expected 6d6bbae"):
        Predictor.load(folder)


def test_other_maps_than_a_models_are_refused_offline(compact, tmp_path):
    model_dir, maps = compact
    model = load_model(model_dir)
    same = write_prepared(tmp_path / "same", maps[:4], np.zeros(4))[0]
    found = model.predict([same / "maps-099-000.h5", same / "maps-099-001.h5"])
    expected = Predictor.load(model_dir).predict_maps(maps[:4]).predicted
    np.testing.assert_allclose(found["log10_ssfr"].value, expected)
    other = write_prepared(tmp_path / "other", maps[:4], np.zeros(4), width=45.0, gas_of="halo")[0]
    differs = "width: 45 kpc, not 90 kpc; gas_of: halo, not subhalo"
    with pytest.raises(InputError, match=rf"maps-099-000\.h5: other maps .*: {differs}"):
        model.predict(other / "maps-099-000.h5")
