"""The model folder: model.json, weights.npz and history.csv; written by training, read by everyone else."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from components.errors import DamagedArtifactError, InputError
from components.storage.artifact import atomic_file, read_json, sha256_file, write_json

FORMAT = 1
DESCRIPTION = "model.json"
WEIGHTS = "weights.npz"
HISTORY = "history.csv"


def write_model(directory: Path, description: dict[str, Any], weights: Sequence[np.ndarray]) -> None:
    """Write weights and description; model.json comes last, so that it marks a whole folder."""
    with atomic_file(directory / WEIGHTS) as part, part.open("wb") as stream:
        np.savez(stream, allow_pickle=False, **{f"{i:03d}": array for i, array in enumerate(weights)})
    digest = sha256_file(directory / WEIGHTS)
    write_json(directory / DESCRIPTION, {"format": FORMAT, **description, "weights_sha256": digest})


def read_description(directory: Path) -> dict[str, Any]:
    """Read model.json.

    Raises
    ------
    InputError
        Not a model folder, or one of another format.
    """
    path = directory / DESCRIPTION
    if not path.is_file():
        raise InputError(f"{directory}: not a model folder ({DESCRIPTION} is absent)")
    description: dict[str, Any] = read_json(path)
    if not isinstance(description, dict) or description.get("format") != FORMAT:
        raise InputError(f"{path}: format: expected {FORMAT}; train the model again with this version")
    return description


def read_weights(directory: Path, description: dict[str, Any]) -> list[np.ndarray]:
    """Read the trained weights in their order, checked against the digest in `description`.

    Raises
    ------
    DamagedArtifactError
        The file is absent or has other bytes than were written.
    """
    path = directory / WEIGHTS
    if not path.is_file() or sha256_file(path) != description["weights_sha256"]:
        raise DamagedArtifactError(f"{path}: absent or damaged (SHA-256 differs); train the model again")
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return [arrays[name] for name in sorted(arrays.files)]
    except (ValueError, OSError, zipfile.BadZipFile) as error:
        raise InputError(f"{path}: not a file of weights ({error}); train the model again") from None
