"""Predictions, scores and report of real model folders: complete, repeatable, resumable."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import h5py
import numpy as np
import pandas as pd
import pytest
from evaluation_samples import BASELINES, settings
from identities import map_attribute, map_identity
from kfp.dsl import Metrics
from map_samples import physical_maps, sample_table, write_sample
from training_samples import write_prepared

from ssfr.components.config import Case, TrainingSettings
from ssfr.components.errors import InputError
from ssfr.components.evaluation import evaluate
from ssfr.components.evaluation import predict as predict_case
from ssfr.components.evaluation.component import evaluation
from ssfr.components.identity.labels import LABEL, LabelIdentity
from ssfr.components.imagesets.reader import MapReader, load_spec
from ssfr.components.models.architecture import architecture_of
from ssfr.components.models.folder import HISTORY, write_failure, write_model
from ssfr.components.models.predictor import Predictor
from ssfr.components.preprocessing import prepare
from ssfr.components.report.component import report
from ssfr.components.report.write import run as report_of
from ssfr.components.runtime.progress import SILENT, Progress
from ssfr.components.storage.artifact import publish, read_json, write_json

PIXELS = 32
CASES = ("composite", "mass")
COLUMNS = [
    "case", "seed", "galaxy", "snapshot", "subhalo_id", "view", "group", "split", "label",
    "censored", "predicted", "lower", "upper",
]  # fmt: skip


RESULTS = ("predictions.parquet", "extra_predictions.parquet", "metrics.json")


class Ear:
    def __init__(self):
        self.events = []

    def emit(self, event):
        self.events.append(event)


def chosen_settings(**changed):
    cases = [{"name": "composite"}, {"name": "mass", "channels": ["mass"]}]
    return settings(cases=cases, **{"training": {"compact": {"input_pixels": 16}}} | changed)


def write_untrained(folder, case, maps_dir, prepared_dir, chosen, bias=-10.0, seed=None):
    """Write a model folder of a network that nobody trained."""
    folder.mkdir(parents=True)
    seed = chosen.seed if seed is None else seed
    spec = load_spec(case, chosen.preprocessing, maps_dir, prepared_dir)
    label = LabelIdentity.of_table(prepared_dir / "galaxies.parquet")
    network = architecture_of(chosen.training).network(spec, seed)
    description = {
        "case": case.name,
        "model": "compact",
        "parameters": {"trainable": network.trained.count_params(), "frozen": 0},
        "training": chosen.training.model_dump(mode="json"),
        "spec": spec.model_dump(mode="json"),
        "label": {"identity": label.model_dump(mode="json"), "offset": bias, "scale": 0.5},
        "interval": {"kind": "scaled_sigma", "factor": 1.0},
        "seed": seed,
        "backbone": network.frozen.origin,
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
    (maps_dir / "rejected.csv").write_text("snapshot,subhalo_id,view,reason\n99,500,0,no gas\n")
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
    return evaluate.run(output, **(inputs | changed), progress=progress)


def write_report(output, evaluation_dir, inputs, **changed):
    output.mkdir()
    report_of(output, evaluation_dir, **(inputs | changed), origin="made up", synthetic=True)
    return (output / "report.html").read_text()


def warnings_of(ear):
    return [event["text"] for event in ear.events if event["kind"] == "warn"]


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
    np.testing.assert_allclose(table["predicted"], expected.predicted, atol=1e-5)
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
    assert any("does not beat every baseline" in text for text in warnings_of(ear))


def test_the_same_inputs_give_the_same_bytes(tmp_path, inputs, result):
    run(tmp_path / "again", inputs)
    for name in RESULTS:
        assert (tmp_path / "again" / name).read_bytes() == (result[0] / name).read_bytes()


def test_a_killed_evaluation_goes_on_with_the_cases_it_had_finished(tmp_path, inputs, result, monkeypatch):
    output = tmp_path / "killed"
    predict, done = predict_case.predict_case, []

    def predict_until_killed(case, *arguments):
        if case == "mass" and "mass" not in done:
            done.append(case)
            raise KeyboardInterrupt
        done.append(case)
        return predict(case, *arguments)

    monkeypatch.setattr(predict_case, "predict_case", predict_until_killed)
    with pytest.raises(KeyboardInterrupt):
        run(output, inputs)
    assert not (output / "predictions.parquet").exists()
    run(output, inputs)
    assert done.count("composite") == 1
    for name in RESULTS:
        assert (output / name).read_bytes() == (result[0] / name).read_bytes()
    assert sorted(path.name for path in output.iterdir()) == sorted(path.name for path in result[0].iterdir())


def test_nothing_is_left_behind_but_the_three_results(result):
    assert {path.name for path in result[0].iterdir()} == set(RESULTS)


def test_a_model_that_diverged_is_named(tmp_path, inputs):
    chosen = inputs["settings"]
    folder = tmp_path / "nan"
    write_untrained(
        folder, chosen.cases[0], inputs["maps_dir"], inputs["prepared_dir"], chosen, bias=float("1e39")
    )
    with pytest.raises(
        InputError, match=r"case 'composite' predicts no finite label for \d+ of \d+ galaxies"
    ):
        run(tmp_path / "out", inputs, model_dirs={"composite": folder})
    assert not (tmp_path / "out" / "predictions.parquet").exists()


def test_no_model_and_absent_artifacts_are_one_line_each(tmp_path, inputs):
    with pytest.raises(InputError, match="no model to evaluate"):
        run(tmp_path / "a", inputs, model_dirs={})
    with pytest.raises(InputError, match="not a model folder"):
        run(tmp_path / "c", inputs, model_dirs={"mass": tmp_path})
    with pytest.raises(InputError, match=r"galaxies\.parquet: no such file"):
        run(tmp_path / "d", inputs, prepared_dir=tmp_path)


def test_a_model_of_other_maps_than_these_is_refused(tmp_path, inputs):
    drawn = tmp_path / "maps"
    shutil.copytree(inputs["maps_dir"], drawn)
    for path in drawn.glob("maps-*.h5"):
        with h5py.File(path, "a") as file:
            file.attrs.update(map_attribute(map_identity(pixels=PIXELS, width=45.0, gas_of="halo")))
    with pytest.raises(InputError) as refused:
        run(tmp_path / "out", inputs, maps_dir=drawn)
    assert "model.json: other maps than those of" in str(refused.value)
    assert "width: 90 kpc, not 45 kpc; gas_of: subhalo, not halo" in str(refused.value)


def test_a_model_of_other_labels_than_these_is_refused(tmp_path, inputs):
    prepared = tmp_path / "prepared"
    shutil.copytree(inputs["prepared_dir"], prepared)
    table = pd.read_parquet(prepared / "galaxies.parquet")
    table.attrs[LABEL] |= {"mass": "total"}
    table.to_parquet(prepared / "galaxies.parquet")
    with pytest.raises(InputError, match=r"model\.json: other labels .*: mass: stellar, not total"):
        run(tmp_path / "out", inputs, prepared_dir=prepared)


def test_nothing_held_out_is_an_error(tmp_path, inputs):
    prepared = shutil.copytree(inputs["prepared_dir"], tmp_path / "prepared")
    table = pd.read_parquet(prepared / "galaxies.parquet").assign(split="train")
    table.to_parquet(prepared / "galaxies.parquet")
    with pytest.raises(InputError, match="no galaxy was held out"):
        run(tmp_path / "out", inputs, prepared_dir=prepared)


@pytest.mark.slow
def test_an_image_catalogue_has_no_baseline_of_cells(tmp_path):
    pictures = np.random.default_rng(0).integers(0, 255, (40, 3, PIXELS, PIXELS), dtype=np.uint8)
    label = np.random.default_rng(1).normal(-10.5, 0.5, 40)
    maps_dir, prepared_dir = write_prepared(tmp_path, pictures, label)
    table = pd.read_parquet(prepared_dir / "galaxies.parquet")
    table = table.assign(
        galaxy=[f"run-{i % 2}/a long folder of faces, $x^2/face_{i:03d}" for i in range(40)],
        snapshot=0, subhalo_id=np.arange(40), view=0, group=np.arange(40), in_tree=False,
        zero_sfr=False, censored=False, gas_cells_used=0,
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
    changed = {
        "model_dirs": {"composite": folder},
        "maps_dir": maps_dir,
        "prepared_dir": prepared_dir,
        "settings": chosen,
    }
    evaluate.run(output, **changed, progress=SILENT)
    metrics = json.loads((output / "metrics.json").read_text())
    assert "baseline_cells" not in metrics["cases"]
    named = pd.read_parquet(output / "predictions.parquet")["galaxy"]
    assert set(named) == set(table.loc[table["split"] != "train", "galaxy"])
    text = write_report(tmp_path / "page", output, changed)
    assert "images" in text
    assert "no count of gas cells" in text


@pytest.mark.slow
def test_without_validation_and_promotion_sets_the_report_is_still_whole(tmp_path, inputs):
    split = {"validation": 0.0, "promotion": 0.0}
    training = {"compact": {"input_pixels": 16}, "keep": "last"}
    chosen = chosen_settings(preprocessing={"split": split}, training=training)
    prepared_dir = tmp_path / "prepared"
    prepared_dir.mkdir()
    prepare.run(prepared_dir, inputs["maps_dir"], inputs["maps_dir"], chosen, SILENT)
    models = {}
    for case in chosen.cases:
        folder = tmp_path / case.name
        models[case.name] = write_untrained(folder, case, inputs["maps_dir"], prepared_dir, chosen)
        history = pd.read_csv(folder / HISTORY).assign(validation_loss=float("nan"))
        history.to_csv(folder / HISTORY, index=False)
    output, ear = tmp_path / "out", Ear()
    changed = {"model_dirs": models, "prepared_dir": prepared_dir, "settings": chosen}
    figures = run(output, inputs, Progress(ear), **changed)
    assert not figures["beats_baselines"]
    assert set(pd.read_parquet(output / "predictions.parquet")["split"]) == {"test"}
    assert any("the promotion set is empty" in text for text in warnings_of(ear))
    assert not any("does not beat" in text for text in warnings_of(ear))
    metrics = json.loads((output / "metrics.json").read_text())
    assert metrics["best_case"] == "composite"
    assert metrics["best_case_rule"].startswith("the first case; there is neither")
    assert "There is no validation set" in write_report(tmp_path / "page", output, inputs, **changed)
    assert (tmp_path / "page" / "figures" / "training.png").is_file()


def audit_table(prepared_dir):
    """The galaxies with the splits of the audit."""
    galaxies, splits = (
        pd.read_parquet(prepared_dir / f"{name}.parquet") for name in ("galaxies", "audit_splits")
    )
    return galaxies.merge(splits, on="galaxy")


def write_audited(root, inputs):
    """Write a case with another seed, a milestone and an audit, and galaxies split for the audit."""
    chosen, maps_dir, prepared_dir = inputs["settings"], inputs["maps_dir"], root / "prepared"
    shutil.copytree(inputs["prepared_dir"], prepared_dir)
    table = pd.read_parquet(prepared_dir / "galaxies.parquet")
    for number, method in enumerate(("random", "tree", "halo")):
        table[f"audit_{method}"] = np.where(np.arange(len(table)) % 5 == number, "test", "train")
    splits = [f"audit_{method}" for method in ("random", "tree", "halo")]
    table[["galaxy", *splits]].to_parquet(prepared_dir / "audit_splits.parquet")
    folder = root / "composite"
    members = {
        "": chosen.seed, "seeds/2": 2, "milestones/5": chosen.seed,
        "audit/random": chosen.seed, "audit/tree": chosen.seed, "audit/halo": chosen.seed,
    }  # fmt: skip
    for number, (name, seed) in enumerate(members.items()):
        written = root / f"member{number}"
        write_untrained(written, chosen.cases[0], maps_dir, prepared_dir, chosen, -10.0 - number, seed)
        shutil.copytree(written, folder / name, dirs_exist_ok=True)
    return inputs | {"model_dirs": {"composite": folder}, "prepared_dir": prepared_dir}


@pytest.mark.slow
def test_seeds_milestones_and_the_audit_are_predicted_beside_the_first_network(tmp_path, inputs):
    audited, ear = write_audited(tmp_path, inputs), Ear()
    run(tmp_path / "out", audited, Progress(ear))
    table = audit_table(audited["prepared_dir"])
    extra = pd.read_parquet(tmp_path / "out" / "extra_predictions.parquet")
    assert set(zip(extra["kind"], extra["key"], strict=True)) == {
        ("seed", "2"), ("milestone", "5"), ("audit", "random"), ("audit", "tree"), ("audit", "halo"),
    }  # fmt: skip
    for method in ("random", "tree", "halo"):
        own = extra[(extra["kind"] == "audit") & (extra["key"] == method)]
        assert set(own["galaxy"]) == set(table.loc[table[f"audit_{method}"] == "test", "galaxy"])
        assert set(own["split"]) == {"test"}
    with MapReader(audited["maps_dir"], table[table["split"] != "train"]) as reader:
        maps = reader.maps(np.arange(len(reader)))
    for kind, name in (("seed", "seeds/2"), ("milestone", "milestones/5")):
        expected = Predictor.load(audited["model_dirs"]["composite"] / name).predict_maps(maps)
        np.testing.assert_allclose(
            extra.loc[extra["kind"] == kind, "predicted"], expected.predicted, atol=1e-5
        )
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert set(metrics["cases"]["composite"]["seeds"]) == {"1", "2"}
    assert set(metrics["cases"]["composite"]["milestones"]) == {"5"}
    assert metrics["audit"]["methods"]["random"]["galaxies"] == 24
    said = [event["text"] for event in ear.events if event["kind"] == "say"]
    assert any(text.startswith("leakage audit of composite: r random - tree = ") for text in said)


def test_only_galaxies_that_a_network_needs_are_read(tmp_path, inputs):
    audited, ear = write_audited(tmp_path, inputs), Ear()
    run(tmp_path / "out", audited, Progress(ear))
    table = audit_table(audited["prepared_dir"])
    needed = (table["split"] != "train") | (
        table[["audit_random", "audit_tree", "audit_halo"]] == "test"
    ).any(axis=1)
    (total,) = {event["total"] for event in ear.events if event.get("label") == "predictions of composite"}
    assert total == needed.sum() < len(table)


def test_a_case_whose_training_broke_down_is_left_out_and_named(tmp_path, inputs):
    broken, ear = tmp_path / "broken", Ear()
    broken.mkdir()
    write_failure(broken, "mass", "the loss is not finite in epoch 3")
    dirs = inputs["model_dirs"] | {"mass": broken}
    figures = run(tmp_path / "out", inputs, Progress(ear), model_dirs=dirs)
    assert figures["failed_cases"] == ["mass"]
    assert any("'mass'" in text and "not finite in epoch 3" in text for text in warnings_of(ear))
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert metrics["cases"]["mass"]["failed"] == "the loss is not finite in epoch 3"
    assert metrics["best_case"] == "composite"
    with pytest.raises(InputError, match="every case broke down; 'mass': the loss is not finite"):
        run(tmp_path / "none", inputs, model_dirs={"mass": broken})


def test_one_galaxy_with_a_bad_pixel_is_named_and_training_is_not_blamed(tmp_path, inputs):
    maps_dir = shutil.copytree(inputs["maps_dir"], tmp_path / "maps")
    table = pd.read_parquet(inputs["prepared_dir"] / "galaxies.parquet")
    held_out = table[table["split"] == "test"].iloc[3]
    with h5py.File(maps_dir / held_out["map_file"], "r+") as file:
        file["maps"][held_out["map_row"], :, 3, 3] = np.inf
    with pytest.raises(InputError) as refused:
        run(tmp_path / "out", inputs, maps_dir=maps_dir)
    place = f"{held_out['map_file']}: row {held_out['map_row']}, {held_out['galaxy']}, has infinite pixels"
    assert place in str(refused.value)
    assert "diverged" not in str(refused.value)


@pytest.mark.slow
def test_a_setting_that_only_the_page_prints_makes_no_prediction_again(tmp_path, inputs):
    workdir = tmp_path / "run"

    def reference(name):
        return SimpleNamespace(path=str(tmp_path / f"{name}.json"), metadata={"case": name})

    def artifact(name, folder):
        staging = shutil.copytree(folder, tmp_path / f"{name}-staging")
        publish(staging, workdir / "given" / name, {"key": name})
        write_json(tmp_path / f"{name}.json", {"key": f"given/{name}"})
        return reference(name)

    maps, prepared = artifact("maps", inputs["maps_dir"]), artifact("prepared", inputs["prepared_dir"])
    models = [artifact("composite", inputs["model_dirs"]["composite"])]
    made = []
    for margin in (0.0, 0.1):
        chosen = chosen_settings(deployment={"margin_dex": margin})
        names = ("scores", "pages", "page", "summary")
        scores, pages, page, summary = (reference(name) for name in names)
        metrics = Metrics()
        text = chosen.model_dump_json()
        evaluation.python_func(str(workdir), text, maps, prepared, models, scores)
        report.python_func(
            str(workdir), text, "a test", False, maps, prepared, models, scores, pages, page, summary, metrics
        )
        made.append((read_json(Path(scores.path))["key"], Path(page.path).read_text()))
    assert made[0][0] == made[1][0]
    assert made[0][1] != made[1][1]
    assert len(list((workdir / "evaluation").iterdir())) == 1
    assert read_json(Path(pages.path))["key"].startswith("report/")
    (case,) = [name for name in metrics.metadata if name == "composite.test.r"]
    assert -1 <= metrics.metadata[case] <= 1
    assert "| composite |" in Path(summary.path).read_text()
