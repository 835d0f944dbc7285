"""A whole run with data, artifacts and models in S3: compiled as for a cluster, run by Kubeflow's runner."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from kfp_runs import run_compiled
from s3_server import Place

from ssfr.components.catalog.connections import CATALOG
from ssfr.components.config import Settings, load_settings
from ssfr.components.errors import InputError
from ssfr.components.runtime.progress import SILENT
from ssfr.components.serving.repository.remote import RemoteRepository
from ssfr.components.serving.server.server import Server
from ssfr.components.steps.step import open_step
from ssfr.components.storage.ledger import RUN
from ssfr.components.storage.opening import open_store
from ssfr.components.storage.upload import upload
from ssfr.pipelines.kubeflow.compile import compile_pipeline

SMALL = {
    "seed": 2,
    "projection": {"pixels": 32, "workers": 1},
    "preprocessing": {"split": {"validation": 0.2, "test": 0.2, "promotion": 0.2}},
    "training": {
        "epochs": 2,
        "batch": 8,
        "seeds": 1,
        "compact": {"input_pixels": 16, "widths": [8], "dense": 8},
    },
    "evaluation": {"bootstrap": 100},
    "deployment": {"require_beats_baselines": False},
    "cluster": {"projection_shards": 2, "retry": {"count": 0}},
}
STEPS = {"catalog", "projection", "preprocessing", "training/composite", "evaluation", "report", "deployment"}


def ssfr(*arguments):
    command = [sys.executable, "-m", "ssfr.pipelines.cli", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@pytest.fixture
def settings(place: Place, tmp_path) -> Settings:
    path = tmp_path / "small.yaml"
    storage = place.settings(scratch=str(tmp_path / "scratch")).model_dump(mode="json")
    path.write_text(yaml.safe_dump({**SMALL, "storage": storage}))
    return load_settings(path)


def run(compiled, root) -> list[str]:
    """Run a compiled pipeline, and return the names of its tasks."""
    run_compiled(compiled, root)
    return sorted(path.parent.name for path in root.glob("**/executor_output.json"))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # the runner's own, of pods' settings that it has no use for
def test_a_run_in_s3_ends_with_a_served_model_and_the_next_one_begins_anew_only_with_new_data(
    place, settings, tmp_path, monkeypatch
):
    universe, file = tmp_path / "universe", tmp_path / "small.yaml"
    size = ("--galaxies", 30, "--snapshots", "99,95", "--cells-min", 800, "--cells-max", 1500)
    ssfr("simulate", universe, *size)
    younger = tmp_path / "younger"
    shutil.copytree(universe, younger, ignore=shutil.ignore_patterns("*_095*"))
    data, workdir, models = (f"s3://{place.bucket}/{name}" for name in ("universe", "runs", "models"))
    assert f"{data}/1: stored" in ssfr("upload", younger, data, "--settings", file)
    assert f"{data}/1: is there already" in ssfr("upload", younger, data, "--settings", file)

    compiled = compile_pipeline(settings, preset="small", data=data, workdir=workdir, repository=models)
    store = open_store(workdir, settings.storage)
    roots = [tmp_path / f"kfp{number}" for number in range(3)]
    records = []

    def run_next() -> list[str]:
        monkeypatch.setenv(RUN, f"run-{len(records)}")
        tasks = run(compiled, roots[len(records)])
        records.append(store.read_document(f"runs/run-{len(records)}/run.json").data)
        return tasks

    run_next()
    first = store.artifacts()
    (reference,) = roots[0].glob("**/training/model")
    assert json.loads(reference.read_text())["location"].startswith(f"{workdir}/training/")
    assert reference.stat().st_size < 1000
    (page,) = roots[0].glob("**/report/page")
    assert page.read_text().startswith("<!doctype html>")
    assert "universe, a SYNTHETIC universe" in page.read_text()
    (metrics,) = roots[0].glob("**/report/executor_output.json")
    assert "composite.test.rmse_dex" in metrics.read_text()

    assert run_next() == ["catalog", "manifest"]
    (summary,) = roots[1].glob("**/manifest/summary")
    assert "there was nothing new to do" in summary.read_text()
    assert store.artifacts() == first

    assert f"{data}/2: stored" in ssfr("upload", universe, data, "--settings", file)
    assert "deployment" in run_next()
    assert [record["steps"]["catalog"]["data"] for record in records] == [f"{data}/{n}" for n in (1, 1, 2)]
    snapshots = [set(record["steps"]["catalog"]["figures"]["snapshots"]) for record in records]
    assert snapshots == [{"99"}, {"99"}, {"99", "95"}]
    assert {record["state"] for record in records} == {"SUCCEEDED"}
    assert set(records[0]["steps"]) == {*STEPS, "projection/099"}
    assert set(records[2]["steps"]) == {*STEPS, "projection/099", "projection/095"}
    drawn = [record["steps"]["projection/099"]["artifact"] for record in (records[0], records[2])]
    assert drawn[0] == drawn[1]
    assert records[0]["steps"]["catalog"]["synthetic"]

    repository = RemoteRepository(models, "ssfr", settings.storage)
    labels = repository.read()
    folder = tmp_path / "served"
    repository.pull(folder, labels)
    with Server(folder, settings.serving.model_copy(update={"port": 0}), SILENT) as server:
        assert server.loader.ready


def test_a_step_sees_the_data_that_the_first_step_took_and_copies_them_only_for_its_work(
    place, settings, tmp_path
):
    folder, data = tmp_path / "pictures", f"s3://{place.bucket}/pictures"
    folder.mkdir()

    def put(text: str) -> None:
        (folder / "labels.csv").write_text(text)
        upload(folder, data, settings.storage, SILENT)

    with open_step(CATALOG, f"s3://{place.bucket}/runs", settings.model_dump_json()) as step:
        with pytest.raises(InputError, match="nothing was uploaded there"):
            step.open_data(data)
        put("old")
        taken = step.open_data(data)
        put("new")
        assert (taken.location, step.open_data(data).location) == (f"{data}/1", f"{data}/2")
        assert (
            taken.fingerprint
            == step.open_data(taken.location).fingerprint
            != step.open_data(data).fingerprint
        )
        assert not (tmp_path / "scratch").exists()
        assert (Path(step.open_data(taken.location).folder()) / "labels.csv").read_text() == "old"


# A pod of a training: leaves a checkpoint and is killed, or finds the checkpoint and goes on.
ATTEMPT = """
import os, signal, sys
from ssfr.components.steps.step import open_step
from ssfr.components.training.connections import TRAINING

