"""Write the report of a study from the files of the other steps."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from ssfr.components.config import Settings
from ssfr.components.imagesets.reader import MapReader
from ssfr.components.models.folder import HISTORY, failure, read_description
from ssfr.components.report.page import write_report
from ssfr.components.report.study import Study
from ssfr.components.results.files import read_extra_predictions, read_metrics, read_predictions
from ssfr.components.storage.artifact import read_json


def run(
    output: Path,
    evaluation_dir: Path,
    model_dirs: Mapping[str, Path],
    maps_dir: Path,
    prepared_dir: Path,
    settings: Settings,
    origin: str,
    synthetic: bool,
) -> dict[str, Any]:
    """Write report.html, summary.md, model-card.md, figures/ and tables/.

    Parameters
    ----------
    output
        Exists; what it holds is written again.
    evaluation_dir
        Output of evaluation.
    model_dirs
        Case -> folder of its model.
    maps_dir, prepared_dir
        Of projection (or ingestion) and of preparation.
    settings
        All of the run's, which the page prints.
    origin, synthetic
        What the data are, for the headline, and whether they are made up.

    Returns
    -------
    dict
        The best case, which the report is mostly about.

    Raises
    ------
    InputError
        A file of another step is absent.
    """
    trained = {case: folder for case, folder in model_dirs.items() if failure(folder) is None}
    metrics = read_metrics(evaluation_dir)
    galaxies = pd.read_parquet(prepared_dir / "galaxies.parquet")
    study = Study(
        origin=origin,
        settings=settings,
        galaxies=galaxies,
        predictions=read_predictions(evaluation_dir),
        metrics=metrics,
        models={case: read_description(folder) for case, folder in trained.items()},
        histories={case: pd.read_csv(folder / HISTORY) for case, folder in trained.items()},
        preparation=read_json(prepared_dir / "preparation.json"),
        rejected=_read_rejected(maps_dir / "rejected.csv"),
        extra_predictions=read_extra_predictions(evaluation_dir),
        synthetic=synthetic,
    )
    with MapReader(maps_dir, galaxies) as reader:
        write_report(output, study, reader, prepared_dir / "png")
    return {"best_case": metrics["best_case"]}


def _read_rejected(path: Path) -> pd.DataFrame:
    if not path.is_file():
        return pd.DataFrame(columns=["snapshot", "subhalo_id", "view", "reason"])
    return pd.read_csv(path)
