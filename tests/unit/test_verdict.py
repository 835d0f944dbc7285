"""The verdict on studies whose scatter is known: what predicts best, at which scale, and what stays open."""

import pandas as pd
import pytest
from evaluation_samples import (
    BASELINES,
    TEN_CASES,
    extra_predictions,
    galaxies,
    predictions,
    settings,
    ten_case_settings,
)

from ssfr.components.evaluation.assess import assess
from ssfr.components.statistics.verdict import findings

PARTS = [
    {"name": "fine", "filter": {"kind": "high_pass", "sigma": 1, "unit": "kpc"}},
    {"name": "middle", "filter": {"kind": "band", "sigma": 1, "sigma_max": 3, "unit": "kpc"}},
    {"name": "coarse", "filter": {"kind": "gaussian", "sigma": 3, "unit": "kpc"}},
    {"name": "beside", "filter": {"kind": "gaussian", "sigma": 1, "unit": "kpc"}},
]


def found(scatter, trees=300, absent=(), chosen=None, **changed):
    """Return (question, about) -> finding for cases with a scatter each [dex]; None: a guess at random."""
    table = galaxies(trees)
    table = table[~table["split"].isin(absent)]
    known = {case: sigma for case, sigma in scatter.items() if sigma is not None} | BASELINES
    predicted = predictions(table, {case: scatter.get(case) or 0.5 for case in (*scatter, *BASELINES)})
    for number, case in enumerate(case for case in scatter if case not in known):
        rows = predicted["case"] == case
        mixed = predicted.loc[rows, "label"].sample(frac=1.0, random_state=number)
        predicted.loc[rows, "predicted"] = mixed.to_numpy()
    extra = extra_predictions(table, {}, audit_case=None)
    metrics = assess(predicted, extra, table, chosen or ten_case_settings(**changed), {})
    return {(one.question, one.about): one for one in findings(metrics)}


ALL = "entropy+mass+temperature"
SCALES = [case for case in TEN_CASES if case.startswith(("blur", "structures"))]


def test_the_property_that_predicts_best_is_named_with_its_probability():
    one = found({"temperature": 0.2, "mass": 0.6, "entropy": 0.8})["property", ""]
    assert one.answer == "temperature"
    assert one.probability > 0.99
    assert one.text.startswith("Temperature has a higher r than mass by 0.")


def test_properties_that_predict_alike_are_left_open():
    one = found({"temperature": 0.30, "mass": 0.30, "entropy": 0.8})["property", ""]
    assert one.answer is None
    assert "stays open" in one.text


def test_without_a_prediction_no_other_question_is_answered():
    answers = found(dict.fromkeys(("temperature", "mass", "entropy")))
    assert list(answers) == [("prediction", "")]
    one = answers["prediction", ""]
    assert one.answer == "no"
    assert "not above 0" in one.text


def test_a_case_above_0_that_was_not_chosen_is_named_and_decides_nothing():
    table = galaxies(300)
    predicted = predictions(table, {"mass": 0.3, "entropy": 0.3} | BASELINES)
    # On the validation set entropy leads, on the test set it guesses.
    for case, split in (("mass", "validation"), ("entropy", "test")):
        rows = (predicted["case"] == case) & (predicted["split"] == split)
        mixed = predicted.loc[rows, "label"].sample(frac=1.0, random_state=3)
        predicted.loc[rows, "predicted"] = mixed.to_numpy()
    metrics = assess(predicted, extra_predictions(table, {}, audit_case=None), table, ten_case_settings(), {})
    (one,) = findings(metrics)
    assert one.answer is None
    assert one.text.startswith("entropy, the case with the highest r on the validation set")
    assert "Others are above 0 (mass 0." in one.text


def test_censored_galaxies_are_no_prediction():
    # Told from the others by their lack of gas alone, they would give an r above 0.
    table = galaxies(300)
    predicted = predictions(table, {"mass": 0.5} | BASELINES)
    own = (predicted["case"] == "mass") & ~predicted["censored"]
    mixed = predicted.loc[own, "label"].sample(frac=1.0, random_state=1)
    predicted.loc[own, "predicted"] = mixed.to_numpy()
    metrics = assess(predicted, extra_predictions(table, {}, audit_case=None), table, ten_case_settings(), {})
    assert metrics["cases"]["mass"]["scores"]["test"]["all"]["r"]["lower"] > 0.1
    (one,) = findings(metrics)
    assert one.answer == "no"
    assert "uncensored" in one.text


@pytest.mark.parametrize(
    ("changed", "answer"),
    [
        ({"blur3": 0.6, "blur5": 0.6, "blur10": 0.6, "structures3": 0.2, "structures5": 0.2,
          "structures10": 0.2}, "below 3 px"),
        ({"blur3": 0.2, "blur5": 0.2, "blur10": 0.2, "structures3": 0.6, "structures5": 0.6,
          "structures10": 0.6}, "above 10 px"),
        ({"blur3": 0.2, "blur5": 0.3, "blur10": 0.6, "structures3": 0.6, "structures5": 0.3,
          "structures10": 0.2}, "3 to 10 px"),
        (dict.fromkeys(SCALES, 0.3), None),
    ],
)  # fmt: skip
def test_the_scale_that_predicts_best_is_bracketed(changed, answer):
    one = found({"composite": 0.2} | changed)["scale", ALL]
    assert one.answer == answer
    assert (one.probability is None) == (answer is None)


