"""Layers that models share: a 1x1 convolution that compiles well, and a dropout with given draws."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np
from keras import layers, ops


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
    """Dropout whose draws can be given: a compiler's own random numbers cost as much as the rest."""

    given: Any = None
    """(n, units) factors, 0 or 1 / (1 - rate); None: the layer draws for itself."""

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
    """Give each `Dropout` of the network its draws, as long as a step is traced."""
    for layer, factors in zip(dropouts(network), kept, strict=True):
        layer.given = factors
    try:
        yield
    finally:
        for layer in dropouts(network):
            layer.given = None
