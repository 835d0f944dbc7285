"""The networks, behind one interface: frozen VGG16 with the thesis' head, and a small one from scratch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import layers, ops

from ssfr.components.config import CompactSettings, TrainingSettings
from ssfr.components.errors import InputError
from ssfr.components.imagesets.spec import ImageSpec
from ssfr.components.models.weights import VGG16_MD5, load_backbone, random_weights

VGG16_PIXELS = 256
HEAD_PARAMETERS = 309_186
BACKBONE_PARAMETERS = 14_714_688
BLOCK_MEANS = 4
"""Numbers that the compact network sees of each block of pixels of a channel."""
_IMAGENET_SPREAD = 60.0
"""Standard deviation of the 0..255 pixels VGG16 was trained on: what standardised floats are brought to."""
_LOG_VARIANCE_LIMIT = 10.0


@dataclass(frozen=True)
class Network:
    """A network in two parts, so that what does not change in training is computed once an image.

    Attributes
    ----------
    frozen
        (n, P, P, C) float32 images -> features; no trainable parameters; keras.ops only.
    trained
        features -> (n, 1) or (n, 2) outputs: the standardised label, and the log of its variance.
    frozen_parameters
        Number of parameters in `frozen`.
    backbone
        Where the frozen parameters come from; None where there are none.
    """

    frozen: Callable[[Any], Any]
    trained: keras.Model
    frozen_parameters: int
    backbone: dict[str, Any] | None

    @property
    def feature_shape(self) -> tuple[int, ...]:
        """Shape of one galaxy's features."""
        return tuple(self.trained.input_shape[1:])


