"""Fields of other packages, found by the entry point group ``ssfr.fields``: ``NAME = "module:FIELD"``."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterable
from dataclasses import replace
from typing import Any, get_args

import numpy as np

from ssfr.components.config import Reduction
from ssfr.components.errors import InputError
from ssfr.components.projection.fields.registry import MATTER, Cells, Field, Values
from ssfr.components.projection.fields.view import View
from ssfr.components.runtime.outside import package, package_code

GROUP = "ssfr.fields"


def names() -> set[str]:
    """Return the names of the fields that installed packages offer."""
    return {entry.name for entry in _entries()}


def outside_field(name: str, own: Iterable[str]) -> Field | None:
    """Return the field that another package offers by a name; None: none does.

    Parameters
    ----------
    name
        Of the field and of its entry point.
    own
        Names of ssfr's own fields, which no other package may carry.

    Raises
    ------
    InputError
        The name is taken, the package can't be imported, or what it offers is no field of this name. Later,
        from the field's `compute`: it raises, or returns something else than one number a cell.
    """
    entries = [entry for entry in _entries() if entry.name == name]
    if not entries:
        return None
    packages = [package(entry) for entry in entries]
    if name in own:
        raise InputError(f"{packages[0]}: field '{name}' carries the name of a field of ssfr; rename it")
    if len(entries) > 1:
        raise InputError(f"field '{name}' is offered by {' and by '.join(packages)}; uninstall one")
    where = f"{packages[0]}: field '{name}'"
    try:
        offered = entries[0].load()
    except Exception as error:  # whatever a foreign module raises when it is imported
        raise InputError(f"{where}: {entries[0].value} can't be imported: {_said(error)}") from None
    if not isinstance(offered, Field) or offered.name != name:
        raise InputError(
            f"{where}: {entries[0].value} is {offered!r:.80}, expected ssfr.Field with the name '{name}'"
        )
    reductions = (None, *get_args(Reduction))
    if offered.reduction not in reductions or offered.matter not in MATTER:
        raise InputError(
            f"{where}: reduction {offered.reduction!r} of {offered.matter!r}, expected one of "
            f"{', '.join(map(str, reductions))} of {', '.join(MATTER)}"
        )
    return replace(offered, compute=_checked(offered, where))


def outside_versions(drawn: Iterable[str]) -> dict[str, str]:
    """Return what the values of other packages' fields depend on: package, version, and digest of its code.

    Parameters
    ----------
    drawn
        Names of fields; those of ssfr are left out.
    """
    return {entry.name: package_code(entry) for entry in _entries() if entry.name in drawn}


def _checked(field: Field, where: str) -> Any:
    def compute(cells: Cells, view: View) -> Values:
        try:
            values = np.asarray(field.compute(cells, view), np.float64)
        except Exception as error:  # whatever foreign code raises
            raise InputError(f"{where}: failed: {_said(error)}") from None
        count = len(cells["mass"])
        if values.shape != (count,):
            raise InputError(f"{where}: returned shape {values.shape}, expected ({count},): a number a cell")
        return values

    return compute


def _entries() -> tuple[importlib.metadata.EntryPoint, ...]:
    return tuple(importlib.metadata.entry_points(group=GROUP))


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"
