"""What is computed once an image before training, kept on disk: backbone features, or reduced maps."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import ml_dtypes
import numpy as np
from keras import ops

from ssfr.components.errors import InputError
from ssfr.components.imagesets.reader import ImageSet
from ssfr.components.models.architecture import Network
from ssfr.components.models.outputs import traced
from ssfr.components.runtime.progress import Progress
from ssfr.components.storage.artifact import read_json, write_json


@dataclass(frozen=True)
class FeatureFile:
    """An array of one row a galaxy, written batch by batch and read through a memory map.

    A journal beside the file counts the rows that have reached the disk, so a killed run goes on there;
    rows after it are written again. Rows are appended, so a full disk is an error when it fills and
    not a bus error later.

    Attributes
    ----------
    path
        Of the .npy file. bfloat16, which .npy does not have, is stored as its 16 bits.
    row_shape
        Of one galaxy's features.
    dtype
        In which they are kept.
    """

    path: Path
    row_shape: tuple[int, ...]
    dtype: Literal["float32", "bfloat16"]

    @property
    def _stored(self) -> np.dtype:
        return np.dtype(np.uint16 if self.dtype == "bfloat16" else np.float32)

    @property
    def _journal(self) -> Path:
        return self.path.with_suffix(".rows.json")

    def rows_done(self) -> int:
        """Return how many rows are on the disk for good."""
        begun = self.path.is_file() and self._journal.is_file()
        return int(read_json(self._journal)["rows"]) if begun else 0

    def fill(self, count: int, batch: int, compute: Callable[[slice], np.ndarray]) -> None:
        """Compute and append the rows that are missing.

        Parameters
        ----------
        count
            Rows in all.
        batch
            Rows computed, written and entered in the journal at a time.
        compute
            Rows a..b -> (b - a, *row_shape), any float type.
        """
        header = self._start(count)
        row_bytes = self._stored.itemsize * int(np.prod(self.row_shape))
        done = self.rows_done()
        with self.path.open("r+b") as stream:
            stream.truncate(header + done * row_bytes)
            stream.seek(0, os.SEEK_END)
            for start in range(done, count, batch):
                rows = slice(start, min(start + batch, count))
                stream.write(self._encoded(compute(rows)).tobytes())
                stream.flush()
                os.fsync(stream.fileno())
                write_json(self._journal, {"rows": rows.stop})

    def open(self) -> np.ndarray:
        """Return the array, (count, *row_shape), as a read-only memory map."""
        stored = np.load(self.path, mmap_mode="r", allow_pickle=False)
        return stored.view(ml_dtypes.bfloat16) if self.dtype == "bfloat16" else stored

    def _start(self, count: int) -> int:
        """Write the header if there is none, and return its length [bytes]."""
        if not (self.path.is_file() and self._journal.is_file()):
            self._journal.unlink(missing_ok=True)
            with self.path.open("wb") as stream:
                description = {
                    "descr": np.lib.format.dtype_to_descr(self._stored),
                    "fortran_order": False,
                    "shape": (count, *self.row_shape),
                }
                np.lib.format.write_array_header_1_0(stream, description)
            write_json(self._journal, {"rows": 0})
        with self.path.open("rb") as stream:
            np.lib.format.read_magic(stream)
            np.lib.format.read_array_header_1_0(stream)
            return stream.tell()

    def _encoded(self, values: np.ndarray) -> np.ndarray:
        if self.dtype == "bfloat16":
            return values.astype(ml_dtypes.bfloat16).view(np.uint16)
        return values.astype(np.float32)


def compute_features(
    file: FeatureFile,
    image_set: ImageSet,
    names: Sequence[str],
    network: Network,
    batch: int,
    progress: Progress,
) -> None:
    """Run the frozen part of a network over an image set, once.

    Parameters
    ----------
    file
        Where the features go, or partly are since an earlier, killed call of the same kind.
    image_set
        Of the case.
    names
        Of its galaxies, for errors.
    network
        Its `frozen` is run.
    batch
        Images at a time: bounds the memory.

    Raises
    ------
    InputError
        A feature is not finite; the message names the galaxy.
    """
    frozen = traced(network.frozen.run)

    def compute(part: slice) -> np.ndarray:
        images = ops.convert_to_tensor(image_set.images(np.arange(part.start, part.stop)))
        features: np.ndarray = ops.convert_to_numpy(ops.cast(frozen(images), "float32"))
        bad = ~np.isfinite(features).all(axis=tuple(range(1, features.ndim)))
        if bad.any():
            name = names[part.start + int(np.argmax(bad))]
            raise InputError(
                f"case '{image_set.spec.case}': {name}: NaN or infinite in what the network sees; draw and"
                " prepare this galaxy again, or remove it from the sample"
            )
        task.advance(len(features))
        return features

    label = f"features of {image_set.spec.case}"
    with progress.task(label, len(image_set), "images", file.rows_done()) as task:
        file.fill(len(image_set), batch, compute)
