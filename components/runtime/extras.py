"""The optional parts of the installation: what is absent is said in one line, before work begins."""

from __future__ import annotations

from importlib import metadata

from packaging.requirements import Requirement

from ssfr.components.errors import InputError

_PACKAGE = "ssfr"


def require_extras(*extras: str) -> None:
    """Check that the libraries of optional parts of the package are installed.

    Parameters
    ----------
    extras
        Names of the parts, as in ``pip install 'ssfr[train]'``.

    Raises
    ------
    InputError
        A library is absent; the message names it, the part it belongs to, and the line that installs it.
    """
    absent = {extra: name for extra in extras if (name := _first_absent(extra)) is not None}
    if absent:
        libraries = ", ".join(dict.fromkeys(absent.values()))
        raise InputError(f"{libraries}: not installed; pip install '{_PACKAGE}[{','.join(absent)}]'")


def _first_absent(extra: str) -> str | None:
    """Return the first library of a part that is not installed; None if all are there."""
    for line in metadata.requires(_PACKAGE) or ():
        requirement = Requirement(line)
        if requirement.marker is None or not requirement.marker.evaluate({"extra": extra}):
            continue
        try:
            metadata.distribution(requirement.name)
        except metadata.PackageNotFoundError:
            return requirement.name
    return None
