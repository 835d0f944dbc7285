"""The last step: the live service is asked, and a deployment that it contradicts is undone."""

import json

import numpy as np
import pandas as pd
import pytest
from deployments import BEST, Study
from exported_models import serving

from ssfr.components.config import DeploymentSettings, Settings
from ssfr.components.deployment.held_out import largest_difference
from ssfr.components.deployment.verify import run
from ssfr.components.errors import InputError
from ssfr.components.runtime.progress import SILENT
from ssfr.components.serving.client.answer import Answer
from ssfr.components.serving.client.client import ModelClient
from ssfr.components.serving.server.server import Server


@pytest.fixture
def study(tmp_path):
    return Study(tmp_path)


def verify(study, offset, *servers, patience_s=20.0):
    """Ask servers about the newest deployment of the model with this offset."""
    output = study.folder / "verified"
    output.mkdir(exist_ok=True)
    chosen = Settings(
        serving=serving(rollout_s=patience_s),
        deployment=DeploymentSettings(servers=[server.address for server in servers]),
    )
    return run(
        output,
        study.folder / "deployment",
        study.evaluation(offset),
        study.maps_dir,
        study.prepared_dir,
        str(study.repository),
        chosen,
        SILENT,
    )


def test_servers_that_answer_as_offline_are_told_with_their_differences(study):
    study.deploy(BEST)
    with (
        Server(study.repository, serving(), SILENT) as one,
        Server(study.repository, serving(), SILENT) as two,
    ):
        found = verify(study, BEST, one, two)
    assert list(found["differences_dex"]) == [one.address, two.address]
    assert max(found["differences_dex"].values()) < 1e-4
    assert (found["version"], found["label"], found["galaxies"]) == (1, "stable", 5)
    assert json.loads((study.folder / "verified" / "verification.json").read_text()) == found


@pytest.mark.slow
def test_a_service_that_takes_a_moment_to_follow_is_waited_for(study):
    study.deploy(-10.1)
    with Server(study.repository, serving(poll_s=2.0), SILENT) as server:
        study.deploy(BEST)
        assert verify(study, BEST, server)["version"] == 2


@pytest.mark.slow
def test_a_service_that_answers_otherwise_undoes_the_deployment_and_goes_back(study, tmp_path):
    study.deploy(-10.1)
    study.deploy(BEST)
    assert study.served.champion().labels == {"stable": 2}
    other = Study(tmp_path / "other")
    other.deploy(-10.4)
    other.deploy(-10.45)
    refused = pytest.raises(InputError, match=r"0\.05 dex off .*; the deployment is undone: stable is 1")
    with Server(other.repository, serving(), SILENT) as stranger, refused:
        verify(study, BEST, stranger)
    after = study.served.champion()
    assert after.labels == {"stable": 1}
    assert "dex off" in after.history[-1]["reason"]
    with (
        Server(study.repository, serving(), SILENT) as server,
        ModelClient.of(serving(), server.address) as client,
    ):
        assert set(client.predict_maps(study.maps).versions) == {1}


@pytest.mark.slow
def test_a_service_that_never_comes_undoes_the_first_deployment(study):
    study.deploy(BEST)
    server = Server(study.repository, serving(), SILENT)
    server.stop()
    with pytest.raises(InputError, match=r"was not version 1 after [\d.]+ s .*undone: stable is no version"):
        verify(study, BEST, server, patience_s=1.0)
    assert study.served.champion().labels == {}


def test_labels_that_others_moved_since_stay(study):
    study.deploy(BEST)
    server = Server(study.repository, serving(), SILENT)
    server.stop()
    told = json.loads((study.folder / "deployment" / "deployment.json").read_text())
    (study.folder / "deployment" / "deployment.json").write_text(json.dumps({**told, "version": 7}))
    with pytest.raises(InputError, match="version 7 is not labelled stable any more"):
        verify(study, BEST, server, patience_s=0.5)
    assert study.served.champion().labels == {"stable": 1}


@pytest.mark.slow
def test_a_second_attempt_tells_why_the_first_one_undid_the_deployment(study):
    study.deploy(BEST)
    server = Server(study.repository, serving(), SILENT)
    server.stop()
    for said in ("undone: stable is no version", "not labelled stable any more: .* was not version 1 after"):
        with pytest.raises(InputError, match=said):
            verify(study, BEST, server, patience_s=0.5)


@pytest.mark.slow
def test_a_deployment_that_was_tried_again_is_undone_to_what_was_before_its_first_attempt(study):
    study.deploy(-10.1)
    study.deploy(BEST)
    study.deploy(BEST)
    server = Server(study.repository, serving(), SILENT)
    server.stop()
    with pytest.raises(InputError, match="the deployment is undone: stable is 1"):
        verify(study, BEST, server, patience_s=0.5)


def test_a_challenger_that_is_not_promoted_is_not_asked_for(study):
    study.deploy(BEST)
    study.deploy(-10.1)
    server = Server(study.repository, serving(), SILENT)
    server.stop()
    assert verify(study, -10.1, server)["differences_dex"] == {}
    assert study.served.champion().labels == {"stable": 1, "canary": 2}


def test_an_interval_that_is_no_number_is_a_difference():
    number = np.zeros(2, np.float32)
    offline = pd.DataFrame({"predicted": number, "lower": number, "upper": number})
    served = Answer("log10_ssfr", number, number, number, np.array([0.0, np.nan], np.float32), np.ones(2))
    assert not largest_difference(served, offline) <= 1e-4
