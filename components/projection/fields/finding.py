"""Where fields are found by their name: among ssfr's own, then in other packages."""

from __future__ import annotations

from functools import cache

from ssfr.components.errors import InputError, nearest
from ssfr.components.projection.fields import gas, motion, outside, particles
from ssfr.components.projection.fields.registry import Field, own_fields

OWN = (gas, motion, particles)
"""Modules that register their fields when they are imported."""


def field_named(name: str) -> Field:
    """Return a field.

    Raises
    ------
    InputError
        There is none of this name (the nearest one is given), or what another package offers is unusable.
    """
    offered = _offered(name)
    if offered is not None:
        return offered
    if name not in own_fields():
        known = {*own_fields(), *outside.names()}
        raise InputError(f"projection.fields: no field '{name}'{nearest(name, known)}")
    return own_fields()[name]


@cache
def _offered(name: str) -> Field | None:
    """Look for a package once a name: that reads the metadata of all that are installed."""
    return outside.outside_field(name, own_fields())
