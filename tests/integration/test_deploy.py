"""Step 6 whole: from model folders and an evaluation to a repository whose service was checked."""

import json
import shutil

import numpy as np
import pytest
import tensorflow as tf
from deployments import BEST, SPLIT, Study
from exported_models import (
    PIXELS,
    map_spec,
    serving,
)

from ssfr.components.config import DeploymentSettings, Settings
from ssfr.components.deployment.deploy import run
from ssfr.components.errors import InputError
from ssfr.components.models.folder import write_failure
from ssfr.components.runtime.progress import SILENT, Progress
from ssfr.components.serving.client.client import ModelClient
from ssfr.components.serving.client.inputs import read_inputs
from ssfr.components.serving.server.server import Server
from ssfr.components.storage.artifact import publish


def republish(version):
    """Give a version whose files were changed a manifest that agrees with them."""
    manifest = json.loads((version / "manifest.json").read_text())
    publish(version, version.with_name("part"), {"model_digest": manifest["model_digest"]})
    version.with_name("part").rename(version)


@pytest.fixture
def study(tmp_path):
    return Study(tmp_path)


def test_the_first_model_is_served_and_equals_the_offline_predictions(study):
    result = study.deploy(BEST)
    assert json.loads((study.folder / "deployment" / "deployment.json").read_text()) == result
    assert (result["version"], result["label"], result["promoted"]) == (1, "stable", True)
    assert result["max_difference_dex"] < 1e-4
    assert result["served_galaxies"] == 5
    example = study.galaxies.set_index("galaxy").loc[result["example"]["galaxy"]]
    assert example["split"] == "test"
    assert result["example"]["true"] == example["label"]
    assert result["example"]["served"] == pytest.approx(result["example"]["offline"], abs=1e-4)
    assert study.served.champion().version == 1
    assert [path.name for path in study.repository.iterdir()].count("ssfr") == 1
    assert not list(study.repository.glob(".staging-*"))


def test_the_files_of_a_held_out_galaxy_are_predicted_by_the_deployed_model(study):
    result = study.deploy(BEST)
    files = sorted(study.maps_dir.glob("maps-*.h5"))
    settings = serving()
    with (
        Server(study.repository, settings, SILENT) as server,
        ModelClient.of(settings, server.address) as client,
    ):
        inputs = read_inputs(files)
        answer = client.predict(inputs)
        index = inputs.names.index(result["example"]["galaxy"])
        assert answer.predicted[index] == pytest.approx(result["example"]["offline"], abs=1e-4)
        np.save(study.folder / "small.npy", np.zeros((3, 16, 16)))
        with pytest.raises(InputError, match=rf"small\.npy: 16 px a side; the model takes {PIXELS} px"):
            client.predict(read_inputs([study.folder / "small.npy"]))
        images = Study(study.folder / "images", images=True)
        with pytest.raises(InputError, match=r"\.h5: images; the model takes maps"):
            client.predict(read_inputs(sorted(images.maps_dir.glob("maps-*.h5"))))
        other = Study(study.folder / "other", width=45.0, gas_of="halo")
        differs = "width: 45 kpc, not 90 kpc; gas_of: halo, not subhalo"
        with pytest.raises(InputError, match=rf"maps-099-000\.h5: other maps .*: {differs}"):
            client.predict(read_inputs(sorted(other.maps_dir.glob("maps-*.h5"))))


def test_the_check_in_service_needs_no_certificates_of_the_real_server(study):
    names = ("certificate", "key", "client_ca", "server_ca", "client_certificate", "client_key")
    guarded = serving(**{f"tls_{name}": f"{name}.pem" for name in names})
    assert study.deploy(BEST, study={"serving": guarded})["promoted"]


def test_the_same_model_again_is_no_new_version(study):
    study.deploy(BEST)
    again = study.deploy(BEST, name="again")
    assert again["version"] == 1
    assert again["promoted"]
    assert study.served.versions() == [1]
    assert len(study.served.champion().history) == 1


