"""The table of faults: what presets do about each row, and where both behaviours are tested."""

from __future__ import annotations

import ast
import io
import os
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import pandas as pd
import pytest
import tng_files as tng
from rich.console import Console

from ssfr.components.catalog import select
from ssfr.components.config import Settings, TrainingSettings, load_settings, parse_settings
from ssfr.components.runtime.progress import SILENT
from ssfr.components.simulation import open_source
from ssfr.pipelines.cli.app import preset_path
from ssfr.pipelines.cli.faults import FAULTS, fault_table, value_of

ROOT = Path(__file__).resolve().parents[2]

TESTED_BY = {
    1: ("test_labels.py::test_the_mass_that_divides_is_a_setting",),
    2: (
        "test_select.py::test_ignoring_h_changes_cuts_and_ssfr_but_not_the_masses",
        "test_gas.py::test_mass_is_physical_unless_h_is_ignored",
    ),
    3: ("test_faults.py::test_a_galaxy_has_the_ssfr_of_its_own_snapshot",),
    4: ("test_faults.py::test_the_thesis_takes_eleven_snapshots_and_we_take_what_is_there",),
    5: (
        "test_kernel.py::test_the_thesis_binning_leaves_the_last_rows_and_columns_empty",
        "test_kernel.py::test_every_pixel_has_its_own_centre",
    ),
    6: (
        "test_project.py::test_the_thesis_maps_are_sums_of_logarithms_in_code_units",
        "test_project.py::test_maps_are_sums_of_mass_and_means_by_mass",
        "test_gas.py::test_entropy_of_the_electrons",
        "test_gas.py::test_entropy_of_the_gas_counts_protons_instead_of_electrons",
        "test_transform.py::test_a_mass_weighted_field_is_blurred_with_its_weight",
    ),
    7: (
        "test_transform.py::test_an_even_stretch_flips_the_sign_of_a_negative_intensity_and_a_signed_one_keeps_it",
        "test_transform.py::test_the_asinh_stretch_is_odd",
    ),
    8: (
        "test_transform.py::test_eight_bits_are_clipped_and_truncated",
        "test_prepare.py::test_clipped_pixels_are_counted",
        "test_prepare.py::test_maxima_of_the_first_snapshot_are_the_thesis",
        "test_prepare.py::test_scaling_does_not_look_at_other_sets",
    ),
    9: (
        "test_transform.py::test_eight_bit_structures_wrap_around_as_the_thesis_did",
        "test_transform.py::test_high_pass_images_are_signed_and_undefined_without_gas",
    ),
    10: (
        "test_transform.py::test_the_eight_bit_blur_is_that_of_pil_bit_for_bit",
        "test_transform.py::test_the_blur_is_a_gaussian_of_the_stated_width",
        "test_transform.py::test_a_filter_comes_before_the_stretch",
    ),
    11: ("test_project.py::test_a_comoving_field_of_view_shrinks_with_redshift_and_a_physical_one_does_not",),
    12: (
        "test_split.py::test_a_random_split_puts_twins_on_both_sides",
        "test_split.py::test_a_galaxy_is_on_one_side_in_every_snapshot",
        "test_split.py::test_without_a_tree_halos_stay_together",
    ),
    13: (
        "test_labels.py::test_zero_is_dropped_on_request_and_faint_labels_are_kept_as_they_are",
        "test_labels.py::test_zero_and_faint_labels_are_raised_to_the_floor_and_marked",
        "test_prepare.py::test_dropped_galaxies_are_counted_and_leave_the_table",
    ),
    14: (
        "test_faults.py::test_a_relu_head_cannot_go_below_zero_and_a_linear_one_can",
        "test_train.py::test_a_broken_training_is_started_afresh_only_where_that_is_asked_for",
    ),
    15: ("test_networks.py::test_backbone_input_copies_one_channel_and_follows_the_pixel_type",),
    16: (
        "test_faults.py::test_the_rate_of_adadelta_is_stated",
        "test_train.py::test_the_learning_rate_fits_the_model_unless_it_is_given",
    ),
    17: ("test_train.py::test_patience_ends_training_and_keep_says_which_weights_stay",),
    18: ("test_project.py::test_the_gas_of_the_halo_is_more_than_that_of_its_subhalo",),
    19: (
        "test_gas.py::test_star_forming_gas_has_the_temperature_of_the_setting",
        "test_project.py::test_masked_star_forming_gas_keeps_its_mass_but_not_its_temperature",
    ),
    20: (
        "test_promotion.py::test_a_model_that_does_not_beat_the_baselines_is_no_champion_even_if_it_is_the_first",
        "test_promotion.py::test_the_baselines_can_be_left_out_of_it",
    ),
}
"""Row of the table -> tests that, together, show the thesis' behaviour and the right one."""


