"""Maps on disk, and the image sets made of them, read by batch: memory is bounded by the batch."""

from __future__ import annotations

import errno
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import h5py
import numpy as np
import pandas as pd

from ssfr.components.config import Case, PreprocessingSettings
from ssfr.components.errors import InputError
from ssfr.components.identity.maps import ATTRIBUTE, MapIdentity
from ssfr.components.imagesets.spec import SCALING, ImageSpec
from ssfr.components.imagesets.transform import images
from ssfr.components.storage.artifact import read_json

_OPEN_FILES = 8
"""Files of maps that a reader keeps open: few of those a process may open; a batch needs one or two."""


class MapReader:
    """Raw maps of a table's galaxies; a context manager that closes what it has opened.

    Parameters
    ----------
    maps_dir
        Folder of ``maps-*.h5``.
    galaxies
        With columns map_file and map_row; row i of this reader is row i of the table.

    Attributes
    ----------
    directory
        As given.
    identity
        What the maps are: the same for all files.
    """

    def __init__(self, maps_dir: Path, galaxies: pd.DataFrame) -> None:
        self.directory = maps_dir
        self._files = galaxies["map_file"].to_numpy(dtype=object)
        self._rows = galaxies["map_row"].to_numpy(dtype=np.int64)
        self._open: OrderedDict[str, h5py.File] = OrderedDict()
        self._first = maps_dir / self._files[0] if len(self._files) else first_file(maps_dir)
        self.identity = read_identity(self._first)

    def __len__(self) -> int:
        return len(self._files)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close every file that is open."""
        for file in self._open.values():
            file.close()
        self._open.clear()

    def maps(self, rows: Sequence[int] | np.ndarray) -> np.ndarray:
        """Return the raw maps of some galaxies.

        Parameters
        ----------
        rows
            Of the table, in any order.

        Returns
        -------
        (n, F, P, P) float32, or uint8 for image catalogues
            In the units of `identity`; axis 2 is y, axis 3 is x.

        Raises
        ------
        InputError
            A file is absent, unreadable or of other maps than the first, or has no such row.
        """
        chosen = np.asarray(rows, dtype=np.int64)
        dtype = np.uint8 if self.identity.is_images else np.float32
        side = self.identity.pixels
        result = np.empty((len(chosen), len(self.identity.fields), side, side), dtype)
        on_disk = np.lexsort((self._rows[chosen], self._files[chosen].astype(str)))
        for place in on_disk:
            row = chosen[place]
            dataset = self._file(self._files[row])["maps"]
            if dataset.shape[1:] != result.shape[1:] or self._rows[row] >= dataset.shape[0]:
                raise InputError(
                    f"{self.directory / self._files[row]}: maps of shape {dataset.shape} have no row "
                    f"{self._rows[row]} of shape {result.shape[1:]}; remove the folder and run again"
                )
            result[place] = dataset[int(self._rows[row])]
        return result

    def _file(self, name: str) -> h5py.File:
        """Return an open file; the one that was used longest ago is closed for it."""
        if name in self._open:
            self._open.move_to_end(name)
            return self._open[name]
        if len(self._open) == _OPEN_FILES:
            self._open.popitem(last=False)[1].close()
        path = self.directory / name
        file = self._open[name] = _open_h5(path)
        way_out = "draw the maps again, or keep those of each kind in a folder of their own"
        _identity(file, path).require_same(self.identity, path, f"{self._first.name} beside it", way_out)
        return file


class ImageSet:
    """A case: the network's input of a reader's galaxies, computed when it is read.

    Parameters
    ----------
    reader
        Of the raw maps.
    spec
        Of the case, fitted.
    """

    def __init__(self, reader: MapReader, spec: ImageSpec) -> None:
        self.reader = reader
        self.spec = spec

    def __len__(self) -> int:
        return len(self.reader)

    def images(self, rows: Sequence[int] | np.ndarray) -> np.ndarray:
        """Return (n, P, P, C) float32 network input of some galaxies (see `transform.images`)."""
        result: np.ndarray = images(np, self.reader.maps(rows), self.spec)
        return result


def in_batches(rows: Sequence[int] | np.ndarray, size: int) -> Iterator[np.ndarray]:
    """Yield consecutive parts of `rows`, at most `size` long."""
    chosen = np.asarray(rows, dtype=np.int64)
    for start in range(0, len(chosen), size):
        yield chosen[start : start + size]


def first_file(maps_dir: Path) -> Path:
    """Return the first file of maps in a folder.

    Raises
    ------
    InputError
        There is none.
    """
    files = sorted(maps_dir.glob("maps-*.h5"))
    if not files:
        raise InputError(f"{maps_dir}: no maps-*.h5; draw the maps first")
    return files[0]


def read_identity(path: Path) -> MapIdentity:
    """Return what the maps of a file are.

    Raises
    ------
    InputError
        Not a file of maps, or one that does not state it.
    """
    with _open_h5(path) as file:
        return _identity(file, path)


def load_spec(case: Case, settings: PreprocessingSettings, maps_dir: Path, prepared_dir: Path) -> ImageSpec:
    """Return the fitted spec of a case from a prepared folder's ``scaling.json``.

    Raises
    ------
    InputError
        The scales were fitted on other maps than those of `maps_dir`, or as `ImageSpec.build`.
    """
    maps = read_identity(first_file(maps_dir))
    path = prepared_dir / SCALING
    scaling = read_json(path)
    way_out = "prepare the data again"
    fitted = MapIdentity.parse(scaling.get("maps"), f"{path}: maps", way_out)
    maps.require_same(fitted, maps_dir, f"those that {path} was fitted on", way_out)
    return ImageSpec.build(case, settings, maps, scaling)


def _identity(file: h5py.File, path: Path) -> MapIdentity:
    stored = file.attrs.get(ATTRIBUTE)
    return MapIdentity.parse(stored, f"{path}: attribute {ATTRIBUTE}", "draw the maps again")


def _open_h5(path: Path) -> h5py.File:
    try:
        return h5py.File(path, "r")
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; draw the maps again") from None
    except OSError as error:
        if error.errno in (errno.EMFILE, errno.ENFILE):
            raise InputError(f"{path}: too many open files; raise the limit (ulimit -n)") from None
        raise InputError(f"{path}: not readable as HDF5 ({error}); draw the maps again") from None
