"""Stores data that no step made, a simulation or a catalogue of images, where the steps in pods find them.

Below the name of a data set, ``NAME/1`` is its first version, and what is changed or added later becomes the
next: a version never changes, so that all steps of a run read the same data.
"""

from __future__ import annotations

import json
import math
from pathlib import Path

from ssfr.components.config.storage import StorageSettings
from ssfr.components.errors import InputError
from ssfr.components.runtime.progress import Progress
from ssfr.components.storage.artifact import listed, sha256_json
from ssfr.components.storage.location import Bucket, check_there, parse_location
from ssfr.components.storage.manifest import MANIFEST
from ssfr.components.storage.opening import open_store
from ssfr.components.storage.store import Store, expired

_STEP = "upload"


def upload(folder: Path, location: str, settings: StorageSettings, progress: Progress) -> tuple[str, bool]:
    """Store a folder as the newest version of a data set, completely or not at all, with digests.

    Parameters
    ----------
    folder
        Hidden files stay behind; it is not written to.
    location
        ``s3://bucket/prefix/name``, which `--data` then names; or a folder.
    settings
        How an S3 server is reached.
    progress
        Shows the bytes copied.

    Returns
    -------
    str
        Where these data are.
    bool
        False: the newest version is just this.

    Raises
    ------
    InputError
        There is no such folder, it holds nothing, the name is a number, or somebody else stored other data
        meanwhile: which of the two is the newest is for people to say.
    """
    above, name = _parts(location)
    if _is_number(name):
        raise InputError(f"{location}: a number is a version's; name the data set: {above}/NAME")
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
    # Before the files are read: what somebody else stores from now on may be newer than they are.
    _versions(store, name, location)
    number = _newest(store, name)
    progress.say(f"{folder}: digesting {len(paths)} files")
    files = listed(folder, paths)
    manifest = {"step": _STEP, "key": sha256_json(files)[:16], "files": files}
    body = (json.dumps(manifest, indent=1, sort_keys=True) + "\n").encode()

    def is_there(key: str) -> bool:
        manifest = store.manifest(key)
        return manifest is not None and bool(manifest["files"] == files)

    newest, following = f"{name}/{number}", f"{name}/{number + 1}"
    if number and is_there(newest):
        return f"{above}/{newest}", False
    if store.publish(folder, following, body):
        return f"{above}/{following}", True
    if is_there(following):
        return f"{above}/{following}", False
    raise InputError(f"{above}/{name}: version {number + 1} was stored meanwhile; look, and upload again")


def find(location: str, settings: StorageSettings, progress: Progress) -> tuple[str, str]:
    """Return the store's location and the key of uploaded data.

    Parameters
    ----------
    location
        ``s3://bucket/prefix/name``: the newest version; ``s3://bucket/prefix/name/2``: that version.
    settings
        How an S3 server is reached.
    progress
        Shows attempts that failed.

    Raises
    ------
    InputError
        There is no such version, or none at all.
    """
    above, name = _parts(location)
    if _is_number(name):
        number, (above, name) = int(name), _parts(above)
        if not open_store(above, settings, progress).exists(f"{name}/{number}"):
            raise InputError(
                f"--data {location}: version {number} is not there (any more); name {above}/{name} for the"
                " newest, or start a new run"
            )
    else:
        number = _newest(open_store(above, settings, progress), name)
        if not number:
            raise InputError(f"--data {location}: nothing was uploaded there; ssfr upload DIR {above}/{name}")
    return above, f"{name}/{number}"


def clean(
    location: str,
    settings: StorageSettings,
    progress: Progress,
    *,
    keep: int,
    older_than_s: float,
    dry_run: bool = False,
) -> list[str]:
    """Remove old versions of a data set, and what killed uploads left.

    Parameters
    ----------
    location
        As it was given to `upload`.
    settings, progress
        As of `upload`.
    keep
        The highest numbers that stay, at least 1, for a number must not be used again.
    older_than_s
        [s] The younger ones stay, whatever their number.
    dry_run
        Nothing is removed.

    Returns
    -------
    list of str
        The keys that were removed, or would be.

    Raises
    ------
    InputError
        There is no such folder, or something else is there too.
    """
    above, name = _parts(location)
    check_there(location)
    store = open_store(above, settings, progress)
    numbers = _versions(store, name, location)
    lower = sorted(numbers, key=numbers.__getitem__)[:-keep]
    gone = [key for key in expired(store.artifacts(name), 0, older_than_s, ()) if key in lower]
    if not dry_run:
        for key in gone:
            store.remove(key)
        store.clean(name, keep=0, older_than_s=math.inf)
    return gone


def _versions(store: Store, name: str, location: str) -> dict[str, int]:
    """Return the keys of a data set's versions, and their numbers.

    Raises
    ------
    InputError
        Something else lies there: models, a run's artifacts, other data.
    """
    numbers = {}
    for key in store.keys(name):
        parent, _, number = key.rpartition("/")
        manifest = store.manifest(key) or {"step": _STEP}  # removed just now
        if parent != name or not _is_number(number) or manifest.get("step") != _STEP:
            raise InputError(
                f"{location}: holds {key}, no version of it; uploaded data need a name of their own"
            )
        numbers[key] = int(number)
    return numbers


def _parts(location: str) -> tuple[str, str]:
    """Return the location of the store, and the name of the data in it."""
    place = parse_location(location)
    above, _, name = location.rstrip("/").rpartition("/")
    if not above or (isinstance(place, Bucket) and not place.prefix):
        raise InputError(f"{location}: the name is missing; expected s3://bucket/prefix/NAME, or FOLDER/NAME")
    return above, name


def _is_number(word: str) -> bool:
    return word.isascii() and word.isdecimal()


def _newest(store: Store, name: str) -> int:
    """Return the number of the newest version, 0: there is none."""
    words = [key.removeprefix(f"{name}/") for key in store.keys(name)]
    number = max((int(word) for word in words if _is_number(word)), default=0)
    # On some servers a list lags behind what is there.
    while store.exists(f"{name}/{number + 1}"):
        number += 1
    return number
