"""A store in S3: data first, the manifest last, and only the manifest makes an artifact.

Below the store's prefix, ``KEY/manifest.json`` is an artifact; its metadata name the upload whose files lie
at ``.data/KEY/.UPLOAD/NAME``. Each publisher has an upload of its own, so nobody writes over another's files,
and what no manifest names is an orphan.

A document is its newest number: ``NAME.json/7`` follows ``NAME.json/6`` and is written only where there is
none, so that of two writers one wins, and what it said before stays to be looked at.
"""

from __future__ import annotations

import time
import uuid
from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ssfr.components.config.storage import StorageSettings
from ssfr.components.errors import InputError
from ssfr.components.runtime.progress import Progress
from ssfr.components.storage.artifact import atomic_file
from ssfr.components.storage.files import CheckedReader, CheckedWriter, settle, staged
from ssfr.components.storage.location import Bucket, check_key
from ssfr.components.storage.manifest import MANIFEST, files_of, manifest_in, manifest_of, source_of
from ssfr.components.storage.s3_client import S3Error
from ssfr.components.storage.s3_objects import Objects
from ssfr.components.storage.store import (
    ChangedDocumentError,
    Document,
    Stored,
    check_document,
    decode_document,
    encode_document,
    expired,
)

_DATA = ".data/"
_PROBE = ".probe"
_REFUSED = {"PreconditionFailed", "412"}
_KEPT_NUMBERS = 20
"""Of a document."""


@dataclass(frozen=True)
class _Manifest:
    body: bytes
    upload: str
    """The name of the upload whose files it names."""


