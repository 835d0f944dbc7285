"""Features of known maps, and baselines that must find what was planted."""

import warnings

import numpy as np
import pytest
from identities import map_identity
from map_samples import physical_maps, sample_table, write_sample

from ssfr.components.errors import InputError
from ssfr.components.evaluation.baselines import BOOSTING, CELLS, FLUXES, MEAN, PROFILES
from ssfr.components.evaluation.baselines import fit as fit_all
from ssfr.components.evaluation.features import (
    RINGS,
    SCALES,
    extract,
    fluxes,
    power_spectra,
    profiles,
    rings,
)
from ssfr.components.imagesets.reader import MapReader
from ssfr.components.preprocessing.prepare import drawn_galaxies
from ssfr.components.runtime.progress import SILENT


def fit(features, label, split, interval):
    return fit_all(features, label, split, np.arange(len(label)), interval, seed=1)


def splits(count):
    split = np.full(count, "train", dtype=object)
    split[::4], split[1::4] = "validation", "test"
    return split


def test_rings_are_round_and_hold_every_pixel():
    ring = rings(64)
    assert (ring == ring.T).all()
    assert (ring == ring[::-1]).all()
    assert ring[31:33, 31:33].max() == 0
    assert ring[0, 0] == RINGS
    assert ring[0, 31] < RINGS
    assert (np.diff(ring[32, 32:]) >= 0).all()


def test_flux_is_the_sum_of_mass_and_the_mass_weighted_mean_of_temperature():
    maps = np.full((1, 3, 32, 32), np.nan, np.float32)
    maps[:, 1] = 0.0
    maps[0, :, 3, 4] = 5.0, 1e5, 1e4
    maps[0, :, 9, 9] = 9.0, 3e5, 1e6
    found = fluxes(maps, map_identity(pixels=32))
    assert found[0] == pytest.approx([8.0, 4e5, (1e4 + 3e6) / 4])
    assert fluxes(maps, map_identity(pixels=32, weighting="sum"))[0] == pytest.approx([14.0, 4e5, 1.01e6])


def test_a_galaxy_without_gas_has_no_mean_and_no_warning():
    maps = np.full((1, 3, 32, 32), np.nan, np.float32)
    maps[:, 1] = 0.0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found, rows = fluxes(maps, map_identity(pixels=32)), profiles(maps)
    assert found[0, 1] == 0.0
    assert np.isnan(found[0, [0, 2]]).all()
    assert np.isnan(rows.reshape(2, 3, -1)[:, [0, 2]]).all()
    assert np.nanmax(rows.reshape(2, 3, -1)[:, 1]) == 0.0


def test_profiles_are_mean_and_scatter_of_each_ring_without_the_empty_pixels():
    maps = physical_maps(3, 32)
    ring = rings(32)
    found = profiles(maps).reshape(3, 2, 3, RINGS + 1)
    for galaxy, field, number in ((0, 0, 4), (1, 1, 7), (2, 2, RINGS)):
        pixels = maps[galaxy, field][ring == number].astype(float)
        pixels = pixels[~np.isnan(pixels)]
        assert found[galaxy, 0, field, number] == pytest.approx(pixels.mean())
        assert found[galaxy, 1, field, number] == pytest.approx(pixels.std())


def test_profiles_do_not_change_when_a_galaxy_is_turned():
    maps = physical_maps(2, 32)
    np.testing.assert_allclose(profiles(np.rot90(maps, axes=(2, 3))), profiles(maps), rtol=1e-9)


def test_small_maps_leave_out_the_rings_that_hold_no_pixel():
    found = profiles(np.ones((1, 1, 8, 8), np.float32)).reshape(2, RINGS + 1)
    present = np.isin(np.arange(RINGS + 1), rings(8))
    assert np.isnan(found[:, ~present]).all()
    assert (found[0, present] == 1).all()


def test_the_mean_predicts_the_training_sets_mean_for_everyone():
    label = np.random.default_rng(0).normal(-10.5, 0.5, 100)
    split = splits(100)
    mean = fit({}, label, split, 0.68)[MEAN]
    assert np.ptp(mean.predicted) == 0
    assert mean.predicted[0] == pytest.approx(label[split == "train"].mean())


@pytest.mark.parametrize("name", ["fluxes", "profiles"])
def test_ridge_recovers_a_planted_power_law(name):
    random = np.random.default_rng(1)
    features = 10 ** random.normal(5, 0.5, (400, 4))
    label = -10.5 + 0.7 * np.log10(features[:, 0]) - 0.3 * np.log10(features[:, 2]) - 2.0
    split = splits(400)
    found = fit({name: features}, label, split, 0.68)[f"baseline_{name}"]
    test = split == "test"
    assert np.sqrt(np.mean((found.predicted - label)[test] ** 2)) < 0.02


