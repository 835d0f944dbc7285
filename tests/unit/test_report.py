"""The page: self-contained, escaped, and honest about data, weights, sample size and baselines."""

import csv
import io
import re
from dataclasses import replace
from html.parser import HTMLParser

import pandas as pd
import pytest
from evaluation_samples import SCATTER, galaxies, predictions, settings, study
from PIL import Image
from report_samples import BANDS, THESIS_CASES, whole

from ssfr.components.evaluation.assess import assess
from ssfr.components.report import page as pages
from ssfr.components.report.drawing import Drawings, Drawn
from ssfr.components.report.prose import caveats, verdict
from ssfr.components.report.study import interval, number, probability
from ssfr.components.report.tables import tables


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


def reassessed(predicted, table, chosen):
    """Return a study of other predictions."""
    found = study(chosen=chosen)
    extra = found.extra_predictions.iloc[:0]
    metrics = assess(predicted, extra, table, chosen, {})
    return replace(found, predictions=predicted, metrics=metrics, galaxies=table, extra_predictions=extra)


def read(text):
    reader = Reader()
    reader.feed(text)
    assert reader.open == []
    return reader


@pytest.fixture(scope="module")
def figure(tmp_path_factory):
    path = tmp_path_factory.mktemp("figures") / "scores.png"
    Image.new("RGB", (8, 8), "red").save(path)
    return path


def page(found, figures=None, left_out=None):
    drawn = {name: Drawn(path, name, "A caption.", "wide") for name, path in (figures or {}).items()}
    return pages.page(found, Drawings(drawn, left_out or {}), tables(found))


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
    attack = "<script>alert(1)</script>\"' onload=x {{ title }} {% raw %} &lt;"
    hostile = study(origin=attack)
    hostile.rejected["reason"] = attack
    hostile.metrics["cases"]["composite"]["description"] = attack
    hostile.models["composite"]["backbone"] = {"weights": attack, "sha256": attack}
    text = page(hostile, {"scores": figure})
    reader = read(text)
    assert "script" not in reader.tags
    assert "<script" not in text
    assert not any(value == "x" for value in reader.values)
    assert attack in "".join(reader.text)


def test_a_galaxy_and_a_case_called_script_are_text(figure):
    found = whole()
    case, galaxy = "<script>case</script>", "<script src=galaxy>"
    found.metrics["cases"][case] = {"kind": "model", "description": case, "failed": galaxy}
    drawn = {"gallery": Drawn(figure, case, f"The galaxy {galaxy}.", "wide")}
    text = pages.page(found, Drawings(drawn, {f"Figure 9: {case}": galaxy}), tables(found))
    reader = read(text)
    assert "script" not in reader.tags
    assert f"The galaxy {galaxy}." in reader.values  # the alternative text of the picture
    shown = "".join(reader.text)
    assert f"Case {case} failed: {galaxy}" in shown
    assert f"Figure 9: {case}: {galaxy}." in shown


def test_the_headline_names_the_data_the_model_the_sample_and_the_seeds():
    found = study(origin="recommended preset; data: universe 4", chosen=settings(training={"seeds": 2}))
    text = "".join(read(page(found)).text)
    for said in (
        "recommended preset; data: universe 4. 298 galaxies in 149 merger trees at 2 snapshots; 1 case; "
        "weights trained from scratch; seeds 1, 2.",
        "compact CNN",
    ):
        assert said in text


@pytest.mark.parametrize("origin", ["EAGLE L0025", "synthetic preset; data: simulation synthetic-tests"])
def test_data_are_called_synthetic_only_if_they_are_whatever_the_user_calls_them(origin):
    real = replace(study(origin=origin), synthetic=False)
    text = page(real)
    assert "synthetic data" not in text
    assert origin in text
    assert not any("synthetic" in caveat for caveat in caveats(real))
    assert "synthetic data" in page(replace(study(origin="TNG50-1"), synthetic=True))


def test_a_case_that_was_started_more_than_once_is_named_with_the_reason():
    found = study()
    models = {
        case: {**model, "broken_starts": ["dead", "dead again"]} for case, model in found.models.items()
    }
    assert any(
        "took 3 starts" in caveat and "dead again" in caveat
        for caveat in caveats(replace(found, models=models))
    )
    assert not any("starts" in caveat for caveat in caveats(found))


