"""Champion or challenger: when the label stable moves, and what is said."""

import json
import math

import pandas as pd
import pytest

from ssfr.components.config import DeploymentSettings
from ssfr.components.deployment.promotion import Candidate, ChampionScore, decide, rmse_dex
from ssfr.components.errors import InputError
from ssfr.components.results.files import METRICS_FORMAT


def candidate(error_dex=0.2, beats=True, not_beaten=(), promotion=4):
    """A model whose every prediction is off by `error_dex`."""
    splits = ["promotion"] * promotion + ["test", "test"]
    truth = [-10.0 - 0.1 * i for i in range(len(splits))]
    table = pd.DataFrame(
        {"split": splits, "label": truth, "predicted": [value + error_dex for value in truth]}
    )
    return Candidate("composite", beats, not_beaten, table)


def test_the_first_model_that_beats_the_baselines_is_the_champion():
    verdict = decide(candidate(), None, DeploymentSettings())
    assert verdict.promoted


def test_a_model_that_does_not_beat_the_baselines_is_no_champion_even_if_it_is_the_first():
    challenger = candidate(beats=False, not_beaten=("baseline_profiles",))
    verdict = decide(challenger, None, DeploymentSettings())
    assert not verdict.promoted
    assert "baseline_profiles" in verdict.reason


def test_the_baselines_can_be_left_out_of_it():
    settings = DeploymentSettings(require_beats_baselines=False)
    assert decide(candidate(beats=False), None, settings).promoted


def test_a_better_challenger_is_promoted_and_the_reason_has_both_figures():
    verdict = decide(candidate(0.2), ChampionScore(3, 0.25), DeploymentSettings())
    assert verdict.promoted
    assert verdict.figures["challenger_rmse_dex"] == pytest.approx(0.2)
    assert verdict.figures["champion_rmse_dex"] == 0.25
    assert "0.2000" in verdict.reason
    assert "0.2500" in verdict.reason


def test_a_tie_leaves_the_champion():
    challenger = candidate(0.2)
    held_out = challenger.of("promotion")
    own = rmse_dex(held_out["label"], held_out["predicted"])
    assert not decide(challenger, ChampionScore(3, own), DeploymentSettings()).promoted


@pytest.mark.parametrize(("margin", "promoted"), [(0.04, True), (0.06, False)])
def test_the_gain_must_exceed_the_margin(margin, promoted):
    verdict = decide(candidate(0.2), ChampionScore(3, 0.25), DeploymentSettings(margin_dex=margin))
    assert verdict.promoted is promoted


def test_only_the_promotion_set_counts():
    challenger = candidate(0.2)
    test = challenger.predictions["split"] == "test"
    challenger.predictions.loc[test, "predicted"] = 0.0
    assert decide(challenger, ChampionScore(3, 0.25), DeploymentSettings()).promoted


def test_a_champion_that_can_not_be_asked_stays():
    verdict = decide(candidate(), ChampionScore(3, problem="fields: its are mass"), DeploymentSettings())
    assert not verdict.promoted
    assert "version 3: fields: its are mass" in verdict.reason


def test_without_promotion_galaxies_the_champion_stays():
    verdict = decide(candidate(promotion=0), ChampionScore(3), DeploymentSettings())
    assert not verdict.promoted
    assert "no promotion galaxies" in verdict.reason
    assert verdict.figures["challenger_rmse_dex"] is None


@pytest.mark.parametrize(
    "champion", [None, ChampionScore(3, 0.25), ChampionScore(3, problem="damaged", usable=False)]
)
def test_a_challenger_that_predicts_no_number_is_never_promoted(champion):
    challenger = candidate(math.nan)
    verdict = decide(challenger, champion, DeploymentSettings(require_beats_baselines=False))
    assert not verdict.promoted
    assert "not all finite" in verdict.reason


def test_without_promotion_galaxies_the_first_model_can_be_the_champion():
    assert decide(candidate(promotion=0), None, DeploymentSettings()).promoted


@pytest.mark.parametrize("promotion", [0, 4])
def test_a_champion_that_can_not_be_used_is_replaced_by_what_beats_the_baselines(promotion):
    champion = ChampionScore(3, problem="damaged", usable=False)
    verdict = decide(candidate(promotion=promotion), champion, DeploymentSettings())
    assert verdict.promoted
    assert "version 3, can't be used: damaged" in verdict.reason
    beaten = candidate(beats=False, not_beaten=("baseline_profiles",), promotion=promotion)
    assert not decide(beaten, champion, DeploymentSettings()).promoted


def test_the_best_case_is_read_from_the_evaluation(tmp_path):
    cases = {"mass": {"beats_baselines": False, "not_beaten": ["baseline_mean"]}}
    (tmp_path / "metrics.json").write_text(
        json.dumps({"format": METRICS_FORMAT, "best_case": "mass", "cases": cases})
    )
    pd.DataFrame({"case": ["mass", "other"], "split": ["test", "test"]}).to_parquet(
        tmp_path / "predictions.parquet"
    )
    found = Candidate.read(tmp_path)
    assert (found.case, found.beats_baselines, found.not_beaten) == ("mass", False, ("baseline_mean",))
    assert len(found.predictions) == 1


def test_metrics_without_a_best_case_are_named(tmp_path):
    (tmp_path / "metrics.json").write_text(json.dumps({"format": METRICS_FORMAT}))
    with pytest.raises(InputError, match=r"metrics\.json: no best_case"):
        Candidate.read(tmp_path)
    (tmp_path / "metrics.json").write_text(json.dumps({"format": METRICS_FORMAT - 1, "best_case": "mass"}))
    with pytest.raises(InputError, match=r"metrics\.json: format 2, expected 3; evaluate again"):
        Candidate.read(tmp_path)
