"""Labels, and what becomes of SFR = 0."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from ssfr.components.config import LabelSettings
from ssfr.components.errors import InputError
from ssfr.components.preprocessing.labels import labels


@pytest.fixture
def sample() -> pd.DataFrame:
    ssfr = np.array([1e-10, 0.0, 1e-14, 1e-13])
    return pd.DataFrame(
        {
            "snapshot": 99,
            "subhalo_id": range(4),
            "ssfr_stellar_per_yr": ssfr,
            "ssfr_total_per_yr": ssfr / 10,
        }
    )


def test_zero_and_faint_labels_are_raised_to_the_floor_and_marked(sample: pd.DataFrame) -> None:
    result = labels(sample, LabelSettings())
    assert result["label"].tolist() == [pytest.approx(-10), -13, -13, -13]
    assert result["zero_sfr"].tolist() == [False, True, False, False]
    assert result["at_floor"].tolist() == [False, True, True, True]
    assert not result["dropped"].any()


def test_zero_is_dropped_on_request_and_faint_labels_are_kept_as_they_are(sample: pd.DataFrame) -> None:
    result = labels(sample, LabelSettings(zero_sfr="drop"))
    assert result["dropped"].tolist() == [False, True, False, False]
    assert result["zero_sfr"].sum() == 1
    assert not result["at_floor"].any()
    assert result["label"].dropna().tolist() == pytest.approx([-10, -14, -13])


def test_the_mass_that_divides_is_a_setting(sample: pd.DataFrame) -> None:
    assert labels(sample, LabelSettings(mass="stellar"))["label"][0] == pytest.approx(-10)
    assert labels(sample, LabelSettings(mass="total"))["label"][0] == pytest.approx(-11)


@pytest.mark.parametrize("bad", [-1e-10, np.inf, np.nan])
def test_an_ssfr_that_cannot_be_is_refused_with_its_galaxy(sample: pd.DataFrame, bad: float) -> None:
    sample.loc[2, "ssfr_stellar_per_yr"] = bad
    with pytest.raises(InputError, match=r"of 1 galaxies is negative or not finite.*subhalo 2"):
        labels(sample, LabelSettings())


def test_a_sample_without_that_mass_says_which_setting_helps(sample: pd.DataFrame) -> None:
    sample["ssfr_stellar_per_yr"] = np.nan
    with pytest.raises(InputError, match=r"use label\.mass: total"):
        labels(sample, LabelSettings())
