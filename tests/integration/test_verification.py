"""The last step: the live service is asked, and a deployment that it contradicts is undone."""

import json

import pytest
from deployments import BEST, Study
from exported_models import serving

from components.config import DeploymentSettings, Settings
from components.errors import InputError
from components.progress import SILENT
from components.serving.client import Client
from components.serving.server import Server
from components.verification.verify import run


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


def test_a_service_that_takes_a_moment_to_follow_is_waited_for(study):
    study.deploy(-10.1)
    with Server(study.repository, serving(poll_s=2.0), SILENT) as server:
        study.deploy(BEST)
        assert verify(study, BEST, server)["version"] == 2


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
    with Server(study.repository, serving(), SILENT) as server, Client(server.address, serving()) as client:
        assert set(client.predict_maps(study.maps).versions) == {1}


def test_a_service_that_never_comes_undoes_the_first_deployment(study):
    study.deploy(BEST)
    server = Server(study.repository, serving(), SILENT)
    server.stop()
    with pytest.raises(InputError, match=r"was not version 1 within 1 s .*undone: stable is no version"):
        verify(study, BEST, server, patience_s=1.0)
    assert study.served.champion().labels == {}


def test_labels_that_others_moved_since_stay(study):
    study.deploy(BEST)
    server = Server(study.repository, serving(), SILENT)
    server.stop()
    told = json.loads((study.folder / "deployment" / "deployment.json").read_text())
    (study.folder / "deployment" / "deployment.json").write_text(json.dumps({**told, "version": 7}))
    with pytest.raises(InputError, match="moved since by another deployment"):
        verify(study, BEST, server, patience_s=0.5)
    assert study.served.champion().labels == {"stable": 1}
