"""What is predicted: log10 of the specific star formation rate, and what becomes of SFR = 0."""

from __future__ import annotations

import numpy as np
import pandas as pd

from ssfr.components.config import LabelSettings
from ssfr.components.errors import InputError


def labels(sample: pd.DataFrame, settings: LabelSettings) -> pd.DataFrame:
    """Compute every galaxy's label.

    Parameters
    ----------
    sample
        With snapshot, subhalo_id and ssfr_stellar_per_yr, ssfr_total_per_yr [1/yr].
    settings
        Which mass, and the rule for SFR = 0 (fault 13).

    Returns
    -------
    DataFrame
        With the sample's index: `log10_ssfr` [dex of 1/yr], `zero_sfr`, `at_floor` (the label was raised
        to the floor), `dropped`. Dropped rows have a NaN label.

    Raises
    ------
    InputError
        An sSFR that is negative or not finite.
    """
    column = f"ssfr_{settings.mass}_per_yr"
    ssfr = sample[column].to_numpy(np.float64)
    if len(ssfr) and np.isnan(ssfr).all():
        other = "total" if settings.mass == "stellar" else "stellar"
        raise InputError(
            f"label.mass: {settings.mass}, but the sample has no sSFR by {settings.mass} mass; use "
            f"label.mass: {other}"
        )
    bad = np.flatnonzero(~(np.isfinite(ssfr) & (ssfr >= 0)))
    if len(bad):
        row = sample.iloc[bad[0]]
        raise InputError(
            f"sample.parquet: {column} of {len(bad)} galaxies is negative or not finite (first: snapshot "
            f"{row['snapshot']}, subhalo {row['subhalo_id']}, {ssfr[bad[0]]:g}); expected 0 or more [1/yr]"
        )
    zero = ssfr == 0
    with np.errstate(divide="ignore"):
        label = np.log10(ssfr)
    at_floor = np.zeros(len(ssfr), bool)
    dropped = np.zeros(len(ssfr), bool)
    if settings.zero_sfr == "floor":
        at_floor = label <= settings.floor_log10_ssfr
        label = np.maximum(label, settings.floor_log10_ssfr)
    else:
        dropped = zero
        label = np.where(zero, np.nan, label)
    return pd.DataFrame(
        {"log10_ssfr": label, "zero_sfr": zero, "at_floor": at_floor, "dropped": dropped}, index=sample.index
    )