@pytest.fixture(scope="module")
def thesis() -> Settings:
    return load_settings(preset_path("thesis"))


@pytest.fixture(scope="module")
def recommended() -> Settings:
    return load_settings(preset_path("recommended"))


def printed(settings: Settings) -> str:
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(fault_table(settings))
    return console.export_text()


def test_the_table_has_the_twenty_rows_in_order() -> None:
    assert [row.number for row in FAULTS] == list(range(1, 21))


@pytest.mark.parametrize("number", TESTED_BY)
def test_both_behaviours_of_a_row_are_tested(number: int) -> None:
    for node in TESTED_BY[number]:
        file, _, name = node.partition("::")
        tree = ast.parse((ROOT / "tests" / "unit" / file).read_text())
        assert name in {part.name for part in tree.body if isinstance(part, ast.FunctionDef)}, node


def test_every_row_names_its_tests() -> None:
    assert list(TESTED_BY) == [row.number for row in FAULTS]


def test_the_presets_do_otherwise_in_every_row_but_the_one_that_is_no_setting(
    thesis: Settings, recommended: Settings
) -> None:
    same = [row.number for row in FAULTS if row.does(thesis) == row.does(recommended)]
    assert same == [3] == [row.number for row in FAULTS if not row.settings]


@pytest.mark.parametrize("preset", ["demo", "images", "recommended", "thesis"])
def test_every_preset_has_something_to_say_in_every_row(preset: str) -> None:
    settings = load_settings(preset_path(preset))
    for row in FAULTS:
        assert row.does(settings)
        for key in row.settings:
            assert value_of(settings, key)


@pytest.mark.parametrize(
    ("number", "changes"),
    [
        (1, {"preprocessing": {"label": {"mass": "total"}}}),
        (2, {"catalog": {"little_h": "ignored"}}),
        (4, {"catalog": {"snapshots": [99]}}),
        (5, {"projection": {"binning": "thesis", "deposition": "point"}}),
        (6, {"projection": {"weighting": "sum"}}),
        (6, {"projection": {"transform": "ln"}}),
        (6, {"projection": {"entropy_density": "gas"}}),
        (7, {"preprocessing": {"pixel_type": "uint8", "stretch": "lupton", "stretch_negative": "even"}}),
        (
            8,
            {
                "preprocessing": {
                    "pixel_type": "uint8",
                    "stretch": "lupton",
                    "normalisation": "first_snapshot",
                }
            },
        ),
        (9, {"cases": [{"name": "mine", "filter": {"kind": "band", "sigma": 3, "sigma_max": 5}}]}),
        (10, {"cases": [{"name": "mine", "filter": {"kind": "gaussian"}}]}),
        (11, {"projection": {"width_unit": "ckpc/h"}}),
        (12, {"preprocessing": {"split": {"method": "halo"}}}),
        (12, {"evaluation": {"audit_case": "composite"}}),
        (13, {"preprocessing": {"label": {"floor": -12}}}),
        (13, {"preprocessing": {"label": {"zero_sfr": "drop"}}}),
        (14, {"training": {"loss": "mse"}}),
        (15, {"training": {"vgg16": {"preprocess_input": False}}}),
        (16, {"training": {"optimizer": "adadelta"}}),
        (17, {"training": {"keep": "best_training"}}),
        (17, {"training": {"patience": 5}}),
        (18, {"projection": {"gas_of": "halo"}}),
        (19, {"projection": {"star_forming_gas": "masked"}}),
        (20, {"deployment": {"require_beats_baselines": False}}),
    ],
)
def test_what_a_row_says_follows_the_settings(number: int, changes: dict) -> None:
    row = FAULTS[number - 1]
    assert row.does(parse_settings(changes, "test")) != row.does(Settings())


