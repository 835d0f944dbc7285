"""Scales and maxima, against what numpy finds with all pixels in memory."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
import pytest
from map_samples import FIELDS, physical_maps, sample_table, write_sample

from ssfr.components.config import Case, Filter, PreprocessingSettings
from ssfr.components.errors import InputError
from ssfr.components.imagesets.reader import MapReader
from ssfr.components.imagesets.spec import ImageSpec
from ssfr.components.imagesets.transform import images, physical_channels
from ssfr.components.preprocessing.prepare import picture_spec
from ssfr.components.preprocessing.scaling import PixelCounts, fit_maxima, fit_scales, fixed_maxima
from ssfr.components.runtime.progress import SILENT

CASES = tuple(
    Case(
        name=kind,
        filter=Filter.model_validate(
            {"kind": kind, "sigma": 2.0, "sigma_max": 5.0 if kind == "band" else None}
        ),
    )
    for kind in ("none", "gaussian", "high_pass", "band")
)


def reader_of(folder: Path, maps: np.ndarray) -> MapReader:
    sample = sample_table(len(maps), (99,))
    write_sample(folder, sample, maps)
    table = pd.read_csv(folder / "projection.csv").rename(columns={"file": "map_file", "row": "map_row"})
    return MapReader(folder, table)


def test_every_channel_of_every_case_is_standardised_over_its_gas(tmp_path: Path) -> None:
    maps = physical_maps(20, 32)
    settings = PreprocessingSettings()
    with reader_of(tmp_path, maps) as reader:
        scales = fit_scales(reader, np.arange(20), CASES, settings, SILENT)
        for case in CASES:
            spec = ImageSpec.build(case, settings, reader.identity, {"cases": scales})
            pixels = images(np, maps, spec)
            gas = maps[:, 1] > 0
            for channel, layer in enumerate(physical_channels(np, maps, spec)):
                seen = pixels[..., channel][gas & np.isfinite(layer)]
                assert seen.mean() == pytest.approx(0, abs=2e-3)
                assert seen.std() == pytest.approx(1, abs=2e-3)


def test_the_softening_is_the_faintest_tenth(tmp_path: Path) -> None:
    maps = physical_maps(20, 32)
    with reader_of(tmp_path, maps) as reader:
        scales = fit_scales(reader, np.arange(20), CASES, PreprocessingSettings(), SILENT)
    expected = np.quantile(maps[:, 1][maps[:, 1] > 0], 0.1)
    assert scales["none"]["mass"]["softening"] == pytest.approx(expected, rel=0.02)


def test_as_many_galaxies_are_looked_at_as_the_setting_says(tmp_path: Path) -> None:
    maps = physical_maps(20, 32)
    maps[8:] *= 100
    few = PreprocessingSettings(scale_galaxies=8)
    with reader_of(tmp_path, maps) as reader:
        scales = fit_scales(reader, np.arange(20), CASES, few, SILENT)
        assert scales == fit_scales(reader, np.arange(8), CASES, PreprocessingSettings(), SILENT)
        assert scales != fit_scales(reader, np.arange(20), CASES, PreprocessingSettings(), SILENT)


def test_the_fit_does_not_depend_on_the_order_of_the_maps(tmp_path: Path) -> None:
    with reader_of(tmp_path, physical_maps(20, 32)) as reader:
        rows = np.arange(20)
        forward = fit_scales(reader, rows, CASES, PreprocessingSettings(), SILENT)
        backward = fit_scales(reader, rows[::-1], CASES, PreprocessingSettings(), SILENT)
    assert forward == backward


def test_counts_of_pixels_give_quantile_mean_and_scatter_of_signed_values(tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(0.5, 1, 50_000)
    values[:1000] = 0
    counts = PixelCounts()
    counts.add(values[:30_000])
    counts.add(values[30_000:])
    assert counts.total == 50_000
    assert counts.softening(0.5) == pytest.approx(np.median(np.abs(values[1000:])), rel=0.02)
    with reader_of(tmp_path, physical_maps(8, 16)) as reader:
        spec = ImageSpec.build(CASES[0], PreprocessingSettings(), reader.identity)
    scale = counts.scale(spec, 0.5)
    assert scale.mean == pytest.approx(np.arcsinh(values / scale.softening).mean(), abs=1e-3)
    assert scale.std == pytest.approx(np.arcsinh(values / scale.softening).std(), abs=1e-3)


def test_a_channel_of_one_value_does_not_divide_by_zero(tmp_path: Path) -> None:
    maps = np.ones((8, 3, 16, 16), np.float32)
    with reader_of(tmp_path, maps) as reader:
        scales = fit_scales(reader, np.arange(8), CASES, PreprocessingSettings(), SILENT)
    assert scales["none"]["mass"]["std"] == 1.0


def test_a_field_without_any_gas_is_refused(tmp_path: Path) -> None:
    maps = physical_maps(8, 16)
    maps[:, 2] = np.nan
    with (
        reader_of(tmp_path, maps) as reader,
        pytest.raises(InputError, match="'temperature' has no pixel with gas"),
    ):
        fit_scales(reader, np.arange(8), CASES, PreprocessingSettings(), SILENT)


def test_maxima_are_the_largest_pixels_of_the_galaxies_asked_for(tmp_path: Path) -> None:
    maps = physical_maps(20, 16)
    rows = np.array([3, 17, 4])
    with reader_of(tmp_path, maps) as reader:
        spec = picture_spec(PreprocessingSettings(), reader.identity)
        maxima = fit_maxima(reader, rows, spec, PreprocessingSettings(), SILENT)
    expected = np.nanmax(maps[rows], axis=(0, 2, 3))
    assert [maxima[name] for name in FIELDS] == pytest.approx(expected.tolist())


@pytest.mark.parametrize(("maximum", "sign"), [("signed", -1), ("magnitude", 1)])
def test_the_maximum_of_negative_sums_is_that_of_largest_magnitude(
    tmp_path: Path, maximum: Literal["signed", "magnitude"], sign: int
) -> None:
    maps = physical_maps(8, 16)
    maps[:, 0] *= np.where(np.arange(16) < 2, 1e-3, -1.0)  # few positive pixels, and small
    settings = PreprocessingSettings(maximum=maximum)
    with reader_of(tmp_path, maps) as reader:
        found = fit_maxima(reader, np.arange(8), picture_spec(settings, reader.identity), settings, SILENT)
    assert found["entropy"] == pytest.approx(sign * np.nanmax(np.abs(maps[:, 0])))
    assert found["mass"] == pytest.approx(np.nanmax(maps[:, 1]))


def test_a_field_of_zeros_has_no_maximum(tmp_path: Path) -> None:
    maps = physical_maps(8, 16)
    maps[:, 0] = 0.0
    settings = PreprocessingSettings()
    with reader_of(tmp_path, maps) as reader, pytest.raises(InputError, match=r"'entropy'.* are 0; use"):
        fit_maxima(reader, np.arange(8), picture_spec(settings, reader.identity), settings, SILENT)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"entrpy": 1.0}, "did you mean 'entropy'"),
        ({"entropy": 1.0, "mass": 1.0}, r"a number other than 0 for 'temperature' \[K\]"),
        ({"entropy": 1.0, "mass": 0.0, "temperature": 1.0}, "a number other than 0 for 'mass'"),
    ],
)
def test_fixed_maxima_that_do_not_fit_the_fields_are_refused(
    tmp_path: Path, given: dict[str, float], message: str
) -> None:
    settings = PreprocessingSettings(normalisation="fixed", fixed_maxima=given)
    with reader_of(tmp_path, physical_maps(8, 16)) as reader:
        spec = picture_spec(settings, reader.identity)
    with pytest.raises(InputError, match=message):
        fixed_maxima(spec, settings)
