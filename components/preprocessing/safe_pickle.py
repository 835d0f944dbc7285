"""Pickles of the thesis (allsfr.pkl, valid.pkl): lists of number arrays, read without running anything.

A pickle is a program. Here it can name nothing but the functions with which numpy writes an array. They are
stand-ins: numpy's own trust the pickle, which could make them reserve any amount of memory, or mark numbers
as pointers to objects.
"""

from __future__ import annotations

import io
import pickle
import pickletools
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from ssfr.components.errors import InputError

MAX_BYTES = 256 * 1024 * 1024

_FORBIDDEN_OPCODES = {"EXT1", "EXT2", "EXT4", "PERSID", "BINPERSID"}
_NUMBER_TYPE = re.compile(r"[<>|=]?[fiu][1248]")
_DAMAGE = (
    pickle.UnpicklingError, EOFError, ValueError, TypeError, KeyError, IndexError, AttributeError,
    OverflowError, RecursionError, MemoryError,
)  # fmt: skip


def load_arrays(path: Path) -> list[NDArray[np.float64 | np.int64]]:
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
        entries = [item.values if isinstance(item, _Array) else item for item in loaded]
        # Every number takes a byte or more; only one list named again and again has more of them.
        if sum(len(entry) for entry in entries if isinstance(entry, list | np.ndarray)) > len(data):
            _refuse(path, "one list many times")
        return [_as_array(path, index, entry) for index, entry in enumerate(entries)]
    except _DAMAGE as error:
        raise InputError(
            f"{path}: not a complete pickle of number arrays ({' '.join(str(error).split())})"
        ) from None


def _text(text: Any) -> str:
    return text.decode("latin1") if isinstance(text, bytes) else str(text)


class _Type:
    """Stands for numpy.dtype: a name, and of its state only the byte order."""

    def __init__(self, name: Any, *_: Any) -> None:
        self.name = _text(name)

    def __setstate__(self, state: Any) -> None:
        self.name = _text(state[1]).strip("|") + self.name.lstrip("<>|=")


class _Array:
    """Stands for an array that is made empty, and then given its state."""

    def __init__(self, *_: Any) -> None:
        self.values: Any = None

    def __setstate__(self, state: Any) -> None:
        _, shape, dtype, _, data = state
        self.values = _from_buffer(data, dtype, shape)


def _inert(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a function what the classes here have: a pickle's BUILD can't alter it."""

    def refuse(_: object) -> None:
        raise pickle.UnpicklingError("state where none belongs")

    vars(function)["__setstate__"] = refuse
    return function


@_inert
def _from_buffer(data: Any, dtype: Any, shape: Any, *_: Any) -> NDArray[Any]:
    """Return numbers, of which there are as many as there are bytes for."""
    if isinstance(data, str):
        data = data.encode("latin1")
    if not (isinstance(dtype, _Type) and _NUMBER_TYPE.fullmatch(dtype.name)):
        raise pickle.UnpicklingError(f"array of type {getattr(dtype, 'name', dtype)!r}; expected numbers")
    number = np.dtype(dtype.name)
    if not isinstance(data, bytes | bytearray) or len(shape) != 1:
        raise pickle.UnpicklingError(f"array of shape {shape}; expected a row of numbers")
    if shape[0] * number.itemsize != len(data):
        raise pickle.UnpicklingError(f"array of shape {shape} with {len(data)} bytes of data")
    return np.frombuffer(data, number)


@_inert
def _scalar(dtype: Any, data: Any) -> Any:
    return _from_buffer(data, dtype, (1,))[0].item()


@_inert
def _latin1(text: Any = "", encoding: Any = "latin1") -> bytes:
    """Return bytes as protocols 0 to 2 write them: by _codecs.encode, or an empty bytes()."""
    if encoding != "latin1" or not isinstance(text, str):
        raise pickle.UnpicklingError("encoded text where bytes belong")
    return text.encode("latin1")


_ALLOWED: dict[tuple[str, str], Any] = {
    ("numpy", "ndarray"): None,  # named, but never called
    ("numpy", "dtype"): _Type,
    ("_codecs", "encode"): _latin1,
    ("__builtin__", "bytes"): _latin1,
}
for _core in ("numpy.core", "numpy._core"):
    _ALLOWED[f"{_core}.multiarray", "_reconstruct"] = _Array
    _ALLOWED[f"{_core}.multiarray", "scalar"] = _scalar
    _ALLOWED[f"{_core}.numeric", "_frombuffer"] = _from_buffer


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


def _as_array(path: Path, index: int, entry: Any) -> NDArray[np.float64 | np.int64]:
    if not isinstance(entry, list | tuple | np.ndarray):
        raise InputError(f"{path}: entry {index} is not an array of numbers")
    if isinstance(entry, list | tuple) and not all(isinstance(number, int | float) for number in entry):
        raise InputError(f"{path}: entry {index} holds something that is not a number")
    array = np.array(entry) if len(entry) else np.zeros(0)
    return array.astype(np.float64) if array.dtype.kind == "f" else array.astype(np.int64)
