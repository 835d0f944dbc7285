"""On universes whose law is known the study finds what was put in, and the audit finds the leak."""

import numpy as np
import pytest

from benchmarks.truth import Size, audit, study, verdict
from ssfr.components.statistics.verdict import findings

pytestmark = pytest.mark.slow

SMALL = Size(
    galaxies=500,
    cells=(3000, 9000),
    pixels=64,
    epochs=25,
    seeds=1,
    audit_trees=60,
    audit_pixels=32,
    audit_epochs=40,
)


def answers(metrics):
    return {(one.question, one.about): one for one in findings(metrics)}


def test_small_clumps_in_mass_are_found_as_such(tmp_path):
    cases = ("mass", "temperature", "mass-blur3", "mass-structures3")
    metrics = study(tmp_path / "run", "mass_clumps", cases, SMALL)
    expected = {
        ("prediction", ""): "yes",
        ("property", ""): "mass",
        ("scale", "mass"): "below 3 kpc",
    }
    for figure in verdict("mass_clumps", metrics, expected):
        assert figure["found"] == figure["expected"], figure["text"]
    assert answers(metrics)["scale", "mass"].probability > 0.95


def test_temperature_is_found_where_nothing_else_matters(tmp_path):
    metrics = study(tmp_path / "run", "temperature", ("mass", "temperature"), SMALL)
    found = answers(metrics)
    assert found["property", ""].answer == "temperature"
    assert found["property", ""].probability > 0.99
    assert metrics["cases"]["temperature"]["scores"]["test"]["all"]["r"]["lower"] > 0.3


def test_nothing_is_found_where_nothing_is(tmp_path):
    metrics = study(tmp_path / "run", "none", ("mass", "temperature"), SMALL)
    (one,) = findings(metrics)
    assert one.answer == "no"
    for case in ("mass", "temperature"):
        r = metrics["cases"][case]["scores"]["test"]["all"]["r"]
        assert r["value"] is None or r["lower"] < 0 < r["upper"]


def test_a_random_split_leaks_where_galaxies_come_again_and_not_where_they_do_not(tmp_path):
    gaps = {}
    for many in (True, False):
        found = audit(tmp_path / str(many), many, SMALL)["audit"]
        gaps[many] = found["gap"]["random-tree"]
        assert np.ptp([score["galaxies"] for score in found["methods"].values()]) <= 11
    assert gaps[True]["lower"] > 0.1
    assert gaps[False]["lower"] < 0 < gaps[False]["upper"]
