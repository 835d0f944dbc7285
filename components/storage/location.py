"""Where a store is, and what names in it may look like."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from ssfr.components.errors import InputError
from ssfr.components.storage.manifest import MANIFEST

_SEGMENT = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._=+-]*")
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:/")
KEY_LENGTH = 512
"""S3 allows names of 1024 bytes; the rest is for the prefix and the files' own names."""


@dataclass(frozen=True)
class Bucket:
    """A place in S3."""

    name: str
    prefix: str

    def __str__(self) -> str:
        return f"s3://{self.name}/{self.prefix}".rstrip("/")


def check_there(location: str) -> None:
    """See that a folder which should hold something exists; a bucket is seen when it is read.

    Raises
    ------
    InputError
        It does not.
    """
    place = parse_location(location)
    if isinstance(place, Path) and not place.is_dir():
        raise InputError(f"{location}: no such folder; expected the --workdir of runs, or uploaded data")


def parse_location(location: str) -> Path | Bucket:
    """Return the folder or the place in S3 that a location names.

    Raises
    ------
    InputError
        It names neither; the message never repeats a password written into it.
    """
    expected = "expected the path of a folder, or s3://bucket/prefix"
    if _SCHEME.match(location) is None:
        if not location or not location.isprintable():
            raise InputError(f"storage location {location!r}: {expected}")
        return Path(location)
    if "@" in location:
        raise InputError(
            "storage location: holds an '@': credentials belong in the environment or a mounted secret,"
            " not here"
        )
    if not location.startswith("s3://"):
        raise InputError(f"storage location {location!r}: {expected}")
    bucket, _, prefix = location.removeprefix("s3://").partition("/")
    if not bucket:
        raise InputError(f"storage location {location!r}: names no bucket; {expected}")
    if not _BUCKET.fullmatch(bucket) or ".." in bucket:
        raise InputError(
            f"storage location {location!r}: {bucket!r} can't be a bucket's name;"
            " expected 3 to 63 small letters, digits, '-' and '.'"
        )
    prefix = prefix.rstrip("/")
    if prefix:
        check_key(prefix, f"storage location {location!r}")
    return Bucket(bucket, prefix)


def check_key(key: str, origin: str = "storage key") -> str:
    """Return a key that is safe as a path and as a name in S3.

    Raises
    ------
    InputError
        A word is empty, begins with a dot (``..`` does), is ``manifest.json``, or has other characters
        than letters, digits and ``._=+-``.
    """
    words = key.split("/")
    if not all(_SEGMENT.fullmatch(word) and word != MANIFEST for word in words) or len(key) > KEY_LENGTH:
        raise InputError(
            f"{origin}: {key[:80]!r} can't be a key; expected words of letters, digits and '._=+-' that do"
            f" not begin with a dot, separated by single '/', at most {KEY_LENGTH} characters, as in"
            " training/0123abcd"
        )
    return key
