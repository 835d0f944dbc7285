"""Data on disk: what is in a folder, a simulation or images of galaxies."""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

from ssfr.components.config import Settings, settings_with
from ssfr.components.errors import InputError
from ssfr.components.simulation import open_source
from ssfr.images import ImageCatalogue
from ssfr.simulation import Simulation

_IMAGES = "images:"


def open(
    location: str | PathLike[str], settings: Settings | Mapping[str, Any] | None = None
) -> Simulation | ImageCatalogue:
    """Open a simulation, or a folder of images with a table of labels.

    Parameters
    ----------
    location
        A TNG directory: the folder with ``output/`` (and ``postprocessing/``), or ``output/`` itself. Or
        ``images:DIR``, the folder of an image catalogue.
    settings
        Setting -> value, by the names that ``ssfr settings`` prints, such as ``{"projection.pixels": 128}``;
        what is not named has its default. Or all settings of a run, as its report has them.

    Returns
    -------
    Simulation or ImageCatalogue
        Nothing of it is read yet.

    Raises
    ------
    InputError
        No such folder, nothing in it that can be read, or an unknown setting.

    Examples
    --------
    >>> ssfr.open("run/demo/universe")
    <Simulation run/demo/universe: snapshots 99, 95>
    >>> ssfr.open("images:pictures", {"preprocessing.images.table": "labels.csv"})
    <ImageCatalogue pictures>
    """
    chosen = settings if isinstance(settings, Settings) else settings_with(settings or {})
    text = str(location)
    if not text.startswith(_IMAGES):
        return Simulation(text, open_source(text, chosen.simulation), chosen)
    folder = Path(text.removeprefix(_IMAGES))
    if not folder.is_dir():
        raise InputError(f"{text}: no such folder")
    wanted = chosen.preprocessing.images.table
    if not (folder / wanted).is_file():
        raise InputError(f"{text}: no table of labels {wanted} there; preprocessing.images.table names it")
    return ImageCatalogue(folder, chosen)
