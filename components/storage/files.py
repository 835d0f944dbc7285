"""The files of an artifact on their way into and out of a store: named safely, digested, staged."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
import time
import uuid
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from components.errors import DamagedArtifactError, InputError
from components.storage.artifact import MANIFEST

PART_SUFFIX = ".part"
_SHA256 = re.compile(r"[0-9a-f]{64}")
_NAME_LENGTH = 512


@dataclass(frozen=True)
class FileEntry:
    """What a manifest says of a file."""

    sha256: str
    bytes: int


def files_of(manifest: bytes, origin: str, only: Collection[str] | None = None) -> dict[str, FileEntry]:
    """Return the files that a manifest names, or those `only`; none leads out of the artifact's folder.

    Raises
    ------
    InputError
        It is no manifest, or it names what it must not.
    """
    try:
        listed = json.loads(manifest)["files"]
        files = {name: FileEntry(entry["sha256"], entry["bytes"]) for name, entry in listed.items()}
    except (ValueError, RecursionError, KeyError, TypeError, AttributeError):
        raise InputError(f"{origin}: not a manifest of ours; remove the artifact and publish again") from None
    for name, entry in files.items():
        if not _is_inside(name) or any(str(parent) in files for parent in PurePosixPath(name).parents):
            raise InputError(
                f"{origin}: names {name[:200]!r}, which can't be a file in the artifact's folder"
            )
        whole = type(entry.bytes) is int and entry.bytes >= 0 and isinstance(entry.sha256, str)
        if not whole or not _SHA256.fullmatch(entry.sha256):
            raise InputError(f"{origin}: has no size and SHA-256 for {name[:200]!r}; publish it again")
    return files if only is None else {name: files[name] for name in files if name in only}


def manifest_of(manifest: bytes, origin: str) -> dict[str, Any]:
    """Return what a stored manifest says.

    Raises
    ------
    DamagedArtifactError
        It is none, or it names what it must not.
    """
    try:
        files_of(manifest, origin)
    except InputError as error:
        raise DamagedArtifactError(str(error)) from None
    data: dict[str, Any] = json.loads(manifest)
    return data


def _is_inside(name: str) -> bool:
    words = name.split("/")
    plain = name.isprintable() and "\\" not in name and len(name.encode(errors="replace")) <= _NAME_LENGTH
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
        raise InputError(f"{folder}: no whole artifact, {MANIFEST} can't be read: {reason}") from None


def source_of(folder: Path, name: str) -> Path:
    """Return a file that a manifest names, which must not be a link out of the artifact's folder."""
    path = folder / name
    if not path.resolve().is_relative_to(folder.resolve()):
        raise InputError(f"{folder / MANIFEST}: names {name!r}, which lies outside the folder")
    if not path.is_file():
        raise DamagedArtifactError(
            f"{path}: absent, but listed in {MANIFEST}; remove its folder and run again"
        )
    return path


class Checked:
    """The bytes of a file on their way, counted and digested."""

    def __init__(self, entry: FileEntry, origin: str) -> None:
        self._entry, self._origin = entry, origin
        self._digest, self._bytes = hashlib.sha256(), 0

    def take(self, chunk: bytes) -> bytes:
        """Count a chunk in, and return it."""
        self._digest.update(chunk)
        self._bytes += len(chunk)
        return chunk

    def finish(self) -> None:
        """Raise DamagedArtifactError unless the file was the one in the manifest."""
        if self._bytes != self._entry.bytes or self._digest.hexdigest() != self._entry.sha256:
            raise DamagedArtifactError(
                f"{self._origin}: damaged, its size or SHA-256 is not the one in {MANIFEST};"
                " remove the artifact and run again"
            )


def write_checked(chunks: Iterable[bytes], target: Path, entry: FileEntry, origin: str) -> None:
    """Write a new file that must become the one in the manifest, and see it safe on the disk."""
    checked = Checked(entry, origin)
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("xb") as stream:
        for chunk in chunks:
            stream.write(checked.take(chunk))
        stream.flush()
        os.fsync(stream.fileno())
    checked.finish()


@contextmanager
def staged(final: Path, orphan_age_h: float) -> Iterator[Path]:
    """Give an empty folder beside `final` that the block fills and renames; otherwise it is removed.

    What killed processes left there goes too, once it is old enough to be nobody's.
    """
    staging = final.with_name(f".{final.name}.{uuid.uuid4().hex}{PART_SUFFIX}")
    try:
        staging.mkdir(parents=True)
        for leftover in final.parent.glob(f".{final.name}.*{PART_SUFFIX}"):
            remove_orphan(leftover, orphan_age_h)
        yield staging
    except OSError as error:
        raise InputError(f"{final}: can't be written: {error.strerror or error}") from None
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def settle(staging: Path, final: Path) -> bool:
    """Rename a filled staging folder; False: `final` holds something already, and stays."""
    try:
        staging.rename(final)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
            raise
        return False
    return True


def remove_orphan(leftover: Path, orphan_age_h: float) -> bool:
    """Remove a staging folder that nobody has written to for long, and tell whether it was one."""
    try:
        times = [path.lstat().st_mtime for path in (leftover, *leftover.rglob("*"))]
    except FileNotFoundError:  # its owner finished just now
        return False
    if time.time() - max(times) < orphan_age_h * 3600:
        return False
    shutil.rmtree(leftover, ignore_errors=True)
    return True
