"""Predictions of held-out galaxies by a server, compared with the offline ones."""

from __future__ import annotations

import numpy as np
import pandas as pd

from ssfr.components.imagesets.reader import MapReader
from ssfr.components.serving.client.answer import Answer
from ssfr.components.serving.client.client import ModelClient

CHECKED = 64
"""Galaxies at most that are sent through a server and compared."""


def predict_served(client: ModelClient, reader: MapReader, most: int | None = None) -> Answer:
    """Return the answer of a server for the first `most` galaxies of a reader; None: all.

    Raises
    ------
    InputError
        The served model was trained on other maps, or does not answer.
    """
    served, way_out = client.describe().maps, "deploy a model of these maps"
    reader.identity.require_same(served, reader.directory, "those of the served model", way_out)
    raw = reader.maps(np.arange(len(reader))[:most])
    if reader.identity.is_images:
        return client.predict_images(raw.transpose(0, 2, 3, 1))
    return client.predict_maps(raw)


def largest_difference(served: Answer, offline: pd.DataFrame) -> float:
    """Return the largest difference [dex], of predictions and of the ends of their intervals.

    Parameters
    ----------
    served
        Of n galaxies.
    offline
        n rows of predictions.parquet, in the same order.
    """
    pairs = ((served.predicted, "predicted"), (served.lower, "lower"), (served.upper, "upper"))
    # np.max hands a NaN on, which no tolerance lets through; Python's own max may lose it.
    return float(np.max([np.abs(answer - offline[name].to_numpy()).max() for answer, name in pairs]))
