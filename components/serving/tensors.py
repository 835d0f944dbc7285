"""TensorProto <-> numpy, by the packed bytes and without needless copies."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import tensorflow as tf
from tensorflow.core.framework.tensor_pb2 import TensorProto
from tensorflow.core.protobuf.meta_graph_pb2 import TensorInfo


@dataclass(frozen=True)
class TensorSpec:
    """What a signature says of one of its tensors.

    Attributes
    ----------
    dtype
        "string" is bytes.
    shape
        None where any length will do.
    """

    dtype: tf.DType
    shape: tuple[int | None, ...]

    @classmethod
    def of(cls, info: TensorInfo) -> TensorSpec:
        """Read it from a signature definition."""
        shape = tuple(None if dim.size < 0 else dim.size for dim in info.tensor_shape.dim)
        return cls(tf.dtypes.as_dtype(info.dtype), shape)

    def __str__(self) -> str:
        axes = ", ".join("n" if length is None else str(length) for length in self.shape)
        return f"{self.dtype.name} ({axes}{',' if len(self.shape) == 1 else ''})"

    def accepts(self, shape: Sequence[int]) -> bool:
        """Whether a tensor of this shape fits."""
        return len(shape) == len(self.shape) and all(
            expected is None or expected == found for expected, found in zip(self.shape, shape, strict=True)
        )


def to_proto(array: np.ndarray) -> TensorProto:
    """Return an array as a TensorProto; bytes and objects as strings, numbers as packed bytes."""
    proto = TensorProto()
    for length in array.shape:
        proto.tensor_shape.dim.add(size=length)
    if array.dtype.kind in "OS":
        proto.dtype = tf.string.as_datatype_enum
        proto.string_val.extend(bytes(value) for value in array.ravel().tolist())
    else:
        proto.dtype = tf.dtypes.as_dtype(array.dtype).as_datatype_enum
        proto.tensor_content = array.tobytes()
    return proto


def from_proto(proto: TensorProto, expected: TensorSpec) -> np.ndarray:
    """Return a tensor that came over the wire, after checking that it is what the signature asks for.

    Nothing is allocated before the declared shape was compared with the expected one, and packed bytes
    are viewed, not copied.

    Parameters
    ----------
    proto
        As received: not to be trusted.
    expected
        Of the signature.

    Raises
    ------
    ValueError
        Another dtype, another shape, or fewer or more bytes than the shape declares.
    """
    shape = tuple(dim.size for dim in proto.tensor_shape.dim)
    if proto.dtype != expected.dtype.as_datatype_enum:
        raise ValueError(f"expected {expected}, got dtype {_dtype_name(proto.dtype)}")
    if proto.tensor_shape.unknown_rank or min(shape, default=0) < 0 or not expected.accepts(shape):
        raise ValueError(f"expected {expected}, got shape {shape}")
    count = math.prod(shape)
    if expected.dtype == tf.string:
        if len(proto.string_val) != count:
            raise ValueError(f"shape {shape} declares {count} strings, got {len(proto.string_val)}")
        strings = np.empty(count, dtype=object)
        strings[:] = list(proto.string_val)
        return strings.reshape(shape)
    dtype = np.dtype(expected.dtype.as_numpy_dtype)
    content = proto.tensor_content
    if content or count == 0:
        if len(content) != count * dtype.itemsize:
            takes = f"{count * dtype.itemsize} bytes"
            raise ValueError(f"shape {shape} of {expected.dtype.name} takes {takes}, got {len(content)}")
        return np.frombuffer(content, dtype).reshape(shape)
    if not any(field.name.endswith("_val") for field, _ in proto.ListFields()):
        # TensorFlow itself would make zeros of it, and a forgotten map an answer.
        raise ValueError(f"shape {shape} declares {count} values, and none are there")
    try:
        return np.asarray(tf.make_ndarray(proto))
    except (TypeError, ValueError):
        raise ValueError(f"shape {shape} declares {count} values, and they are not there") from None


def _dtype_name(number: int) -> str:
    try:
        return str(tf.dtypes.as_dtype(number).name)
    except TypeError:
        return f"number {number}"
