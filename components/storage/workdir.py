"""Where the artifacts of a run are: in its folder on this machine, or in S3 with a mirror here."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, Protocol

from ssfr.components.config.storage import StorageSettings
from ssfr.components.errors import InputError
from ssfr.components.runtime.progress import Progress
from ssfr.components.storage.artifact import Origin, run_step, sha256_json, step_key
from ssfr.components.storage.location import check_key, parse_location
from ssfr.components.storage.opening import open_store
from ssfr.components.storage.store import Store

_PARTS = ".parts"
"""Below a mirror: artifacts of which only some files are here."""


class Workdir(Protocol):
    """Holds the artifacts of a run under keys like ``projection/0123456789abcdef``."""

    store: Store

    def location(self, key: str) -> str:
        """Return where an artifact is: a folder, or ``s3://bucket/prefix/<key>``."""

    def fetch(self, key: str, only: Collection[str] | None = None) -> Path:
        """Return the folder of an artifact on this machine; it is copied here if it was not yet.

        Parameters
        ----------
        key
            Of the artifact.
        only
            Names of the files that are wanted, for others need not be copied; None: all.

        Raises
        ------
        InputError
            There is no such artifact, or no such key.
        """

    def run(
        self,
        name: str,
        inputs: Mapping[str, Origin],
        settings: Mapping[str, Any],
        work: Callable[[Path], Mapping[str, Any]],
        *,
        code: str,
        still_true: Callable[[Path], bool] | None = None,
    ) -> str:
        """Do a step once, and return its artifact's key; see `ssfr.components.storage.artifact.run_step`."""


def open_workdir(location: str, settings: StorageSettings, progress: Progress) -> Workdir:
    """Return the workdir at a location, a folder or ``s3://bucket/prefix``.

    Raises
    ------
    InputError
        As `ssfr.components.storage.opening.open_store`.
    """
    store, place = open_store(location, settings, progress), parse_location(location)
    if isinstance(place, Path):
        return FolderWorkdir(place, store)
    return StoreWorkdir(str(place), store, mirror(str(place), settings))


def mirror(location: str, settings: StorageSettings) -> Path:
    """Return the folder on this machine for copies of what is at a location in S3."""
    top = Path(settings.scratch or tempfile.gettempdir()) / "ssfr"
    return top / hashlib.sha256(location.encode()).hexdigest()[:16]


class FolderWorkdir:
    """A folder on this machine; see `Workdir`."""

    def __init__(self, folder: Path, store: Store) -> None:
        self.folder, self.store = folder, store

    def location(self, key: str) -> str:
        """See `Workdir.location`."""
        return str(self.folder / key)

    def fetch(self, key: str, only: Collection[str] | None = None) -> Path:
        """See `Workdir.fetch`."""
        return self.folder / check_key(key)

    def run(
        self,
        name: str,
        inputs: Mapping[str, Origin],
        settings: Mapping[str, Any],
        work: Callable[[Path], Mapping[str, Any]],
        *,
        code: str,
        still_true: Callable[[Path], bool] | None = None,
    ) -> str:
        """See `Workdir.run`."""
        folder = run_step(name, self.folder, inputs, settings, work, code=code, still_true=still_true)
        return f"{name}/{folder.name}"


class StoreWorkdir:
    """A place in S3, with a mirror on this machine where steps work; see `Workdir`."""

    def __init__(self, location: str, store: Store, folder: Path) -> None:
        self._location, self.store, self._mirror = location, store, folder

    def location(self, key: str) -> str:
        """See `Workdir.location`."""
        return f"{self._location}/{key}"

    def fetch(self, key: str, only: Collection[str] | None = None) -> Path:
        """See `Workdir.fetch`."""
        folder = self._mirror / check_key(key)
        if only is not None and not folder.exists():
            folder = self._mirror / _PARTS / key / sha256_json(sorted(only))[:16]
        if not folder.exists():
            try:
                self.store.fetch(key, folder, only)
            except InputError:
                if not folder.exists():  # else another task of this machine was faster
                    raise
        return folder

    def run(
        self,
        name: str,
        inputs: Mapping[str, Origin],
        settings: Mapping[str, Any],
        work: Callable[[Path], Mapping[str, Any]],
        *,
        code: str,
        still_true: Callable[[Path], bool] | None = None,
    ) -> str:
        """See `Workdir.run`."""
        key = f"{name}/{step_key(name, inputs, settings, code)}"
        if self.store.exists(key):
            if still_true is None or still_true(self.fetch(key)):
                return key
            self.store.remove(key)
        folder = run_step(name, self._mirror, inputs, settings, work, code=code, still_true=still_true)
        self.store.publish(folder, key)
        return key
