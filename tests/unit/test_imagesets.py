"""Specs as data, and maps read by batch."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
from map_samples import FIELDS, physical_maps, sample_table, write_sample
from test_transform import EIGHT_BIT, MAPS, PICTURES, SCALING, spec_of

from ssfr.components.config import Case, Filter, PreprocessingSettings
from ssfr.components.errors import InputError
from ssfr.components.imagesets.reader import ImageSet, MapReader, in_batches, read_attributes
from ssfr.components.imagesets.spec import ImageSpec, MapAttributes
from ssfr.components.imagesets.transform import images


def build(
    channels: tuple[str, ...] = FIELDS,
    kind: str = "none",
    sigma: float = 3.0,
    unit: str = "px",
    attributes: MapAttributes = MAPS,
    preprocessing: PreprocessingSettings | None = None,
    name: str = "c",
    sigma_max: float | None = None,
) -> ImageSpec:
    chosen = {"kind": kind, "sigma": sigma, "unit": unit, "sigma_max": sigma_max}
    case = Case(name=name, channels=channels, filter=Filter.model_validate(chosen))
    return ImageSpec.build(case, preprocessing or PreprocessingSettings(), attributes, SCALING)


@pytest.mark.parametrize("preprocessing", [PreprocessingSettings(), EIGHT_BIT])
def test_a_spec_survives_json(preprocessing: PreprocessingSettings) -> None:
    spec = spec_of(preprocessing=preprocessing, kind="gaussian")
    assert ImageSpec.model_validate_json(spec.model_dump_json()) == spec


def test_an_unknown_field_is_refused_with_the_nearest() -> None:
    with pytest.raises(InputError, match=r"no field 'temprature'.*did you mean 'temperature'"):
        build(channels=("temprature",))


def test_the_default_channels_are_refused_for_pictures_with_those_they_have() -> None:
    with pytest.raises(InputError, match=r"no field 'entropy'.*blue, green, red"):
        build(attributes=PICTURES)


@pytest.mark.parametrize(("sigma", "unit"), [(0.5, "px"), (25.0, "px"), (2.0, "kpc"), (91.0, "kpc")])
def test_a_filter_under_a_pixel_or_over_the_frame_is_refused(sigma: float, unit: str) -> None:
    with pytest.raises(InputError, match=r"case 'c': filter.sigma .*expected 1 px to the frame's 24 px"):
        build(kind="gaussian", sigma=sigma, unit=unit)


@pytest.mark.parametrize("sigma_max", [25.0, 400.0])
def test_the_wider_scale_of_a_band_must_fit_the_frame_too(sigma_max: float) -> None:
    with pytest.raises(InputError, match=r"case 'c': filter.sigma_max .*expected 1 px to the frame's 24 px"):
        build(kind="band", sigma_max=sigma_max)


def test_a_filter_in_kpc_is_converted_with_the_frame() -> None:
    assert build(kind="gaussian", sigma=7.5, unit="kpc").sigmas_px == pytest.approx((2.0,))
    band = build(kind="band", sigma=7.5, sigma_max=15.0, unit="kpc")
    assert band.sigmas_px == pytest.approx((2.0, 4.0))
    assert build().sigmas_px == ()


def test_a_filter_in_kpc_needs_a_physical_frame() -> None:
    comoving = MAPS.model_copy(update={"width_unit": "ckpc/h"})
    with pytest.raises(InputError, match="use unit: px"):
        build(kind="gaussian", unit="kpc", attributes=comoving)


def test_a_filter_on_a_weighted_field_needs_the_mass_map() -> None:
    alone = MAPS.model_copy(update={"fields": ("temperature",), "units": ("K",)})
    with pytest.raises(InputError, match="needs the mass map"):
        build(channels=("temperature",), kind="gaussian", attributes=alone)


def test_a_filter_on_fields_that_leave_out_masked_gas_is_refused() -> None:
    masked = MAPS.model_copy(update={"star_forming_gas": "masked"})
    with pytest.raises(InputError, match="star_forming_gas: masked"):
        build(kind="gaussian", attributes=masked)
    with pytest.raises(InputError, match="star_forming_gas: masked"):
        build(channels=("temperature",), kind="structures", attributes=masked)
    assert build(attributes=masked).filter.kind == "none"
    assert build(channels=("mass",), kind="gaussian", attributes=masked).filter.kind == "gaussian"


def test_files_of_maps_say_what_became_of_star_forming_gas(
    galaxies: tuple[Path, pd.DataFrame, np.ndarray],
) -> None:
    path = galaxies[0] / "maps-099-000.h5"
    assert read_attributes(path).star_forming_gas == "raw"
    with h5py.File(path, "a") as file:
        file.attrs["star_forming_gas"] = "masked"
    assert read_attributes(path).star_forming_gas == "masked"


def test_a_field_named_twice_is_refused() -> None:
    with pytest.raises(InputError, match="twice"):
        build(channels=("mass", "mass"))


@pytest.mark.parametrize(
    "wrong",
    [PreprocessingSettings(pixel_type="uint8"), PreprocessingSettings(stretch="lupton")],
)
def test_a_stretch_that_does_not_fit_the_pixel_type_is_refused(wrong: PreprocessingSettings) -> None:
    with pytest.raises(InputError, match="float32 with asinh, or uint8 with lupton"):
        build(preprocessing=wrong)


def test_an_eight_bit_image_has_one_channel_or_three() -> None:
    with pytest.raises(InputError, match="one channel"):
        build(channels=("mass", "entropy"), preprocessing=EIGHT_BIT)


def test_an_eight_bit_image_needs_three_fields() -> None:
    two = MAPS.model_copy(update={"fields": FIELDS[:2], "units": MAPS.units[:2]})
    with pytest.raises(InputError, match="three fields"):
        build(channels=("mass",), attributes=two, preprocessing=EIGHT_BIT)


def test_a_case_that_was_not_fitted_is_refused() -> None:
    with pytest.raises(InputError, match="prepare the data again"):
        build(name="other")


def test_what_pictures_are_accepted_for() -> None:
    assert [spec_of().accepts_images, spec_of(preprocessing=EIGHT_BIT).accepts_images] == [False, True]
    assert spec_of(PICTURES).accepts_images


@pytest.fixture
def galaxies(tmp_path: Path) -> tuple[Path, pd.DataFrame, np.ndarray]:
    sample = sample_table(10)
    maps = physical_maps(20, 24)
    folder = write_sample(tmp_path, sample, maps)
    places = pd.read_csv(folder / "projection.csv").rename(columns={"file": "map_file", "row": "map_row"})
    return folder, places, maps


def test_rows_come_in_the_order_asked_for_across_files(
    galaxies: tuple[Path, pd.DataFrame, np.ndarray],
) -> None:
    folder, table, maps = galaxies
    rows = [19, 0, 8, 7, 0]
    with MapReader(folder, table) as reader:
        np.testing.assert_array_equal(reader.maps(rows), maps[rows])
        assert reader.maps([]).shape == (0, 3, 24, 24)


def test_an_image_set_is_the_transform_of_its_maps(galaxies: tuple[Path, pd.DataFrame, np.ndarray]) -> None:
    folder, table, maps = galaxies
    with MapReader(folder, table) as reader:
        image_set = ImageSet(reader, spec_of(kind="gaussian"))
        parts = [image_set.images(rows) for rows in in_batches(np.arange(20), 7)]
    assert [len(part) for part in parts] == [7, 7, 6]
    expected = images(np, maps, spec_of(kind="gaussian"))
    np.testing.assert_allclose(np.concatenate(parts), expected, atol=1e-6)


def test_batches_cover_every_row_once() -> None:
    assert np.concatenate(list(in_batches(np.arange(10), 3))).tolist() == list(range(10))


def test_a_truncated_file_of_maps_is_one_clear_line(
    galaxies: tuple[Path, pd.DataFrame, np.ndarray],
) -> None:
    folder, table, _ = galaxies
    path = folder / "maps-099-000.h5"
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(InputError, match=r"maps-099-000\.h5: not readable as HDF5"):
        MapReader(folder, table)


def test_an_absent_file_of_maps_is_one_clear_line(galaxies: tuple[Path, pd.DataFrame, np.ndarray]) -> None:
    folder, table, _ = galaxies
    (folder / "maps-099-001.h5").unlink()
    with MapReader(folder, table) as reader, pytest.raises(InputError, match="no such file"):
        reader.maps([15])


def test_an_absent_attribute_is_named(tmp_path: Path) -> None:
    path = tmp_path / "maps-099-000.h5"
    with h5py.File(path, "w") as file:
        file.attrs["fields"] = '["mass"]'
    with pytest.raises(InputError, match="attribute units"):
        read_attributes(path)


def test_a_row_beyond_the_file_is_refused(galaxies: tuple[Path, pd.DataFrame, np.ndarray]) -> None:
    folder, table, _ = galaxies
    table.loc[0, "map_row"] = 99
    with MapReader(folder, table) as reader, pytest.raises(InputError, match="have no row 99"):
        reader.maps([0])