def test_the_count_of_cells_is_linear_in_its_logarithm():
    random = np.random.default_rng(2)
    cells = random.integers(1_000, 1_000_000, 300).astype(float)
    label = -12 + 0.4 * np.log10(cells)
    found = fit({"cells": cells[:, None]}, label, splits(300), 0.68)[CELLS]
    np.testing.assert_allclose(found.predicted, label, atol=5e-3)


def test_noise_teaches_nothing_and_is_shrunk_to_the_mean():
    random = np.random.default_rng(3)
    label = random.normal(-10.5, 0.5, 200)
    split = splits(200)
    found = fit({"profiles": random.lognormal(size=(200, 80))}, label, split, 0.68)
    assert found[PROFILES].choice["alpha"] > 1e2
    test = split == "test"
    error = {name: np.std((baseline.predicted - label)[test]) for name, baseline in found.items()}
    assert error[PROFILES] < 1.1 * error[MEAN]
    assert error[BOOSTING] < 1.1 * error[MEAN]


def test_the_interval_covers_as_often_as_asked():
    random = np.random.default_rng(4)
    mass = 10 ** random.normal(9, 0.5, 4000)
    label = -10.5 + np.log10(mass) - 9 + random.normal(0, 0.3, 4000)
    split = splits(4000)
    found = fit({"fluxes": mass[:, None]}, label, split, 0.68)[FLUXES]
    test = split == "test"
    inside = (label >= found.lower) & (label <= found.upper)
    assert inside[test].mean() == pytest.approx(0.68, abs=0.04)


def test_predictions_stay_within_the_labels_seen():
    random = np.random.default_rng(5)
    mass = 10 ** random.uniform(8, 10, 200)
    label = np.log10(mass) - 20
    split = splits(200)
    mass[split == "test"] *= 1e6
    found = fit({"fluxes": mass[:, None]}, label, split, 0.68)[FLUXES]
    assert found.predicted.max() <= label[split == "train"].max()


def test_features_that_are_negative_zero_or_missing_are_used_as_they_can_be():
    random = np.random.default_rng(6)
    x = random.normal(0, 1, 300)
    features = np.stack(
        [x, np.where(x > 0, x, 0.0), np.where(x > 1, np.nan, 1.0), np.full(300, np.nan)], axis=1
    )
    found = fit({"profiles": features}, -10.5 + 0.3 * x, splits(300), 0.68)[PROFILES]
    assert np.isfinite(found.predicted).all()
    assert np.corrcoef(found.predicted, x)[0, 1] > 0.99


def test_nothing_of_the_test_set_is_used():
    random = np.random.default_rng(7)
    features = random.lognormal(size=(200, 5))
    label = random.normal(-10.5, 0.5, 200)
    split = splits(200)
    before = fit({"fluxes": features}, label, split, 0.68)[FLUXES]
    changed, other = features.copy(), label.copy()
    changed[split == "test"] *= 100
    other[split == "test"] += 5
    after = fit({"fluxes": changed}, other, split, 0.68)[FLUXES]
    kept = split != "test"
    np.testing.assert_array_equal(before.predicted[kept], after.predicted[kept])


def test_without_a_validation_set_the_penalty_is_that_of_leave_one_out():
    random = np.random.default_rng(8)
    label = random.normal(-10.5, 0.5, 60)
    split = np.where(np.arange(60) % 3 == 0, "test", "train").astype(object)
    found = fit({"profiles": random.lognormal(size=(60, 40))}, label, split, 0.68)[PROFILES]
    assert found.choice["alpha"] > 10


def test_without_a_validation_set_rows_of_one_group_are_left_out_together():
    random = np.random.default_rng(8)
    features = np.repeat(random.lognormal(size=(60, 40)), 5, axis=0)  # five views each: a leak, if one stayed
    label = np.repeat(random.normal(-10.5, 0.5, 60), 5)
    group = np.repeat(np.arange(60), 5)
    split = np.where(group % 3 == 0, "test", "train").astype(object)
    penalty = {}
    for name, of_group in (("groups", group), ("rows", np.arange(300))):
        found = fit_all({"profiles": features}, label, split, of_group, 0.68, seed=1)
        penalty[name] = found[PROFILES].choice["alpha"]
    assert penalty["groups"] > 10 > penalty["rows"]


def test_nothing_to_train_on_is_said_in_one_line():
    with pytest.raises(InputError, match="train set is empty"):
        fit({}, np.zeros(3), np.array(["test"] * 3, dtype=object), 0.68)


def test_the_power_spectrum_of_a_wave_is_in_the_bin_of_its_wave_number():
    x = np.arange(64) / 64
    edges = np.geomspace(1, 32, SCALES + 1)
    for waves in (1, 3, 9, 20):
        maps = np.broadcast_to(5 + 2 * np.cos(2 * np.pi * waves * x), (1, 1, 64, 64))
        power = power_spectra(maps.astype(np.float32))[0]
        assert power[0] == pytest.approx(25)
        bin_of_wave = 1 + np.searchsorted(edges[1:-1], waves, side="right")
        assert np.nanargmax(power[1:]) + 1 == bin_of_wave
        others = np.delete(power, [0, bin_of_wave])
        assert np.nanmax(others) < 1e-6


