"""Labels, and what becomes of SFR = 0."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from ssfr.components.config import LabelSettings
from ssfr.components.errors import InputError
from ssfr.components.labels.registry import LABELS, Label, label_of
from ssfr.components.labels.served import outputs_of
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
    assert result["censored"].tolist() == [False, True, True, True]
    assert not result["dropped"].any()


def test_zero_is_dropped_on_request_and_faint_labels_are_kept_as_they_are(sample: pd.DataFrame) -> None:
    result = labels(sample, LabelSettings(zero_sfr="drop"))
    assert result["dropped"].tolist() == [False, True, False, False]
    assert result["zero_sfr"].sum() == 1
    assert not result["censored"].any()
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


def test_every_registered_label_is_the_logarithm_of_its_column() -> None:
    values = np.array([2.0, 1.5])
    for label in LABELS.values():
        column = label.column.format(mass="total")
        sample = pd.DataFrame({"snapshot": 99, "subhalo_id": [0, 1], column: values})
        found = labels(sample, LabelSettings(quantity=label.name, mass="total"))
        np.testing.assert_allclose(found["label"], np.log10(values))
        assert not found["censored"].any()
        low, high = label.plausible
        assert low < high
        assert label.floor <= high


def test_a_label_that_is_added_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    line = Label("log10_bh_mass", "black hole mass", "Msun", "no black hole", "bh_mass_msun", 4.0)
    monkeypatch.setitem(LABELS, line.name, line)
    sample = pd.DataFrame({"snapshot": 99, "subhalo_id": [0, 1], "bh_mass_msun": [1e8, 0.0]})
    found = labels(sample, LabelSettings(quantity="log10_bh_mass"))
    assert found["label"].tolist() == [8.0, 4.0]
    assert outputs_of(line.name) == ("log10_bh_mass", "bh_mass", "lower", "upper")
    assert line.text == "log10(black hole mass / Msun)"


def test_a_column_of_the_users_own_table_is_a_label() -> None:
    sample = pd.DataFrame({"snapshot": 0, "subhalo_id": [0, 1], "table_age Gyr": [1.0, 10.0]})
    settings = LabelSettings(quantity="column", column="age Gyr", column_unit="Gyr")
    assert labels(sample, settings)["label"].tolist() == [0.0, 1.0]
    assert label_of(settings).name == "log10_age_Gyr"
    assert label_of(settings).axis == r"$\log_{10}$(age Gyr / Gyr)"
    logarithms = settings.model_copy(update={"column_is_log10": True})
    assert labels(sample, logarithms)["label"].tolist() == [1.0, 10.0]


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"quantity": "log10_sfrr"}, r"no label 'log10_sfrr' \(did you mean 'log10_sfr'\?\)"),
        (
            {"quantity": "column", "column": "mettalicity"},
            "no column 'mettalicity' .*mean 'metallicity'",
        ),
        ({"quantity": "column", "column": "name"}, "no numbers in name"),
    ],
)
def test_a_label_that_cannot_be_had_is_refused_in_one_line(settings: dict[str, str], problem: str) -> None:
    columns = {"snapshot": 0, "subhalo_id": [0], "table_metallicity": 0.1, "table_name": ["M31"]}
    with pytest.raises(InputError, match=problem) as error:
        labels(pd.DataFrame(columns), LabelSettings.model_validate(settings))
    assert "\n" not in str(error.value)


def test_a_column_without_its_quantity_is_refused() -> None:
    with pytest.raises(ValueError, match="belong together"):
        LabelSettings(column="metallicity")
