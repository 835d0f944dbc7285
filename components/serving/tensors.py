"""TensorProto <-> numpy, by the packed bytes and without needless copies."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.core.framework.tensor_pb2 import TensorProto
from tensorflow.core.protobuf.meta_graph_pb2 import TensorInfo
from tensorflow_serving.apis.model_pb2 import ModelSpec
from tensorflow_serving.apis.predict_pb2 import PredictRequest

_INPUTS = PredictRequest.DESCRIPTOR.fields_by_name["inputs"]
_KEY, _VALUE = (_INPUTS.message_type.fields_by_name[name].number for name in ("key", "value"))
_CONTENT = TensorProto.DESCRIPTOR.fields_by_name["tensor_content"].number
_LENGTH_DELIMITED = 2
"""Protocol buffers' wire type of bytes, strings and messages."""
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
    proto = _header(array)
    if array.dtype.kind not in "OS":
        proto.tensor_content = array.tobytes()
    return proto


def predict_request(spec: ModelSpec, inputs: Mapping[str, np.ndarray]) -> bytes:
    """Return a PredictRequest as it goes over the wire.

    Every number is copied once: through messages the maps of a galaxy, nearly a megabyte, would be
    copied four times.
    """
    parts = [PredictRequest(model_spec=spec).SerializeToString()]
    for key, array in inputs.items():
        tensor = [_header(array).SerializeToString()]
        if array.size and array.dtype.kind not in "OS":
            tensor += _field(_CONTENT, [np.ascontiguousarray(array).data.cast("B")])
        parts += _field(_INPUTS.number, [*_field(_KEY, [key.encode()]), *_field(_VALUE, tensor)])
    return b"".join(parts)


def from_proto(proto: TensorProto, expected: TensorSpec) -> np.ndarray:
    """Return a tensor that came over the wire, after checking that it is what the signature asks for.

    Nothing is allocated that the message does not hold: the declared shape must be the expected one, and
    as many values must be there as it declares. Packed bytes are viewed, not copied.

    Parameters
    ----------
    proto
        As received: not to be trusted.
    expected
        Of the signature.

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


def _header(array: np.ndarray) -> TensorProto:
    """Return all of a TensorProto but the packed bytes."""
    proto = TensorProto()
    for length in array.shape:
        proto.tensor_shape.dim.add(size=length)
    if array.dtype.kind in "OS":
        proto.dtype = tf.string.as_datatype_enum
        proto.string_val.extend(bytes(value) for value in array.ravel().tolist())
    else:
        proto.dtype = tf.dtypes.as_dtype(array.dtype).as_datatype_enum
    return proto


def _field(number: int, value: Sequence[bytes | memoryview]) -> list[bytes | memoryview]:
    """Return the pieces of a length-delimited field of a message, given those of its value."""
    length = sum(len(piece) for piece in value)
    return [_varint(number << 3 | _LENGTH_DELIMITED), _varint(length), *value]


def _varint(number: int) -> bytes:
    """Return a number in protocol buffers' base 128, low digits first, all but the last marked."""
    digits = []
    while number >= 128:
        digits.append(number & 127 | 128)
        number >>= 7
    return bytes([*digits, number])


def _dtype_name(number: int) -> str:
    try:
        return str(tf.dtypes.as_dtype(number).name)
    except TypeError:
        return f"number {number}"
