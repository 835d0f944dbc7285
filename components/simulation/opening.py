"""How a source is opened by its location, and which files of a location are of which use."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from ssfr.components.config import SimulationSettings
from ssfr.components.errors import InputError
from ssfr.components.simulation.source import Source

MARKER = "universe.json"
"""Lies beside the data of a universe that ssfr wrote."""


def is_synthetic(location: str, uploaded: Collection[str] | None = None) -> bool:
    """Return whether a TNG directory, or the `output` in it, is a universe that ssfr wrote.

    Parameters
    ----------
    location
        Of the directory.
    uploaded
        Names of its files where they are not on this machine.
    """
    if uploaded is not None:
        return MARKER in uploaded
    folder = Path(location)
    return any((place / MARKER).exists() for place in (folder, folder.parent))


def open_source(location: str, settings: SimulationSettings) -> Source:
    """Open a source of galaxies.

    Parameters
    ----------
    location
        A TNG directory: the folder with ``output/`` (and ``postprocessing/``), or ``output/`` itself.
    settings
        Limits on what is read.

    Raises
    ------
    InputError
        Nothing there that can be read.
    """
    if location.startswith("api:"):
        raise InputError(f"{location}: the web API is not a source of this version; give a TNG directory")
    # h5py and illustris_python load only where a directory is read
    from ssfr.components.simulation.layouts.tng.directory import TngDirectory

    return TngDirectory(location, settings)
