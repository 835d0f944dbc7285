"""A store in a local folder: an artifact appears, and disappears, by one rename."""

from __future__ import annotations

import hashlib
import os
import uuid
from collections.abc import Collection, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from ssfr.components.config.storage import StorageSettings
from ssfr.components.errors import InputError
from ssfr.components.runtime.processes import locked
from ssfr.components.runtime.progress import Progress
from ssfr.components.storage.artifact import atomic_file, remove_whole
from ssfr.components.storage.files import (
    PART_SUFFIX,
    CheckedWriter,
    remove_orphan,
    settle,
    staged,
)
from ssfr.components.storage.location import check_key
from ssfr.components.storage.manifest import MANIFEST, files_of, manifest_in, manifest_of, source_of
from ssfr.components.storage.store import (
    ChangedDocumentError,
    Document,
    Stored,
    check_document,
    decode_document,
    encode_document,
    expired,
)

_CHUNK = 1 << 20
_LOCK_WAIT_S = 10.0


class FolderStore:
    """Artifacts as folders below one folder; see `ssfr.components.storage.store.Store`."""

    def __init__(self, root: Path, settings: StorageSettings, progress: Progress) -> None:
        self._root, self._settings, self._progress = root, settings, progress

    def publish(self, folder: Path, key: str, manifest: bytes | None = None) -> bool:
        """See `Store.publish`."""
        final = self._folder(key)
        for parent in final.parents:
            if parent.is_relative_to(self._root) and (parent / MANIFEST).exists():
                raise InputError(f"{parent}: is an artifact, and can't hold another; publish elsewhere")
        if self.exists(key):
            return False
        if self._copy(folder, final, manifest or manifest_in(folder)):
            return True
        if not self.exists(key):
            raise InputError(f"{final}: is in the way, and no artifact; remove it, or publish elsewhere")
        return False

    def fetch(self, key: str, folder: Path, only: Collection[str] | None = None) -> None:
        """See `Store.fetch`."""
        source = self._folder(key)
        if not source.exists():
            raise InputError(f"{self._root}: no artifact '{key}'; publish it first, or correct the key")
        if not self._copy(source, folder, manifest_in(source), only):
            raise InputError(f"{folder}: exists already; remove it, or fetch into another folder")

    def exists(self, key: str) -> bool:
        """See `Store.exists`."""
        return (self._folder(key) / MANIFEST).is_file()

    def manifest(self, key: str) -> dict[str, Any] | None:
        """See `Store.manifest`."""
        folder = self._folder(key)
        return manifest_of(manifest_in(folder), str(folder / MANIFEST)) if self.exists(key) else None

    def keys(self, prefix: str = "") -> list[str]:
        """See `Store.keys`."""
        top = self._folder(prefix) if prefix else self._root
        return sorted(folder.relative_to(self._root).as_posix() for folder in self._artifacts(top))

    def artifacts(self, prefix: str = "") -> list[Stored]:
        """See `Store.artifacts`."""
        stored = []
        for key in self.keys(prefix):
            manifest = self._folder(key) / MANIFEST
            files = files_of(manifest_in(manifest.parent), str(manifest))
            total = sum(entry.bytes for entry in files.values())
            stored.append(Stored(key, manifest.stat().st_mtime, total))
        return stored

    def remove(self, key: str) -> None:
        """See `Store.remove`."""
        folder = self._folder(key)
        with suppress(FileNotFoundError):  # another may remove it at the same time
            remove_whole(folder, folder.with_name(f".{folder.name}.{uuid.uuid4().hex}{PART_SUFFIX}"))

    def clean(
        self, prefix: str = "", *, keep: int, older_than_s: float, never: Collection[str] = ()
    ) -> list[str]:
        """See `Store.clean`."""
        keys = expired(self.artifacts(prefix), keep, older_than_s, never)
        for key in keys:
            self.remove(key)
        top = self._folder(prefix) if prefix else self._root
        orphans = [path for path in top.rglob(f".*{PART_SUFFIX}") if path.is_dir()]
        gone = sum(remove_orphan(path, self._settings.orphan_age_h) for path in orphans)
        if gone:
            self._progress.say(f"{top}: removed what {gone} killed publishers left")
        return keys

    def read_document(self, name: str) -> Document | None:
        """See `Store.read_document`."""
        path = self._root / check_document(name)
        try:
            body = path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise InputError(f"{path}: can't be read: {error.strerror}") from None
        return Document(decode_document(body, str(path)), _version(body))

    def write_document(self, name: str, data: object, version: str | None) -> str:
        """See `Store.write_document`."""
        path, body = self._root / check_document(name), encode_document(name, data)
        with locked(path.with_name(f".{path.name}.lock"), str(path), _LOCK_WAIT_S):
            there = path.read_bytes() if path.exists() else None
            if (None if there is None else _version(there)) != version:
                raise ChangedDocumentError(f"{path}: changed by another writer; read it and decide again")
            with atomic_file(path) as part:
                part.write_bytes(body)
        return _version(body)

    def documents(self, prefix: str) -> dict[str, float]:
        """See `Store.documents`."""
        times = {}
        for path in self._folder(prefix).rglob("*.json"):
            with suppress(FileNotFoundError):  # another may remove it at the same time
                if not path.name.startswith("."):
                    times[path.relative_to(self._root).as_posix()] = path.stat().st_mtime
        return times

    def remove_document(self, name: str) -> None:
        """See `Store.remove_document`."""
        (self._root / check_document(name)).unlink(missing_ok=True)

    def _folder(self, key: str) -> Path:
        return self._root / check_key(key)

    def _artifacts(self, top: Path) -> Iterator[Path]:
        for folder, below, names in os.walk(top):
            if MANIFEST in names:
                yield Path(folder)
                below.clear()
            below[:] = [name for name in below if not name.startswith(".")]

    def _copy(self, source: Path, final: Path, manifest: bytes, only: Collection[str] | None = None) -> bool:
        """Copy an artifact, checked, to a folder that appears in one step; False: it was there before."""
        files = files_of(manifest, str(source / MANIFEST), only)
        total = sum(entry.bytes for entry in files.values()) / 1e6
        with (
            staged(final, self._settings.orphan_age_h) as staging,
            self._progress.task(f"copy {final.name}", total, "MB") as task,
        ):
            for name, entry in files.items():
                path = source_of(source, name)
                with closing(CheckedWriter(staging / name, entry, str(path))) as file:
                    for chunk in _chunks(path):
                        file.write(chunk)
                    file.finish()
                task.advance(entry.bytes / 1e6)
            with atomic_file(staging / MANIFEST) as part:
                part.write_bytes(manifest)
            return settle(staging, final)


def _chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            yield chunk


def _version(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()
