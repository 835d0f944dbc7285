"""Predict's requests as bytes: put together and taken apart without copying the numbers in them.

A galaxy's maps are nearly a megabyte, and through protocol buffers' own classes each side copies them two
or three times more. Everything but packed numbers is left to those classes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from tensorflow.core.framework.tensor_pb2 import TensorProto
from tensorflow_serving.apis.model_pb2 import ModelSpec
from tensorflow_serving.apis.predict_pb2 import PredictRequest

from ssfr.components.serving.protocol.tensors import has_numbers, to_header

_INPUTS = PredictRequest.DESCRIPTOR.fields_by_name["inputs"]
_KEY, _VALUE = (_INPUTS.message_type.fields_by_name[name].number for name in ("key", "value"))
_CONTENT = TensorProto.DESCRIPTOR.fields_by_name["tensor_content"].number
_VARINT, _LENGTH_DELIMITED = 0, 2
"""Protocol buffers' wire types: of whole numbers, and of bytes, strings and messages."""
_LONGEST_VARINT = 5
"""[bytes] a length of 32 bits takes."""
_MOST_FIELDS = 64
"""Of a message: a stranger can send millions, which are not to be gone through one by one here."""


@dataclass(frozen=True)
class Request:
    """A PredictRequest that came.

    Attributes
    ----------
    message
        All of it but the contents.
    contents
        Packed numbers of an input, by its name: views of the bytes that came. Where an input is missing
        here, its numbers are in the message.
    """

    message: PredictRequest
    contents: Mapping[str, memoryview]


def predict_request(spec: ModelSpec, inputs: Mapping[str, np.ndarray]) -> bytes:
    """Return a PredictRequest as it goes over the wire."""
    parts = [PredictRequest(model_spec=spec).SerializeToString()]
    for key, array in inputs.items():
        parts += _entry(key, array)
    return b"".join(parts)


def parse_request(wire: bytes) -> Request:
    """Return a PredictRequest that came over the wire; nothing in it is to be trusted.

    Contents are cut out only where the bytes are of the plain form that every client writes. Whatever else
    may mean the same, protocol buffers' own class reads.

    Raises
    ------
    DecodeError
        Not a PredictRequest.
    """
    try:
        message, contents = _without_contents(memoryview(wire))
    except (_UnusualFormError, IndexError, UnicodeDecodeError):
        message, contents = wire, {}
    return Request(PredictRequest.FromString(message), contents)


_Field = tuple[int, memoryview, memoryview]
"""The tag (number and wire type), the value, and both as they stand in the message."""


class _UnusualFormError(Exception):
    """A message in a form that only protocol buffers' own class reads."""


def _entry(key: str, array: np.ndarray) -> list[bytes | memoryview]:
    """Return the pieces of an input, an entry of a map from names to tensors."""
    tensor: list[bytes | memoryview] = [to_header(array)]
    if has_numbers(array) and array.size:
        tensor += _field(_CONTENT, [np.ascontiguousarray(array).data.cast("B")])
    return _field(_INPUTS.number, [*_field(_KEY, [key.encode()]), *_field(_VALUE, tensor)])


def _without_contents(wire: memoryview) -> tuple[bytes, dict[str, memoryview]]:
    """Cut packed numbers out of a PredictRequest."""
    parts: list[bytes | memoryview] = []
    names = set()
    contents = {}
    for tag, value, whole in _fields(wire):
        if tag != _tag(_INPUTS.number):
            parts.append(whole)
            continue
        (key_tag, key, _), (value_tag, tensor, _) = _pair(_fields(value))
        name = str(key, "utf-8")
        if (key_tag, value_tag) != (_tag(_KEY), _tag(_VALUE)) or name in names:
            raise _UnusualFormError
        names.add(name)
        header: list[bytes | memoryview] = []
        for tag_within, found, field in _fields(tensor):
            if tag_within == _tag(_CONTENT):
                contents[name] = found
            else:
                header.append(field)
        parts += _field(_INPUTS.number, [*_field(_KEY, [key]), *_field(_VALUE, header)])
    return b"".join(parts), contents


def _pair(fields: Iterator[_Field]) -> tuple[_Field, _Field]:
    found = tuple(fields)
    if len(found) != 2:
        raise _UnusualFormError
    return found


def _fields(message: memoryview) -> Iterator[_Field]:
    """Split a message into its fields."""
    at = 0
    for _ in range(_MOST_FIELDS):
        if at == len(message):
            return
        start = at
        tag, at = _read_varint(message, at)
        if tag & 7 == _VARINT:
            _, end = _read_varint(message, at)
        elif tag & 7 == _LENGTH_DELIMITED:
            length, at = _read_varint(message, at)
            end = at + length
        else:
            raise _UnusualFormError
        if end > len(message):
            raise _UnusualFormError
        yield tag, message[at:end], message[start:end]
        at = end
    raise _UnusualFormError


def _field(number: int, value: Sequence[bytes | memoryview]) -> list[bytes | memoryview]:
    """Return the pieces of a length-delimited field of a message, given those of its value."""
    length = sum(len(piece) for piece in value)
    return [_varint(_tag(number)), _varint(length), *value]


def _tag(number: int) -> int:
    return number << 3 | _LENGTH_DELIMITED


def _varint(number: int) -> bytes:
    """Return a number in protocol buffers' base 128, low digits first, all but the last marked."""
    digits = []
    while number >= 128:
        digits.append(number & 127 | 128)
        number >>= 7
    return bytes([*digits, number])


def _read_varint(message: memoryview, at: int) -> tuple[int, int]:
    """Return the number that begins at a byte, and where the next thing begins."""
    number = 0
    for shift in range(0, 7 * _LONGEST_VARINT, 7):
        digit = message[at]
        at += 1
        number |= (digit & 127) << shift
        if digit < 128:
            return number, at
    raise _UnusualFormError
