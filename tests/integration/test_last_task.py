"""The task that runs last, whatever happened: through Kubeflow's own runner, as on a cluster."""

import json

import pytest
from kfp_runs import run_compiled

from ssfr.components.config import parse_settings
from ssfr.pipelines.kubeflow.compile import compile_pipeline


@pytest.mark.filterwarnings("ignore")  # the runner's own, of pods' settings that it has no use for
def test_a_run_that_fails_at_once_still_leaves_a_manifest(tmp_path):
    settings = parse_settings({"cluster": {"retry": {"count": 0}}}, "test")
    places = {name: f"s3://bucket/{name}" for name in ("data", "workdir", "repository")}
    compiled = compile_pipeline(settings, preset="small", **places)
    root, workdir, nothing = tmp_path / "kfp", tmp_path / "run", str(tmp_path / "nothing")
    with pytest.raises(RuntimeError, match="catalog"):
        run_compiled(compiled, root, workdir=str(workdir), data=nothing)
    (document,) = workdir.glob("runs/*/run.json")
    record = json.loads(document.read_text())
    assert (record["state"], record["steps"]) == ("FAILED", {})
    assert (record["data"], record["repository"]) == (nothing, places["repository"])
    (page,) = root.glob("*/manifest/summary")
    assert "no step has noted an artifact" in page.read_text()
