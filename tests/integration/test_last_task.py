"""The task that runs last, whatever happened: through Kubeflow's own runner, as on a cluster."""

import json

import pytest
from kfp import local
from kfp.components import load_component_from_text

from components.config import parse_settings
from pipelines.cluster import compile_pipeline


@pytest.fixture
def runner(tmp_path):
    root = tmp_path / "kfp"
    local.init(
        local.SubprocessRunner(use_venv=False),
        pipeline_root=str(root),
        workspace_root=str(root / "workspace"),
    )
    return root


@pytest.mark.filterwarnings("ignore")  # the runner's own, of pods' settings that it has no use for
def test_a_run_that_fails_at_once_still_leaves_a_manifest(tmp_path, runner):
    settings = parse_settings({"cluster": {"retry": {"count": 0}}}, "test")
    places = {name: f"s3://bucket/{name}" for name in ("data", "workdir", "repository")}
    pipeline = load_component_from_text(compile_pipeline(settings, preset="small", **places))
    workdir, nothing = tmp_path / "run", str(tmp_path / "nothing")
    with pytest.raises(RuntimeError, match="catalog"):
        pipeline(workdir=str(workdir), data=nothing)
    (document,) = workdir.glob("runs/*/run.json")
    record = json.loads(document.read_text())
    assert (record["state"], record["steps"]) == ("FAILED", {})
    assert (record["data"], record["repository"]) == (nothing, places["repository"])
    (page,) = runner.glob("*/manifest/summary")
    assert "no step has noted an artifact" in page.read_text()
