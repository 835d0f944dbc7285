"""The files of an artifact on their way into and out of a store: named safely, digested, staged."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import time
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ssfr.components.errors import DamagedArtifactError, InputError
from ssfr.components.storage.manifest import MANIFEST, FileEntry

PART_SUFFIX = ".part"


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
