"""The study of a simulation or of a folder of images, from galaxies to scores, on this machine."""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

from ssfr.components.config import load_settings
from ssfr.components.runtime.progress import Silent
from ssfr.report import Report, read_report


def run(
    data: str | PathLike[str],
    workdir: str | PathLike[str],
    preset: str = "recommended",
    settings: Mapping[str, Any] | None = None,
    until: str | None = None,
) -> Report:
    """Do a study, or go on with it: what ``ssfr run`` does on the command line.

    Parameters
    ----------
    data
        A TNG directory, or ``images:DIR``: a folder of images with a table of labels.
    workdir
        Folder of the run; a second call with the same settings finds what the first one finished.
    preset
        demo, recommended, thesis, images, or a YAML file.
    settings
        Setting -> value, by the names that ``ssfr settings`` prints; they take the place of the preset's.
    until
        Last step to do; None: all.

    Returns
    -------
    Report
        The numbers of the run.

    Raises
    ------
    InputError
        What is wrong with the data, the settings or the machine, in one line.

    Examples
    --------
    >>> report = ssfr.run(
    ...     "run/demo/universe", "drawn", settings={"projection.pixels": 128}, until="catalog"
    ... )
    >>> list(report.folders("catalog"))
    ['catalog']
    """
    # the pipelines load Kubeflow's library
    from ssfr.pipelines import local
    from ssfr.pipelines.options import preset_path

    local.run(
        load_settings(preset_path(preset), dict(settings or {})),
        local.DataSource.parse(str(data)),
        Path(workdir),
        Silent(),
        preset=Path(preset).stem,
        until=until,
    )
    return read_report(workdir)
