"""Files that a user wants predictions for: pictures, .npy maps, or our own maps-*.h5."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from tokenize import TokenError
from typing import Annotated, Literal

import h5py
import numpy as np
import pandas as pd
from pydantic import BaseModel, Field

from ssfr.components.errors import InputError, nearest
from ssfr.components.identity.galaxies import galaxy_name
from ssfr.components.identity.labels import LabelIdentity
from ssfr.components.identity.maps import MapIdentity
from ssfr.components.imagesets.reader import read_identity
from ssfr.components.imagesets.safe_image import read_image, stated_identity
from ssfr.components.simulation.hdf5_safety import readable, survey

MAX_PIXELS = 4096 * 4096
MAX_DECLARED_GB = 4.0

_BAD_NPY = (ValueError, OSError, EOFError, TypeError, OverflowError, SyntaxError, TokenError)
"""What numpy raises on damaged headers, which are Python literals."""
_PICTURES = (".png", ".jpg", ".jpeg")
_NUMPY = (".npy",)
_HDF5 = (".h5", ".hdf5")


class Accepted(BaseModel, frozen=True):
    """What a model takes and predicts, by its own description.

    Attributes
    ----------
    takes
        One kind or both.
    maps
        What the maps or images are that it was trained on.
    label
        What it predicts.
    """

    takes: Annotated[tuple[Literal["maps", "images"], ...], Field(min_length=1)]
    maps: MapIdentity
    label: LabelIdentity


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
    identity
        What they are; None where the file does not say.
    """

    names: tuple[str, ...] = ()
    origins: tuple[Path, ...] = ()
    maps: np.ndarray | None = None
    images: np.ndarray | None = None
    identity: MapIdentity | None = None

    def check(self, accepted: Accepted) -> None:
        """Compare with what a model takes, as far as the files say what they hold.

        Raises
        ------
        InputError
            Images for a model of maps or the other way round, a wrong shape, or other maps than those that
            the model was trained on; the message names every difference.
        """
        where, expected = self.origins[0], accepted.maps
        kind, array = ("maps", self.maps) if self.images is None else ("images", self.images)
        assert array is not None
        if kind not in accepted.takes:
            raise InputError(f"{where}: {kind}; the model takes {' and '.join(accepted.takes)}")
        if array.shape[2] != expected.pixels:
            raise InputError(f"{where}: {array.shape[2]} px a side; the model takes {expected.pixels} px")
        if self.identity is not None and self.identity.kind == expected.kind:
            way_out = "draw them as those, or choose a model of such maps"
            self.identity.require_same(expected, where, "those of the model", way_out)
        elif kind == "maps" and array.shape[1] != len(expected.fields):
            raise InputError(
                f"{where}: {array.shape[1]} fields; the model takes {len(expected.fields)}: "
                f"{', '.join(expected.names)}"
            )

    def taken_for_granted(self, accepted: Accepted) -> str:
        """Return, in one line, that a model of maps can't compare these with its own; empty: it can."""
        if accepted.maps.is_images:
            return ""
        if self.identity is not None and not self.identity.is_images:
            if self.images is None:
                return ""
            return (
                f"{self.origins[0]}: a picture does not say what its channels were divided by; "
                "that is taken to be what the model's were"
            )
        what, like = ("an array", "maps") if self.images is None else ("a picture", "pictures of maps")
        return (
            f"{self.origins[0]}: {what} does not say how it was drawn; it is taken for {like} like those "
            "the model was trained on"
        )


