"""TensorProto <-> numpy, by the packed bytes and without needless copies."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.core.framework.tensor_pb2 import TensorProto
from tensorflow.core.protobuf.meta_graph_pb2 import TensorInfo

_UNPACKED = {
    tf.string: "string_val",
    tf.float32: "float_val",
    tf.float64: "double_val",
    tf.uint8: "int_val",
    tf.int32: "int_val",
    tf.int64: "int64_val",
}
"""Where a tensor's values are, one by one, when they are not packed."""


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

    @cached_property
    def enum(self) -> int:
        """The dtype's number in messages."""
        return int(self.dtype.as_datatype_enum)

    @cached_property
    def numpy_dtype(self) -> np.dtype[Any]:
        """That of arrays."""
        return np.dtype(self.dtype.as_numpy_dtype)

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
    write_proto(array, proto)
    return proto


def write_proto(array: np.ndarray, proto: TensorProto) -> None:
    """Write an array into an empty TensorProto, as `to_proto`."""
    proto.MergeFromString(to_header(array))
    if has_numbers(array):
        proto.tensor_content = array.tobytes()


def to_header(array: np.ndarray) -> bytes:
    """Return all of an array's TensorProto but packed numbers, as it goes over the wire."""
    if has_numbers(array):
        return _numbers_header(array.dtype, array.shape)
    proto = TensorProto(dtype=tf.string.as_datatype_enum)
    proto.string_val.extend(bytes(value) for value in array.ravel().tolist())
    return _with_shape(proto, array.shape).SerializeToString()


@lru_cache
def _numbers_header(dtype: np.dtype[Any], shape: tuple[int, ...]) -> bytes:
    proto = TensorProto(dtype=tf.dtypes.as_dtype(dtype).as_datatype_enum)
    return _with_shape(proto, shape).SerializeToString()


def _with_shape(proto: TensorProto, shape: tuple[int, ...]) -> TensorProto:
    for length in shape:
        proto.tensor_shape.dim.add(size=length)
    return proto


def has_numbers(array: np.ndarray) -> bool:
    """Whether an array's values are numbers, not bytes."""
    return array.dtype.kind not in "OS"


def from_proto(
    proto: TensorProto, expected: TensorSpec, content: bytes | memoryview | None = None
) -> np.ndarray:
    """Return a tensor that came over the wire, after checking that it is what the signature asks for.

    Nothing is allocated that the message does not hold: the declared shape must be the expected one, and
    as many values must be there as it declares. Packed bytes are viewed, not copied.

    Parameters
    ----------
    proto
        As received: not to be trusted.
    expected
        Of the signature.
    content
        Its packed numbers, where they were cut out of it.

    Raises
    ------
    ValueError
        Another dtype, another shape, or fewer or more values than the shape declares.
    """
    shape = tuple(dim.size for dim in proto.tensor_shape.dim)
    if proto.dtype != expected.enum:
        raise ValueError(f"expected {expected}, got dtype {_dtype_name(proto.dtype)}")
    if proto.tensor_shape.unknown_rank or min(shape, default=0) < 0 or not expected.accepts(shape):
        raise ValueError(f"expected {expected}, got shape {shape}")
    count = math.prod(shape)
    dtype = expected.numpy_dtype
    if content is None:
        content = proto.tensor_content
    if content and dtype.kind != "O":
        if len(content) != count * dtype.itemsize:
            takes = f"{count * dtype.itemsize} bytes"
            raise ValueError(f"shape {shape} of {expected.dtype.name} takes {takes}, got {len(content)}")
        return np.frombuffer(content, dtype).reshape(shape)
    # TensorFlow itself would repeat the last value, or make zeros, and a forgotten map an answer.
    values = getattr(proto, _UNPACKED[expected.dtype]) if expected.dtype in _UNPACKED else ()
    if len(values) != count:
        raise ValueError(f"shape {shape} declares {count} values of {expected.dtype.name}, got {len(values)}")
    try:
        return np.fromiter(values, dtype, count).reshape(shape)
    except OverflowError:
        raise ValueError(f"a value that no {expected.dtype.name} has") from None


def _dtype_name(number: int) -> str:
    try:
        return str(tf.dtypes.as_dtype(number).name)
    except TypeError:
        return f"number {number}"
