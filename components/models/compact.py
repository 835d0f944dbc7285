"""The compact network: trained from scratch on images that are reduced to a few means of blocks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
from keras import layers, ops

from ssfr.components.config import CompactSettings
from ssfr.components.imagesets.spec import ImageSpec
from ssfr.components.models.architecture import Architecture, Frozen
from ssfr.components.models.layers import Dropout, Pointwise


class Compact(Architecture[CompactSettings]):
    """The small network, of which nothing is frozen but the reduction of the image."""

    def build_frozen(self, spec: ImageSpec, dtype: str, seed: int, expected_md5: str) -> Frozen:
        """Return the reduction of images to means of blocks."""
        pixels, side, pixel_type = spec.pixels, self.settings.side(spec.pixels), spec.pixel_type
        return Frozen(lambda images: _reduce(images, pixels, side, pixel_type))

    def build_trained(self, spec: ImageSpec, outputs: int, seed: int) -> keras.Model:
        """Build the network on reduced images."""
        channels = self.settings.means(spec.pixels) * spec.output_channels
        return build_compact(self.settings.side(spec.pixels), channels, self.settings, outputs, seed)


def build_compact(
    pixels: int, channels: int, settings: CompactSettings, outputs: int, seed: int = 0
) -> keras.Model:
    """Build the small network: (n, pixels, pixels, channels) -> (n, outputs).

    A galaxy's SFR is a sum over its gas of a steep local function, and the label its logarithm. So a
    function of single pixels is learned first and summed over the image in two ways, mean and
    log-mean-exp; convolutions on coarser and coarser images add structure, and are dropped out as a
    complete block of sums, since with a few hundred galaxies they are what overfits. There is no
    normalisation by statistics of the batch (noisy) or of the image (it would remove how much gas there
    is). `seed` is that of the dropout.
    """
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
