"""On a real cluster: runs, their artifacts, schedules, a prediction through the Service, and back again."""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from given_cluster import Cluster, kubectl, service, ssfr
from small_demo import overrides

_RUN_WAIT_S = 3600.0
_POD_WAIT = "600s"
STEPS = ("catalog", "projection", "preprocessing", "training", "evaluation", "deployment")


@dataclass(frozen=True)
class Deployed:
    """What a run put into the repository, and galaxies to ask about."""

    told: dict[str, Any]
    maps: Path

    def ask(self, server: str) -> dict[str, Any]:
        """Return the stable version's answer for the run's example."""
        galaxy = self.told["example"]["galaxy"]
        maps = sorted(self.maps.glob("maps-*.h5"))
        answer = ssfr("predict", *maps, "--galaxy", galaxy, "--server", server, "--label", "stable", "--json")
        found: dict[str, Any] = json.loads(answer)
        return found

    def is_answered_by(self, answer: dict[str, Any]) -> bool:
        """Whether it is this run's version that answers, as it did offline."""
        offline = pytest.approx(self.told["example"]["offline"], abs=1e-4)
        return bool(answer["version"] == self.told["version"] and answer["log10_ssfr"] == offline)


def compiled(cluster: Cluster, folder: Path, seed: int) -> Path:
    """Compile the demo with the cluster's own storage and places."""
    settings = folder / f"demo-{seed}.yaml"
    preset = yaml.safe_load(ssfr("settings", "demo"))
    settings.write_text(yaml.safe_dump({**preset, **yaml.safe_load(cluster.pods.read_text())}))
    path = folder / f"pipeline-{seed}.yaml"
    ssfr(
        *("compile", settings, "--output", path),
        *("--data", f"{cluster.place}/data/universe", "--workdir", f"{cluster.place}/runs"),
        *("--repository", cluster.repository, *overrides(seed=seed)),
    )
    return path


def run(cluster: Cluster, folder: Path, seed: int) -> Deployed:
    """Submit a run, follow it to its end, and bring here what it deployed and what it drew."""
    before = set(cluster.store("runs").keys("deployment"))
    ssfr("submit", compiled(cluster, folder, seed), "--experiment", "ssfr-tests", timeout_s=_RUN_WAIT_S)
    store = cluster.store("runs")
    (deployment,) = set(store.keys("deployment")) - before
    store.fetch(deployment, folder / f"deployed-{seed}")
    maps = folder / "maps"
    if not maps.exists():
        store.fetch(store.keys("projection")[0], maps)
    return Deployed(json.loads((folder / f"deployed-{seed}" / "deployment.json").read_text()), maps)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cluster")


@pytest.fixture(scope="module")
def first(cluster: Cluster, folder: Path) -> Deployed:
    return run(cluster, folder, seed=1)


@pytest.fixture(scope="module")
def second(cluster: Cluster, folder: Path, first: Deployed) -> Deployed:
    return run(cluster, folder, seed=2)


def promote(cluster: Cluster, deployed: Deployed, server: str) -> None:
    version = deployed.told["version"]
    where = ("--repository", cluster.repository, "--server", server, "--settings", cluster.here)
    ssfr("promote", version, *where)


@pytest.mark.usefixtures("first")
def test_a_submitted_run_leaves_its_artifacts_in_s3(cluster: Cluster) -> None:
    store = cluster.store("runs")

    assert {step for step in STEPS if store.keys(step)} == set(STEPS)


def test_a_schedule_is_created_then_left_alone_then_removed(cluster: Cluster, folder: Path) -> None:
    pipeline = compiled(cluster, folder, seed=1)
    weekly = {"name": "weekly", "cron": "0 30 3 * * MON", "pipeline": pipeline.name, "enabled": False}
    file = folder / "schedules.yaml"
    owner = f"test-{uuid.uuid4().hex[:8]}"

    def reconcile(*schedules: dict[str, Any]) -> str:
        file.write_text(yaml.safe_dump({"owner": owner, "schedules": list(schedules)}))
        return ssfr("schedule", "--file", file)

    try:
        assert "create" in reconcile(weekly)
        assert "keep" in reconcile(weekly)
    finally:
        removed = reconcile()
    assert "remove" in removed


def test_the_service_answers_as_the_run_did_offline(cluster: Cluster, first: Deployed) -> None:
    kubectl("wait", "--for=condition=Ready", "pod", "--selector=track=stable", f"--timeout={_POD_WAIT}")
    with service() as server:
        promote(cluster, first, server)

        assert first.is_answered_by(first.ask(server))


def test_after_a_rollback_the_version_before_answers(
    cluster: Cluster, first: Deployed, second: Deployed
) -> None:
    with service() as server:
        promote(cluster, first, server)
        promote(cluster, second, server)
        assert second.is_answered_by(second.ask(server))

        ssfr(
            *("rollback", "--to", first.told["version"], "--repository", cluster.repository),
            *("--server", server, "--settings", cluster.here),
        )

        assert first.is_answered_by(first.ask(server))