def test_what_was_deployed_before_is_said_again_only_while_it_is_true(study):
    first, second = study.step(-10.1), study.step(BEST)
    assert (first[:2], second[:2]) == ((1, "stable"), (2, "stable"))
    assert study.step(BEST) == second
    assert study.step(-10.1) == (1, "canary", first[2])
    assert study.served.champion().labels == {"stable": 2, "canary": 1}
    shutil.rmtree(study.repository)
    assert study.step(BEST) == (1, "stable", second[2])
    assert study.step(-10.1) == (2, "canary", first[2])


def test_a_better_challenger_takes_over_and_a_worse_one_does_not(study):
    assert study.deploy(-10.1)["label"] == "stable"
    better = study.deploy(-10.4, name="better")
    assert (better["version"], better["champion"]) == (2, 2)
    assert better["decision"]["champion_rmse_dex"] == pytest.approx(0.4, abs=1e-3)
    assert better["decision"]["challenger_rmse_dex"] == pytest.approx(0.1, abs=1e-3)
    worse = study.deploy(-10.2, name="worse")
    assert (worse["version"], worse["label"], worse["champion"]) == (3, "canary", 2)
    assert "champion version 2 0.1000 dex" in worse["reason"]
    margin = study.deploy(BEST, name="margin", settings=DeploymentSettings(margin_dex=0.2))
    assert (margin["version"], margin["label"], margin["champion"]) == (4, "canary", 2)
    assert study.served.versions() == [1, 2, 3, 4]  # 1 is what a roll-back goes to


def test_a_model_that_does_not_beat_the_baselines_is_reported_and_addressed_as_canary(study):
    said = []

    class Sink:
        def emit(self, event):
            said.append((event["kind"], event.get("text", "")))

    result = study.deploy(BEST, Progress(Sink()), beats=False)
    assert (result["promoted"], result["label"], result["champion"]) == (False, "canary", None)
    assert "baseline_profiles" in result["reason"]
    assert any(kind == "warn" and "baseline_profiles" in text for kind, text in said)
    settings = serving()
    with (
        Server(study.repository, settings, SILENT) as server,
        ModelClient.of(settings, server.address, label="canary") as client,
    ):
        assert client.predict_maps(study.maps).versions.tolist() == [1] * len(SPLIT)


def test_a_champion_of_other_maps_stays(study, tmp_path):
    study.deploy(BEST)
    other = Study(tmp_path / "other", images=True)
    other.repository = study.repository
    result = other.deploy(-10.4)
    assert (result["version"], result["label"], result["champion"]) == (2, "canary", 1)
    assert "can't be compared with version 1: it does not take images" in result["reason"]


def test_models_of_maps_are_compared_whatever_else_they_take(study):
    floats = study.spec
    study.spec = map_spec(eight_bit=True)
    study.deploy(-10.1)
    study.spec = floats
    result = study.deploy(BEST, name="floats")
    assert result["promoted"]
    assert result["decision"]["champion_rmse_dex"] > 0.0


@pytest.mark.parametrize(
    ("other", "differs"),
    [
        ({"seed": 2}, "split_settings"),
        ({"preprocessing": {"split": {"method": "halo"}}}, "split_settings"),
        ({"preprocessing": {"images": {"group_column": "cluster"}}}, "split_settings"),
    ],
)
def test_a_champion_of_another_split_is_not_compared_with(study, other, differs):
    study.deploy(-10.1)
    result = study.deploy(BEST, name="other", study=other)
    assert (result["label"], result["champion"]) == ("canary", 1)
    assert f"can't be compared with version 1: {differs}" in result["reason"]


@pytest.mark.parametrize(
    ("label", "differs"),
    [
        ({"aperture": "two_half_mass_radii"}, "aperture: two_half_mass_radii, not subhalo"),
        ({"mass": "total"}, "mass: total, not stellar"),
        ({"little_h": "ignored"}, "little_h: ignored, not applied"),
    ],
)
def test_a_champion_of_other_labels_is_not_compared_with(study, label, differs):
    study.deploy(-10.1)
    study.label = label
    result = study.deploy(-10.4, name="other")
    assert (result["label"], result["champion"]) == ("canary", 1)
    assert f"can't be compared with version 1: it is of other labels: {differs};" in result["reason"]


def test_a_champion_of_maps_drawn_otherwise_is_not_compared_with(study, tmp_path):
    study.deploy(-10.1)
    other = Study(tmp_path / "other", deposition="point")
    other.repository = study.repository
    result = other.deploy(BEST)
    assert (result["label"], result["champion"]) == ("canary", 1)
    differs = "it is of other maps: deposition: point, not smoothed"
    assert f"can't be compared with version 1: {differs};" in result["reason"]


