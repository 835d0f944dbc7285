"""What metrics.json says: the choice of the best case, gains, differences, seeds, milestones, the audit."""

import json
import math

import numpy as np
import pandas as pd
import pytest
from evaluation_samples import (
    SCATTER,
    TEN_CASES,
    extra_predictions,
    galaxies,
    predictions,
    settings,
    whole_study,
)

from ssfr.components.evaluation.assess import HELD_OUT, POPULATIONS, assess, group_word, sets
from ssfr.components.evaluation.audit import audit, same_galaxy
from ssfr.components.statistics.bootstrap import Resamples
from ssfr.components.statistics.differences import Networks, pairs, seed_sigma
from ssfr.components.statistics.scores import Sample


def assessed(predicted, table=None, extra=None):
    table = galaxies(150) if table is None else table
    if extra is None:
        extra = extra_predictions(table, {}, audit_case=None)
    return assess(predicted, extra, table, settings(), {})


def sample(truth, predicted, group=None):
    truth, predicted = np.asarray(truth, float), np.asarray(predicted, float)
    group = np.arange(len(truth)) if group is None else group
    return Sample(truth, predicted, predicted - 0.3, predicted + 0.3, np.asarray(group))


@pytest.fixture(scope="module")
def whole():
    return whole_study().metrics


def test_the_best_case_is_chosen_on_validation_and_never_on_the_test_set():
    table = predictions(galaxies(150), {"good": 0.2, "lucky": 0.4} | SCATTER)
    lucky = (table["case"] == "lucky") & (table["split"] == "test")
    table.loc[lucky, "predicted"] = table.loc[lucky, "label"]
    metrics = assessed(table)
    assert metrics["cases"]["lucky"]["scores"]["test"]["all"]["rmse"]["value"] == 0.0
    assert metrics["best_case"] != "lucky"


def test_a_model_beats_the_baselines_only_if_it_beats_each_on_the_promotion_set():
    table = galaxies(150)
    for scatter, beats in ((0.05, True), (0.9, False)):
        found = assessed(predictions(table, SCATTER | {"composite": scatter}), table)
        case = found["cases"]["composite"]
        gains = case["gains"]["promotion"]["all"]
        assert case["beats_baselines"] == beats
        assert case["not_beaten"] == [name for name in gains if gains[name]["rmse"]["value"] <= 0]


def test_gains_are_differences_of_scores_on_the_same_galaxies():
    found = assessed(predictions(galaxies(150), SCATTER))["cases"]
    for split in HELD_OUT:
        for population in POPULATIONS:
            gain = found["composite"]["gains"][split][population]["baseline_fluxes"]
            model, baseline = (
                found[case]["scores"][split][population] for case in ("composite", "baseline_fluxes")
            )
            assert gain["rmse"]["value"] == pytest.approx(baseline["rmse"]["value"] - model["rmse"]["value"])
            assert gain["r"]["value"] == pytest.approx(model["r"]["value"] - baseline["r"]["value"])


def test_scores_are_given_with_and_without_the_censored_galaxies():
    table = galaxies(150)
    predicted = predictions(table, SCATTER)
    censored = predicted["censored"] & (predicted["case"] == "composite")
    predicted.loc[censored, "predicted"] += 3.0
    found = assessed(predicted, table)["cases"]["composite"]["scores"]["test"]
    counts = sets(table)["test"]
    assert found["all"]["galaxies"] - found["uncensored"]["galaxies"] == counts["censored"] > 0
    assert found["all"]["rmse"]["value"] > 2 * found["uncensored"]["rmse"]["value"]


def test_an_empty_set_has_null_scores():
    table = galaxies(150)
    table = table[table["split"] != "promotion"]
    found = assessed(predictions(table, SCATTER), table)["cases"]["composite"]
    assert found["scores"]["promotion"]["all"]["rmse"] == {"value": None, "lower": None, "upper": None}
    assert found["beats_baselines"] is False


