"""Scores against their definitions, intervals against what sampling theory expects."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from scipy import stats

from ssfr.components.statistics.bootstrap import Resamples, gain, with_interval
from ssfr.components.statistics.scores import NAMES, Sample, gains, nmad, resampled_scores, scores


def sample(truth, predicted, half_width=1.0, group=None):
    truth, predicted = np.asarray(truth, float), np.asarray(predicted, float)
    group = np.arange(len(truth)) if group is None else np.asarray(group)
    return Sample(truth, predicted, predicted - half_width, predicted + half_width, group)


def test_scores_of_four_galaxies_by_hand():
    found = scores(sample([-10.0, -11.0, -12.0, -13.0], [-10.0, -11.0, -12.0, -11.0], half_width=1.0))
    assert found["rmse"] == pytest.approx(1.0)  # one residual of 2 dex in four
    assert found["bias"] == pytest.approx(0.5)
    assert found["nmad"] == 0.0  # three of four agree
    assert found["coverage"] == 0.75
    assert found["r"] == pytest.approx(2 / math.sqrt(5 * 2))  # sums xy, xx and yy about the means


def test_scores_agree_with_scipy_on_random_galaxies():
    random = np.random.default_rng(0)
    truth = random.normal(-10.5, 0.7, 500)
    predicted = 0.6 * truth + random.normal(-4, 0.4, 500)
    found = scores(sample(truth, predicted))
    assert found["r"] == pytest.approx(stats.pearsonr(truth, predicted).statistic, abs=1e-12)
    assert found["nmad"] == pytest.approx(
        stats.median_abs_deviation(predicted - truth, scale="normal"), rel=1e-9
    )
    assert found["nmad"] == pytest.approx(nmad(predicted - truth))


def test_nmad_of_a_gaussian_is_its_sigma_and_ignores_outliers():
    residual = stats.norm.ppf((np.arange(4000) + 0.5) / 4000, scale=0.3)
    assert nmad(residual) == pytest.approx(0.3, rel=1e-3)
    assert nmad(np.append(residual, np.full(100, 50.0))) == pytest.approx(0.3, rel=0.05)


@hypothesis_settings(deadline=None)  # a loaded machine is no counterexample
@given(st.lists(st.floats(-3, 3), min_size=1, max_size=12), st.integers(0, 2**31))
def test_a_resample_scores_as_the_galaxies_it_repeats(residuals, seed):
    truth = np.linspace(-12, -9, len(residuals))
    one = sample(truth, truth + residuals)
    resamples = Resamples(one.group, 3, seed)
    drawn = resampled_scores(one, resamples)
    weights = [row for block in resamples.weights() for row in block]
    for index, row in enumerate(weights):
        rows = np.repeat(np.arange(len(truth)), row.astype(int))
        expected = scores(sample(one.truth[rows], one.predicted[rows]))
        for name in set(NAMES) - {"r"}:
            assert drawn[name][index] == pytest.approx(expected[name], abs=1e-7)
        if min(one.truth[rows].std(), one.predicted[rows].std()) > 1e-2:  # elsewhere r is near undefined
            assert drawn["r"][index] == pytest.approx(expected["r"], abs=1e-7)


def test_r_of_a_constant_prediction_is_not_defined_and_is_null_in_json():
    random = np.random.default_rng(1)
    constant = sample(random.normal(-10, 1, 50), np.full(50, np.float32(-10.3)))
    found = scores(constant)
    assert math.isnan(found["r"])
    assert found["rmse"] > 0
    drawn = resampled_scores(constant, Resamples(constant.group, 100, 1))
    assert np.isnan(drawn["r"]).all()
    assert with_interval(found["r"], drawn["r"], 0.95).to_json() == {
        "value": None,
        "lower": None,
        "upper": None,
    }


def test_one_group_has_a_score_but_no_interval():
    one = sample([-10, -11, -12], [-10.1, -11, -11.8], group=[7, 7, 7])
    found, drawn = scores(one), resampled_scores(one, Resamples(one.group, 100, 1))
    result = with_interval(found["rmse"], drawn["rmse"], 0.95).to_json()
    assert result["value"] == pytest.approx(math.sqrt(0.05 / 3))
    assert result["lower"] is None
    assert result["upper"] is None


def test_no_galaxy_has_no_score():
    none = sample([], [])
    assert all(math.isnan(value) for value in scores(none).values())
    assert all(
        np.isnan(draws).all() for draws in resampled_scores(none, Resamples(none.group, 100, 1)).values()
    )


def test_an_interval_needs_half_of_the_resamples():
    draws = np.append(np.full(60, np.nan), np.linspace(0, 1, 40))
    assert math.isnan(with_interval(0.5, draws, 0.9).lower)
    assert with_interval(0.5, draws[30:], 0.9).upper == pytest.approx(0.95)


def test_groups_of_correlated_galaxies_give_wider_intervals_than_rows():
    random = np.random.default_rng(2)
    trees, twins = 400, 11
    truth = np.repeat(random.normal(-10.5, 0.7, trees), twins)
    predicted = truth + np.repeat(random.normal(0, 0.4, trees), twins) + random.normal(0, 0.02, len(truth))
    widths = {}
    for name, group in (
        ("trees", np.repeat(np.arange(trees), twins)),
        ("rows", np.arange(trees * twins)),
    ):
        one = sample(truth, predicted, group=group)
        drawn = resampled_scores(one, Resamples(one.group, 2000, 1))
        interval = with_interval(scores(one)["rmse"], drawn["rmse"], 0.95)
        widths[name] = interval.upper - interval.lower
    assert widths["trees"] / widths["rows"] == pytest.approx(math.sqrt(twins), rel=0.1)


def test_the_interval_of_the_bias_is_that_of_a_mean():
    random = np.random.default_rng(3)
    residual = random.normal(0.1, 0.3, 400)
    one = sample(np.linspace(-12, -9, 400), np.linspace(-12, -9, 400) + residual)
    interval = with_interval(0.1, resampled_scores(one, Resamples(one.group, 2000, 1))["bias"], 0.95)
    expected = 1.96 * residual.std() / 20
    assert (interval.upper - interval.lower) / 2 == pytest.approx(expected, rel=0.1)


def test_a_percentile_interval_covers_the_truth_as_often_as_it_says():
    random = np.random.default_rng(4)
    covered = 0
    for trial in range(200):
        residual = random.normal(0, 0.3, 80)
        one = sample(np.linspace(-12, -9, 80), np.linspace(-12, -9, 80) + residual)
        interval = with_interval(0.3, resampled_scores(one, Resamples(one.group, 200, trial))["rmse"], 0.9)
        covered += interval.lower <= 0.3 <= interval.upper
    assert 0.8 <= covered / 200 <= 0.95


def test_a_paired_gain_covers_the_known_difference_and_is_narrower_than_unpaired():
    random = np.random.default_rng(5)
    truth = random.normal(-10.5, 0.7, 300)
    shared = random.normal(0, 0.5, 300)  # what neither can know
    model = sample(truth, truth + shared)
    baseline = sample(truth, truth + shared + random.normal(0, 0.3, 300))
    known = math.hypot(0.5, 0.3) - 0.5
    resamples = Resamples(model.group, 1000, 1)
    first, second = resampled_scores(model, resamples), resampled_scores(baseline, resamples)
    found = gains(scores(model), first, scores(baseline), second, 0.95)
    assert found["rmse"].lower <= known <= found["rmse"].upper
    assert found["rmse"].lower > 0
    assert found["rmse"].probability == 1.0
    assert found["r"].value > 0
    other = resampled_scores(baseline, Resamples(model.group, 1000, 2))
    unpaired = gain(known, other["rmse"] - first["rmse"], 0.95)
    assert found["rmse"].upper - found["rmse"].lower < 0.8 * (unpaired.upper - unpaired.lower)


def test_a_model_gains_nothing_over_itself():
    one = sample([-10, -11, -12, -10.5], [-10.2, -11.1, -11.8, -10.3])
    drawn = resampled_scores(one, Resamples(one.group, 100, 1))
    found = gains(scores(one), drawn, scores(one), drawn, 0.95)["rmse"]
    assert (found.value, found.lower, found.upper, found.probability) == (0.0, 0.0, 0.0, 0.5)


def test_gain_in_r_over_a_constant_is_not_defined_but_that_in_rmse_is():
    random = np.random.default_rng(6)
    truth = random.normal(-10.5, 0.7, 60)
    model, mean = sample(truth, truth + 0.1), sample(truth, np.full(60, -10.5))
    resamples = Resamples(model.group, 200, 1)
    found = gains(
        scores(model),
        resampled_scores(model, resamples),
        scores(mean),
        resampled_scores(mean, resamples),
        0.95,
    )
    assert found["rmse"].probability == 1.0
    assert found["r"].to_json() == {"value": None, "lower": None, "upper": None, "probability": None}


def test_the_same_seed_gives_the_same_resamples_whatever_the_names_of_the_groups():
    first = list(Resamples(np.array([5, 9, 5, 20]), 50, 3).weights())
    again = list(Resamples(np.array([0, 1, 0, 2]), 50, 3).weights())
    np.testing.assert_array_equal(np.concatenate(first), np.concatenate(again))
    other = list(Resamples(np.array([0, 1, 0, 2]), 50, 4).weights())
    assert not np.array_equal(np.concatenate(first), np.concatenate(other))


def test_resamples_come_in_blocks_of_bounded_size():
    resamples = Resamples(np.arange(150_000), 100, 1)
    block = next(resamples.weights())
    assert block.size <= 2_000_000
    assert block.sum(axis=1) == pytest.approx(150_000)
