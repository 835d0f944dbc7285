"""A training step, compiled: the only lines of training that depend on Keras' backend."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import keras
import numpy as np
from keras import ops

from ssfr.components.models.layers import given_dropout

Arrays = tuple[Any, Any] | None
"""Features (n, ...) and labels (n, 1) of all galaxies, or None."""
Loss = Callable[..., Any]
"""(weights, resident, *batch) -> the batch's mean loss."""


class CompiledStep:
    """One optimizer step after another, on a network whose weights lie end to end in one variable.

    An optimizer's work on one long vector is a few operations, on fourteen arrays it is hundreds; with
    that, the complete step is one compiled call. It is the mathematics of `keras.Model.train_on_batch`.

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
    resident
        Arrays that the steps take their rows from, where the network is computed: nothing is copied then
        from batch to batch.
    """

    def __init__(
        self,
        network: keras.Model,
        optimizer: keras.optimizers.Optimizer,
        loss: Callable[[Any, Any], Any],
        unit: float,
        fused: bool,
        resident: Arrays = None,
    ) -> None:
        self.resident = resident and tuple(ops.convert_to_tensor(array) for array in resident)
        self.network = network
        self.optimizer = optimizer
        self.weights = keras.Variable(np.concatenate([w.ravel() for w in network.get_weights()]))
        optimizer.build([self.weights])
        self._split = partial(_split, [tuple(variable.shape) for variable in network.weights])
        self._unit = unit
        state = [variable.value for variable in network.non_trainable_variables]

        def batch_loss(weights: Sequence[Any], resident: Arrays, *batch: Any) -> Any:
            if resident:
                rows, kept = batch
                features, labels = (ops.take(array, rows, axis=0) for array in resident)
            else:
                features, labels, kept = batch
            first, *others = weights
            with given_dropout(network, kept):
                outputs, _ = network.stateless_call([first / unit, *others], state, features, training=True)
            return ops.mean(loss(labels, outputs))

        compile_step = _jax_step if keras.backend.backend() == "jax" else _tensorflow_step
        self._step = compile_step(batch_loss, self._split, self.weights, optimizer, fused)

    def __call__(self, *batch: Any) -> Any:
        """Do one step.

        Parameters
        ----------
        *batch
            Without resident arrays: (n, ...) features of a type that float32 can hold, and (n, 1) float32
            labels. With them: (n,) rows. Then, always, (n, units) float32 factors for each `Dropout` of
            the network.

        Returns
        -------
        tensor
            The mean loss of the batch, before the step.
        """
        return self._step(self.resident, *batch)

    def publish(self) -> None:
        """Give the network the weights as they are now, for features as they are."""
        first, *others = (ops.convert_to_numpy(part) for part in self._split(self.weights.value))
        self.network.set_weights([first / np.float32(self._unit), *others])

    @property
    def variables(self) -> list[keras.Variable]:
        """All that a checkpoint must hold."""
        return [self.weights, *self.optimizer.variables]


def _split(shapes: Sequence[tuple[int, ...]], weights: Any) -> list[Any]:
    parts, start = [], 0
    for shape in shapes:
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
    def step(resident: Arrays, *batch: Any) -> Any:
        parts = split(weights.value)
        with tf.GradientTape() as tape:
            tape.watch(parts)
            loss = batch_loss(parts, resident, *batch)
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
    def pure(values: Any, moments: list[Any], resident: Arrays, *batch: Any) -> tuple[Any, Any, list[Any]]:
        loss, gradients = jax.value_and_grad(batch_loss)(split(values), resident, *batch)
        (values,), moments = optimizer.stateless_apply(moments, [_join(gradients)], [values])
        return loss, values, moments

    def step(resident: Arrays, *batch: Any) -> Any:
        moments = [variable.value for variable in optimizer.variables]
        loss, values, moments = pure(weights.value, moments, resident, *batch)
        for variable, value in zip([weights, *optimizer.variables], [values, *moments], strict=True):
            variable.assign(value)
        return loss

    return step
