"""The model folder of a case; written by training, read by everyone else.

model.json, weights.npz, history.csv    the first seed's network: this is what is deployed
seeds/SEED/                             the other seeds' networks
milestones/EPOCH/                       the first seed's network as it was after that epoch (no history)
audit/random, audit/tree, audit/halo    networks of the leakage audit, where the case has one
failed.json                             in place of model.json: the training broke down, and why

Each of these is a complete model folder by itself.
"""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ssfr.components.errors import DamagedArtifactError, InputError
from ssfr.components.storage.artifact import atomic_file, read_json, sha256_file, write_json

FORMAT = 1
DESCRIPTION = "model.json"
WEIGHTS = "weights.npz"
HISTORY = "history.csv"
FAILED = "failed.json"
Kind = Literal["seeds", "milestones", "audit"]


def write_model(directory: Path, description: dict[str, Any], weights: Sequence[np.ndarray]) -> None:
    """Write weights and description; model.json comes last, so that it marks a complete folder."""
    arrays: dict[str, Any] = {f"{i:03d}": array for i, array in enumerate(weights)}
    with atomic_file(directory / WEIGHTS) as part, part.open("wb") as stream:
        np.savez(stream, **arrays)
    digest = sha256_file(directory / WEIGHTS)
    write_json(directory / DESCRIPTION, {"format": FORMAT, **description, "weights_sha256": digest})


def write_failure(directory: Path, case: str, reason: str) -> None:
    """Say in a model folder that its training broke down."""
    write_json(directory / FAILED, {"case": case, "reason": reason})


def failure(directory: Path) -> str | None:
    """Return why the training of a model folder broke down; None if it did not."""
    path = directory / FAILED
    return str(read_json(path)["reason"]) if path.is_file() else None


def is_complete(directory: Path) -> bool:
    """Return whether training has completed a model folder, and its weights are undamaged."""
    weights = directory / WEIGHTS
    if not (directory / DESCRIPTION).is_file() or not weights.is_file():
        return False
    return bool(read_description(directory)["weights_sha256"] == sha256_file(weights))


def members(directory: Path, kind: Kind) -> dict[str, Path]:
    """Return the other networks of a case: seed, epoch or kind of split -> model folder.

    Those whose training broke down are not among them. Numbers are in their order.
    """
    folders = [path.parent for path in (directory / kind).glob(f"*/{DESCRIPTION}")]
    return {path.name: path for path in sorted(folders, key=lambda path: (len(path.name), path.name))}


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
    description = read_json(path)
    if description.get("format") != FORMAT:
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