def test_the_rule_says_on_which_set_the_best_case_was_chosen():
    table = galaxies(150)
    for absent, words in (
        (("validation",), "on the promotion set (all galaxies); there is no validation set"),
        (("validation", "promotion"), "the first case; there is neither"),
    ):
        left = table[~table["split"].isin(absent)]
        found = assessed(predictions(left, {"first": 0.5, "best": 0.1} | SCATTER), left)
        assert words in found["best_case_rule"]
        assert found["best_case"] == ("first" if len(absent) == 2 else "best")


def test_beating_the_baselines_comes_with_the_size_of_the_set_and_a_probability():
    for trees, sure in ((20, False), (400, True)):
        table = galaxies(trees, seed=3)
        scatter = SCATTER | {"composite": 0.27}
        case = assessed(predictions(table, scatter), table)["cases"]["composite"]
        promotion = case["promotion"]
        assert promotion["galaxies"] == (table["split"] == "promotion").sum()
        hardest = case["gains"]["promotion"]["all"][promotion["hardest"]]["rmse"]
        assert promotion["probability"] == hardest["probability"]
        assert (promotion["probability"] > 0.9) == sure


def test_only_models_have_gains(whole):
    for case in whole["cases"].values():
        assert ("gains" in case) == (case["kind"] == "model")
    assert "baseline_mean" in whole["cases"]["mass"]["gains"]["test"]["all"]


def test_everything_is_plain_json(whole):
    assert json.loads(json.dumps(whole, allow_nan=False)) == whole


def test_every_pair_of_models_is_compared_on_every_set(whole):
    models = [case for case in TEN_CASES if case != "blur5"]
    for split in HELD_OUT:
        for population in ("differences", "differences_uncensored"):
            found = {(one["a"], one["b"], one["metric"]) for one in whole[population][split]}
            assert len(found) == len(models) * (len(models) - 1)  # two metrics, each pair once


def test_a_difference_is_that_of_the_means_over_seeds(whole):
    for one in whole["differences"]["test"]:
        mean = {
            case: np.mean([seed["test"][one["metric"]] for seed in whole["cases"][case]["seeds"].values()])
            for case in (one["a"], one["b"])
        }
        sign = 1 if one["metric"] == "r" else -1
        assert one["value"] == pytest.approx(sign * (mean[one["a"]] - mean[one["b"]]))
        assert one["lower"] <= one["value"] <= one["upper"]


def test_a_difference_that_seeds_alone_could_make_is_not_sure():
    random = np.random.default_rng(0)
    truth = random.normal(-10, 1, 400)
    shared = random.normal(0, 0.3, 400)
    resamples = Resamples(np.arange(400), 400, 1)

    def networks(errors):
        samples = {str(i): sample(truth, truth + shared * error) for i, error in enumerate(errors)}
        return Networks.score(samples, resamples)

    for errors, sure in (((1.0, 1.001, 0.999), True), ((1.0, 1.4, 0.6), False)):
        found = {"a": networks(errors), "b": networks(np.array(errors) + 0.05)}
        (difference,) = [one for one in pairs(found, 400, 0.95, 1) if one["metric"] == "rmse"]
        assert difference["value"] == pytest.approx(0.05 * 0.3, rel=0.1)
        assert (difference["probability"] > 0.99) == sure
        assert (difference["lower"] > 0) == sure
        assert difference["seed_sigma"] == pytest.approx(seed_sigma(found, "rmse"))


def test_the_spread_of_seeds_is_pooled_over_cases_and_needs_two():
    def networks(values):
        return Networks({"r": np.array(values)}, {})

    found = {"a": networks([0.1, 0.3]), "b": networks([0.5, 0.5]), "c": networks([0.9])}
    assert seed_sigma(found, "r") == pytest.approx(math.sqrt(0.02 / 2))
    assert seed_sigma({"c": networks([0.9])}, "r") is None
    assert networks([0.9]).spread()["r"] == {"mean": 0.9, "std": None, "min": 0.9, "max": 0.9}


