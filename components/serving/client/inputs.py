"""Files that a user wants predictions for: pictures, .npy maps, or our own maps-*.h5."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from tokenize import TokenError
from typing import Annotated, Literal

import h5py
import numpy as np
import pandas as pd
from pydantic import BaseModel, Field, PositiveInt

from ssfr.components.errors import InputError, nearest
from ssfr.components.imagesets.reader import read_attributes
from ssfr.components.imagesets.safe_image import read_image
from ssfr.components.simulation.hdf5_safety import readable, survey

MAX_PIXELS = 4096 * 4096
MAX_DECLARED_GB = 4.0

_BAD_NPY = (ValueError, OSError, EOFError, TypeError, OverflowError, SyntaxError, TokenError)
"""What numpy raises on damaged headers, which are Python literals."""
_PICTURES = (".png", ".jpg", ".jpeg")
_NUMPY = (".npy",)
_HDF5 = (".h5", ".hdf5")


class Accepted(BaseModel, frozen=True, strict=True):
    """Input that a model takes, by its own description.

    Attributes
    ----------
    takes
        One kind or both.
    fields, units
        Of the maps, in the order of their channels.
    pixels
        A side.
    """

    takes: Annotated[tuple[Literal["maps", "images"], ...], Field(min_length=1)]
    fields: Annotated[tuple[str, ...], Field(min_length=1)]
    units: tuple[str, ...]
    pixels: PositiveInt


@dataclass(frozen=True)
class Inputs:
    """Galaxies to predict, all of one kind and size.

    Attributes
    ----------
    names
        One a galaxy: SnapNIDN where the file says so, else the file's name.
    origins
        The files, in their order.
    maps
        (n, F, P, P) float32, or None.
    images
        (n, P, P, 3) uint8, or None.
    fields, units
        Of the maps; None where the file does not say.
    """

    names: tuple[str, ...] = ()
    origins: tuple[Path, ...] = ()
    maps: np.ndarray | None = None
    images: np.ndarray | None = None
    fields: tuple[str, ...] | None = None
    units: tuple[str, ...] | None = None

    @property
    def pixels(self) -> int:
        """A side."""
        array = self.images if self.maps is None else self.maps
        assert array is not None
        return int(array.shape[2])

    def check(self, accepted: Accepted) -> None:
        """Compare with what a model takes.

        Raises
        ------
        InputError
            Images for a model of maps or the other way round, a wrong size, other fields or units.
        """
        where = self.origins[0]
        kind = "maps" if self.images is None else "images"
        if kind not in accepted.takes:
            raise InputError(f"{where}: {kind}; the model takes {' and '.join(accepted.takes)}")
        if self.pixels != accepted.pixels:
            raise InputError(f"{where}: {self.pixels} px a side; the model takes {accepted.pixels} px")
        for name in ("fields", "units"):
            found, taken = getattr(self, name), getattr(accepted, name)
            if found is not None and found != taken:
                raise InputError(f"{where}: {name} {', '.join(found)}; the model takes {', '.join(taken)}")

    def of(self, names: Sequence[str]) -> Inputs:
        """Return some of the galaxies, in the order of `names`, each of which must be there."""
        rows = [self.names.index(name) for name in names]
        return replace(
            self,
            names=tuple(names),
            maps=None if self.maps is None else self.maps[rows],
            images=None if self.images is None else self.images[rows],
        )


def read_inputs(paths: Sequence[Path], galaxies: Sequence[str] | None = None) -> Inputs:
    """Read files of one kind.

    Parameters
    ----------
    paths
        Pictures (PNG, JPEG; 8 bits a channel, an alpha channel is dropped), ``.npy`` arrays (F, P, P) or
        (n, F, P, P), or files of maps that ssfr drew.
    galaxies
        Names of those to read, in their order; None: all. The maps of the others are not read.

    Raises
    ------
    InputError
        No files, kinds or sizes that don't go together, a file that can't be read, or a galaxy that none
        of them has; names the file.
    """
    if not paths:
        raise InputError("no files to predict; give images (.png), or maps (.npy, .h5)")
    files = [_open(path) for path in paths]
    there = [name for file in files for name in file.names]
    for name in galaxies or ():
        if name not in there:
            raise InputError(f"{paths[0]}: no galaxy '{name}'{nearest(name, there)}")
    parts = [file.read(galaxies) for file in files]
    first = parts[0]
    for path, part in zip(paths[1:], parts[1:], strict=True):
        if (part.maps is None) != (first.maps is None):
            raise InputError(f"{path}: not of the kind of {paths[0]}; predict images and maps apart")
        if part.pixels != first.pixels:
            raise InputError(f"{path}: {part.pixels} px a side, but {paths[0]} has {first.pixels}")
        if (part.fields, part.units) != (first.fields, first.units):
            raise InputError(f"{path}: other fields or units than {paths[0]}; predict them apart")
        if part.maps is not None and first.maps is not None and part.maps.shape[1] != first.maps.shape[1]:
            raise InputError(f"{path}: {part.maps.shape[1]} fields, but {paths[0]} has {first.maps.shape[1]}")
    found = Inputs(
        names=tuple(name for part in parts for name in part.names),
        origins=tuple(paths),
        maps=None if first.maps is None else np.concatenate([p.maps for p in parts if p.maps is not None]),
        images=None
        if first.images is None
        else np.concatenate([p.images for p in parts if p.images is not None]),
        fields=first.fields,
        units=first.units,
    )
    return found if galaxies is None else found.of(galaxies)


@dataclass(frozen=True)
class _File:
    """A file whose galaxies are named, and whose arrays are not yet read.

    Attributes
    ----------
    names
        One a galaxy.
    bytes_each
        [bytes] that a galaxy takes in memory.
    arrays
        From rows, ascending, to the galaxies there, named.
    """

    path: Path
    names: tuple[str, ...]
    bytes_each: int
    arrays: Callable[[list[int]], Inputs]

    def read(self, galaxies: Sequence[str] | None) -> Inputs:
        """Read some of the galaxies, by name; None: all."""
        chosen = set(self.names if galaxies is None else galaxies)
        rows = [row for row, name in enumerate(self.names) if name in chosen]
        size = len(rows) * self.bytes_each
        if size > MAX_DECLARED_GB * 1e9:
            raise InputError(
                f"{self.path}: {size / 1e9:.3g} GB of maps, more than {MAX_DECLARED_GB:g};"
                " predict it in parts"
            )
        return replace(self.arrays(rows), names=tuple(self.names[row] for row in rows), origins=(self.path,))


def _open(path: Path) -> _File:
    suffix = path.suffix.lower()
    if suffix in _PICTURES:
        return _open_picture(path)
    if suffix in _NUMPY:
        return _open_npy(path)
    if suffix in _HDF5:
        return _open_h5(path)
    raise InputError(f"{path}: expected one of {', '.join(_PICTURES + _NUMPY + _HDF5)}")


def _open_picture(path: Path) -> _File:
    picture = read_image(path, None, MAX_PIXELS)
    if picture.shape[0] != picture.shape[1]:
        raise InputError(f"{path}: {picture.shape[1]} x {picture.shape[0]} pixels; expected a square")
    return _File(path, (path.name,), picture.nbytes, lambda rows: Inputs(images=picture[np.newaxis][rows]))


def _open_npy(path: Path) -> _File:
    try:
        # Mapped, so that a header that declares more than the file holds is an error, not an allocation;
        # and not np.load, which opens archives and pickles too.
        array: np.ndarray = np.lib.format.open_memmap(path, mode="r")
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except _BAD_NPY as error:
        raise InputError(f"{path}: not an array of numbers ({' '.join(str(error).split())})") from None
    if array.dtype.kind not in "fiu":
        raise InputError(f"{path}: {array.dtype} values; expected numbers")
    if array.ndim == 3:
        array = array[np.newaxis]
    if array.ndim != 4 or array.shape[2] != array.shape[3]:
        raise InputError(f"{path}: shape {array.shape}; expected (fields, P, P) or (n, fields, P, P)")
    single = len(array) == 1
    names = tuple(path.stem if single else f"{path.stem}[{row}]" for row in range(len(array)))
    bytes_each = math.prod(array.shape[1:]) * 4
    return _File(path, names, bytes_each, lambda rows: Inputs(maps=array[rows].astype(np.float32)))


def _open_h5(path: Path) -> _File:
    members = survey(path, "")
    declared = members.field("maps")
    identity = [members.field(name) for name in ("snapshot", "subhalo_id")]
    attributes = read_attributes(path)
    if len(declared.shape) != 4 or any(column.shape != declared.shape[:1] for column in identity):
        raise InputError(f"{path}: maps of shape {declared.shape}; expected (n, fields, P, P)")
    with readable(path), h5py.File(path, "r") as file:
        snapshots, subhalos = file["snapshot"][()], file["subhalo_id"][()]

    def arrays(rows: list[int]) -> Inputs:
        with readable(path), h5py.File(path, "r") as file:
            maps = file["maps"][rows]
        if attributes.is_images:
            return Inputs(images=np.ascontiguousarray(maps.transpose(0, 2, 3, 1)))
        maps = maps.astype(np.float32, copy=False)
        return Inputs(maps=maps, fields=attributes.fields, units=attributes.units)

    if attributes.is_images:
        names = _picture_names(path, snapshots, subhalos)
    else:
        names = tuple(f"Snap{s}ID{i}" for s, i in zip(snapshots, subhalos, strict=True))
    return _File(path, names, declared.nbytes // max(len(names), 1), arrays)


def _picture_names(path: Path, snapshots: np.ndarray, subhalos: np.ndarray) -> tuple[str, ...]:
    """Return the names of an image catalogue's galaxies: of their files, from the sample beside it."""
    sample = path.parent / "sample.parquet"
    if not sample.is_file():
        return tuple(f"{path.stem}[{row}]" for row in range(len(subhalos)))
    rows = pd.DataFrame({"snapshot": snapshots, "subhalo_id": subhalos})
    try:
        catalogue = pd.read_parquet(sample, columns=[*rows.columns, "file"])
        files = list(rows.merge(catalogue, validate="one_to_one")["file"])
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"{sample}: not the catalogue of {path.name} ({error})") from None
    if len(files) != len(rows):
        raise InputError(f"{sample}: not the catalogue of {path.name}, some of its galaxies are absent")
    # Two pictures that differ only in their endings keep them.
    stems = [str(PurePosixPath(file).with_suffix("")) for file in catalogue["file"]]
    unique = len(set(stems)) == len(stems)
    return tuple(str(PurePosixPath(file).with_suffix("")) if unique else str(file) for file in files)
