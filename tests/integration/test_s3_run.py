"""A whole run with data, artifacts and models in S3: compiled as for a cluster, run by Kubeflow's runner."""

import json
import subprocess
import sys

import pytest
import yaml
from kfp import local
from kfp.components import load_component_from_text
from s3_server import Place

from components.config import Settings, load_settings
from components.progress import SILENT
from components.serving.remote import RemoteRepository
from components.serving.server import Server
from components.storage.ledger import RUN
from components.storage.store import open_store
from pipelines.cluster import compile_pipeline

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
    "cluster": {"projection_parts": 2, "retry": {"count": 0}},
}
STEPS = {"catalog", "projection", "preprocessing", "training/composite", "evaluation", "report", "deployment"}


def ssfr(*arguments):
    command = [sys.executable, "-m", "pipelines.cli", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@pytest.fixture
def settings(place: Place, tmp_path) -> Settings:
    path = tmp_path / "small.yaml"
    storage = place.settings(scratch=str(tmp_path / "scratch")).model_dump(mode="json")
    path.write_text(yaml.safe_dump({**SMALL, "storage": storage}))
    return load_settings(path)


@pytest.mark.filterwarnings("ignore")  # the runner's own, of pods' settings that it has no use for
def test_a_run_in_s3_ends_with_a_served_model_and_the_next_one_finds_nothing_new(
    place, settings, tmp_path, monkeypatch
):
    universe, file = tmp_path / "universe", tmp_path / "small.yaml"
    size = ("--galaxies", 30, "--snapshots", "99", "--cells-min", 800, "--cells-max", 1500)
    ssfr("simulate", universe, *size)
    data, workdir, models = (f"s3://{place.bucket}/{name}" for name in ("universe", "runs", "models"))
    assert "stored" in ssfr("upload", universe, data, "--settings", file)
    assert "is there already" in ssfr("upload", universe, data, "--settings", file)

    compiled = compile_pipeline(
        settings, preset="small", data=data, workdir=workdir, repository=models, synthetic=True
    )
    store = open_store(workdir, settings.storage)
    runs = []
    for number in range(2):
        monkeypatch.setenv(RUN, f"run-{number}")
        root = tmp_path / f"kfp{number}"
        local.init(
            local.SubprocessRunner(use_venv=False),
            pipeline_root=str(root),
            workspace_root=str(root / "workspace"),
        )
        load_component_from_text(compiled)()
        runs.append(store.artifacts())
        made = [path.parent.name for path in root.glob("**/executor_output.json")]
        if number == 0:
            (reference,) = root.glob("**/training/model")
            assert json.loads(reference.read_text())["location"].startswith(f"{workdir}/training/")
            assert reference.stat().st_size < 1000
            (page,) = root.glob("**/evaluation/report")
            assert page.read_text().startswith("<!doctype html>")
            (metrics,) = root.glob("**/evaluation/executor_output.json")
            assert "composite.test.rmse_dex" in metrics.read_text()
        else:
            assert sorted(made) == ["catalog", "manifest"]
            (summary,) = root.glob("**/manifest/summary")
            assert "there was nothing new to do" in summary.read_text()
    assert runs[0] == runs[1]

    record = store.read_document("runs/run-0/run.json").data
    assert (record["state"], set(record["steps"])) == ("SUCCEEDED", STEPS)
    repository = RemoteRepository(models, "ssfr", settings.storage)
    labels = repository.read()
    folder = tmp_path / "served"
    repository.pull(folder, labels)
    with Server(folder, settings.serving.model_copy(update={"port": 0}), SILENT) as server:
        assert server.manager.ready