def test_several_views_of_a_galaxy_are_said_to_be_so():
    chosen = settings(projection={"orientation": "random", "views": 3})
    found = study(chosen=chosen)
    assert "Each galaxy is seen from 3 random directions" in page(found)
    assert f"{len(found.galaxies)} views of galaxies" in page(found)
    assert "views of galaxies" not in page(study())


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


def test_every_baseline_is_beside_the_model_with_and_without_the_censored_galaxies():
    found = study()
    text = "".join(read(page(found, {})).text)
    for name in SCATTER:
        assert found.label(name) in text
    counts = found.metrics["sets"]["test"]
    assert counts["censored"] > 0
    assert f"All {counts['galaxies']} galaxies, {counts['censored']} censored" in text
    assert f"Only the {counts['galaxies'] - counts['censored']} uncensored galaxies" in text


def test_sets_counts_and_what_was_rejected_are_listed():
    found = study()
    found.preparation.update(
        dropped_zero_sfr=3, pixels_clipped_high=11, pixels_clipped_low=0, pixels_in_all=900
    )
    text = "".join(read(page(found, {})).text)
    assert "Rejected: 2, no gas." in text
    assert "3 galaxies with SFR = 0 were dropped" in text
    assert "11 pixels clipped at 255 and 0 at 0, of 900" in text


def test_the_verdict_of_a_model_that_beats_every_baseline():
    lines = verdict(study())
    assert "composite predicts log10(sSFR / yr^-1) with RMSE" in lines[0]
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
    found = reassessed(predicted, table, chosen)
    assert found.metrics["cases"]["composite"]["beats_baselines"]
    assert 'class="verdict "' in page(found, {})


def test_without_a_promotion_set_nothing_may_be_promoted():
    table, chosen = galaxies(150), settings()
    table = table[table["split"] != "promotion"].reset_index(drop=True)
    found = reassessed(predictions(table, SCATTER), table, chosen)
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
    assert text.count("scale_galaxies") == 1


def test_numbers_have_a_true_minus_and_a_dash_where_not_defined():
    assert number(-0.1234) == "−0.123"
    assert number(None) == "–"
    assert interval({"value": 0.5, "lower": 0.4, "upper": 0.61}) == "0.500 [0.400, 0.610]"
    assert interval({"value": 0.5, "lower": None, "upper": None}) == "0.500"


def test_the_same_study_gives_the_same_page(figure):
    assert page(study(), {"scores": figure}) == page(study(), {"scores": figure})


def test_a_probability_is_no_surer_than_the_resamples_can_show():
    assert probability(1.0, 500) == "> 99.8%"
    assert probability(0.0, 500) == "< 0.2%"
    assert probability(0.998, 500) == "99.8%"
    assert probability(1.0, 100) == "> 99%"
    assert probability(None, 100) == "–"
    found = study()  # of 100 resamples
    text = "".join(read(page(found)).text)
    assert "> 99%" in text
    assert "99.9%" not in text
    assert "100.0%" not in text
    gains = found.metrics["cases"]["composite"]["promotion"]
    assert f"lowest probability: > 99%, over the {found.label(gains['hardest'])}" in verdict(found)[-1]


def test_tables_name_the_set_that_they_are_of():
    table, chosen = galaxies(150), settings()
    table = table[table["split"] != "test"].reset_index(drop=True)
    found = tables(reassessed(predictions(table, SCATTER), table, chosen))
    gains = found["gains_composite"]
    assert "RMSE, promotion [dex]" in gains.columns
    assert not any("test" in column for column in gains.columns)
    assert "scores_test" not in found
    assert "scores_promotion" in found


@pytest.mark.parametrize(("in_tree", "word"), [(True, "groups of the catalogue"), (False, "galaxies")])
def test_groups_of_an_image_catalogue_are_its_own_under_a_random_split_too(in_tree, word):
    table = galaxies(150).assign(file="a.png", in_tree=in_tree)
    chosen = settings(preprocessing={"split": {"method": "random"}})
    found = reassessed(predictions(table, SCATTER), table, chosen)
    assert found.groups == word
    assert found.metrics["groups"] == word


