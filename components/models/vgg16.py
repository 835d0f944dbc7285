"""The thesis' network: VGG16 with ImageNet's weights, frozen, and a trained head."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import layers, ops

from ssfr.components.config import Vgg16Settings
from ssfr.components.imagesets.spec import ImageSpec
from ssfr.components.models.architecture import Architecture, Frozen
from ssfr.components.models.layers import Dropout, Pointwise
from ssfr.components.models.weights import load_backbone

PIXELS = Vgg16Settings.PIXELS
HEAD_PARAMETERS = 309_186
BACKBONE_PARAMETERS = 14_714_688
_IMAGENET_SPREAD = 60.0
"""Standard deviation of the 0..255 pixels VGG16 was trained on: what standardised floats are brought to."""


class Vgg16(Architecture[Vgg16Settings]):
    """Frozen VGG16 with the thesis' head."""

    def build_frozen(self, spec: ImageSpec, dtype: str, seed: int, expected_md5: str) -> Frozen:
        """Return the backbone with what brings images to ImageNet's scale."""
        backbone = build_backbone(spec.pixels, dtype)
        origin = load_backbone(backbone, self.settings.weights, seed, expected_md5)
        pixel_type, preprocess = spec.pixel_type, self.settings.preprocess_input

        def run(images: Any) -> Any:
            return backbone(backbone_input(images, pixel_type, preprocess), training=False)

        return Frozen(run, backbone.count_params(), origin)

    def build_trained(self, spec: ImageSpec, outputs: int, seed: int) -> keras.Model:
        """Build the head."""
        return build_head(self.settings.last_activation, seed=seed)

    def begin(self, trained: keras.Model, features: np.ndarray) -> float:
        """Choose the sign of the head's filter, and return the size of the features.

        The steps of an optimizer do not scale with that size, which differs by backbone.
        """
        wake_head(trained, features)
        return float(np.sqrt(np.mean(features**2))) or 1.0


def build_backbone(pixels: int = PIXELS, dtype: str = "float32") -> keras.Model:
    """Build VGG16 without its classifier, frozen: (n, pixels, pixels, 3) -> (n, pixels/32, pixels/32, 512).

    Parameters
    ----------
    pixels
        A side, at least 32.
    dtype
        In which it computes and keeps its weights. It is set layer by layer, since Keras' own switch is
        global to the process.
    """
    plain = keras.applications.VGG16(include_top=False, weights=None, input_shape=(pixels, pixels, 3))
    backbone = keras.models.clone_model(
        plain, clone_function=lambda layer: type(layer).from_config({**layer.get_config(), "dtype": dtype})
    )
    backbone.trainable = False
    if backbone.count_params() != BACKBONE_PARAMETERS:
        raise AssertionError(f"VGG16 has {backbone.count_params()} parameters, not {BACKBONE_PARAMETERS}")
    return backbone


def build_head(last_activation: str = "linear", side: int = PIXELS // 32, seed: int = 0) -> keras.Model:
    """Build the thesis' head: (n, side, side, 512) features -> (n, 1); 309,186 parameters for side 8.

    Conv 1x1 (1, ReLU), Flatten, Dense 64, 128, 256, 512, 256 (ReLU), Dropout 0.2, Dense 1 [14]. `seed` is
    that of the dropout.
    """
    inputs = keras.Input((side, side, 512))
    x = Pointwise(1, 1, activation="relu")(inputs)
    x = layers.Flatten()(x)
    for width in (64, 128, 256, 512, 256):
        x = layers.Dense(width, activation="relu")(x)
    x = Dropout(0.2, seed=seed)(x)
    head = keras.Model(inputs, layers.Dense(1, activation=last_activation)(x), name="head")
    if side == PIXELS // 32 and head.count_params() != HEAD_PARAMETERS:
        raise AssertionError(f"the head has {head.count_params()} parameters, not {HEAD_PARAMETERS}")
    return head


def wake_head(head: keras.Model, features: Any) -> None:
    """Give the head's single 1x1 filter the sign that lets more than half of its answers live.

    Backbone features are not negative, so a random filter often is negative everywhere, and one dead
    ReLU at the bottleneck ends all learning. A filter and its mirror image are equally likely, so
    choosing between them loses nothing.

    Parameters
    ----------
    head
        From `build_head`, not yet trained.
    features
        (n, side, side, 512) of some training galaxies.
    """
    kernel, bias = head.layers[1].get_weights()
    answers = np.asarray(features, dtype=np.float32) @ kernel[0, 0]
    if np.mean(answers > 0) < 0.5:
        head.layers[1].set_weights([-kernel, bias])


def backbone_input(images: Any, pixel_type: str, preprocess: bool) -> Any:
    """Turn (n, P, P, 1 or 3) images into what VGG16 sees: three channels, on ImageNet's scale.

    uint8 images are passed as they are, or through VGG16's own preprocessing (BGR, mean subtracted) [15];
    standardised floats, which have no mean to subtract, are brought to the spread of ImageNet's pixels.
    """
    if images.shape[-1] == 1:
        images = ops.repeat(images, 3, axis=-1)
    if pixel_type != "uint8":
        return images * _IMAGENET_SPREAD
    if not preprocess:
        return images
    return keras.applications.vgg16.preprocess_input(images, data_format="channels_last")
