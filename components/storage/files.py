"""The files of an artifact on their way into and out of a store: named safely, digested, staged."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from ssfr.components.errors import DamagedArtifactError, InputError
from ssfr.components.storage.manifest import MANIFEST, FileEntry

PART_SUFFIX = ".part"


class _Checked:
    """The bytes of a file on their way, counted and digested."""

    def __init__(self, entry: FileEntry, origin: str) -> None:
        self._entry, self._origin = entry, origin
        self._digest, self._left = hashlib.sha256(), entry.bytes

    def take(self, chunk: bytes) -> bytes:
        """Count a chunk in, and return it; raises DamagedArtifactError for more bytes than expected."""
        self._digest.update(chunk)
        self._left -= len(chunk)
        if self._left < 0:
            raise self._damaged()
        return chunk

    @property
    def has_all_bytes(self) -> bool:
        return self._left == 0

    def finish(self) -> None:
        """Raise DamagedArtifactError unless the file was the one in the manifest."""
        if self._left or self._digest.hexdigest() != self._entry.sha256:
            raise self._damaged()

    def _damaged(self) -> DamagedArtifactError:
        return DamagedArtifactError(
            f"{self._origin}: damaged, its size or SHA-256 is not the one in {MANIFEST};"
            " remove the artifact and run again"
        )


class CheckedReader:
    """A file read once from beginning to end, and digested meanwhile; raises DamagedArtifactError at its end.

    Parameters
    ----------
    path
        Opened at the first read, and closed at the last.
    entry
        What the manifest says of the file.
    """

    def __init__(self, path: Path, entry: FileEntry) -> None:
        self._path, self.bytes = path, entry.bytes
        self._checked = _Checked(entry, str(path))
        self._stream: IO[bytes] | None = None

    def read(self, amount: int | None = None) -> bytes:
        """Return the next bytes: `amount` of them, or all; fewer at the end, and none after it."""
        self._stream = self._stream or self._path.open("rb")
        if self._stream.closed:
            return b""
        wanted = self.bytes + 1 if amount is None else amount  # a file that has grown is not read to its end
        chunk = self._checked.take(self._stream.read(wanted))
        if len(chunk) < wanted:
            self.close()
            self._checked.finish()
        return chunk

    def close(self) -> None:
        """Give up reading."""
        if self._stream:
            self._stream.close()


class CheckedWriter:
    """A new file that must become the one in the manifest, digested while it is written.

    Parameters
    ----------
    path
        Opened at the first write, and closed when all of its bytes are there.
    entry
        What the manifest says of the file.
    origin
        Where the bytes come from, for messages.
    """

    def __init__(self, path: Path, entry: FileEntry, origin: str) -> None:
        self._path, self.bytes = path, entry.bytes
        self._checked = _Checked(entry, origin)
        self._stream: IO[bytes] | None = None

    def write(self, chunk: bytes) -> None:
        """Append bytes; raises DamagedArtifactError for more than there should be."""
        stream = self._open()
        stream.write(self._checked.take(chunk))
        if self._checked.has_all_bytes:
            _settle_on_disk(stream)

    def finish(self) -> None:
        """Raise DamagedArtifactError unless the file is the one in the manifest, and safe on the disk."""
        _settle_on_disk(self._open())
        self._checked.finish()

    def close(self) -> None:
        """Give up writing."""
        if self._stream:
            self._stream.close()

    def _open(self) -> IO[bytes]:
        if self._stream is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._stream = self._path.open("xb")
        return self._stream


def _settle_on_disk(stream: IO[bytes]) -> None:
    if not stream.closed:
        stream.flush()
        os.fsync(stream.fileno())
        stream.close()


@contextmanager
def staged(final: Path, orphan_age_h: float) -> Iterator[Path]:
    """Give an empty folder beside `final` that the block fills and renames; otherwise it is removed.

    What killed processes left there goes too, once it is older than any upload.
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
    """Remove a staging folder that was not written to for long; return whether it was one."""
    try:
        times = [path.lstat().st_mtime for path in (leftover, *leftover.rglob("*"))]
    except FileNotFoundError:  # its owner finished just now
        return False
    if time.time() - max(times) < orphan_age_h * 3600:
        return False
    shutil.rmtree(leftover, ignore_errors=True)
    return True