def test_a_case_that_failed_is_named_with_its_reason_and_has_no_scores():
    found = whole()
    text = "".join(read(page(found)).text)
    assert "Case blur5 failed: the loss is not finite in epoch 3" in text
    assert "9 cases (1 more failed)" in text
    assert all(row[0] != "blur5" for row in tables(found)["scores_test"].rows)
    assert any("blur5" in caveat for caveat in caveats(found))


def test_the_findings_are_printed_before_all_else():
    text = "".join(read(page(whole())).text)
    assert text.index("Which property predicts it best: ") < text.index("The best case: composite.")


def test_figures_that_are_left_out_are_said_to_be():
    text = "".join(read(page(study(), left_out={"Figure 4.4: blurs": "the run has no such cases"})).text)
    assert "Figure 4.4: blurs: the run has no such cases." in text


def test_every_table_is_csv_with_every_digit():
    found = tables(whole())
    assert {
        "table_iii_1",
        "scores_test",
        "scores_test_uncensored",
        "gains_mass",
        "differences_r",
        "differences_rmse",
        "seeds",
        "audit",
        "scale_sweep",
        "sets",
    } <= set(found)
    for table in found.values():
        rows = list(csv.reader(io.StringIO(table.csv())))
        assert len(rows) == 1 + len(table.rows)
        assert {len(row) for row in rows} == {len(rows[0])}
    scores = list(csv.DictReader(io.StringIO(found["scores_test"].csv())))
    known = whole().metrics["cases"]["temperature"]["scores"]["test"]["all"]["r"]
    temperature = next(row for row in scores if row["case"] == "temperature")
    assert float(temperature["Pearson r"]) == known["value"]
    assert float(temperature["Pearson r, lower"]) == known["lower"]


def test_table_iii_1_has_each_snapshot_with_its_redshift_and_ssfr():
    found = whole()
    rows = list(csv.DictReader(io.StringIO(tables(found)["table_iii_1"].csv())))
    assert [row["snapshot"] for row in rows] == ["99", "95", "all"]
    own = found.galaxies[found.galaxies["snapshot"] == 95]
    assert float(rows[1]["z"]) == pytest.approx(0.0485)
    assert int(rows[1]["galaxies"]) == len(own)
    assert float(rows[1]["mean sSFR"]) == pytest.approx(own["ssfr_stellar_per_yr"].mean())
    assert float(rows[1]["min sSFR"]) == own.loc[own["sfr_msun_per_yr"] > 0, "ssfr_stellar_per_yr"].min()
    assert int(rows[1]["SFR = 0"]) == own["zero_sfr"].sum()


def test_a_difference_is_told_from_the_better_case():
    table = tables(whole())["differences_r"]
    assert all(row[1]["value"] >= 0 for row in table.rows)
    known = whole().metrics["differences_uncensored"]["test"]
    first = next(
        one for one in known if (one["a"], one["b"], one["metric"]) == ("entropy", "temperature", "r")
    )
    assert first["value"] < 0
    shown = next(row for row in table.rows if row[0] == "temperature over entropy")
    assert shown[1]["lower"] == -first["upper"]
    assert shown[2] == pytest.approx(1 - first["probability"])


def test_cases_are_sorted_by_what_they_are_and_by_their_scale():
    cases = whole(cases={**THESIS_CASES, "blur5": BANDS["band3"]}).cases
    assert cases.composite == cases.main == "composite"
    assert cases.channels == ("entropy", "mass", "temperature")
    assert cases.of_mass == "mass"
    assert cases.gaussians == ("blur3", "blur10")
    assert cases.high_passes == ("structures3", "structures5", "structures10")


def test_of_several_seeds_only_the_first_network_is_drawn():
    found = whole()
    both = pd.concat([found.predictions.assign(seed=seed) for seed in (1, 2)])
    twice = replace(found, predictions=both)
    assert len(twice.predicted("mass", "test")) == len(found.predicted("mass", "test"))


def test_without_a_validation_set_the_method_does_not_speak_of_one():
    table = galaxies(100)
    table = table[table["split"] != "validation"]
    chosen = settings()
    found = reassessed(predictions(table, SCATTER), table, chosen)
    assert "for there is no validation set" in page(found)
    assert "interval from the validation set" in page(study())
