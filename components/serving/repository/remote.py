"""The model repository in a store, a folder or S3: one deployment at a time, and no number twice."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ssfr.components.config.storage import StorageSettings
from ssfr.components.errors import DamagedArtifactError, InputError
from ssfr.components.runtime.progress import SILENT, Progress
from ssfr.components.serving.repository.folder import (
    CHAMPION,
    SAVED_MODEL,
    Champion,
    ModelFolder,
    check_name,
    verify_version,
    version_of,
)
from ssfr.components.storage.artifact import remove_whole, write_json
from ssfr.components.storage.manifest import MANIFEST
from ssfr.components.storage.opening import open_store
from ssfr.components.storage.store import ChangedDocumentError


@dataclass(frozen=True)
class Labels:
    """champion.json as it was read, and what a writer names to replace just that."""

    champion: Champion
    document: str | None
    """None: there is no champion.json yet."""


class RemoteRepository:
    """One model of a repository in a store.

    A version is the artifact ``<model>/<version>`` with the files that it has on disk; the labels are the
    document ``<model>/champion.json``. So a folder that `ModelFolder` reads is a store as well.

    Parameters
    ----------
    location
        Of the repository: a folder, or ``s3://bucket/prefix``.
    name
        Of the model.
    settings
        How an S3 server is reached.
    progress
        Reports bytes copied and requests made again.

    Attributes
    ----------
    scratch
        The folder for what is brought to be looked at; None: the system's temporary folder.

    Raises
    ------
    InputError
        A bad location or name; so do all methods, one line, for what the user or the server did wrong.
    """

    def __init__(
        self,
        location: str,
        name: str,
        settings: StorageSettings | None = None,
        progress: Progress = SILENT,
    ) -> None:
        self.name = check_name(name)
        self.location = location
        self.scratch = settings.scratch if settings else None
        self._store = open_store(location, settings, progress)
        self._progress = progress

    def __str__(self) -> str:
        return f"{self.location.rstrip('/')}/{self.name}"

    def versions(self, warn: Callable[[str], None] = lambda _: None) -> list[int]:
        """Return the versions, ascending; `warn` receives a line on each key that is none."""
        found = []
        for key in self._store.keys(self.name):
            word = key.removeprefix(f"{self.name}/")
            version = version_of(word)
            if version is not None:
                found.append(version)
            else:
                warn(f"{self}/{word}: ignored, a version is an integer")
        return sorted(found)

    def find(self, model_digest: str) -> int | None:
        """Return the newest version that holds the model with this digest, or None."""
        for version in reversed(self.versions()):
            try:
                manifest = self._store.manifest(self._key(version))
            except DamagedArtifactError as error:
                self._progress.warn(str(error))
                continue
            if manifest is not None and manifest.get("model_digest") == model_digest:
                return version
        return None

    def read(self) -> Labels:
        """Return the labels; without a champion.json nothing is labelled."""
        document = self._store.read_document(self._key(CHAMPION))
        if document is None:
            return Labels(Champion({}), None)
        return Labels(Champion.parse(document.data, f"{self}/{CHAMPION}"), document.version)

    def write(self, before: Labels, after: Champion) -> Labels:
        """Replace the labels that were read.

        Raises
        ------
        ChangedDocumentError
            They are no longer those: another deployment or roll-out was faster.
        """
        try:
            document = self._store.write_document(self._key(CHAMPION), after.document, before.document)
        except ChangedDocumentError:
            raise ChangedDocumentError(
                f"{self}: another deployment or roll-out changed the labels at the same time, and won;"
                " look at them, then run this one again"
            ) from None
        return Labels(after, document)

    def decide(self, before: Labels, version: int, promoted: bool, entry: Mapping[str, Any]) -> Labels:
        """Label a version as `Champion.decided` says; raises as `write`."""
        return self.write(before, before.champion.decided(version, promoted, entry, self.versions()))

    def publish(self, folder: Path) -> int:
        """Store a finished version folder, and return its number: one more than any that was ever used.

        Raises
        ------
        InputError
            It is no complete model, or another deployment took the number at the same time.
        """
        _check_model(verify_version(folder), str(folder))
        version = max({*self.versions(), *self.read().champion.used}, default=0) + 1
        if not self._store.publish(folder, self._key(version)):
            raise InputError(
                f"{self}: another deployment published version {version} at the same time, and won;"
                " wait until it ends, then run this one again"
            )
        return version

    def pull(self, root: Path, labels: Labels, versions: Iterable[int] | None = None) -> ModelFolder:
        """Bring versions and labels into a local repository, and return the model's folder there.

        Parameters
        ----------
        root
            The local repository.
        labels
            As read.
        versions
            None: those that are labelled.
        """
        folder = ModelFolder(root, self.name)
        for version in sorted(labels.champion.labels.values() if versions is None else versions):
            self.bring(folder, version)
        if labels.document is not None:
            write_json(folder.path / CHAMPION, labels.champion.document)
        return folder

    def bring(self, folder: ModelFolder, version: int) -> None:
        """Bring a version to a local folder, where it appears in one step; a complete one there stays.

        A killed call leaves hidden folders at most; see `remove_leftovers`.
        """
        final = folder.version_path(version)
        manifest = self._store.manifest(self._key(version))
        # A repository that was lost and begun anew counts from 1 again: the number alone says nothing.
        try:
            here = verify_version(final)["files"]
        except InputError:
            here = None
        if here is not None and (manifest is None or here == manifest["files"]):
            return
        if manifest is not None:
            _check_model(manifest, f"{self}/{version}")
        incoming = folder.path / f".incoming-{version}"
        shutil.rmtree(incoming, ignore_errors=True)
        self._store.fetch(self._key(version), incoming)
        if final.exists():
            remove_whole(final, folder.path / f".removed-{version}")
        incoming.rename(final)

    def prune(self, keep: int) -> list[int]:
        """Remove all but the newest `keep` versions, never a labelled one; return those removed.

        The champion before this one stays as well: it is what a roll-back goes to.

        What killed publishers left goes too, once it is old (see `storage.orphan_age_h`).
        """
        removed: list[int] = []
        there = self.versions()
        for version in there[:-keep]:
            # Read each time: a roll-out may be labelling an old version just now.
            champion = self.read().champion
            if version not in {*champion.labels.values(), champion.previous(there)}:
                self._store.remove(self._key(version))
                removed.append(version)
        try:
            self._store.clean(self.name, keep=2**31, older_than_s=0)
        except InputError as error:
            self._progress.warn(f"not all that killed publishers left was looked at: {error}")
        return removed

    def _key(self, word: int | str) -> str:
        return f"{self.name}/{word}"


def remove_leftovers(folder: Path) -> None:
    """Remove what killed calls of `RemoteRepository.bring` and killed writers left in a folder."""
    for pattern in (".*.part", ".incoming-*", ".removed-*"):
        for leftover in folder.glob(pattern):
            if leftover.is_dir():
                shutil.rmtree(leftover)
            else:
                leftover.unlink()


def _check_model(manifest: Mapping[str, Any], origin: str) -> None:
    if SAVED_MODEL not in manifest["files"]:
        raise DamagedArtifactError(
            f"{origin}: no {SAVED_MODEL} in its {MANIFEST}: this is no model, or half of one; deploy it again"
        )
