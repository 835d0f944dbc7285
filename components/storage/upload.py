"""Puts a folder that no step made, a simulation or a catalogue of images, where steps in pods find it."""

from __future__ import annotations

import json
from pathlib import Path

from components.config.storage import StorageSettings
from components.errors import InputError
from components.progress import Progress
from components.storage.artifact import MANIFEST, listed, sha256_json
from components.storage.store import open_store


def upload(folder: Path, location: str, settings: StorageSettings, progress: Progress) -> bool:
    """Store a folder, whole or not at all, every file with its digest.

    Parameters
    ----------
    folder
        Hidden files stay behind; it is not written to.
    location
        ``s3://bucket/prefix/name``, which `--data` then names; or a folder.
    settings
        How an S3 server is reached.
    progress
        Is told of bytes copied.

    Returns
    -------
    bool
        False: just this is there already.

    Raises
    ------
    InputError
        There is no such folder, it holds nothing, or something else is at the location.
    """
    above, _, name = location.rstrip("/").rpartition("/")
    store = open_store(above, settings, progress)
    paths = [
        path
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not any(word.startswith(".") for word in path.relative_to(folder).parts)
    ]
    if not paths:
        raise InputError(f"{folder}: no such folder, or no file in it")
    if (folder / MANIFEST) in paths:
        raise InputError(f"{folder / MANIFEST}: this is an artifact of a run; name the data themselves")
    progress.say(f"{folder}: digesting {len(paths)} files")
    files = listed(folder, paths)
    manifest = {"step": "upload", "key": sha256_json(files)[:16], "files": files}
    if store.publish(folder, name, (json.dumps(manifest, indent=1, sort_keys=True) + "\n").encode()):
        return True
    there = store.manifest(name)
    if there is None or there["files"] != files:
        raise InputError(
            f"{location}: other data are there already; choose another name, as steps keep theirs"
        )
    return False
