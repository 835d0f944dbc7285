"""Pickles of the thesis (allsfr.pkl, valid.pkl): lists of number arrays, read without running anything.

A pickle is a program. Here it may name nothing but the few functions with which numpy writes an
array, and even these are replaced by inert stand-ins that only remember what they were given; arrays
are made afterwards, from checked bytes.
"""

from __future__ import annotations

import io
import math
import pickle
import pickletools
import re
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from ssfr.components.errors import InputError

MAX_BYTES = 256 * 1024 * 1024

_FORBIDDEN_OPCODES = {"INST", "OBJ", "NEWOBJ", "NEWOBJ_EX", "EXT1", "EXT2", "EXT4", "PERSID", "BINPERSID"}
_NUMBER_TYPE = re.compile(r"[<>|=]?[fiu][1248]")
_DAMAGE = (
    pickle.UnpicklingError, EOFError, ValueError, TypeError, KeyError, IndexError, AttributeError,
    OverflowError, RecursionError, MemoryError,
)  # fmt: skip


def load_arrays(path: Path) -> list[np.ndarray]:
    """Read a pickled list that holds one array of numbers (or one list of numbers) a snapshot.

    Parameters
    ----------
    path
        Written by Python 2 or 3, with any protocol and any numpy.

    Returns
    -------
    list of (n,) arrays
        float64, or integers as they were written.

    Raises
    ------
    InputError
        The file is absent, too large, damaged, names anything but numbers, arrays and lists, or holds
        something else.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    if path.stat().st_size > MAX_BYTES:
        raise InputError(f"{path}: {path.stat().st_size} bytes; expected at most {MAX_BYTES}")
    data = path.read_bytes()
    try:
        _check_opcodes(path, data)
        loaded = _Unpickler(path, data).load()
        if not isinstance(loaded, list | tuple):
            raise InputError(f"{path}: expected a list with one array a snapshot, found another object")
        return [_as_array(path, index, item) for index, item in enumerate(loaded)]
    except _DAMAGE as error:
        raise InputError(
            f"{path}: not a whole pickle of number arrays ({' '.join(str(error).split())})"
        ) from None


class _Inert:
    """Takes no state, so that a pickle's BUILD can alter neither it nor its class."""

    def __setstate__(self, state: object) -> None:
        raise pickle.UnpicklingError("state where none belongs")


class _Type(_Inert):
    """Stands for numpy.dtype."""

    def __init__(self, name: Any, *_: Any) -> None:
        self.name = name.decode("latin1") if isinstance(name, bytes) else name
        self.order = "="

    def __setstate__(self, state: Any) -> None:
        self.order = state[1].decode("latin1") if isinstance(state[1], bytes) else state[1]

    def resolve(self) -> np.dtype[Any]:
        name = f"{'' if self.order == '|' else self.order}{str(self.name).lstrip('<>|=')}"
        if not _NUMBER_TYPE.fullmatch(name):
            raise pickle.UnpicklingError(f"array of type {self.name!r}; expected numbers")
        return np.dtype(name)


class _Array(_Inert):
    """Stands for an array that is made empty and then given its state."""

    def __init__(self, *_: Any) -> None:
        self.shape: Any = None
        self.type: Any = None
        self.data: Any = None

    def __setstate__(self, state: Any) -> None:
        _, self.shape, self.type, _, self.data = state

    def resolve(self) -> np.ndarray:
        data = self.data.encode("latin1") if isinstance(self.data, str) else self.data
        if not (isinstance(self.type, _Type) and isinstance(data, bytes | bytearray)):
            raise pickle.UnpicklingError("array of objects; expected numbers")
        dtype = self.type.resolve()
        if len(self.shape) != 1 or math.prod(self.shape) * dtype.itemsize != len(data):
            raise pickle.UnpicklingError(f"array of shape {self.shape} with {len(data)} bytes of data")
        return np.frombuffer(data, dtype)


class _Buffer(_Array):
    """Stands for an array that protocol 5 makes from a buffer."""

    def __init__(self, data: Any, dtype: Any, shape: Any, *_: Any) -> None:
        self.data, self.type, self.shape = data, dtype, shape

    def __setstate__(self, state: object) -> None:
        raise pickle.UnpicklingError("state where none belongs")


class _Scalar(_Buffer):
    """Stands for a numpy scalar."""

    def __init__(self, dtype: Any, data: Any) -> None:
        super().__init__(data, dtype, (1,))


class _Latin1(bytes):
    """Stands for _codecs.encode and an empty bytes(), with which protocols 0 to 2 write bytes."""

    def __new__(cls, text: Any = "", encoding: Any = "latin1") -> _Latin1:
        if encoding != "latin1" or not isinstance(text, str):
            raise pickle.UnpicklingError("encoded text where bytes belong")
        return super().__new__(cls, text.encode("latin1"))

    def __setstate__(self, state: object) -> None:
        raise pickle.UnpicklingError("state where none belongs")


_CORE = ("numpy.core", "numpy._core")
_ALLOWED: dict[tuple[str, str], Any] = {
    ("numpy", "ndarray"): "numpy.ndarray",
    ("numpy", "dtype"): _Type,
    ("_codecs", "encode"): _Latin1,
    ("__builtin__", "bytes"): _Latin1,
    **{(f"{core}.multiarray", "_reconstruct"): _Array for core in _CORE},
    **{(f"{core}.multiarray", "scalar"): _Scalar for core in _CORE},
    **{(f"{core}.numeric", "_frombuffer"): _Buffer for core in _CORE},
}


class _Unpickler(pickle.Unpickler):
    def __init__(self, path: Path, data: bytes) -> None:
        super().__init__(io.BytesIO(data), encoding="latin1")
        self._path = path

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            _refuse(self._path, f"{module}.{name}")
        return _ALLOWED[module, name]


def _refuse(path: Path, what: str) -> NoReturn:
    raise InputError(
        f"{path}: refused, since loading it would use {what!r}; expected nothing but lists and numpy arrays "
        "of numbers"
    )


def _check_opcodes(path: Path, data: bytes) -> None:
    for opcode, argument, _ in pickletools.genops(data):
        if opcode.name in _FORBIDDEN_OPCODES:
            _refuse(path, opcode.name)
        if opcode.name in ("PUT", "LONG_BINPUT") and int(argument or 0) > len(data):
            # the memo is a table as long as its largest number
            _refuse(path, f"memo entry {argument}")


def _as_array(path: Path, index: int, item: Any) -> np.ndarray:
    if isinstance(item, _Array):
        array = item.resolve()
    elif isinstance(item, list | tuple):
        numbers = [part.resolve()[0].item() if isinstance(part, _Scalar) else part for part in item]
        if not all(isinstance(number, int | float) for number in numbers):
            raise InputError(f"{path}: entry {index} holds something that is not a number")
        array = np.array(numbers) if numbers else np.zeros(0)
    else:
        raise InputError(f"{path}: entry {index} is not an array of numbers")
    return array.astype(np.float64) if array.dtype.kind == "f" else array.astype(np.int64)
