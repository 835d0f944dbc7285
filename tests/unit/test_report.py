"""The page: self-contained, escaped, and honest about data, weights, sample size and baselines."""

import re
from html.parser import HTMLParser

import pytest
from evaluation_samples import SCATTER, galaxies, predictions, settings, study

from components.evaluation.evaluate import assess, sets
from components.evaluation.report import page
from components.evaluation.study import caveats, interval, number, verdict

PNG = b"\x89PNG\r\n\x1a\n"


class Reader(HTMLParser):
    """Collects tags, attributes and text, and checks that what is opened is closed."""

    def __init__(self):
        super().__init__()
        self.open, self.tags, self.values, self.text = [], [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.values += [value for _, value in attrs if value]
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def read(text):
    reader = Reader()
    reader.feed(text)
    assert reader.open == []
    return reader


@pytest.fixture(scope="module")
def figure(tmp_path_factory):
    path = tmp_path_factory.mktemp("figures") / "scores.png"
    path.write_bytes(PNG + bytes(100))
    return path


def test_the_page_is_one_file_without_scripts_or_anything_from_elsewhere(figure):
    text = page(study(), {"scores": figure, "gallery": figure})
    reader = read(text)
    assert "://" not in text
    assert not {"script", "link", "iframe", "object", "form"} & set(reader.tags)
    assert text.count("data:image/png;base64,") == reader.tags.count("img") == 2
    assert "default-src 'none'" in text
    assert "width=device-width" in text
    assert "prefers-color-scheme: dark" in text


def test_a_hostile_origin_case_or_reason_is_text_and_never_markup(figure):
    attack = "<script>alert(1)</script>\"' onload=x ${title} $headline &lt;"
    hostile = study(origin=attack)
    hostile.set_aside["reason"] = attack
    hostile.metrics["cases"]["composite"]["description"] = attack
    hostile.models["composite"]["backbone"] = {"weights": attack, "sha256": attack}
    text = page(hostile, {"scores": figure})
    reader = read(text)
    assert "script" not in reader.tags
    assert "<script" not in text
    assert not any(value == "x" for value in reader.values)
    assert attack in "".join(reader.text)


def test_the_headline_names_the_data_the_model_the_sample_and_the_seed():
    text = "".join(read(page(study(origin="synthetic universe of seed 4"), {})).text)
    for said in (
        "synthetic universe of seed 4",
        "synthetic data",
        "compact CNN",
        "298 galaxies in 149 merger trees",
        "Seed",
    ):
        assert said in text


def test_data_are_called_synthetic_only_if_they_are():
    text = page(study(origin="EAGLE L0025"), {})
    assert "synthetic data" not in text
    assert "EAGLE L0025" in text


def test_random_weights_are_shouted_and_imagenet_named_with_its_digest():
    text = page(study(backbone={"weights": "random", "seed": 3}), {})
    assert "RANDOM weights" in text
    assert "never pretrained" in text
    text = page(study(backbone={"weights": "imagenet", "sha256": "ab" * 32}), {})
    assert "RANDOM" not in text
    assert "ImageNet (SHA-256 abababababababab…)" in text


def test_a_small_sample_is_said_to_be_small():
    assert "small sample" in page(study(trees=100), {})
    assert "small sample" not in page(study(trees=600), {})


def test_every_baseline_is_beside_the_model_with_and_without_the_floored_galaxies():
    found = study()
    text = "".join(read(page(found, {})).text)
    for name in SCATTER:
        assert found.label(name) in text
    counts = found.metrics["sets"]["test"]
    assert counts["at_floor"] > 0
    assert f"All {counts['galaxies']} galaxies, {counts['at_floor']} at the floor" in text
    assert f"Only the {counts['galaxies'] - counts['at_floor']} galaxies above the floor" in text


def test_sets_counts_and_what_was_set_aside_are_listed():
    found = study()
    found.preparation.update(
        dropped_zero_sfr=3, pixels_clipped_high=11, pixels_clipped_low=0, pixels_in_all=900
    )
    text = "".join(read(page(found, {})).text)
    assert "Set aside: 2, no gas." in text
    assert "3 galaxies with SFR = 0 were dropped" in text
    assert "11 pixels clipped at 255 and 0 at 0, of 900" in text


def test_the_verdict_of_a_model_that_beats_every_baseline():
    lines = verdict(study())
    assert "composite predicts log10 sSFR with RMSE" in lines[0]
    assert "Its RMSE is lower than that of the strongest baseline there, ridge on radial profiles" in lines[1]
    assert "excludes zero" in lines[1]
    assert "better than every baseline" in lines[2]
    assert 'class="verdict beats"' in page(study(), {})


def test_the_verdict_of_a_model_that_learned_nothing():
    found = study(scatter=SCATTER | {"composite": 0.9})
    lines = verdict(found)
    assert "Its RMSE is higher than that of the strongest baseline there" in lines[1]
    assert "does not beat: ridge on integrated fluxes, number of gas cells alone, ridge on radial" in lines[2]
    assert "not to be promoted" in lines[2]
    assert 'class="verdict "' in page(found, {})


def test_a_model_that_is_worse_on_the_test_set_is_not_shown_as_good():
    table, chosen = galaxies(150), settings()
    predicted = predictions(table, SCATTER)
    bad = (predicted["case"] == "composite") & (predicted["split"] == "test")
    predicted.loc[bad, "predicted"] += 2.0
    found = study()
    found.metrics.clear()
    found.metrics.update(assess(predicted, chosen) | {"sets": sets(table)})
    assert found.metrics["cases"]["composite"]["beats_baselines"]
    assert 'class="verdict "' in page(found, {})


def test_without_a_promotion_set_nothing_may_be_promoted():
    table, chosen = galaxies(150), settings()
    table = table[table["split"] != "promotion"].reset_index(drop=True)
    found = study()
    found.metrics.clear()
    found.metrics.update(assess(predictions(table, SCATTER), chosen) | {"sets": sets(table)})
    assert not found.metrics["cases"]["composite"]["beats_baselines"]
    assert "promotion set is empty" in verdict(found)[-1]
    page(found, {})


def too_good(found):
    return [caveat for caveat in caveats(found) if "too good" in caveat]


@pytest.mark.parametrize("method", ["random", "halo"])
def test_a_split_that_parts_twins_over_snapshots_is_a_caveat(method):
    chosen = settings(preprocessing={"split": {"method": method}})
    found = study(chosen=chosen)
    assert f"{len(found.galaxies)} of {len(found.galaxies)} galaxies" in too_good(found)[0]
    found.galaxies["snapshot"] = 99
    assert not too_good(found)


def test_galaxies_in_no_tree_are_a_caveat_of_a_split_by_trees():
    found = study()
    assert not too_good(found)
    found.galaxies.loc[:6, "in_tree"] = False
    assert f"7 of {len(found.galaxies)} galaxies" in too_good(found)[0]


def test_a_baseline_that_cannot_be_had_is_said_to_be_left_out():
    without = {case: sigma for case, sigma in SCATTER.items() if case != "baseline_cells"}
    assert any("count of gas cells" in caveat for caveat in caveats(study(scatter=without)))
    assert not any("count of gas cells: that" in caveat for caveat in caveats(study()))


def test_the_settings_that_differ_are_shown_and_all_of_them_are_kept():
    text = "".join(read(page(study(chosen=settings(training={"epochs": 77})), {})).text)
    assert len(re.findall(r"epochs: 77", text)) == 2
    assert "bootstrap: 100" in text
    assert text.count("young_star_age_myr") == 1


def test_numbers_have_a_true_minus_and_a_dash_where_not_defined():
    assert number(-0.1234) == "−0.123"
    assert number(None) == "–"
    assert interval({"value": 0.5, "lower": 0.4, "upper": 0.61}) == "0.500 [0.400, 0.610]"
    assert interval({"value": 0.5, "lower": None, "upper": None}) == "0.500"


def test_the_same_study_gives_the_same_page(figure):
    assert page(study(), {"scores": figure}) == page(study(), {"scores": figure})
