"""Certificates and keys that settings name."""

from __future__ import annotations

from pathlib import Path

from ssfr.components.errors import InputError


def read_pem(path: str, setting: str) -> bytes:
    """Return a PEM file's bytes.

    Raises
    ------
    InputError
        Not readable, or not PEM.
    """
    try:
        data = Path(path).expanduser().read_bytes()
    except OSError as error:
        raise InputError(f"serving.{setting}: {path}: {error.strerror}") from None
    if b"-----BEGIN " not in data:
        raise InputError(f"serving.{setting}: {path}: not a PEM file")
    return data
