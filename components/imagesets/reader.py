"""Maps on disk, and the image sets made of them, read by batch: memory is bounded by the batch."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import h5py
import numpy as np
import pandas as pd
from pydantic import ValidationError

from ssfr.components.errors import InputError
from ssfr.components.imagesets.spec import ImageSpec, MapAttributes
from ssfr.components.imagesets.transform import images


class MapReader:
    """Raw maps of a table's galaxies.

    Parameters
    ----------
    maps_dir
        Folder of ``maps-*.h5``.
    galaxies
        With columns map_file and map_row; row i of this reader is row i of the table.

    Attributes
    ----------
    attributes
        What the files say of themselves.
    """

    def __init__(self, maps_dir: Path, galaxies: pd.DataFrame) -> None:
        self._directory = maps_dir
        self._files = galaxies["map_file"].to_numpy(dtype=object)
        self._rows = galaxies["map_row"].to_numpy(dtype=np.int64)
        self._open: dict[str, h5py.File] = {}
        first = self._files[0] if len(self._files) else first_file(maps_dir).name
        self.attributes = read_attributes(maps_dir / first)

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
            In the units of `attributes`; axis 2 is y, axis 3 is x.
        """
        chosen = np.asarray(rows, dtype=np.int64)
        dtype = np.uint8 if self.attributes.is_images else np.float32
        side = self.attributes.pixels
        result = np.empty((len(chosen), len(self.attributes.fields), side, side), dtype)
        on_disk = np.lexsort((self._rows[chosen], self._files[chosen].astype(str)))
        for place in on_disk:
            row = chosen[place]
            dataset = self._file(self._files[row])["maps"]
            if dataset.shape[1:] != result.shape[1:] or self._rows[row] >= dataset.shape[0]:
                raise InputError(
                    f"{self._directory / self._files[row]}: maps of shape {dataset.shape} have no row "
                    f"{self._rows[row]} of shape {result.shape[1:]}; remove the folder and run again"
                )
            result[place] = dataset[int(self._rows[row])]
        return result

    def _file(self, name: str) -> h5py.File:
        if name not in self._open:
            self._open[name] = _open_h5(self._directory / name)
        return self._open[name]


class ImageSet:
    """A case: the network's input of a reader's galaxies, computed when asked for.

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


def read_attributes(path: Path) -> MapAttributes:
    """Read what a file of maps says of itself.

    Raises
    ------
    InputError
        Not a file of maps, or an attribute is absent.
    """
    with _open_h5(path) as file:
        raw: dict[str, Any] = {name: _plain(value) for name, value in file.attrs.items()}
    for name in ("fields", "units"):
        if isinstance(raw.get(name), str):
            raw[name] = json.loads(raw[name])
    try:
        return MapAttributes.model_validate(raw)
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        key = ".".join(str(part) for part in problem["loc"])
        raise InputError(f"{path}: attribute {key}: {problem['msg'].lower()}; draw the maps again") from None


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


def _open_h5(path: Path) -> h5py.File:
    try:
        return h5py.File(path, "r")
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; draw the maps again") from None
    except OSError as error:
        raise InputError(f"{path}: not readable as HDF5 ({error}); draw the maps again") from None
