"""Puts data that no step made, a simulation or a catalogue of images, where steps in pods find them.

Below the name that they are given, ``NAME/1`` is the first generation, and what is changed or added later
becomes the next: a generation never changes, so that all steps of a run see the same data.
"""

from __future__ import annotations

import json
from pathlib import Path

from components.config.storage import StorageSettings
from components.errors import InputError
from components.progress import Progress
from components.storage.artifact import MANIFEST, listed, sha256_json
from components.storage.store import Store, open_store

_STEP = "upload"


def upload(folder: Path, location: str, settings: StorageSettings, progress: Progress) -> tuple[str, bool]:
    """Store a folder as the newest generation, whole or not at all, every file with its digest.

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
    str
        Where these data are.
    bool
        False: the newest generation is just this.

    Raises
    ------
    InputError
        There is no such folder, it holds nothing, or the name is a number.
    """
    above, name = _parts(location)
    if _is_number(name):
        raise InputError(f"{location}: a number is a generation's; name the data: {above}/NAME")
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
    manifest = {"step": _STEP, "key": sha256_json(files)[:16], "files": files}
    body = (json.dumps(manifest, indent=1, sort_keys=True) + "\n").encode()
    while True:
        number = _newest(store, name)
        newest = f"{name}/{number}"
        if number and (there := store.manifest(newest)) is not None and there["files"] == files:
            return f"{above}/{newest}", False
        following = f"{name}/{number + 1}"
        if store.publish(folder, following, body):
            return f"{above}/{following}", True


def find(location: str, settings: StorageSettings, progress: Progress) -> tuple[str, str]:
    """Return the store's location and the key of uploaded data.

    Parameters
    ----------
    location
        ``s3://bucket/prefix/name``: the newest generation; ``s3://bucket/prefix/name/2``: that one.
    settings
        How an S3 server is reached.
    progress
        Is told of attempts that failed.

    Raises
    ------
    InputError
        There is no such generation, or none at all.
    """
    above, name = _parts(location)
    if _is_number(name):
        number, (above, name) = int(name), _parts(above)
        there = open_store(above, settings, progress).exists(f"{name}/{number}")
    else:
        number = _newest(open_store(above, settings, progress), name)
        there = number > 0
    if not there:
        raise InputError(f"--data {location}: nothing was uploaded there; ssfr upload DIR {above}/{name}")
    return above, f"{name}/{number}"


def generations(location: str, settings: StorageSettings, progress: Progress) -> tuple[Store, str]:
    """Return the store and the folder in it where uploaded data are, and nothing else.

    Raises
    ------
    InputError
        Something else is there too, or nothing.
    """
    above, name = _parts(location)
    store = open_store(above, settings, progress)
    keys = store.keys(name)
    if not keys:
        raise InputError(f"{location}: nothing was uploaded there")
    for key in keys:
        manifest = store.manifest(key)
        if manifest is not None and manifest.get("step") != _STEP:
            raise InputError(f"{location}: holds {key}, which ssfr upload did not make; name uploaded data")
    return store, name


def _parts(location: str) -> tuple[str, str]:
    above, _, name = location.rstrip("/").rpartition("/")
    return above, name


def _is_number(word: str) -> bool:
    return word.isascii() and word.isdecimal()


def _newest(store: Store, name: str) -> int:
    """Return the number of the newest generation, 0: there is none."""
    words = [key.removeprefix(f"{name}/") for key in store.keys(name)]
    number = max((int(word) for word in words if _is_number(word)), default=0)
    # On some servers a list lags behind what is there.
    while store.exists(f"{name}/{number + 1}"):
        number += 1
    return number