def read_inputs(paths: Sequence[Path], galaxies: Sequence[str] | None = None) -> Inputs:
    """Read galaxies from files of one kind.

    Parameters
    ----------
    paths
        Pictures (PNG, JPEG; 8 bits a channel, an alpha channel is dropped), ``.npy`` arrays (F, P, P) or
        (n, F, P, P), or files of maps that ssfr drew.
    galaxies
        Names of those to read, in the order in which they are wanted: nothing else is unpacked. None: all.

    Raises
    ------
    InputError
        No files, kinds, sizes or maps that don't go together, a file that can't be read, or a galaxy that
        is in none of them; names the file.
    """
    if not paths:
        raise InputError("no files to predict; give images (.png), or maps (.npy, .h5)")
    files = [_look(path) for path in paths]
    first = files[0]
    for file in files[1:]:
        _refuse_mixed(first, file)
    names = [name for file in files for name in file.names]
    chosen = np.arange(len(names))
    if galaxies is not None:
        absent = [name for name in galaxies if name not in names]
        if absent:
            raise InputError(f"{first.path}: no galaxy '{absent[0]}'{nearest(absent[0], names)}")
        chosen = np.array([names.index(name) for name in galaxies], dtype=np.int64)
    dtype = np.dtype(np.uint8 if first.is_images else np.float32)
    size = len(chosen) * math.prod(first.shape[1:]) * dtype.itemsize
    if size > MAX_DECLARED_GB * 1e9:
        raise InputError(
            f"{first.path}: {size / 1e9:.3g} GB of galaxies, more than {MAX_DECLARED_GB:g}; give fewer"
        )
    array = np.empty((len(chosen), *first.shape[1:]), dtype)
    start = 0
    for file in files:
        places = np.flatnonzero((chosen >= start) & (chosen < start + len(file.names)))
        if len(places):
            array[places] = file.read(chosen[places] - start)
        start += len(file.names)
    return Inputs(
        names=tuple(names[row] for row in chosen),
        origins=tuple(paths),
        maps=None if first.is_images else array,
        images=array if first.is_images else None,
        identity=first.identity,
    )


@dataclass(frozen=True)
class _File:
    """A file whose galaxies can be read by row: maps (n, F, P, P), or images (n, P, P, 3)."""

    path: Path
    names: tuple[str, ...]
    shape: tuple[int, ...]
    is_images: bool
    read: Callable[[np.ndarray], np.ndarray]
    identity: MapIdentity | None = None


def _refuse_mixed(first: _File, file: _File) -> None:
    if file.is_images != first.is_images:
        raise InputError(f"{file.path}: not of the kind of {first.path}; predict images and maps apart")
    if file.shape[2] != first.shape[2]:
        raise InputError(f"{file.path}: {file.shape[2]} px a side, but {first.path} has {first.shape[2]}")
    if file.shape[1] != first.shape[1]:
        raise InputError(f"{file.path}: {file.shape[1]} fields, but {first.path} has {first.shape[1]}")
    if (file.identity is None) != (first.identity is None):
        raise InputError(f"{file.path}: not a file like {first.path}; predict them apart")
    if file.identity is not None and first.identity is not None:
        file.identity.require_same(first.identity, file.path, f"those of {first.path}", "predict them apart")


def _look(path: Path) -> _File:
    suffix = path.suffix.lower()
    if suffix in _PICTURES:
        picture = read_image(path, None, MAX_PIXELS)
        if picture.shape[0] != picture.shape[1]:
            raise InputError(f"{path}: {picture.shape[1]} x {picture.shape[0]} pixels; expected a square")
        pictures = picture[np.newaxis]
        says = stated_identity(path)
        identity = None if says is None else MapIdentity.parse(says, path, "make the picture again")
        return _File(path, (path.name,), pictures.shape, True, lambda rows: pictures[rows], identity)
    if suffix in _NUMPY:
        return _look_at_npy(path)
    if suffix in _HDF5:
        return _look_at_h5(path)
    raise InputError(f"{path}: expected one of {', '.join(_PICTURES + _NUMPY + _HDF5)}")


def _look_at_npy(path: Path) -> _File:
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
    return _File(path, names, array.shape, False, lambda rows: np.asarray(array[rows], np.float32))


def _look_at_h5(path: Path) -> _File:
    members = survey(path, "")
    declared = members.field("maps")
    columns = [members.field(name) for name in ("snapshot", "subhalo_id", "view")]
    identity = read_identity(path)
    side = identity.pixels
    expected = (len(identity.fields), side, side)
    if declared.shape[1:] != expected or any(column.shape != declared.shape[:1] for column in columns):
        raise InputError(f"{path}: maps of shape {declared.shape}; expected {('n', *expected)}")
    with readable(path), h5py.File(path, "r") as file:
        snapshots, subhalos, views = (file[name][()] for name in ("snapshot", "subhalo_id", "view"))

    def read(rows: np.ndarray) -> np.ndarray:
        with readable(path), h5py.File(path, "r") as file:
            maps = np.stack([file["maps"][row] for row in rows])
        return maps.transpose(0, 2, 3, 1) if identity.is_images else maps

    if identity.is_images:
        names = _picture_names(path, snapshots, subhalos)
        return _File(path, names, (len(names), side, side, 3), True, read, identity)
    names = tuple(galaxy_name(*key) for key in zip(snapshots, subhalos, views, strict=True))
    return _File(path, names, declared.shape, False, read, identity)


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