def train(folder):
    checkpoint = folder / "unfinished.npz"
    if not checkpoint.exists():
        checkpoint.write_bytes(b"epoch 4")
        os.kill(os.getpid(), signal.SIGKILL)
    checkpoint.rename(folder / "weights.npz")
    return {}

with open_step(TRAINING, sys.argv[1], sys.argv[2]) as step:
    step.do(train)
"""


def test_a_training_pod_that_is_tried_again_finds_its_checkpoints_on_its_claim(place, tmp_path):
    (tmp_path / "claim").mkdir()
    settings = Settings(storage=place.settings()).model_dump_json()
    workdir = f"s3://{place.bucket}/runs/claim"
    command = [sys.executable, "-c", ATTEMPT, workdir, settings]
    # what `cluster.training_claim` sets (test_cluster.py): the claim outlives the pod, its /tmp does not
    pod = dict(os.environ, TMPDIR=str(tmp_path / "claim"))
    first = subprocess.run(command, check=False, env=pod, capture_output=True, text=True)
    assert first.returncode == -signal.SIGKILL, first.stderr
    second = subprocess.run(command, check=False, env=pod, capture_output=True, text=True)
    assert second.returncode == 0, second.stderr
    store = open_store(workdir, place.settings(), SILENT)
    [key] = store.keys()
    assert "weights.npz" in store.manifest(key)["files"]
