"""TensorProto <-> numpy."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from ssfr.components.serving.protocol.wire_pb2 import DataType, TensorInfo, TensorProto

STRING = "string"
_MOST_AXES = 254
"""TensorFlow's own limit; a hostile message can declare millions."""

_OWN_NAMES = {"DT_FLOAT": "float32", "DT_DOUBLE": "float64", "DT_HALF": "float16"}
_NAMES = {
    number: _OWN_NAMES.get(name, name.removeprefix("DT_").lower())
    for name, number in DataType.items()
    if name != "DT_INVALID"
}
"""By number: numpy's names where numpy has the dtype."""
_NUMBERS = {name: number for number, name in _NAMES.items()}
_UNPACKED = {
    STRING: "string_val",
    "float32": "float_val",
    "float64": "double_val",
    "uint8": "int_val",
    "int32": "int_val",
    "int64": "int64_val",
}
"""Where a tensor's values are, one by one, when they are not packed."""


@dataclass(frozen=True)
class TensorSpec:
    """Dtype and shape of a tensor that goes into a signature or comes out.

    Attributes
    ----------
    dtype
        TensorFlow's name: "float32"; "string" is bytes.
    shape
        None where any length will do.
    """

    dtype: str
    shape: tuple[int | None, ...]

    @cached_property
    def numpy_dtype(self) -> np.dtype[Any]:
        """The dtype of arrays.

        Raises
        ------
        ValueError
            numpy has none, as for "resource".
        """
        try:
            return np.dtype(object if self.dtype == STRING else self.dtype)
        except TypeError:
            raise ValueError(f"{self.dtype} values, which numpy does not have") from None

    @classmethod
    def of(cls, info: TensorInfo | TensorProto) -> TensorSpec:
        """Return what a signature's definition, or a tensor itself, declares.

        Raises
        ------
        ValueError
            A dtype that TensorFlow does not have.
        """
        if info.dtype not in _NAMES:
            raise ValueError(f"no dtype has {_dtype_name(info.dtype)}")
        shape = tuple(None if dim.size < 0 else dim.size for dim in info.tensor_shape.dim)
        return cls(_NAMES[info.dtype], shape)

    def __str__(self) -> str:
        axes = ", ".join("n" if length is None else str(length) for length in self.shape)
        return f"{self.dtype} ({axes}{',' if len(self.shape) == 1 else ''})"

    def accepts(self, shape: Sequence[int]) -> bool:
        """Whether a tensor of this shape fits."""
        return len(shape) == len(self.shape) and all(
            expected is None or expected == found for expected, found in zip(self.shape, shape, strict=True)
        )


def to_proto(array: np.ndarray) -> TensorProto:
    """Return an array as a TensorProto: bytes and objects as strings, numbers packed."""
    proto = TensorProto()
    write_proto(array, proto)
    return proto


def write_proto(array: np.ndarray, proto: TensorProto) -> None:
    """Write an array into an empty TensorProto, as `to_proto`."""
    for length in array.shape:
        proto.tensor_shape.dim.add(size=length)
    if array.dtype.kind in "OS":
        proto.dtype = _NUMBERS[STRING]
        proto.string_val.extend(bytes(value) for value in array.ravel().tolist())
    else:
        proto.dtype = _NUMBERS[array.dtype.name]
        # On the wire the low byte comes first.
        proto.tensor_content = array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()


def from_proto(proto: TensorProto, expected: TensorSpec) -> np.ndarray:
    """Return a tensor that came over the wire, after checking that the signature accepts it.

    Nothing is allocated that the message does not hold: the declared shape must be the expected one, and
    as many values must be there as it declares. Packed numbers are read-only.

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
    axes = proto.tensor_shape.dim
    if len(axes) > _MOST_AXES:
        raise ValueError(f"expected {expected}, got {len(axes)} axes")
    shape = tuple(dim.size for dim in axes)
    if _NAMES.get(proto.dtype) != expected.dtype:
        raise ValueError(f"expected {expected}, got dtype {_dtype_name(proto.dtype)}")
    if proto.tensor_shape.unknown_rank or min(shape, default=0) < 0 or not expected.accepts(shape):
        raise ValueError(f"expected {expected}, got shape {shape}")
    count = math.prod(shape)
    dtype = expected.numpy_dtype
    content = proto.tensor_content
    if content and expected.dtype != STRING:
        if len(content) != count * dtype.itemsize:
            takes = f"{count * dtype.itemsize} bytes"
            raise ValueError(f"shape {shape} of {expected.dtype} takes {takes}, got {len(content)}")
        return np.frombuffer(content, dtype).reshape(shape)
    # TensorFlow itself would repeat the last value, or make zeros, and answer for maps that were not sent.
    values = getattr(proto, _UNPACKED[expected.dtype]) if expected.dtype in _UNPACKED else ()
    if len(values) != count:
        raise ValueError(f"shape {shape} declares {count} values of {expected.dtype}, got {len(values)}")
    try:
        return np.fromiter(values, dtype, count).reshape(shape)
    except OverflowError:
        raise ValueError(f"a value that no {expected.dtype} has") from None


def _dtype_name(number: int) -> str:
    return _NAMES.get(number, f"number {number}")
