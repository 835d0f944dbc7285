"""The model card: what a user of the served model must know, and nothing that the study has not shown."""

from dataclasses import replace

from evaluation_samples import SCATTER, study
from report_samples import whole

from ssfr.components.report.model_card import text
from ssfr.components.report.study import interval


def section(card, title):
    return card.split(f"## {title}\n")[1].split("\n## ")[0]


def test_it_says_what_the_model_is_on_what_it_was_trained_and_what_it_is_for():
    card = text(whole())
    assert card.startswith("# Model card: composite\n")
    for title in ("What it is", "Data", "Scores", "Limits", "Intended use", "Licence"):
        assert f"\n## {title}\n" in card
    assert r"log10(sSFR / yr^-1), of the column ssfr\_stellar\_per\_yr" in section(card, "What it is")
    said = section(card, "What it is")
    assert "entropy, mass, temperature, 16 x 16 pixels of 5.62 kpc; filter none" in said
    assert "synthetic universe" in section(card, "Data")
    assert "Not for measuring the star formation of observed galaxies" in section(card, "Intended use")
    assert "BSD-3-Clause" in section(card, "Licence")


def test_its_scores_are_those_of_the_study_with_their_intervals():
    found = whole()
    scores = found.metrics["cases"][found.best]["scores"]
    card = section(text(found), "Scores")
    for split in ("test", "promotion", "validation"):
        assert interval(scores[split]["all"]["r"]) in card
        assert interval(scores[split]["all"]["rmse"]) in card


def test_a_model_that_beats_nothing_is_not_to_be_promoted():
    assert "It may be promoted" in text(study())
    assert "not to be promoted" in text(study(scatter=SCATTER | {"composite": 0.9}))


def test_its_weights_are_named_with_their_licence():
    card = text(study(backbone={"weights": "imagenet", "sha256": "ab" * 32}))
    assert "ImageNet" in section(card, "What it is")
    assert "CC BY 4.0" in section(card, "Licence")
    card = text(study(backbone={"weights": "random", "seed": 3}))
    assert "RANDOM" in section(card, "What it is")
    assert "CC BY" not in card


def test_a_hostile_origin_is_text_and_never_markup():
    card = text(replace(study(), origin="<script>x</script>\n# [a](b) | `c`"))
    assert "<script" not in card.replace("\\<", "")
    assert "\n# [" not in card
