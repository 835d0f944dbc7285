"""What a manifest says of an artifact's files: names that stay inside its folder, sizes, digests."""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from ssfr.components.errors import DamagedArtifactError, InputError

MANIFEST = "manifest.json"
_SHA256 = re.compile(r"[0-9a-f]{64}")
_NAME_LENGTH = 512
_WORD_LENGTH = 255
REMAKE = "remove its folder and run again"
"""The way out of a damaged artifact, where the caller has no better one."""


@dataclass(frozen=True)
class FileEntry:
    """What a manifest says of a file."""

    sha256: str
    bytes: int


def files_of(
    manifest: bytes, origin: str, only: Collection[str] | None = None, way_out: str = REMAKE
) -> dict[str, FileEntry]:
    """Return the files that a manifest names, or those `only`; none leads out of the artifact's folder.

    Parameters
    ----------
    manifest
        Its bytes.
    origin, way_out
        Where it lies and what to do, for messages.
    only
        Names.

    Raises
    ------
    InputError
        It is no manifest, or it names what it must not.
    """
    try:
        listed = json.loads(manifest)["files"]
        files = {name: FileEntry(entry["sha256"], entry["bytes"]) for name, entry in listed.items()}
    except (ValueError, RecursionError, KeyError, TypeError, AttributeError):
        raise InputError(f"{origin}: not a manifest of ours; {way_out}") from None
    for name, entry in files.items():
        if not _is_inside(name) or any(str(parent) in files for parent in PurePosixPath(name).parents):
            raise InputError(
                f"{origin}: names {name[:200]!r}, which can't be a file in the artifact's folder; {way_out}"
            )
        described = type(entry.bytes) is int and entry.bytes >= 0 and isinstance(entry.sha256, str)
        if not described or not _SHA256.fullmatch(entry.sha256):
            raise InputError(f"{origin}: has no size and SHA-256 for {name[:200]!r}; {way_out}")
    return files if only is None else {name: files[name] for name in files if name in only}


def manifest_of(manifest: bytes, origin: str, way_out: str = REMAKE) -> dict[str, Any]:
    """Return what a manifest says; parameters as of `files_of`.

    Raises
    ------
    DamagedArtifactError
        It is none, or it names what it must not.
    """
    try:
        files_of(manifest, origin, way_out=way_out)
    except InputError as error:
        raise DamagedArtifactError(str(error)) from None
    data: dict[str, Any] = json.loads(manifest)
    return data


def _is_inside(name: str) -> bool:
    words = name.split("/")
    plain = name.isprintable() and "\\" not in name and len(name.encode()) <= _NAME_LENGTH
    plain = plain and all(len(word.encode()) <= _WORD_LENGTH for word in words)
    return plain and words[-1] != MANIFEST and not {"", ".", ".."}.intersection(words)


def manifest_in(folder: Path) -> bytes:
    """Return the manifest of an artifact in a local folder.

    Raises
    ------
    InputError
        There is none: it is not an artifact, or it was never finished.
    """
    try:
        return (folder / MANIFEST).read_bytes()
    except OSError as error:
        reason = error.strerror
        raise InputError(
            f"{folder}: no complete artifact, {MANIFEST} can't be read: {reason}; {REMAKE}"
        ) from None


def source_of(folder: Path, name: str, way_out: str = REMAKE) -> Path:
    """Return a file that a manifest names, which must not be a link out of the artifact's folder."""
    path = folder / name
    if not path.resolve().is_relative_to(folder.resolve()):
        raise InputError(f"{folder / MANIFEST}: names {name!r}, which lies outside the folder")
    if not path.is_file():
        raise DamagedArtifactError(f"{path}: absent, but listed in {MANIFEST}; {way_out}")
    return path
