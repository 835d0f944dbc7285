"""The rows of predictions.parquet, and the galaxies that they are for."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd

from ssfr.components.errors import InputError
from ssfr.components.evaluation.assess import HELD_OUT
from ssfr.components.imagesets.reader import MapReader

PRIMARY = "primary"
"""Kind of the network whose scores are those of its case, and that is served."""
_COLUMNS = ("galaxy", "snapshot", "subhalo_id", "view", "group", "split", "label", "censored")

Rows = npt.NDArray[np.int64]


def predictions_table(
    case: str, seed: int, galaxies: pd.DataFrame, predicted: np.ndarray, lower: np.ndarray, upper: np.ndarray
) -> pd.DataFrame:
    """Return the rows of predictions.parquet for one case."""
    table = galaxies[list(_COLUMNS)].reset_index(drop=True)
    table.insert(0, "case", case)
    table.insert(1, "seed", seed)
    return table.assign(predicted=predicted, lower=lower, upper=upper)


def held_out_rows(galaxies: pd.DataFrame) -> Rows:
    """Return the rows of the validation, test and promotion galaxies."""
    return np.flatnonzero(galaxies["split"].isin(HELD_OUT)).astype(np.int64)


def read_maps(reader: MapReader, galaxies: pd.DataFrame, rows: Rows) -> np.ndarray:
    """Return the maps of some galaxies, (n, F, P, P), NaN where there is no gas.

    Raises
    ------
    InputError
        A pixel is infinite: the first such galaxy is named.
    """
    maps = reader.maps(rows)
    infinite = np.isinf(maps).any(axis=(1, 2, 3))
    if infinite.any():
        first = galaxies.iloc[rows[np.flatnonzero(infinite)[0]]]
        raise InputError(
            f"{first['map_file']}: row {first['map_row']}, {first['galaxy']}, has infinite pixels; draw the "
            "maps again without it"
        )
    return maps