@pytest.mark.parametrize(
    ("scatter", "answer"),
    [
        ({"fine": 0.2, "middle": 0.8, "coarse": 0.9}, "below 1 kpc"),
        ({"fine": 0.9, "middle": 0.2, "coarse": 0.8}, "1 to 3 kpc"),
        ({"fine": 0.9, "middle": 0.8, "coarse": 0.2}, "above 3 kpc"),
        ({"fine": 0.3, "middle": 0.3, "coarse": 0.9}, None),
    ],
)
def test_of_the_parts_that_add_up_to_the_maps_the_best_one_is_named(scatter, answer):
    one = found({**scatter, "beside": 0.1}, chosen=settings(cases=PARTS))["part", ALL]
    assert one.answer == answer
    assert ("stays open" in one.text) == (answer is None)
    assert "1 to 3 kpc" in one.text


@pytest.mark.parametrize("missing", ["fine", "middle", "coarse"])
def test_parts_with_a_gap_are_not_compared(missing):
    scatter = {case: 0.3 for case in ("fine", "middle", "coarse") if case != missing}
    answers = found(scatter, chosen=settings(cases=PARTS))
    assert answers["prediction", ""].answer == "yes"
    assert ("part", ALL) not in answers


def test_parts_are_found_beside_cases_that_lead_nowhere():
    wider = {"kind": "high_pass", "sigma": 3, "unit": "kpc"}
    band = {"kind": "band", "sigma": 3, "sigma_max": 10, "unit": "kpc"}
    blur = {"kind": "gaussian", "sigma": 10, "unit": "kpc"}
    rows = [{"name": n, "filter": f} for n, f in (("wider", wider), ("band", band), ("blur", blur))]
    one = found(
        {"fine": 0.1, "wider": 0.2, "band": 0.8, "blur": 0.9}, chosen=settings(cases=[PARTS[0], *rows])
    )
    assert one["part", ALL].answer == "below 3 kpc"


def test_a_leader_that_falls_behind_is_said_to():
    table = galaxies(300)
    chosen = settings(cases=PARTS)
    predicted = predictions(table, {"fine": 0.3, "middle": 0.6, "coarse": 0.9} | BASELINES)
    better = predictions(table, {"fine": 0.9, "middle": 0.3, "coarse": 0.9} | BASELINES)
    mixed = pd.concat([predicted[predicted["split"] != "test"], better[better["split"] == "test"]])
    metrics = assess(mixed, extra_predictions(table, {}, audit_case=None), table, chosen, {})
    (one,) = (one for one in findings(metrics) if one.question == "part")
    assert one.answer is None
    assert "scales below 1 kpc have a lower r than scales 1 to 3 kpc by 0." in one.text


def test_blurs_alone_say_what_is_missed_and_answer_nothing():
    # That a blur loses something does not tell how well the lost part predicts, nor that the rest is worse.
    one = found({"composite": 0.3, "blur3": 0.25, "blur10": 0.9})["scale", ALL]
    assert one.answer is None
    assert "without scales below 10 px, r is lower by" in one.text


def test_a_combination_that_predicts_worse_is_said_with_the_probability_of_that():
    one = found({"composite": 0.9, "mass": 0.2, "temperature": 0.8})["combination", ""]
    assert one.answer == "no"
    assert one.probability > 0.95
    assert "have a lower r than mass by 0." in one.text


def test_several_channels_may_predict_better_than_the_best_one():
    for scatter, answer in ((0.1, "yes"), (0.6, "no")):
        one = found({"composite": scatter, "mass": 0.3, "entropy": 0.5})["combination", ""]
        assert one.answer == answer


def test_a_combination_under_another_filter_is_said_to_be():
    fine = {"kind": "high_pass", "sigma": 1, "unit": "kpc"}
    chosen = settings(
        cases=[{"name": "mass-fine", "channels": ["mass"], "filter": fine}, {"name": "all"}],
    )
    one = found({"mass-fine": 0.5, "all": 0.1}, chosen=chosen)["combination", ""]
    assert one.answer == "yes"
    assert "different filters" in one.text
    assert "different filters" not in found({"mass": 0.5, "composite": 0.1})["combination", ""].text


def test_without_a_validation_set_the_verdict_is_still_given():
    answers = found({"temperature": 0.2, "mass": 0.8}, absent=("validation", "promotion"))
    assert answers["property", ""].answer == "temperature"


def test_a_failed_case_and_a_single_one_are_no_obstacle():
    table = galaxies(100)
    predicted = predictions(table, {"composite": 0.2} | BASELINES)
    extra = extra_predictions(table, {}, audit_case=None)
    metrics = assess(predicted, extra, table, ten_case_settings(), {"mass": "the loss is not finite"})
    assert [one.question for one in findings(metrics)] == ["prediction"]


def test_one_group_leaves_everything_open():
    table = galaxies(100)
    table["group"] = (table["split"] == "train").astype(int)
    predicted = predictions(table, {"mass": 0.2, "entropy": 0.6} | BASELINES)
    metrics = assess(predicted, extra_predictions(table, {}, audit_case=None), table, ten_case_settings(), {})
    (one,) = findings(metrics)
    assert one.answer is None
    assert "too few independent ones" in one.text