def test_without_seeds_the_probability_is_that_of_the_galaxies_alone():
    table = galaxies(150)
    found = assessed(predictions(table, SCATTER | {"mass": 0.4}), table)
    (difference,) = [one for one in found["differences"]["test"] if one["metric"] == "rmse"]
    assert (difference["a"], difference["b"]) == ("composite", "mass")
    assert difference["value"] > 0
    assert difference["probability"] == 1.0
    assert difference["seed_sigma"] is None


def test_milestones_are_scored_like_the_case(whole):
    case = whole["cases"]["mass"]
    assert list(case["milestones"]) == ["500", "1000"]
    by_epoch = [case["milestones"][epoch]["test"]["all"] for epoch in ("500", "1000")]
    assert set(by_epoch[0]) == set(case["scores"]["test"]["all"])
    assert by_epoch[0]["rmse"]["value"] > by_epoch[1]["rmse"]["value"]


def test_a_failed_case_is_scored_nothing_and_compared_with_none(whole):
    failed = whole["cases"]["blur5"]
    assert "not finite" in failed["failed"]
    assert failed["scores"]["test"]["all"]["rmse"]["value"] is None
    assert not failed["beats_baselines"]
    assert whole["best_case"] != "blur5"


def test_the_audit_finds_the_gap_between_methods(whole):
    found = whole["audit"]
    assert found["case"] == "composite"
    assert list(found["methods"]) == ["random", "halo", "tree"]
    assert found["methods"]["tree"]["groups"] < found["methods"]["tree"]["galaxies"]
    gap = found["gap"]["random-tree"]
    r = {method: score["r"]["value"] for method, score in found["methods"].items()}
    assert gap["value"] == pytest.approx(r["random"] - r["tree"])
    assert gap["lower"] > 0
    assert set(found["gap"]) == {"random-halo", "random-tree", "halo-tree"}


def test_a_gap_takes_seeds_and_both_test_sets_into_account():
    random = np.random.default_rng(1)
    truth = random.normal(-10, 1, 600)
    samples = {
        method: sample(truth, truth + random.normal(0, 0.5, 600), np.arange(600) // 3)
        for method in ("random", "tree")
    }
    widths = []
    for sigma in (None, 0.05):
        gap = audit("composite", samples, 500, 0.95, 1, sigma)["gap"]["random-tree"]
        widths.append(gap["upper"] - gap["lower"])
        assert gap["lower"] < 0 < gap["upper"]
    assert widths[1] > 2 * widths[0]
    # two training scatters, and what resampling gives by itself, add in quadrature
    assert widths[1] == pytest.approx(math.hypot(2 * 1.96 * math.hypot(0.05, 0.05), widths[0]), rel=0.1)


def test_the_audit_resamples_a_galaxy_with_all_its_times():
    table = galaxies(20).assign(group=np.arange(40))  # as a random split names groups
    same = same_galaxy(table)
    assert (same[:20] == same[20:]).all()
    assert len(np.unique(same)) == 20
    lonely = same_galaxy(table.assign(in_tree=False))
    assert len(np.unique(lonely)) == 40


@pytest.mark.parametrize(
    ("method", "in_tree", "images", "word"),
    [
        ("tree", True, False, "merger trees"),
        ("tree", False, False, "halos"),
        ("halo", True, False, "halos"),
        ("random", True, False, "galaxies"),
        ("random", True, True, "groups of the catalogue"),
        ("tree", True, True, "groups of the catalogue"),
        ("random", False, True, "galaxies"),
        ("column", False, True, "groups of the catalogue"),
    ],
)
def test_groups_are_called_what_they_are(method, in_tree, images, word):
    table = pd.DataFrame({"in_tree": [in_tree, False]})
    if images:
        table["file"] = ["a.png", "b.png"]
    split = {"method": method}
    if method == "column":
        split |= {"column": "run", "column_values": {"a": "train", "b": "test"}}
    assert group_word(table, settings(preprocessing={"split": split})) == word
