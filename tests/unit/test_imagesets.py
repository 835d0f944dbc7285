"""Specs as data, and maps read by batch."""

from __future__ import annotations

import json
import os
import resource
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
from identities import map_attribute, map_identity
from map_samples import FIELDS, physical_maps, sample_table, write_sample
from test_transform import EIGHT_BIT, MAPS, PICTURES, SCALING, P, spec_of

from ssfr.components.config import Case, Filter, PreprocessingSettings
from ssfr.components.errors import InputError
from ssfr.components.identity.maps import MapIdentity
from ssfr.components.imagesets.reader import ImageSet, MapReader, in_batches, load_spec, read_identity
from ssfr.components.imagesets.spec import ImageSpec
from ssfr.components.imagesets.transform import images


def build(
    channels: tuple[str, ...] = FIELDS,
    kind: str = "none",
    sigma: float = 3.0,
    unit: str = "px",
    identity: MapIdentity = MAPS,
    preprocessing: PreprocessingSettings | None = None,
    name: str = "c",
    sigma_max: float | None = None,
) -> ImageSpec:
    chosen = {"kind": kind, "sigma": sigma, "unit": unit, "sigma_max": sigma_max}
    case = Case(name=name, channels=channels, filter=Filter.model_validate(chosen))
    return ImageSpec.build(case, preprocessing or PreprocessingSettings(), identity, SCALING)


@pytest.mark.parametrize("preprocessing", [PreprocessingSettings(), EIGHT_BIT])
def test_a_spec_survives_json(preprocessing: PreprocessingSettings) -> None:
    spec = spec_of(preprocessing=preprocessing, kind="gaussian")
    assert ImageSpec.model_validate_json(spec.model_dump_json()) == spec


def test_an_unknown_field_is_refused_with_the_nearest() -> None:
    with pytest.raises(InputError, match=r"no field 'temprature'.*did you mean 'temperature'"):
        build(channels=("temprature",))


def test_the_default_channels_are_refused_for_pictures_with_those_they_have() -> None:
    with pytest.raises(InputError, match=r"no field 'entropy'.*blue, green, red"):
        build(identity=PICTURES)


@pytest.mark.parametrize(("sigma", "unit"), [(0.5, "px"), (25.0, "px"), (2.0, "kpc"), (91.0, "kpc")])
def test_a_filter_under_a_pixel_or_over_the_map_is_refused(sigma: float, unit: str) -> None:
    with pytest.raises(InputError, match=r"case 'c': filter.sigma .*expected 1 px to the map's 24 px"):
        build(kind="gaussian", sigma=sigma, unit=unit)


@pytest.mark.parametrize("sigma_max", [25.0, 400.0])
def test_the_wider_scale_of_a_band_must_fit_the_map_too(sigma_max: float) -> None:
    with pytest.raises(InputError, match=r"case 'c': filter.sigma_max .*expected 1 px to the map's 24 px"):
        build(kind="band", sigma_max=sigma_max)


def test_a_filter_in_kpc_is_converted_with_the_field_of_view() -> None:
    assert build(kind="gaussian", sigma=7.5, unit="kpc").sigmas_px == pytest.approx((2.0,))
    band = build(kind="band", sigma=7.5, sigma_max=15.0, unit="kpc")
    assert band.sigmas_px == pytest.approx((2.0, 4.0))
    assert build().sigmas_px == ()


def test_a_filter_in_kpc_needs_a_physical_field_of_view() -> None:
    comoving = MAPS.model_copy(update={"width_unit": "ckpc/h"})
    with pytest.raises(InputError, match="use unit: px"):
        build(kind="gaussian", unit="kpc", identity=comoving)


def test_a_filter_on_a_mean_needs_its_weights() -> None:
    alone = map_identity(["temperature"], P)
    with pytest.raises(InputError, match="needs their weight"):
        build(channels=("temperature",), kind="gaussian", identity=alone)
    assert build(channels=("temperature",), identity=alone).filter.kind == "none"


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
    two = map_identity(FIELDS[:2], P)
    with pytest.raises(InputError, match="three fields"):
        build(channels=("mass",), identity=two, preprocessing=EIGHT_BIT)


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


def test_a_file_that_does_not_say_what_its_maps_are_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "maps-099-000.h5"
    with h5py.File(path, "w") as file:
        file.attrs["fields"] = '["mass"]'
    with pytest.raises(InputError, match=r"maps-099-000\.h5: attribute identity: does not say .*draw"):
        read_identity(path)
    with h5py.File(path, "a") as file:
        file.attrs.update(map_attribute(MAPS))
    assert read_identity(path) == MAPS


def test_files_of_other_maps_beside_the_first_are_refused(
    galaxies: tuple[Path, pd.DataFrame, np.ndarray],
) -> None:
    folder, table, _ = galaxies
    with h5py.File(folder / "maps-099-001.h5", "a") as file:
        file.attrs.update(map_attribute(map_identity(pixels=P, gas_of="halo")))
    with MapReader(folder, table) as reader:
        reader.maps([0])
        with pytest.raises(InputError, match=r"maps-099-001\.h5: other maps .*gas_of: halo, not subhalo"):
            reader.maps([8])


def test_scales_fitted_on_other_maps_are_refused(
    galaxies: tuple[Path, pd.DataFrame, np.ndarray], tmp_path: Path
) -> None:
    case, settings = Case(name="c", channels=FIELDS), PreprocessingSettings()
    scaling = {**SCALING, "maps": MAPS.model_dump(mode="json")}
    (tmp_path / "scaling.json").write_text(json.dumps(scaling))
    assert load_spec(case, settings, galaxies[0], tmp_path).maps == MAPS
    scaling["maps"]["width"] = 45.0
    (tmp_path / "scaling.json").write_text(json.dumps(scaling))
    with pytest.raises(InputError, match="width: 90 kpc, not 45 kpc; prepare the data again"):
        load_spec(case, settings, galaxies[0], tmp_path)


def test_a_row_beyond_the_file_is_refused(galaxies: tuple[Path, pd.DataFrame, np.ndarray]) -> None:
    folder, table, _ = galaxies
    table.loc[0, "map_row"] = 99
    with MapReader(folder, table) as reader, pytest.raises(InputError, match="have no row 99"):
        reader.maps([0])


def test_more_files_are_read_than_a_process_may_open(tmp_path: Path) -> None:
    count = 100
    sample, maps = sample_table(count, (99,)), physical_maps(count, P)
    folder = write_sample(tmp_path / "maps", sample, maps, per_file=1)
    table = pd.read_csv(folder / "projection.csv").rename(columns={"file": "map_file", "row": "map_row"})
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard))
    try:
        with MapReader(folder, table) as reader:
            backwards = np.arange(count)[::-1]
            np.testing.assert_array_equal(reader.maps(backwards), maps[backwards])
            np.testing.assert_array_equal(reader.maps(np.arange(count)), maps)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_limit_of_open_files_is_not_taken_for_a_damaged_file(
    galaxies: tuple[Path, pd.DataFrame, np.ndarray],
) -> None:
    folder, table, _ = galaxies
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = max(int(path.name) for path in Path("/proc/self/fd").iterdir())
    filled = [os.dup(0) for _ in range(highest)]
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest, hard))
    try:
        with pytest.raises(InputError, match="too many open files; raise the limit"):
            MapReader(folder, table)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for descriptor in filled:
            os.close(descriptor)
