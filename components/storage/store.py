"""The interface of every store of artifacts, and the rules that all stores share."""

from __future__ import annotations

import json
import time
from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from ssfr.components.errors import InputError
from ssfr.components.storage.location import check_key

DOCUMENT_BYTES = 1 << 20


@dataclass(frozen=True)
class Stored:
    """An artifact in a store."""

    key: str
    time: float
    """[s since 1970] when it was published."""
    bytes: int
    """Of its files, without the manifest."""


@dataclass(frozen=True)
class Document:
    """A small JSON document that changes, and the version that a writer must name to replace it."""

    data: Any
    version: str


class ChangedDocumentError(InputError):
    """Somebody else wrote the document since it was read."""


class Store(Protocol):
    """Artifacts and documents; an artifact is there completely or not at all.

    Keys of artifacts, names of documents and prefixes are ``/``-separated words such as
    ``training/0123abcd`` (see `check_key`). Every method raises InputError, one line, for what the user
    or the server did wrong, after as many attempts as the settings allow.
    """

    def publish(self, folder: Path, key: str, manifest: bytes | None = None) -> bool:
        """Store the artifact in `folder` under `key`; the first of several publishers wins.

        Parameters
        ----------
        folder
            With the manifest that `ssfr.components.storage.artifact.publish` wrote; files that it does not
            name stay behind.
        key
            Under which it is found again.
        manifest
            Of a folder that has none and is not to be written to; None: it is in the folder.

        Returns
        -------
        bool
            False: another publisher was first, and theirs stays.

        Raises
        ------
        DamagedArtifactError
            A file in `folder` is not the one in the manifest; nothing is visible in the store.
        """

    def fetch(self, key: str, folder: Path, only: Collection[str] | None = None) -> None:
        """Copy an artifact to `folder`, which appears in one step, every file checked.

        Parameters
        ----------
        key, folder
            From where to where.
        only
            Names of the files that are wanted; None: all. The manifest is copied in any case.

        Raises
        ------
        InputError
            No such artifact, a manifest that names what it must not, or `folder` exists.
        DamagedArtifactError
            A file is absent or its bytes are not those that were published.
        """

    def exists(self, key: str) -> bool:
        """Return whether a complete artifact is stored under `key`."""

    def manifest(self, key: str) -> dict[str, Any] | None:
        """Return the manifest of an artifact, None if there is none.

        Raises
        ------
        DamagedArtifactError
            It is no manifest, or it names what it must not.
        """

    def keys(self, prefix: str = "") -> list[str]:
        """Return the keys of the artifacts in the folder `prefix` and below, sorted.

        Their manifests are not read: a damaged artifact is among them as well.
        """

    def artifacts(self, prefix: str = "") -> list[Stored]:
        """Return the artifacts in the folder `prefix` and those below, by key."""

    def remove(self, key: str) -> None:
        """Remove an artifact: it disappears in one step, then its data go; absent is no error."""

    def clean(
        self, prefix: str = "", *, keep: int, older_than_s: float, never: Collection[str] = ()
    ) -> list[str]:
        """Remove artifacts by age and count, and what killed publishers left (see `orphan_age_h`).

        Parameters
        ----------
        prefix
            Only in this folder and below.
        keep
            The newest so many of each folder stay, whatever their age.
        older_than_s
            [s] The younger ones stay, whatever their number.
        never
            Keys that stay in any case: the champion's.

        Returns
        -------
        list of str
            The keys that were removed.
        """

    def read_document(self, name: str) -> Document | None:
        """Return a document, None if there is none."""

    def write_document(self, name: str, data: object, version: str | None) -> str:
        """Replace a document that is still as it was read, and return its new version.

        Parameters
        ----------
        name
            With the suffix ``.json``.
        data
            What JSON can hold; NaN is refused.
        version
            Of the document that was read; None: there was none.

        Raises
        ------
        ChangedDocumentError
            Another writer was faster: read again and decide again.
        """

    def documents(self, prefix: str) -> dict[str, float]:
        """Return the documents in the folder `prefix` and below: name -> when last written [s since 1970]."""

    def remove_document(self, name: str) -> None:
        """Remove a document that is not written any more; absent is no error."""


def check_document(name: str) -> str:
    """Return the name of a document.

    Raises
    ------
    InputError
        It is no key, or does not end in ``.json``.
    """
    if not check_key(name, "storage document").endswith(".json"):
        raise InputError(f"storage document: {name!r}: expected a name that ends in .json")
    return name


def expired(stored: Iterable[Stored], keep: int, older_than_s: float, never: Collection[str]) -> list[str]:
    """Return the keys that are neither young, nor among the newest `keep` of their folder, nor in `never`."""
    folders: dict[str, list[Stored]] = defaultdict(list)
    for one in stored:
        folders[one.key.rpartition("/")[0]].append(one)
    old = time.time() - older_than_s
    return [
        one.key
        for artifacts in folders.values()
        for one in sorted(artifacts, key=lambda one: (one.time, one.key), reverse=True)[keep:]
        if one.time < old and one.key not in never
    ]


def encode_document(name: str, data: object) -> bytes:
    """Return a document as it is stored.

    Raises
    ------
    InputError
        It is not small.
    """
    body = (json.dumps(data, indent=1, sort_keys=True, allow_nan=False) + "\n").encode()
    if len(body) > DOCUMENT_BYTES:
        raise InputError(
            f"storage document {name!r}: {len(body)} bytes, but at most {DOCUMENT_BYTES} are small"
        )
    return body


def decode_document(body: bytes, origin: str) -> Any:
    """Return what a stored document says.

    Raises
    ------
    InputError
        It is not JSON.
    """
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        raise InputError(f"{origin}: not valid JSON; restore it, or remove it and run again") from None
