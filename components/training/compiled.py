"""A training step, compiled: the only lines of training that know Keras' backend."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from components.models.networks import given_dropout

Loss = Callable[..., Any]
"""(weights, features, labels, kept) -> the batch's mean loss."""


class Step:
    """One optimizer step after another, on a network whose weights lie end to end in one variable.

    An optimizer's work on one long vector is a few operations, on fourteen arrays it is hundreds; with
    that, the whole step is one compiled call. It is the mathematics of `keras.Model.train_on_batch`.

    Parameters
    ----------
    network
        Features -> outputs. Its weights change when `publish` is called, not before.
    optimizer
        Not yet built. One that clips must clip the global norm.
    loss
        (labels, outputs) -> (n,).
    unit
        The network is trained on features / unit, and published for features as they are. It is the
        first layer's kernel that is divided: it is so much smaller than a batch.
    fused
        Compile with XLA where the backend leaves the choice. Faster for a head, slower for convolutions.
    """

    def __init__(
        self,
        network: keras.Model,
        optimizer: keras.optimizers.Optimizer,
        loss: Callable[[Any, Any], Any],
        unit: float,
        fused: bool,
    ) -> None:
        self.network = network
        self.optimizer = optimizer
        self.weights = keras.Variable(np.concatenate([w.ravel() for w in network.get_weights()]))
        optimizer.build([self.weights])
        self._shapes = [tuple(variable.shape) for variable in network.weights]
        self._unit = unit
        state = [variable.value for variable in network.non_trainable_variables]

        def batch_loss(weights: Sequence[Any], features: Any, labels: Any, kept: Sequence[Any]) -> Any:
            first, *others = weights
            with given_dropout(network, kept):
                outputs, _ = network.stateless_call([first / unit, *others], state, features, training=True)
            return ops.mean(loss(labels, outputs))

        compile_step = _jax_step if keras.backend.backend() == "jax" else _tensorflow_step
        self._step = compile_step(batch_loss, self._split, self.weights, optimizer, fused)

    def __call__(self, features: Any, labels: Any, kept: Sequence[Any]) -> Any:
        """Do one step.

        Parameters
        ----------
        features
            (n, ...) of a type that float32 can hold.
        labels
            (n, 1) float32.
        kept
            For each `Dropout` of the network (n, units) float32 factors.

        Returns
        -------
        tensor
            The mean loss of the batch, before the step.
        """
        return self._step(features, labels, kept)

    def publish(self) -> None:
        """Give the network the weights as they are now, for features as they are."""
        first, *others = (ops.convert_to_numpy(part) for part in self._split(self.weights.value))
        self.network.set_weights([first / np.float32(self._unit), *others])

    @property
    def variables(self) -> list[keras.Variable]:
        """All that a checkpoint must hold."""
        return [self.weights, *self.optimizer.variables]

    def _split(self, weights: Any) -> list[Any]:
        parts, start = [], 0
        for shape in self._shapes:
            end = start + int(np.prod(shape))
            parts.append(ops.reshape(weights[start:end], shape))
            start = end
        return parts


def _join(parts: Sequence[Any]) -> Any:
    return ops.concatenate([ops.reshape(part, (-1,)) for part in parts])


def _tensorflow_step(
    batch_loss: Loss,
    split: Callable[[Any], list[Any]],
    weights: keras.Variable,
    optimizer: keras.optimizers.Optimizer,
    fused: bool,
) -> Callable[..., Any]:
    import tensorflow as tf

    @tf.function(jit_compile=fused)
    def step(*batch: Any) -> Any:
        parts = split(weights.value)
        with tf.GradientTape() as tape:
            tape.watch(parts)
            loss = batch_loss(parts, *batch)
        optimizer.apply([_join(tape.gradient(loss, parts))], [weights])
        return loss

    return step


def _jax_step(
    batch_loss: Loss,
    split: Callable[[Any], list[Any]],
    weights: keras.Variable,
    optimizer: keras.optimizers.Optimizer,
    fused: bool,  # JAX always does
) -> Callable[..., Any]:
    import jax

    @jax.jit
    def pure(values: Any, moments: list[Any], *batch: Any) -> tuple[Any, Any, list[Any]]:
        loss, gradients = jax.value_and_grad(batch_loss)(split(values), *batch)
        (values,), moments = optimizer.stateless_apply(moments, [_join(gradients)], [values])
        return loss, values, moments

    def step(*batch: Any) -> Any:
        loss, values, moments = pure(weights.value, [v.value for v in optimizer.variables], *batch)
        for variable, value in zip([weights, *optimizer.variables], [values, *moments], strict=True):
            variable.assign(value)
        return loss

    return step
