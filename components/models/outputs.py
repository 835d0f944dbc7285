"""What comes out of a network: the standardised label, the log of its variance, and losses on them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
from keras import ops

_LOG_VARIANCE_LIMIT = 10.0


def traced(graph: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Return `graph` run as the SavedModel runs it, so that both round alike.

    One call at a time, TensorFlow rounds otherwise: a pixel of an 8-bit image can then fall on the other
    side of an integer, which moved a prediction by 4e-4 dex. One by one it is
    slower, too, by a seventh. Other backends cannot export, and stay.
    """
    if keras.config.backend() != "tensorflow":
        return graph
    import tensorflow as tf

    return tf.function(graph, reduce_retracing=True)


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