def traced(graph: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Return `graph` run as the SavedModel runs it, so that both round alike.

    One call at a time, TensorFlow rounds otherwise: a pixel of an 8-bit image can then fall on the other
    side of a whole number, which moved a prediction by 4e-4 dex. One by one it is
    slower, too, by a seventh. Other backends cannot export, and stay.
    """
    if keras.config.backend() != "tensorflow":
        return graph
    import tensorflow as tf

    return tf.function(graph, reduce_retracing=True)


class Pointwise(layers.Conv2D):
    """A 1x1 convolution as the matrix product that it is, which compiles to faster code."""

    def call(self, inputs: Any) -> Any:
        """Map (n, y, x, C) to (n, y, x, filters)."""
        _, height, width, channels = inputs.shape
        # An image at a time, not all pixels in one: the kernel's gradient then costs a third.
        flat = ops.reshape(inputs, (-1, height * width, channels))
        answers = ops.matmul(flat, ops.reshape(self.kernel, (channels, self.filters))) + self.bias
        return self.activation(ops.reshape(answers, (-1, height, width, self.filters)))


class Dropout(layers.Dropout):
    """Dropout that can be told what to keep: a compiler's own random numbers cost as much as the rest."""

    given: Any = None
    """(n, units) factors, 0 or 1 / (1 - rate); None: it draws for itself."""

    def call(self, inputs: Any, training: bool = False) -> Any:
        """Drop while training."""
        if training and self.given is not None:
            return inputs * self.given
        return super().call(inputs, training=training)

    def draw(self, generator: np.random.Generator, count: int) -> np.ndarray:
        """Return factors for a batch of `count`."""
        kept = generator.random((count, self.units), np.float32) >= self.rate
        return kept / np.float32(1.0 - self.rate)

    def build(self, input_shape: tuple[Any, ...]) -> None:
        """Remember how many units there are."""
        self.units = int(input_shape[-1])
        super().build(input_shape)


def dropouts(network: keras.Model) -> list[Dropout]:
    """Return the layers that drop, in their order."""
    return [layer for layer in network.layers if isinstance(layer, Dropout)]


@contextmanager
def given_dropout(network: keras.Model, kept: Sequence[Any]) -> Iterator[None]:
    """Tell each `Dropout` of the network what to keep, as long as a step is traced."""
    for layer, factors in zip(dropouts(network), kept, strict=True):
        layer.given = factors
    try:
        yield
    finally:
        for layer in dropouts(network):
            layer.given = None


def build_network(
    settings: TrainingSettings,
    spec: ImageSpec,
    seed: int,
    features: str = "float32",
    expected_md5: str = VGG16_MD5,
) -> Network:
    """Build the network that `settings.model` names, freshly initialised from `seed`.

    Parameters
    ----------
    settings
        Of training.
    spec
        Of the images it will see.
    seed
        Of the initial weights.
    features
        Type in which a frozen backbone computes: float32 (as served) or bfloat16.
    expected_md5
        Of VGG16's weights file.

    Raises
    ------
    InputError
        The images don't fit the network, or VGG16's weights can't be had.
    """
    pixels, channels, pixel_type = spec.pixels, spec.output_channels, spec.pixel_type
    if settings.model == "compact":
        trained = build_trained(settings, spec, seed)
        side = int(trained.input_shape[1])
        return Network(lambda images: _reduce(images, pixels, side, pixel_type), trained, 0, None)

    if pixels != VGG16_PIXELS or channels not in (1, 3):
        raise InputError(
            f"training.model: vgg16 takes {VGG16_PIXELS} pixels a side and 1 or 3 channels,"
            f" case '{spec.case}' has {pixels} and {channels}; change projection.pixels or the case, or use"
            " compact"
        )
    backbone = build_backbone(pixels, features)
    origin = load_backbone(backbone, settings.vgg16.weights, seed, expected_md5)
    preprocess = settings.vgg16.preprocess_input

    def frozen(images: Any) -> Any:
        return backbone(backbone_input(images, pixel_type, preprocess), training=False)

    return Network(frozen, build_trained(settings, spec, seed), backbone.count_params(), origin)


def build_trained(settings: TrainingSettings, spec: ImageSpec, seed: int) -> keras.Model:
    """Build the part of a network that is trained, freshly initialised from `seed`.

    Raises
    ------
    InputError
        The compact network does not fit the images.
    """
    if settings.model == "vgg16":
        trained = build_head(settings.vgg16.last_activation, seed=seed)
    else:
        side = reduced_pixels(spec.pixels, settings.compact.input_pixels)
        outputs = 2 if settings.loss == "gaussian_nll" else 1
        means = BLOCK_MEANS if spec.pixels > side else 1
        trained = build_compact(side, means * spec.output_channels, settings.compact, outputs, seed)
    random_weights(trained, seed)
    return trained


def build_backbone(pixels: int = VGG16_PIXELS, dtype: str = "float32") -> keras.Model:
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


def build_head(last_activation: str = "linear", side: int = VGG16_PIXELS // 32, seed: int = 0) -> keras.Model:
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
    if side == VGG16_PIXELS // 32 and head.count_params() != HEAD_PARAMETERS:
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


def build_compact(
    pixels: int, channels: int, settings: CompactSettings, outputs: int, seed: int = 0
) -> keras.Model:
    """Build the small network: (n, pixels, pixels, channels) -> (n, outputs).

    A galaxy's SFR is a sum over its gas of a steep local function, and the label its logarithm. So a
    function of single pixels is learned first and summed over the image in two ways, mean and
    log-mean-exp; convolutions on coarser and coarser images add structure, and are dropped out as a
    whole block of sums, since with a few hundred galaxies they are what overfits. There is no
    normalisation by statistics of the batch (noisy) or of the image (it would remove how much gas there
    is). `seed` is that of the dropout.

    Raises
    ------
    InputError
        The image is too small to be halved by every stage.
    """
    if pixels < 2 ** len(settings.widths):
        raise InputError(
            f"training.compact.widths: {len(settings.widths)} stages halve the image as often, and one of"
            f" {pixels} pixels is too small for that; give fewer, or larger images"
        )
    inputs = x = keras.Input((pixels, pixels, channels))
    for width in settings.local_widths:
        x = Pointwise(width, 1, activation="relu")(x)
    local, structure = _sums(x), []
    for width in settings.widths:
        x = layers.AveragePooling2D(2)(x)
        x = layers.Conv2D(width, 3, padding="same", activation="relu")(x)
        structure += _sums(x)
    if structure:
        local.append(Dropout(settings.dropout, seed=seed)(layers.Concatenate()(structure)))
    y = layers.Dense(settings.dense, activation="relu")(layers.Concatenate()(local))
    return keras.Model(inputs, layers.Dense(outputs)(y), name="compact")


def reduced_pixels(pixels: int, wanted: int) -> int:
    """Return the side to which images are averaged down for the compact network.

    Raises
    ------
    InputError
        `pixels` is not a multiple of `wanted`.
    """
    if pixels <= wanted:
        return pixels
    if pixels % wanted:
        raise InputError(
            f"training.compact.input_pixels: {wanted} does not divide the image's {pixels} pixels a side"
        )
    return wanted


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


def mean_and_log_variance(outputs: Any) -> tuple[Any, Any]:
    """Split (n, 2) outputs into (n,) mean and (n,) log variance, the latter kept within +-10."""
    limit = _LOG_VARIANCE_LIMIT
    return outputs[:, 0], ops.clip(outputs[:, 1], -limit, limit)


def gaussian_nll(labels: Any, outputs: Any) -> Any:
    """Return the negative log likelihood (n,) of (n, 1) labels, without its constant."""
    mean, log_variance = mean_and_log_variance(outputs)
    return 0.5 * (log_variance + ops.square(labels[:, 0] - mean) * ops.exp(-log_variance))


def squared_error(labels: Any, outputs: Any) -> Any:
    """Return the squared error (n,) of (n, 1) labels."""
    return ops.square(labels[:, 0] - outputs[:, 0])


LOSSES: dict[str, Callable[[Any, Any], Any]] = {"gaussian_nll": gaussian_nll, "mse": squared_error}


def _reduce(images: Any, pixels: int, side: int, pixel_type: str) -> Any:
    """Bring (n, pixels, pixels, C) to (n, side, side, 4C): four means of each block.

    Stars form where gas is dense, and pixels are nearly logarithms: their mean washes peaks out. So the
    largest pixel is kept as well, and two means between: the logarithm of that of exp(x), and of
    exp(2x). On maps of smoothed gas the network is lost without them. A block of one pixel stays as it is,
    C channels. 0..255 becomes -1..1.
    """
    if pixel_type == "uint8":
        images = images / 127.5 - 1.0
    block = pixels // side
    if block == 1:
        return images  # all four would be the pixel itself
    channels = images.shape[-1]

    def over_blocks(reduce: Callable[..., Any], values: Any) -> Any:
        # First along y, where what is put together lies side by side in memory: three times as fast.
        rows = reduce(ops.reshape(values, (-1, side, block, pixels * channels)), axis=2)
        return reduce(ops.reshape(rows, (-1, side, side, block, channels)), axis=3)

    peak = over_blocks(ops.max, images)
    blocks = ops.reshape(images, (-1, side, block, side, block, channels))
    raised = ops.exp(blocks - peak[:, :, None, :, None])
    once = peak + ops.log(over_blocks(ops.mean, raised))
    twice = peak + ops.log(over_blocks(ops.mean, ops.square(raised))) / 2.0
    return ops.concatenate([over_blocks(ops.mean, images), once, twice, peak], axis=-1)


def _sums(x: Any) -> list[Any]:
    """Return the mean and the log-mean-exp of (n, y, x, C) over the image, (n, C) each."""
    area = float(x.shape[1] * x.shape[2])
    return [layers.GlobalAveragePooling2D()(x), ops.logsumexp(x, axis=(1, 2)) - ops.log(area)]
