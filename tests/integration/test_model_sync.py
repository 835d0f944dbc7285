"""Model-sync as a container runs it: a process that follows a real S3 server, and is killed."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from faulty_proxy import faulty_proxy, random_faults
from s3_server import Place
from served_models import Watcher, begun, kill_rounds, label, model_sync, served, write_version
from stored_artifacts import random_bytes

from ssfr.components.serving.repository.folder import ModelFolder
from ssfr.components.serving.repository.remote import RemoteRepository
from ssfr.components.storage.manifest import MANIFEST

FILES = {f"variables/part-{number}": random_bytes(500_000, number) for number in range(8)}


@pytest.fixture
def repository(place: Place) -> RemoteRepository:
    return RemoteRepository(f"s3://{place.bucket}/runs", "toy", place.settings())


def add(repository: RemoteRepository, tmp_path: Path, count: int = 1) -> None:
    for _ in range(count):
        repository.publish(write_version(tmp_path, files=FILES))


def wait_for(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come to pass"
        time.sleep(0.02)


@pytest.mark.slow
def test_killed_at_any_moment_it_never_shows_half_a_version(
    place: Place, repository: RemoteRepository, tmp_path: Path
) -> None:
    add(repository, tmp_path, 3)
    tally, wrong = kill_rounds(8, repository, tmp_path / "served", place.settings())
    assert wrong == []
    assert tally["cut"] > 0, "no process was killed while it had work to do"


def test_the_init_container_brings_it_and_the_sidecar_follows(
    place: Place, repository: RemoteRepository, tmp_path: Path
) -> None:
    root = tmp_path / "served"
    add(repository, tmp_path, 2)
    label(repository, stable=1)
    assert model_sync(repository.location, root, place.settings(), "--once").wait() == 0
    assert served(root) == ([1], {"stable": 1})
    sidecar = model_sync(repository.location, root, place.settings())
    try:
        begun(sidecar)
        label(repository, stable=2)
        wait_for(lambda: served(root) == ([1, 2], {"stable": 2}))
        wait_for(lambda: served(root) == ([2], {"stable": 2}))
        wait_for(lambda: ModelFolder(root, "toy").versions() == [2])
    finally:
        sidecar.send_signal(signal.SIGTERM)
        assert sidecar.wait(10) == 0


def test_what_is_wrong_in_the_repository_is_reported_and_what_is_served_stays(
    place: Place, repository: RemoteRepository, tmp_path: Path
) -> None:
    root = tmp_path / "served"
    for _ in range(3):  # the newest is here in any case
        repository.publish(write_version(tmp_path))
    label(repository, stable=1)

    def look() -> list[str]:
        assert model_sync(repository.location, root, place.settings(), "--once").wait() == 0
        assert served(root) == ([1], {"stable": 1})
        problems: list[str] = json.loads((root / "sync.json").read_text())["problems"]
        return problems

    assert look() == []
    where = {"Bucket": place.bucket, "Key": f"runs/toy/2/{MANIFEST}"}
    place.client.delete_object(**where)
    place.client.put_object(Bucket=place.bucket, Key=f"runs/toy/latest/{MANIFEST}", Body=b"{}")
    label(repository, stable=2)
    latest, half = look()
    assert "latest: ignored, a version is an integer" in latest
    assert "'toy/2' has data but no manifest.json: its publisher is still at it or was stopped" in half
    place.client.put_object(**where, Body=b"{", Metadata={"upload": "x"})
    assert "toy/2/manifest.json: not a manifest of ours" in look()[1]
    place.client.put_object(**where, Body=b'{"files": {}}', Metadata={"upload": "x"})
    assert "toy/2: no saved_model.pb in its manifest.json" in look()[1]


def test_without_a_server_and_without_a_model_it_ends_with_one_line(place: Place, tmp_path: Path) -> None:
    storage = place.settings("http://127.0.0.1:9", attempts=1)
    process = model_sync("s3://bucket/models", tmp_path / "served", storage, "--once")
    _, lines = process.communicate(timeout=30)
    assert process.returncode != 0
    assert "EndpointConnectionError, 1 attempts; is http://127.0.0.1:9 up" in lines


def test_through_a_network_that_breaks_the_version_is_brought_complete(
    place: Place, repository: RemoteRepository, tmp_path: Path
) -> None:
    root = tmp_path / "served"
    add(repository, tmp_path, 2)
    label(repository, stable=1, canary=2)
    with (
        faulty_proxy(place.server.port, random_faults(seed=1, share=0.3), stall_s=3) as proxy,
        Watcher(root / "toy") as watcher,
    ):
        storage = place.settings(proxy.endpoint, attempts=12, read_timeout_s=0.7)
        assert model_sync(repository.location, root, storage, "--once").wait() == 0
        assert proxy.injected.total() > 3
    assert watcher.partial == []
    assert served(root) == ([1, 2], {"stable": 1, "canary": 2})
