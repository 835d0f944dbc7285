"""VGG16's weights: the published file and nothing else, or random ones on request."""

import h5py
import numpy as np
import pytest
from training_samples import VGG16_SHAPES, write_vgg16_weights

from ssfr.components.errors import InputError
from ssfr.components.models.vgg16 import build_backbone
from ssfr.components.models.weights import VGG16_FILE, load_backbone, published_file


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """A file in the published layout, with its MD5."""
    path = tmp_path_factory.mktemp("weights") / VGG16_FILE
    return path, write_vgg16_weights(path)


def test_published_layout_is_read_array_by_array(published):
    path, md5 = published
    backbone = build_backbone(32)
    origin = load_backbone(backbone, str(path), seed=0, expected_md5=md5)
    assert origin["weights"] == str(path)
    assert len(origin["sha256"]) == 64
    with h5py.File(path) as file:
        for name in VGG16_SHAPES:
            kernel, bias = backbone.get_layer(name).get_weights()
            np.testing.assert_array_equal(kernel, file[name][f"{name}_W_1:0"])
            np.testing.assert_array_equal(bias, file[name][f"{name}_b_1:0"])


def test_imagenet_is_found_in_the_keras_cache(published, tmp_path, monkeypatch):
    path, md5 = published
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / VGG16_FILE).symlink_to(path)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    assert published_file("imagenet", md5) == tmp_path / "models" / VGG16_FILE


def test_absent_weights_say_how_to_get_them_and_are_not_downloaded(tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    with pytest.raises(InputError, match=r"not there; fetch https://.*notop\.h5.*random") as caught:
        published_file("imagenet")
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_weights_with_the_wrong_hash_are_refused(published):
    path, _ = published
    with pytest.raises(InputError, match=r"MD5 [0-9a-f]{32}, expected 6d6bbae143d832006294945121d1f1fc"):
        published_file(str(path))


def test_a_file_with_the_right_hash_but_other_arrays_is_refused(published, tmp_path):
    path, _ = published
    other = tmp_path / "other.h5"
    with h5py.File(path) as source, h5py.File(other, "w") as target:
        source.copy("block1_conv1", target)
        target["block1_conv2/block1_conv2_W_1:0"] = np.zeros((3, 3, 64, 32), np.float32)
    with pytest.raises(
        InputError, match=r"block1_conv2_W_1:0': expected \(3, 3, 64, 64\), found \(3, 3, 64, 32\)"
    ):
        load_backbone(build_backbone(32), str(other), 0, expected_md5=_md5(other))


def test_random_weights_are_a_function_of_the_seed_alone():
    one, other = build_backbone(32), build_backbone(64)
    assert load_backbone(one, "random", seed=7) == {"weights": "random", "seed": 7}
    load_backbone(other, "random", seed=7)
    assert all((a == b).all() for a, b in zip(one.get_weights(), other.get_weights(), strict=True))
    load_backbone(other, "random", seed=8)
    kernel = one.get_layer("block5_conv3").get_weights()[0]
    assert kernel.std() == pytest.approx(np.sqrt(2 / (9 * 512)), rel=0.01)
    assert not (kernel == other.get_layer("block5_conv3").get_weights()[0]).any()
    first = np.random.default_rng(7).standard_normal((3, 3, 3, 64)) * np.sqrt(2 / 27)
    np.testing.assert_array_equal(one.get_layer("block1_conv1").get_weights()[0], first.astype(np.float32))


def _md5(path):
    import hashlib

    return hashlib.md5(path.read_bytes()).hexdigest()
