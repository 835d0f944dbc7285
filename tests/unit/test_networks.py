"""The networks: sizes of the thesis, features equal to the whole frozen model, physics of the compact one."""

import itertools

import keras
import numpy as np
import pytest
from identities import map_identity
from scipy.stats import norm

from ssfr.components.config import (
    Case,
    CompactSettings,
    PreprocessingSettings,
    TrainingSettings,
    Vgg16Settings,
)
from ssfr.components.errors import InputError
from ssfr.components.imagesets.spec import ImageSpec
from ssfr.components.models.architecture import architecture_of
from ssfr.components.models.compact import build_compact
from ssfr.components.models.layers import Pointwise
from ssfr.components.models.outputs import gaussian_nll, squared_error
from ssfr.components.models.vgg16 import backbone_input, build_backbone, build_head, wake_head
from ssfr.components.models.weights import random_weights


def image_spec(pixels, fields=("entropy", "mass", "temperature")):
    identity = map_identity(fields, pixels, "sum")
    return ImageSpec.build(Case(name="composite", channels=fields), PreprocessingSettings(), identity)


def random_backbone(pixels, dtype="float32"):
    backbone = build_backbone(pixels, dtype)
    random_weights(backbone, seed=3)
    return backbone


def test_sizes_are_those_of_the_thesis():
    backbone, head = build_backbone(), build_head()
    assert backbone.output_shape == (None, 8, 8, 512)
    assert backbone.count_params() == 14_714_688
    assert backbone.trainable_variables == []
    assert sum(int(np.prod(v.shape)) for v in head.trainable_variables) == 309_186
    assert backbone.count_params() + head.count_params() == 15_023_874


@pytest.mark.slow
def test_training_the_head_on_features_equals_training_the_whole_frozen_model():
    """Same start, same batches, dropout with the same seed: the same weights, to float32 rounding."""
    pixels, side, steps, batch = 64, 2, 4, 3
    generator = np.random.default_rng(0)
    images = generator.normal(0, 60, (steps * batch, pixels, pixels, 3)).astype(np.float32)
    labels = generator.normal(4, 1, (steps * batch, 1)).astype(np.float32)
    backbone = random_backbone(pixels)

    features = backbone.predict_on_batch(images)
    head = build_head(side=side)
    random_weights(head, seed=5)
    wake_head(head, features)
    start = head.get_weights()
    whole_head = build_head(side=side)
    whole_head.set_weights(start)
    inputs = keras.Input((pixels, pixels, 3))
    whole = keras.Model(inputs, whole_head(backbone(inputs)))
    for model in (head, whole):
        model.compile(optimizer=keras.optimizers.Adadelta(1.0), loss=squared_error)
    for step in range(steps):
        rows = slice(step * batch, (step + 1) * batch)
        head.train_on_batch(features[rows], labels[rows])
        whole.train_on_batch(images[rows], labels[rows])
    for begun, on_features, in_whole in zip(start, head.get_weights(), whole_head.get_weights(), strict=True):
        assert np.abs(on_features - begun).max() > 1e-6
        np.testing.assert_allclose(on_features, in_whole, rtol=1e-4, atol=2e-6)
    assert all(
        (a == b).all() for a, b in zip(backbone.get_weights(), random_backbone(64).get_weights(), strict=True)
    )


@pytest.mark.parametrize("seed", range(4))
def test_the_heads_bottleneck_never_starts_dead(seed):
    features = np.abs(np.random.default_rng(seed).normal(30, 1, (5, 2, 2, 512))).astype(np.float32)
    head = build_head(side=2)
    random_weights(head, seed)
    wake_head(head, features)
    answers = np.asarray(head.layers[1](features))
    assert np.mean(answers > 0) >= 0.5


def test_bfloat16_features_are_those_of_float32_to_a_percent():
    images = np.random.default_rng(0).normal(0, 60, (3, 64, 64, 3)).astype(np.float32)
    exact = random_backbone(64).predict_on_batch(images)
    rough = np.asarray(random_backbone(64, "bfloat16")(images)).astype(np.float32)
    assert np.linalg.norm(rough - exact) < 0.02 * np.linalg.norm(exact)


def test_backbone_input_copies_one_channel_and_follows_the_pixel_type():
    pixels = np.full((1, 2, 2, 3), 100.0, np.float32) * np.array([1.0, 0.5, 0.0], np.float32)
    raw = np.asarray(backbone_input(keras.ops.convert_to_tensor(pixels), "uint8", preprocess=False))
    np.testing.assert_array_equal(raw, pixels)
    processed = np.asarray(backbone_input(keras.ops.convert_to_tensor(pixels), "uint8", preprocess=True))
    np.testing.assert_allclose(processed[0, 0, 0], [0 - 103.939, 50 - 116.779, 100 - 123.68], atol=1e-4)
    single = keras.ops.convert_to_tensor(np.ones((2, 2, 2, 1), np.float32))
    assert np.asarray(backbone_input(single, "float32", preprocess=True)).shape == (2, 2, 2, 3)