def test_the_power_of_all_scales_adds_up_to_the_mean_square():
    maps = np.random.default_rng(0).normal(2, 1, (20, 1, 64, 64)).astype(np.float32)
    power = power_spectra(maps)
    white = power[:, -4:].mean(axis=0) * 64**2  # white noise: sigma^2 / P^2 at every k; 20 maps: to 1.6%
    np.testing.assert_allclose(white, 1.0, rtol=0.06)
    assert power[0, 0] == pytest.approx(maps[0].astype(float).mean() ** 2)


def test_holes_and_translations_add_no_power():
    maps = np.full((1, 1, 32, 32), 3.0, np.float32)
    maps[..., :5, :] = np.nan
    assert np.nanmax(power_spectra(maps)[0, 1:]) < 1e-12
    physical = physical_maps(2, 32)[:, 1:2]
    np.testing.assert_allclose(
        power_spectra(np.roll(physical, (3, 9), axis=(2, 3))), power_spectra(physical), rtol=1e-9
    )


def test_a_blur_takes_power_from_small_scales_alone():
    from scipy.ndimage import gaussian_filter

    maps = np.random.default_rng(0).lognormal(size=(1, 1, 64, 64))
    blurred = gaussian_filter(maps, (0, 0, 2, 2), mode="wrap")
    ratio = power_spectra(blurred)[0] / power_spectra(maps)[0]
    known = ratio[~np.isnan(ratio)]
    assert known[0] == pytest.approx(1)
    assert known[-1] < 1e-3
    assert (np.diff(known) < 1e-6).all()


def test_boosting_finds_what_a_ridge_cannot():
    random = np.random.default_rng(9)
    features = random.lognormal(size=(800, 4))
    label = -10.5 + 0.5 * ((features[:, 0] > 1) ^ (features[:, 1] > 1))
    split = splits(800)
    found = fit({"fluxes": features}, label, split, 0.68)
    test = split == "test"
    error = {name: np.sqrt(np.mean((one.predicted - label)[test] ** 2)) for name, one in found.items()}
    assert error[FLUXES] > 0.2
    assert error[BOOSTING] < 0.1
    assert found[BOOSTING].choice["leaves"] > 2


def test_without_a_validation_set_whole_groups_of_the_training_set_choose_for_boosting():
    random = np.random.default_rng(10)
    identity = np.repeat(random.normal(size=60), 5)  # five twins each: a leak, if twins chose
    label = np.repeat(random.normal(-10.5, 0.5, 60), 5)
    split = np.where(np.arange(300) % 5 == 0, "test", "train").astype(object)
    group = np.repeat(np.arange(60), 5)
    sizes = {}
    for name, of_group in (("groups", group), ("rows", np.arange(300))):
        found = fit_all({"fluxes": identity[:, None]}, label, split, of_group, 0.68, seed=1)
        sizes[name] = found[BOOSTING].choice["trees"] * found[BOOSTING].choice["leaves"]
    assert sizes["groups"] < sizes["rows"] / 5


def test_a_baselines_interval_is_calibrated_as_a_networks_is():
    random = np.random.default_rng(11)
    label = random.normal(-10.5, 0.5, 40)
    split = np.array(["train"] * 30 + ["validation"] * 10, dtype=object)
    mean = fit({}, label, split, 0.68)[MEAN]
    residual = np.sort((label - mean.predicted)[30:])
    # ceil(11 x 0.84) = 10: of ten residuals the outermost, where quantiles would lie further in.
    assert mean.upper[0] - mean.predicted[0] == pytest.approx(residual[-1])
    assert mean.lower[0] - mean.predicted[0] == pytest.approx(residual[0])


def test_extract_reads_every_map_once_in_the_order_of_the_table(tmp_path):
    maps = physical_maps(24, 32)
    folder = write_sample(tmp_path, sample_table(12), maps)
    galaxies = drawn_galaxies(folder / "sample.parquet", folder / "projection.csv").iloc[::-1]
    with MapReader(folder, galaxies) as reader:
        found = extract(reader, galaxies, SILENT)
    assert list(found) == ["fluxes", "profiles", "spectrum", "cells"]
    np.testing.assert_allclose(found["fluxes"], fluxes(maps, map_identity(pixels=32))[::-1])
    np.testing.assert_allclose(found["profiles"], profiles(maps)[::-1])
    np.testing.assert_allclose(found["spectrum"], power_spectra(maps)[::-1])
    assert (found["cells"][:, 0] == galaxies["gas_cells_used"]).all()


def test_a_catalogue_without_cells_has_no_baseline_of_cells(tmp_path):
    folder = write_sample(tmp_path, sample_table(4), physical_maps(8, 32))
    galaxies = drawn_galaxies(folder / "sample.parquet", folder / "projection.csv").assign(gas_cells_used=0)
    with MapReader(folder, galaxies) as reader:
        assert "cells" not in extract(reader, galaxies, SILENT)