class S3Store:
    """Artifacts in a bucket; see `ssfr.components.storage.store.Store`."""

    def __init__(self, place: Bucket, settings: StorageSettings, progress: Progress) -> None:
        self._place, self._settings, self._progress = place, settings, progress
        self._objects = Objects(place, settings, progress)
        self._has_conditions = False

    def publish(self, folder: Path, key: str, manifest: bytes | None = None) -> bool:
        """See `Store.publish`."""
        body = manifest or manifest_in(folder)
        files = files_of(body, str(folder / MANIFEST))
        if self.exists(key):
            return False
        self._require_conditions()
        upload = uuid.uuid4().hex
        total = sum(entry.bytes for entry in files.values())
        with self._progress.task(f"upload {key}", total / 1e6, "MB") as task:
            sources = {
                _data(key, upload) + name: CheckedReader(source_of(folder, name), entry)
                for name, entry in files.items()
            }
            self._objects.upload(sources, lambda moved: task.advance(moved / 1e6))
        try:
            self._objects.put(f"{key}/{MANIFEST}", body, IfNoneMatch="*", Metadata={"upload": upload})
        except S3Error as error:
            if error.code not in _REFUSED:
                raise
        # A refusal may answer a second try whose first went in, and its answer was lost.
        return self._is_published(key, upload)

    def fetch(self, key: str, folder: Path, only: Collection[str] | None = None) -> None:
        """See `Store.fetch`."""
        manifest = self._manifest(key)
        if manifest is None:
            raise InputError(self._why_absent(key))
        files = files_of(manifest.body, f"{self._place}/{key}/{MANIFEST}", only)
        total = sum(entry.bytes for entry in files.values()) / 1e6
        with (
            staged(folder, self._settings.orphan_age_h) as staging,
            self._progress.task(f"download {key}", total, "MB") as task,
        ):
            targets = {
                _data(key, manifest.upload) + name: CheckedWriter(
                    staging / name, entry, f"{self._place}/{key}: {name}"
                )
                for name, entry in files.items()
            }
            self._objects.download(targets, lambda moved: task.advance(moved / 1e6))
            with atomic_file(staging / MANIFEST) as part:
                part.write_bytes(manifest.body)
            if not settle(staging, folder):
                raise InputError(f"{folder}: exists already; remove it, or fetch into another folder")

    def exists(self, key: str) -> bool:
        """See `Store.exists`."""
        return self._manifest(key) is not None

    def manifest(self, key: str) -> dict[str, Any] | None:
        """See `Store.manifest`."""
        there = self._manifest(key)
        return None if there is None else manifest_of(there.body, f"{self._place}/{key}/{MANIFEST}")

    def keys(self, prefix: str = "") -> list[str]:
        """See `Store.keys`."""
        return sorted(self._published(prefix))

    def artifacts(self, prefix: str = "") -> list[Stored]:
        """See `Store.artifacts`."""
        stored = []
        for key, published in self._published(prefix).items():
            manifest = self._manifest(key)
            if manifest is not None:
                files = files_of(manifest.body, f"{self._place}/{key}/{MANIFEST}")
                stored.append(Stored(key, published, sum(entry.bytes for entry in files.values())))
        return sorted(stored, key=lambda one: one.key)

    def remove(self, key: str) -> None:
        """See `Store.remove`."""
        manifest = self._manifest(key)
        if manifest is None:
            return
        self._objects.delete(f"{key}/{MANIFEST}")
        for name, _ in list(self._objects.names(_data(key, manifest.upload))):
            self._objects.delete(name)

    def clean(
        self, prefix: str = "", *, keep: int, older_than_s: float, never: Collection[str] = ()
    ) -> list[str]:
        """See `Store.clean`."""
        keys = expired(self.artifacts(prefix), keep, older_than_s, never)
        for key in keys:
            self.remove(key)
        self._remove_orphans(_DATA + _below(prefix))
        return keys

    def read_document(self, name: str) -> Document | None:
        """See `Store.read_document`."""
        numbers = self._numbers(check_document(name))
        number = max(numbers, default=0)
        there = self._objects.get(f"{name}/{number}") if number else None
        # On some servers a list lags behind what is there.
        while (newer := self._objects.get(f"{name}/{number + 1}")) is not None:
            number, there = number + 1, newer
        if there is None:
            return None
        return Document(decode_document(there["Body"], f"{self._place}/{name}/{number}"), str(number))

    def write_document(self, name: str, data: object, version: str | None) -> str:
        """See `Store.write_document`."""
        body = encode_document(check_document(name), data)
        self._require_conditions()
        number, writer = int(version or 0) + 1, uuid.uuid4().hex
        numbers = self._numbers(name)
        if max(numbers, default=0) < number:
            try:
                self._objects.put(f"{name}/{number}", body, IfNoneMatch="*", Metadata={"writer": writer})
            except S3Error as error:
                if error.code not in _REFUSED:
                    raise
        # As in `publish`: a refusal may be of our own second try.
        there = self._objects.get(f"{name}/{number}")
        if there is None or there["Metadata"].get("writer") != writer:
            raise ChangedDocumentError(
                f"{self._place}/{name}: changed by another writer; read it and decide again"
            )
        self._forget(name, numbers)
        return str(number)

    def documents(self, prefix: str) -> dict[str, float]:
        """See `Store.documents`."""
        found: dict[str, float] = {}
        for path, written in self._objects.names(_below(prefix)):
            name, _, number = path.rpartition("/")
            if name.endswith(".json") and number.isascii() and number.isdecimal():
                found[name] = max(written, found.get(name, 0.0))
        return found

    def remove_document(self, name: str) -> None:
        """See `Store.remove_document`."""
        for number in sorted(self._numbers(check_document(name))):  # whoever reads meanwhile sees the newest
            self._objects.delete(f"{name}/{number}")

    def _numbers(self, name: str) -> dict[int, float]:
        """Return the numbers of a document, and when each was written [s since 1970]."""
        found = {}
        for path, written in self._objects.names(f"{name}/"):
            word = path.removeprefix(f"{name}/")
            if word.isascii() and word.isdecimal():
                found[int(word)] = written
        return found

    def _forget(self, name: str, before: dict[int, float]) -> None:
        """Remove old numbers, but none so young that a slow writer could still take it for a free one."""
        old = time.time() - self._settings.orphan_age_h * 3600
        for number in sorted(before)[: -(_KEPT_NUMBERS - 1)]:
            if before[number] < old:
                self._objects.delete(f"{name}/{number}")

    def _require_conditions(self) -> None:
        """See once that the server refuses to write what is there already; some servers ignore If-None-Match.

        Raises
        ------
        InputError
            It does not: two writers would both believe that they won.
        """
        if self._has_conditions:
            return
        try:
            for _ in range(2):  # the first may make the object
                self._objects.put(_PROBE, b"", IfNoneMatch="*")
        except S3Error as error:
            if error.code in _REFUSED:
                self._has_conditions = True
                return
            if error.code != "NotImplemented":
                raise
        raise InputError(
            f"{self._place}: the server has no conditional writes (If-None-Match), so that two writers could"
            " overwrite each other; use a server that has them, or a local folder"
        )

    def _published(self, prefix: str) -> dict[str, float]:
        """Return the keys of artifacts, and when each was published [s since 1970]."""
        end = f"/{MANIFEST}"
        names = self._objects.names(_below(prefix))
        return {
            name.removesuffix(end): time
            for name, time in names
            if name.endswith(end) and not name.startswith(".")
        }

    def _manifest(self, key: str) -> _Manifest | None:
        there = self._objects.get(f"{check_key(key)}/{MANIFEST}")
        return None if there is None else _Manifest(there["Body"], there["Metadata"].get("upload", ""))

    def _why_absent(self, key: str) -> str:
        if any(self._objects.names(f"{_DATA}{key}/.")):
            return (
                f"{self._place}: '{key}' has data but no {MANIFEST}: its publisher is still at it or was"
                " stopped; wait, or publish it again"
            )
        return f"{self._place}: no artifact '{key}'; publish it first, or correct the key"

    def _remove_orphans(self, prefix: str) -> None:
        """Remove data that no manifest names, once they are old enough to be nobody's."""
        old = time.time() - self._settings.orphan_age_h * 3600
        uploads: dict[tuple[str, str], dict[str, float]] = defaultdict(dict)
        for name, written in self._objects.names(prefix):
            uploads[_upload_of(name)][name] = written
        gone = 0
        for (key, upload), times in uploads.items():
            if max(times.values()) < old and not self._is_published(key, upload):
                gone += 1
                for name in times:
                    self._objects.delete(name)
        for name, unfinished, begun in list(self._objects.unfinished(prefix)):
            if begun < old:
                self._objects.abort(name, unfinished)
        if gone:
            self._progress.say(f"{self._place}: removed what {gone} killed publishers left")

    def _is_published(self, key: str, upload: str) -> bool:
        manifest = self._manifest(key)
        return manifest is not None and manifest.upload == upload


def _below(prefix: str) -> str:
    return f"{check_key(prefix)}/" if prefix else ""


def _data(key: str, upload: str) -> str:
    """Return where the files of an upload lie; its dot ends the key, no word of which begins with one."""
    return f"{_DATA}{key}/.{upload}/"


def _upload_of(name: str) -> tuple[str, str]:
    key, _, rest = name.removeprefix(_DATA).partition("/.")
    return key, rest.partition("/")[0]