def test_vgg16_refuses_images_that_are_not_256_pixels_wide():
    settings = TrainingSettings(model="vgg16", loss="mse", vgg16=Vgg16Settings(weights="random"))
    with pytest.raises(InputError, match=r"'composite'.*takes 256 pixels.* not 128 and 3.*projection.pixels"):
        architecture_of(settings).network(image_spec(128), seed=0)
    with pytest.raises(InputError, match=r"1 or 3 channels.*256 and 2"):
        architecture_of(settings).network(image_spec(256, ("entropy", "mass")), seed=0)


def test_compact_sees_four_means_of_each_block():
    settings = TrainingSettings(compact=CompactSettings(input_pixels=16))
    network = architecture_of(settings).network(image_spec(64), seed=0)
    images = np.random.default_rng(0).normal(size=(2, 64, 64, 3)).astype(np.float32)
    images[0] += 200.0  # no exponential of a pixel may overflow
    reduced = np.asarray(network.frozen.run(images))
    assert reduced.shape == (2, *network.feature_shape) == (2, 16, 16, CompactSettings.BLOCK_MEANS * 3)
    blocks = images.reshape(2, 16, 4, 16, 4, 3).astype(np.float64)
    means = np.split(reduced, CompactSettings.BLOCK_MEANS, axis=-1)
    expected = (
        blocks.mean(axis=(2, 4)),
        np.log(np.exp(blocks).mean(axis=(2, 4))),
        np.log(np.exp(2 * blocks).mean(axis=(2, 4))) / 2,
        blocks.max(axis=(2, 4)),
    )
    for found, wanted in zip(means, expected, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)
    assert all((low <= high + 1e-4).all() for low, high in itertools.pairwise(means))
    single = architecture_of(settings).network(image_spec(16), seed=0)
    np.testing.assert_array_equal(np.asarray(single.frozen.run(images[:, :16, :16])), images[:, :16, :16])
    with pytest.raises(InputError, match=r"input_pixels: 64 does not divide the image's 100"):
        architecture_of(TrainingSettings()).network(image_spec(100), seed=0)


def test_compact_refuses_an_image_that_cannot_be_halved_by_every_stage():
    chosen = TrainingSettings(compact=CompactSettings(widths=(8, 8, 8, 8)))
    with pytest.raises(InputError, match=r"widths: 4 stages halve the image as often, and one of 8 pixels"):
        architecture_of(chosen).network(image_spec(8), seed=0)


def test_the_matrix_product_of_pointwise_is_a_1x1_convolution():
    images = np.random.default_rng(0).normal(size=(3, 4, 5, 6)).astype(np.float32)
    ours = Pointwise(2, 1, activation="relu")
    keras_own = keras.layers.Conv2D(2, 1, activation="relu")
    keras_own.build(images.shape)
    ours.build(images.shape)
    ours.set_weights(keras_own.get_weights())
    np.testing.assert_allclose(np.asarray(ours(images)), np.asarray(keras_own(images)), atol=1e-6)


def test_compact_starts_equal_for_equal_seeds_and_answers_mean_and_log_variance():
    one, other, third = (
        architecture_of(TrainingSettings()).network(image_spec(64), seed=s).trained for s in (1, 1, 2)
    )
    assert one.output_shape == (None, 2)
    assert all((a == b).all() for a, b in zip(one.get_weights(), other.get_weights(), strict=True))
    assert not (one.get_weights()[0] == third.get_weights()[0]).all()


def test_compact_sees_where_gas_is_concentrated_not_only_how_much_there_is():
    """Same mean pixel, different concentration: the log-mean-exp sums must tell them apart untrained."""
    network = build_compact(32, 1, CompactSettings(), 1)
    random_weights(network, 0)
    spread, clump = np.full((1, 32, 32, 1), 1.0, np.float32), np.zeros((1, 32, 32, 1), np.float32)
    clump[0, 14:18, 14:18] = 64.0
    assert abs(float(network(spread)[0, 0] - network(clump)[0, 0])) > 0.1


def test_gaussian_nll_is_the_likelihood_of_the_normal_distribution():
    labels = np.array([[0.3], [-1.0]], np.float32)
    outputs = np.array([[0.0, -1.0], [0.5, 2.0]], np.float32)
    loss = np.asarray(gaussian_nll(labels, outputs)) + 0.5 * np.log(2 * np.pi)
    expected = -norm.logpdf(labels[:, 0], outputs[:, 0], np.exp(0.5 * outputs[:, 1]))
    np.testing.assert_allclose(loss, expected, rtol=1e-5)
