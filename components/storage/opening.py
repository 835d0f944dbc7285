"""Opens the store at a location."""

from __future__ import annotations

from pathlib import Path

from ssfr.components.config.storage import StorageSettings
from ssfr.components.runtime.progress import SILENT, Progress
from ssfr.components.storage.folder import FolderStore
from ssfr.components.storage.location import parse_location
from ssfr.components.storage.store import Store


def open_store(location: str, settings: StorageSettings | None = None, progress: Progress = SILENT) -> Store:
    """Return the store at a location, ``s3://bucket/prefix`` or the path of a folder.

    Parameters
    ----------
    location
        Of the store; a folder is made when something is first written.
    settings
        How an S3 server is reached.
    progress
        Shows bytes copied, and every attempt that failed.

    Raises
    ------
    InputError
        The location is neither, or there are no credentials for S3.
    """
    settings = settings or StorageSettings()
    place = parse_location(location)
    if isinstance(place, Path):
        return FolderStore(place, settings, progress)
    # boto3 takes half a second to import; a run in a folder does without.
    from ssfr.components.storage.s3 import S3Store

    return S3Store(place, settings, progress)