def test_a_model_is_not_checked_with_other_maps_than_its_own(study, tmp_path):
    other = Study(tmp_path / "other", width=45.0)
    study.maps_dir = other.maps_dir
    with pytest.raises(InputError, match=r"maps: other maps than .*: width: 45 kpc, not 90 kpc"):
        study.deploy(BEST)
    assert not study.served.versions()


def test_without_promotion_galaxies_the_reason_says_so(study):
    study.deploy(-10.1)
    study.galaxies.loc[study.galaxies["split"] == "promotion", "split"] = "validation"
    result = study.deploy(BEST, name="again")
    assert result["label"] == "canary"
    assert result["reason"] == "there are no promotion galaxies to compare on"


def test_a_damaged_champion_is_replaced(study):
    study.deploy(-10.1)
    (study.served.version_path(1) / "saved_model.pb").write_bytes(b"damaged")
    result = study.deploy(-9.9, name="again")
    assert (result["version"], result["label"], result["champion"]) == (2, "stable", 2)
    assert "damaged" in result["reason"]


def test_a_champion_that_predicts_no_number_is_replaced(study):
    study.deploy(-10.1)
    version = study.served.version_path(1)

    @tf.function(input_signature=[tf.TensorSpec((None, 3, PIXELS, PIXELS), tf.float32, name="maps")])
    def nothing(maps):
        return {"log10_ssfr": tf.reduce_mean(maps, axis=[1, 2, 3]) * float("nan")}

    (version / "assets.extra" / "tf_serving_warmup_requests").unlink()
    signatures = {"predict_maps": nothing.get_concrete_function()}
    tf.saved_model.save(tf.Module(), str(version), signatures=signatures)
    republish(version)
    result = study.deploy(BEST, name="again")
    assert (result["version"], result["label"]) == (2, "stable")
    assert "not all finite" in result["reason"]


def test_a_version_that_can_not_be_loaded_here_is_exported_anew(study):
    study.deploy(BEST)
    version = study.served.version_path(1)
    path = version / "assets.extra" / "ssfr.json"
    description = json.loads(path.read_text())
    for known in description["known_answers"].values():
        known["log10_ssfr"][0] += 0.1
    path.write_text(json.dumps(description))
    republish(version)
    result = study.deploy(BEST, name="again")
    assert (result["version"], result["label"]) == (2, "stable")
    assert "differs by 0.1 dex" in result["reason"]
    assert study.deploy(BEST, name="third")["version"] == 2


def test_a_case_whose_training_broke_down_is_not_deployed(study):
    evaluation = study.evaluation(BEST)
    write_failure(study.model(BEST), "composite", "it diverged")
    study.evaluation = lambda *_, **__: evaluation
    with pytest.raises(InputError, match="best case 'composite' has no model"):
        study.deploy(BEST)


def test_served_answers_that_differ_undo_the_deployment(study):
    with pytest.raises(RuntimeError, match=r"differ from .* by 0\.01 dex.*nothing was deployed"):
        study.deploy(BEST, wrong_by=0.01)
    assert study.served.versions() == []
    assert not (study.folder / "deployment" / "deployment.json").exists()
    assert not list(study.repository.glob(".staging-*"))


def test_a_model_of_an_image_catalogue_is_deployed(tmp_path):
    study = Study(tmp_path, images=True)
    result = study.deploy(BEST)
    assert result["promoted"]
    assert result["max_difference_dex"] < 1e-4


def test_without_test_galaxies_there_is_nothing_to_check_with(study):
    study.galaxies.loc[study.galaxies["split"] == "test", "split"] = "validation"
    with pytest.raises(InputError, match="no test galaxies"):
        study.deploy(BEST)


def test_an_evaluation_of_another_case_is_named(study):
    with pytest.raises(InputError, match="best case 'composite' has no model"):
        run(
            study.folder,
            {"mass": study.model(BEST)},
            study.evaluation(BEST),
            study.maps_dir,
            study.prepared_dir,
            study.repository,
            Settings(),
            SILENT,
        )
