"""Every galaxy's label, and what becomes of those whose quantity is 0."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from ssfr.components.config import CatalogSettings, LabelSettings
from ssfr.components.errors import InputError
from ssfr.components.identity.labels import LabelIdentity
from ssfr.components.labels.registry import LABELS, Label, label_of


def label_identity(sample: Path, settings: LabelSettings) -> LabelIdentity:
    """Return what the labels of a sample are.

    Parameters
    ----------
    sample
        ``sample.parquet``: one of a simulation holds the settings that it was selected with; one of an image
        catalogue has none, and aperture and h are those of the user's table.
    settings
        Which quantity, by which mass, and the rule for a quantity of 0.

    Raises
    ------
    InputError
        The sample can't be read, or there is no such label.
    """
    try:
        notes = pq.read_schema(sample).metadata or {}
    except FileNotFoundError:
        raise InputError(f"{sample}: no such file; run the step before again") from None
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{sample}: not a parquet file ({error}); run the step before again") from None
    aperture = little_h = "table"
    if b"catalog" in notes:
        selected = CatalogSettings.model_validate_json(notes[b"catalog"])
        aperture, little_h = selected.label_aperture, selected.little_h
    label, registered = label_of(settings), LABELS.get(settings.quantity)
    by_mass = registered is not None and "{mass}" in registered.column
    has_floor = settings.zero_sfr == "floor" and math.isfinite(label.floor)
    return LabelIdentity(
        quantity=label.name,
        unit=label.text,
        linear_unit=label.unit,
        aperture=aperture,
        mass=settings.mass if by_mass else None,
        little_h=little_h,
        zero_sfr=settings.zero_sfr,
        floor=label.floor if has_floor else None,
    )


def labels(sample: pd.DataFrame, settings: LabelSettings) -> pd.DataFrame:
    """Compute every galaxy's label.

    Parameters
    ----------
    sample
        As sample.parquet.
    settings
        Which quantity, and the rule for those that are 0 (fault 13).

    Returns
    -------
    DataFrame
        With the sample's index: `label` [dex], `zero_sfr` (the quantity is 0), `censored` (the label was
        raised to the floor), `dropped`. Dropped rows have a NaN label.

    Raises
    ------
    InputError
        The sample lacks the quantity, or it is negative or not finite for a galaxy.
    """
    chosen = label_of(settings)
    values = chosen.values(sample).to_numpy(np.float64)
    _refuse_absent(values, chosen, settings)
    _refuse_impossible(values, chosen, sample)
    zero = np.zeros(len(values), bool) if chosen.is_log10 else values == 0
    with np.errstate(divide="ignore"):
        label = values if chosen.is_log10 else np.log10(values)
    censored = np.zeros(len(values), bool)
    dropped = np.zeros(len(values), bool)
    if settings.zero_sfr == "floor" and np.isfinite(chosen.floor):
        censored = label <= chosen.floor
        label = np.maximum(label, chosen.floor)
    else:
        dropped = zero
        label = np.where(zero, np.nan, label)
    return pd.DataFrame(
        {"label": label, "zero_sfr": zero, "censored": censored, "dropped": dropped}, index=sample.index
    )


def _refuse_absent(values: np.ndarray, label: Label, settings: LabelSettings) -> None:
    if not len(values) or not np.isnan(values).all():
        return
    way_out = "choose another label.quantity"
    if label.column == f"ssfr_{settings.mass}_per_yr":
        way_out = f"use label.mass: {'total' if settings.mass == 'stellar' else 'stellar'}"
    raise InputError(
        f"label.quantity: {label.name}, but the sample has no numbers in {label.column}; {way_out}"
    )


def _refuse_impossible(values: np.ndarray, label: Label, sample: pd.DataFrame) -> None:
    bad = np.flatnonzero(~(np.isfinite(values) & (label.is_log10 | (values >= 0))))
    if not len(bad):
        return
    row = sample.iloc[bad[0]]
    expected = "a finite number" if label.is_log10 else "0 or more"
    raise InputError(
        f"sample.parquet: {label.column} of {len(bad)} galaxies is negative or not finite (first: snapshot "
        f"{row['snapshot']}, subhalo {row['subhalo_id']}, {values[bad[0]]:g}); expected {expected}"
        + (f" [{label.unit}]" if label.unit else "")
    )