def test_the_printed_table_shows_values_and_the_cases_concerned(thesis: Settings) -> None:
    text = printed(thesis)
    for part in ("projection.binning: thesis", "[99, 98, 97", "wraps around in 8 bits (structures3,"):
        assert part in text


def test_values_are_never_taken_for_markup() -> None:
    column = {"method": "column", "column": "[red]run", "column_values": {"a": "train", "b": "test"}}
    assert "[red]run" in printed(parse_settings({"preprocessing": {"split": column}}, "test"))


def test_the_document_says_what_the_program_does(thesis: Settings, recommended: Settings) -> None:
    lines = (ROOT / "docs" / "faults.md").read_text().splitlines()
    table = [line for line in lines if line.startswith("| ")][1:]
    expected = []
    for row in FAULTS:
        keys = ", ".join(f"`{key}`" for key in row.settings) or "none"
        cells = (str(row.number), row.fault, keys, row.does(thesis), row.does(recommended))
        expected.append(f"| {' | '.join(cells)} |")
    assert table == expected


# --- rows that no other file tests


def universe_of(root: Path, rates: dict[int, float]) -> Path:
    """Write snapshots whose subhalos all form `rates[snapshot]` [Msun/yr]."""
    for snapshot, rate in rates.items():
        tng.write_universe(root, snapshot=snapshot, subhalo={"SubhaloSFR": np.full(6, rate, "f4")})
    return root


def sample_of(root: Path, output: Path, **catalog: object) -> pd.DataFrame:
    output.mkdir()
    settings = parse_settings({"catalog": catalog}, "test")
    select.run(output, open_source(str(root), settings.simulation), settings, SILENT)
    return pd.read_parquet(output / "sample.parquet")


def test_a_galaxy_has_the_ssfr_of_its_own_snapshot(tmp_path: Path) -> None:
    """Fault 3: the thesis took one snapshot's table for the ids of all."""
    rates = {99: 1.0, 98: 2.0, 97: 4.0}
    sample = sample_of(universe_of(tmp_path / "universe", rates), tmp_path / "out")
    assert sample.groupby("snapshot")["sfr_msun_per_yr"].unique().map(list).to_dict() == {
        snapshot: [rate] for snapshot, rate in rates.items()
    }
    expected = sample["sfr_msun_per_yr"] / sample["stellar_mass_msun"]
    np.testing.assert_allclose(sample["ssfr_stellar_per_yr"], expected)


def test_the_thesis_takes_eleven_snapshots_and_we_take_what_is_there(
    tmp_path: Path, thesis: Settings, recommended: Settings
) -> None:
    assert thesis.catalog.snapshots == tuple(range(99, 88, -1))
    assert recommended.catalog.snapshots is None
    root = universe_of(tmp_path / "universe", {99: 1.0, 98: 1.0, 50: 1.0})
    assert set(sample_of(root, tmp_path / "all")["snapshot"]) == {99, 98, 50}
    assert set(sample_of(root, tmp_path / "two", snapshots=[99, 98])["snapshot"]) == {99, 98}


def test_a_relu_head_cannot_go_below_zero_and_a_linear_one_can() -> None:
    from ssfr.components.models.vgg16 import build_head

    features = np.random.default_rng(0).random((20, 8, 8, 512), dtype=np.float32)
    answers = {}
    for activation in ("relu", "linear"):
        head = build_head(activation)
        *others, bias = head.get_weights()
        head.set_weights([*others, bias - 100])
        answers[activation] = np.asarray(head(features))
    assert (answers["relu"] == 0).all()  # dead: no gradient will bring it back
    assert (answers["linear"] < 0).all()


def test_the_rate_of_adadelta_is_stated(thesis: Settings, recommended: Settings) -> None:
    assert (thesis.training.optimizer, thesis.training.rate) == ("adadelta", 1.0)
    assert TrainingSettings(optimizer="adadelta").rate == 1.0  # and not tf.keras' default of 0.001
    assert recommended.training.optimizer == "adamw"
