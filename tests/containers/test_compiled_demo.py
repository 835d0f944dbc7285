"""The compiled demo on the images: data and artifacts in S3, a live server in a container, a prediction."""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest
import yaml
from daemon import Docker
from s3_server import ACCESS_KEY, REGION, SECRET_KEY, S3Server
from small_demo import SIMULATE, overrides

from ssfr.components.config.storage import StorageSettings
from ssfr.components.storage.opening import open_store
from ssfr.components.storage.store import Store
from ssfr.pipelines.local.runner import RunLog

BUCKET = "study"
DATA, WORKDIR, REPOSITORY = (f"s3://{BUCKET}/{name}" for name in ("data/universe", "runs/demo", "models"))
KEYS = {"AWS_ACCESS_KEY_ID": ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": SECRET_KEY}
STEPS = (
    *("catalog", "projection", "preprocessing", "training"),
    *("evaluation", "report", "deployment", "verification"),
)
_LOG_END = 5000
"""[characters] shown of a failed run."""

# Cores and memory are the cluster's business.
pytestmark = pytest.mark.filterwarnings("ignore:.*have no effect in the current local runner:UserWarning")


@dataclass(frozen=True)
class Run:
    """What a run left."""

    log: str
    store: Store

    def fetch(self, step: str, folder: Path) -> Path:
        """Fetch the only artifact of a step."""
        (key,) = self.store.keys(step)
        self.store.fetch(key, folder / step)
        return folder / step


def ssfr(*arguments: object) -> str:
    command = [sys.executable, "-m", "ssfr.pipelines.cli", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def storage(s3: S3Server) -> dict[str, Any]:
    """Section `storage` of the settings, for this machine and for containers: they share its network."""
    client = boto3.client("s3", endpoint_url=s3.endpoint, region_name=REGION)
    client.create_bucket(Bucket=BUCKET)
    return {"endpoint": s3.endpoint, "allow_http": True, "region": REGION}


@pytest.fixture(scope="module")
def server(
    docker: Docker, images: Any, storage: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """The address of a server in a container, on a folder that model-sync fills in another one."""
    folder = tmp_path_factory.mktemp("served")
    models = folder / "models"
    models.mkdir()
    models.chmod(0o777)
    told = folder / "settings.yaml"
    told.write_text(yaml.safe_dump({"storage": storage, "serving": {"sync_s": 1}}))
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    sync = ("ssfr", "model-sync", f"--repository={REPOSITORY}", "--folder=/models")
    keys = [f"--env={name}={value}" for name, value in KEYS.items()]
    mounts = [f"--volume={models}:/models", f"--volume={told}:/etc/ssfr/settings.yaml:ro"]
    serve = ("ssfr", "serve", "/models", f"--port={port}")
    with (
        docker.running(images.data, *sync, "--settings=/etc/ssfr/settings.yaml", options=[*keys, *mounts]),
        docker.running(images.train, *serve, options=[f"--volume={models}:/models:ro"]),
    ):
        yield f"127.0.0.1:{port}"


@pytest.fixture(scope="module")
def run(images: Any, storage: dict[str, Any], server: str, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The demo, compiled as for a cluster, through KFP's runner of containers, with the server beside it."""
    folder = tmp_path_factory.mktemp("demo")
    here, compiled = folder / "here.yaml", folder / "demo.yaml"
    here.write_text(yaml.safe_dump({"storage": storage}))
    ssfr("simulate", folder / "universe", *SIMULATE)
    ssfr("upload", folder / "universe", DATA, "--settings", here)
    told = {f"storage__{key}": value for key, value in storage.items()}
    ssfr(
        *("compile", "demo", "--output", compiled),
        *("--data", DATA, "--workdir", WORKDIR, "--repository", REPOSITORY),
        *overrides(**told, deployment__servers=[server], cluster__projection_shards=2),
    )
    assert images.data in compiled.read_text()
    return Run(run_in_containers(compiled, folder), open_store(WORKDIR, StorageSettings(**storage)))


def run_in_containers(compiled: Path, folder: Path) -> str:
    """Run a pipeline in containers that are locked up as pods are; return what was printed."""
    from kfp import local
    from kfp_runs import run_compiled

    root, log = folder / "root", folder / "kfp.log"
    root.mkdir()
    # The images' user writes its tasks' outputs there, and that is all it can write.
    root.chmod(0o777)
    runner = local.DockerRunner(
        network_mode="host",
        environment=KEYS,
        read_only=True,
        tmpfs={"/tmp": ""},
        cap_drop=["ALL"],
        security_opt=["no-new-privileges"],
    )
    # Tasks that run at the same time print at the same time, which Python's own text files do not bear.
    with RunLog(log) as stream, contextlib.redirect_stdout(stream):
        try:
            run_compiled(compiled.read_text(), root, runner)
        except RuntimeError as error:
            pytest.fail(f"{error}\n{log.read_text()[-_LOG_END:]}")
    return log.read_text()


def test_every_step_leaves_its_artifact_in_s3(run: Run) -> None:
    assert {step for step in STEPS if run.store.keys(step)} == set(STEPS)


def test_data_steps_run_without_tensorflow_and_the_others_with_it(run: Run, images: Any) -> None:
    # catalog, the projection of one snapshot, what it is joined to, preprocessing, manifest
    assert run.log.count(f"Found image '{images.data}'") == 5
    # three cases, evaluation, the report, deployment, verification
    assert run.log.count(f"Found image '{images.train}'") == 7


def test_the_live_server_was_asked_after_the_deployment(run: Run, server: str, tmp_path: Path) -> None:
    told = json.loads((run.fetch("verification", tmp_path) / "verification.json").read_text())

    assert list(told["differences_dex"]) == [server]
    assert told["differences_dex"][server] < 1e-4


def test_a_prediction_by_the_container_equals_the_offline_one(run: Run, server: str, tmp_path: Path) -> None:
    deployed = json.loads((run.fetch("deployment", tmp_path) / "deployment.json").read_text())
    maps = run.fetch("projection", tmp_path).glob("maps-*.h5")
    galaxy = deployed["example"]["galaxy"]

    answer = json.loads(ssfr("predict", *sorted(maps), "--galaxy", galaxy, "--server", server, "--json"))

    assert answer["version"] == deployed["version"]
    assert answer["log10_ssfr"] == pytest.approx(deployed["example"]["offline"], abs=1e-4)


def test_no_secret_is_in_the_run(run: Run) -> None:
    assert SECRET_KEY not in run.log
