"""The check at a step's door: what arrives has the columns and datasets that the step declares to read."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, NamedTuple

from ssfr.components.errors import InputError
from ssfr.components.steps.connections import Entry, File

UNIT = "unit"
"""Attribute of a dataset, or of a column's field in parquet, with the unit of its values."""
_JSON: dict[str, Any] = {"object": dict, "array": list, "text": str, "number": (int, float), "bool": bool}
_REMAKE = "remove the folder and run again"


class Found(NamedTuple):
    """What a file holds under a name."""

    dtype: str
    unit: str


def check_files(folder: Path, files: Iterable[File]) -> None:
    """Check what a step reads of an artifact.

    Raises
    ------
    InputError
        A file is absent or can't be read; or a column, dataset, attribute or key is absent, or of another
        type or unit.
    """
    for file in files:
        paths = sorted(folder.glob(file.pattern))
        if not paths and not file.optional:
            raise InputError(f"{folder}: no {file.pattern}, {file.meaning}; {_REMAKE}")
        for path in paths:
            check_file(path, file)


def check_file(path: Path, file: File) -> None:
    """Check one file; raises as `check_files`."""
    if not file.entries:
        return
    try:
        found = contents(path, file)
    except (OSError, ValueError, KeyError) as error:  # pyarrow's own errors are among these
        said = " ".join(str(error).split())
        raise InputError(f"{path}: not a readable {file.kind} file ({said}); {_REMAKE}") from None
    what = {"parquet": "column", "csv": "column", "json": "key"}.get(file.kind, "dataset")
    for entry in file.entries:
        _check_entry(path, what, entry, found)


def contents(path: Path, file: File) -> dict[str, Found]:
    """Return what a file holds, by name: its columns, datasets, attributes or keys."""
    if file.kind == "parquet":
        return _parquet(path)
    if file.kind == "hdf5":
        return _hdf5(path)
    if file.kind == "csv":
        header = path.open().readline().strip()
        return {name: Found("", "") for name in header.split(",")}
    if file.kind == "json":
        data = json.loads(path.read_bytes())
        return {name: Found(_json_type(value), "") for name, value in data.items()}
    if file.kind == "npz":
        import numpy as np

        with np.load(path) as arrays:
            return {name: Found(str(arrays[name].dtype), "") for name in arrays.files}
    return {}


def _check_entry(path: Path, what: str, entry: Entry, found: Mapping[str, Found]) -> None:
    what = "attribute" if entry.name.startswith("@") else what
    name = entry.name.removeprefix("@")
    matching = {one: of for one, of in found.items() if fnmatch(one, entry.name)}
    if not matching:
        if entry.optional or "*" in entry.name:
            return
        expected = _said(entry.dtype) + (f" in {entry.unit}" if entry.unit else "")
        raise InputError(f"{path}: no {what} '{name}', expected {expected}; {_REMAKE}")
    for one, of in matching.items():
        shown = f"{path}: {what} '{one.removeprefix('@')}'"
        if of.dtype and of.dtype not in entry.dtype.split("|"):
            raise InputError(f"{shown} is {of.dtype}, expected {_said(entry.dtype)}; {_REMAKE}")
        if entry.unit and of.unit != entry.unit and _has_units(path):
            unit = f"in {of.unit}" if of.unit else "without a unit"
            raise InputError(f"{shown} is {unit}, expected {entry.unit}; {_REMAKE}")


def _said(dtype: str) -> str:
    return dtype.replace("|", " or ")


def _has_units(path: Path) -> bool:
    return path.suffix in (".parquet", ".h5")


def _parquet(path: Path) -> dict[str, Found]:
    import pyarrow.parquet as pq

    found = {}
    for column in pq.read_schema(path):
        unit = (column.metadata or {}).get(UNIT.encode(), b"").decode()
        found[column.name] = Found(_ARROW.get(str(column.type), str(column.type)), unit)
    return found


_ARROW = {"double": "float64", "float": "float32", "string": "text", "large_string": "text"}


def _hdf5(path: Path) -> dict[str, Found]:
    import h5py

    found = {}
    with h5py.File(path, "r") as file:
        for name, dataset in file.items():
            if isinstance(dataset, h5py.Dataset):
                text = h5py.check_string_dtype(dataset.dtype) is not None
                found[name] = Found("text" if text else str(dataset.dtype), str(dataset.attrs.get(UNIT, "")))
        for name, value in file.attrs.items():
            dtype = "text" if isinstance(value, str) else str(getattr(value, "dtype", type(value).__name__))
            found[f"@{name}"] = Found(dtype, "")
    return found


def _json_type(value: Any) -> str:
    return next(
        (name for name, kind in _JSON.items() if isinstance(value, kind) and not _odd(name, value)), "null"
    )


def _odd(name: str, value: Any) -> bool:
    return name == "number" and isinstance(value, bool)
