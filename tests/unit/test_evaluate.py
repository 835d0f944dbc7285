"""Predictions, scores and report of real model folders: complete, repeatable, resumable."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
from evaluation_samples import SCATTER, galaxies, predictions, settings
from map_samples import physical_maps, sample_table, write_sample
from training_samples import write_prepared

from components.config import Case, TrainingSettings
from components.errors import InputError
from components.evaluation import evaluate
from components.imagesets.reader import MapReader
from components.imagesets.spec import load_spec
from components.models.folder import HISTORY, write_model
from components.models.networks import build_network
from components.models.predictor import Predictor
from components.preprocessing import prepare
from components.progress import SILENT, Progress

PIXELS = 32
CASES = ("composite", "mass")
BASELINES = [case for case in SCATTER if case.startswith("baseline_")]
COLUMNS = [
    "case", "galaxy", "snapshot", "subhalo_id", "group", "split", "log10_ssfr",
    "predicted", "lower", "upper", "at_floor",
]  # fmt: skip


class Ear:
    def __init__(self):
        self.events = []

    def emit(self, event):
        self.events.append(event)


def chosen_settings(**changed):
    cases = [{"name": "composite"}, {"name": "mass", "channels": ["mass"]}]
    return settings(cases=cases, training={"compact": {"input_pixels": 16}}, **changed)


def write_untrained(folder, case, maps_dir, prepared_dir, chosen, bias=-10.0):
    """Write a model folder of a network that nobody trained."""
    folder.mkdir(parents=True)
    table = pd.read_parquet(prepared_dir / "galaxies.parquet")
    with MapReader(maps_dir, table) as reader:
        spec = load_spec(case, chosen.preprocessing, reader.attributes, prepared_dir)
    network = build_network(chosen.training, spec, chosen.seed)
    description = {
        "case": case.name,
        "model": "compact",
        "parameters": {"trainable": network.trained.count_params(), "frozen": 0},
        "training": chosen.training.model_dump(mode="json"),
        "spec": spec.model_dump(mode="json"),
        "label": {"name": "log10_ssfr", "unit": "dex of 1/yr", "offset": bias, "scale": 0.5},
        "interval": {"kind": "scaled_sigma", "factor": 1.0},
        "seed": chosen.seed,
        "backbone": network.backbone,
        "versions": {"keras": "3"},
    }
    pd.DataFrame({"epoch": [1, 2], "loss": [1.0, 0.5], "validation_loss": [1.0, 0.6]}).to_csv(
        folder / HISTORY, index=False
    )
    write_model(folder, description, network.trained.get_weights())
    return folder


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    """Maps, prepared galaxies and two models on disk."""
    root = tmp_path_factory.mktemp("inputs")
    chosen = chosen_settings()
    maps_dir = write_sample(root / "maps", sample_table(60), physical_maps(120, PIXELS))
    (maps_dir / "set_aside.csv").write_text("snapshot,subhalo_id,reason\n99,500,no gas\n")
    prepared_dir = root / "prepared"
    prepared_dir.mkdir()
    prepare.run(prepared_dir, maps_dir, maps_dir, chosen, SILENT)
    models = {
        case.name: write_untrained(root / case.name, case, maps_dir, prepared_dir, chosen)
        for case in chosen.cases
    }
    return {"model_dirs": models, "maps_dir": maps_dir, "prepared_dir": prepared_dir, "settings": chosen}


def run(output, inputs, progress=SILENT, **changed):
    output.mkdir(exist_ok=True)
    return evaluate.run(output, **(inputs | changed), progress=progress, origin="synthetic test")


@pytest.fixture(scope="module")
def result(tmp_path_factory, inputs):
    output = tmp_path_factory.mktemp("evaluation")
    return output, run(output, inputs)


def test_every_held_out_galaxy_is_predicted_by_every_case_and_baseline(result, inputs):
    table = pd.read_parquet(result[0] / "predictions.parquet")
    held_out = pd.read_parquet(inputs["prepared_dir"] / "galaxies.parquet").query("split != 'train'")
    assert list(table.columns) == COLUMNS
    assert list(table["case"].unique()) == [*CASES, *BASELINES]
    for _, case in table.groupby("case"):
        assert list(case["galaxy"]) == list(held_out["galaxy"])
        assert list(case["group"]) == list(held_out["group"])
        assert np.isfinite(case[["predicted", "lower", "upper"]]).all(axis=None)
        assert (case["lower"] <= case["upper"]).all()


def test_predictions_are_those_of_the_model_folder(result, inputs):
    table = pd.read_parquet(result[0] / "predictions.parquet").query("case == 'mass'")
    held_out = pd.read_parquet(inputs["prepared_dir"] / "galaxies.parquet").query("split != 'train'")
    with MapReader(inputs["maps_dir"], held_out) as reader:
        expected = Predictor.load(inputs["model_dirs"]["mass"]).predict_maps(
            reader.maps(np.arange(len(held_out)))
        )
    np.testing.assert_allclose(table["predicted"], expected.log10_ssfr, atol=1e-5)
    np.testing.assert_allclose(table["upper"], expected.upper, atol=1e-5)


def test_metrics_hold_scores_gains_rules_and_counts(result):
    metrics = json.loads((result[0] / "metrics.json").read_text())
    assert metrics["best_case"] in CASES
    assert metrics["beats_baselines_rule"]
    assert set(metrics["cases"]) == {*CASES, *BASELINES}
    for name, case in metrics["cases"].items():
        assert case["kind"] == ("baseline" if name.startswith("baseline_") else "model")
        test = case["scores"]["test"]["all"]
        assert test["galaxies"] == metrics["sets"]["test"]["galaxies"]
        assert test["rmse"]["lower"] <= test["rmse"]["value"] <= test["rmse"]["upper"]
        assert ("gains" in case) == (case["kind"] == "model")
    assert metrics["cases"]["baseline_mean"]["scores"]["test"]["all"]["r"]["value"] is None
    assert isinstance(metrics["cases"]["mass"]["beats_baselines"], bool)
    assert sum(count["galaxies"] for count in metrics["sets"].values()) == 120


def test_an_untrained_network_is_not_said_to_beat_the_baselines(tmp_path, inputs):
    ear = Ear()
    figures = run(tmp_path / "out", inputs, Progress(ear))
    assert not figures["beats_baselines"]
    assert figures["strongest_baseline"] in BASELINES
    warnings = [event["text"] for event in ear.events if event["kind"] == "warn"]
    assert any("does not beat every baseline" in text for text in warnings)
    assert "not to be promoted" in (tmp_path / "out" / "report.html").read_text()


def test_the_same_inputs_give_the_same_bytes(tmp_path, inputs, result):
    run(tmp_path / "again", inputs)
    for name in ("predictions.parquet", "metrics.json", "report.html", "figures/scores.png"):
        assert (tmp_path / "again" / name).read_bytes() == (result[0] / name).read_bytes()


def test_a_killed_evaluation_goes_on_with_the_cases_it_had_finished(tmp_path, inputs, result, monkeypatch):
    output = tmp_path / "killed"
    predict, done = evaluate._predict, []

    def predict_until_killed(case, *arguments):
        if case == "mass" and "mass" not in done:
            done.append(case)
            raise KeyboardInterrupt
        done.append(case)
        return predict(case, *arguments)

    monkeypatch.setattr(evaluate, "_predict", predict_until_killed)
    with pytest.raises(KeyboardInterrupt):
        run(output, inputs)
    assert not (output / "predictions.parquet").exists()
    run(output, inputs)
    assert done.count("composite") == 1
    for name in ("predictions.parquet", "metrics.json", "report.html"):
        assert (output / name).read_bytes() == (result[0] / name).read_bytes()
    assert sorted(path.name for path in output.iterdir()) == sorted(path.name for path in result[0].iterdir())


def test_nothing_is_left_behind_but_the_four_results(result):
    names = {"predictions.parquet", "metrics.json", "report.html", "figures"}
    assert {path.name for path in result[0].iterdir()} == names


def test_a_model_that_diverged_is_named(tmp_path, inputs):
    chosen = inputs["settings"]
    folder = tmp_path / "nan"
    write_untrained(
        folder, chosen.cases[0], inputs["maps_dir"], inputs["prepared_dir"], chosen, bias=float("1e39")
    )
    with pytest.raises(InputError, match=r"case 'composite' predicts no finite sSFR for \d+ of \d+ galaxies"):
        run(tmp_path / "out", inputs, model_dirs={"composite": folder})
    assert not (tmp_path / "out" / "predictions.parquet").exists()


def test_no_model_a_reserved_name_and_absent_artifacts_are_one_line_each(tmp_path, inputs):
    with pytest.raises(InputError, match="no model to evaluate"):
        run(tmp_path / "a", inputs, model_dirs={})
    with pytest.raises(InputError, match=r"'baseline_mean'.*are the baselines'"):
        run(tmp_path / "b", inputs, model_dirs={"baseline_mean": inputs["model_dirs"]["mass"]})
    with pytest.raises(InputError, match="not a model folder"):
        run(tmp_path / "c", inputs, model_dirs={"mass": tmp_path})
    with pytest.raises(InputError, match=r"galaxies\.parquet: no such file"):
        run(tmp_path / "d", inputs, prepared_dir=tmp_path)


def test_nothing_held_out_is_an_error(tmp_path, inputs):
    prepared = shutil.copytree(inputs["prepared_dir"], tmp_path / "prepared")
    table = pd.read_parquet(prepared / "galaxies.parquet").assign(split="train")
    table.to_parquet(prepared / "galaxies.parquet")
    with pytest.raises(InputError, match="no galaxy was held out"):
        run(tmp_path / "out", inputs, prepared_dir=prepared)


def test_the_best_case_is_chosen_on_validation_and_never_on_the_test_set():
    table = predictions(galaxies(150), {"good": 0.2, "lucky": 0.4} | SCATTER)
    lucky = (table["case"] == "lucky") & (table["split"] == "test")
    table.loc[lucky, "predicted"] = table.loc[lucky, "log10_ssfr"]
    metrics = evaluate.assess(table, settings())
    assert metrics["cases"]["lucky"]["scores"]["test"]["all"]["rmse"]["value"] == 0.0
    assert metrics["best_case"] != "lucky"


def test_a_model_beats_the_baselines_only_if_it_beats_each_on_the_promotion_set():
    table = galaxies(150)
    for scatter, beats in ((0.05, True), (0.9, False)):
        found = evaluate.assess(predictions(table, SCATTER | {"composite": scatter}), settings())
        case = found["cases"]["composite"]
        gains = case["gains"]["promotion"]["all"]
        assert case["beats_baselines"] == beats
        assert case["not_beaten"] == [name for name in gains if gains[name]["rmse"]["value"] <= 0]


def test_gains_are_differences_of_scores_on_the_same_galaxies():
    found = evaluate.assess(predictions(galaxies(150), SCATTER), settings())["cases"]
    for split in evaluate.HELD_OUT:
        for population in evaluate.POPULATIONS:
            gain = found["composite"]["gains"][split][population]["baseline_fluxes"]
            model, baseline = (
                found[case]["scores"][split][population] for case in ("composite", "baseline_fluxes")
            )
            assert gain["rmse"]["value"] == pytest.approx(baseline["rmse"]["value"] - model["rmse"]["value"])
            assert gain["r"]["value"] == pytest.approx(model["r"]["value"] - baseline["r"]["value"])


def test_scores_are_given_with_and_without_the_floored_galaxies():
    table = galaxies(150)
    predicted = predictions(table, SCATTER)
    floored = predicted["at_floor"] & (predicted["case"] == "composite")
    predicted.loc[floored, "predicted"] += 3.0
    found = evaluate.assess(predicted, settings())["cases"]["composite"]["scores"]["test"]
    counts = evaluate.sets(table)["test"]
    assert found["all"]["galaxies"] - found["above_floor"]["galaxies"] == counts["at_floor"] > 0
    assert found["all"]["rmse"]["value"] > 2 * found["above_floor"]["rmse"]["value"]


def test_an_empty_set_has_null_scores():
    table = galaxies(150)
    table = table[table["split"] != "promotion"]
    found = evaluate.assess(predictions(table, SCATTER), settings())["cases"]["composite"]
    assert found["scores"]["promotion"]["all"]["rmse"] == {"value": None, "lower": None, "upper": None}
    assert found["beats_baselines"] is False


def test_an_image_catalogue_has_no_baseline_of_cells(tmp_path):
    pictures = np.random.default_rng(0).integers(0, 255, (40, 3, PIXELS, PIXELS), dtype=np.uint8)
    label = np.random.default_rng(1).normal(-10.5, 0.5, 40)
    maps_dir, prepared_dir = write_prepared(tmp_path, pictures, label)
    table = pd.read_parquet(prepared_dir / "galaxies.parquet")
    table = table.assign(
        galaxy=[f"run-{i % 2}/a long folder of faces, $x^2/face_{i:03d}" for i in range(40)],
        snapshot=0, subhalo_id=np.arange(40), group=np.arange(40), in_tree=False,
        zero_sfr=False, at_floor=False, gas_cells_used=0,
    )  # fmt: skip
    table.loc[::7, "split"] = "promotion"
    table.to_parquet(prepared_dir / "galaxies.parquet")
    (prepared_dir / "preparation.json").write_text('{"zero_sfr": 0}')
    colours = ("red", "green", "blue")
    chosen = settings(
        cases=[{"name": "composite", "channels": colours}],
        training=TrainingSettings(compact={"input_pixels": 16}).model_dump(),
    )
    case = Case(name="composite", channels=colours)
    folder = write_untrained(tmp_path / "model", case, maps_dir, prepared_dir, chosen)
    output = tmp_path / "out"
    output.mkdir()
    evaluate.run(output, {"composite": folder}, maps_dir, prepared_dir, chosen, SILENT, "EAGLE images")
    metrics = json.loads((output / "metrics.json").read_text())
    assert "baseline_cells" not in metrics["cases"]
    named = pd.read_parquet(output / "predictions.parquet")["galaxy"]
    assert set(named) == set(table.loc[table["split"] != "train", "galaxy"])
    text = (output / "report.html").read_text()
    assert "sSFR from images" in text
    assert "no count of gas cells" in text


def test_without_validation_and_promotion_sets_the_report_is_still_whole(tmp_path, inputs):
    split = {"validation": 0.0, "promotion": 0.0}
    chosen = chosen_settings(preprocessing={"split": split})
    prepared_dir = tmp_path / "prepared"
    prepared_dir.mkdir()
    prepare.run(prepared_dir, inputs["maps_dir"], inputs["maps_dir"], chosen, SILENT)
    models = {}
    for case in chosen.cases:
        folder = tmp_path / case.name
        models[case.name] = write_untrained(folder, case, inputs["maps_dir"], prepared_dir, chosen)
        history = pd.read_csv(folder / HISTORY).assign(validation_loss=float("nan"))
        history.to_csv(folder / HISTORY, index=False)
    output = tmp_path / "out"
    changed = {"model_dirs": models, "prepared_dir": prepared_dir, "settings": chosen}
    figures = run(output, inputs, **changed)
    assert not figures["beats_baselines"]
    assert set(pd.read_parquet(output / "predictions.parquet")["split"]) == {"test"}
    assert (output / "figures" / "training.png").is_file()
    assert "There is no validation set" in (output / "report.html").read_text()
