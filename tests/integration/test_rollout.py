"""Roll-out over gRPC: our server on a folder that a model-sync keeps as a repository says."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import typer
from exported_models import serving, write_toy
from google.protobuf import text_format
from s3_server import Place
from served_models import begun, label, model_sync
from stored_artifacts import Said
from tensorflow_serving.apis.model_management_pb2 import ReloadConfigRequest
from tensorflow_serving.apis.model_service_pb2_grpc import ModelServiceStub
from tensorflow_serving.config.model_server_config_pb2 import ModelServerConfig
from typer.testing import CliRunner

from ssfr.components.config.storage import StorageSettings
from ssfr.components.deployment.rollout import promote, rollback
from ssfr.components.errors import InputError
from ssfr.components.runtime.progress import SILENT
from ssfr.components.serving.client.client import ModelClient
from ssfr.components.serving.repository.folder import Champion
from ssfr.components.serving.repository.remote import RemoteRepository
from ssfr.components.serving.repository.sync import CONFIG
from ssfr.components.serving.server.server import Server
from ssfr.components.storage.opening import open_store
from ssfr.pipelines.kubeflow import operate

MAPS = np.zeros((1, 1, 4, 4), np.float32)


@pytest.fixture(scope="module")
def toys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Versions 1 to 3 answer -1, -2 and -3; 4 is not what it says, and 5 says nothing."""
    root = tmp_path_factory.mktemp("toys")
    for version in (1, 2, 3, 4):
        write_toy(root, version, answer=-float(version), known=-float(version) - (version == 4))
    write_toy(root, 5, answer=-5.0)
    return root / "toy"


@dataclass
class Service:
    """A repository, a model-sync, and the server beside it."""

    repository: RemoteRepository
    storage: StorageSettings
    folder: Path
    server: Server
    said: Said = field(default_factory=Said)

    def labels(self) -> dict[str, int]:
        return dict(self.repository.read().champion.labels)

    def answers(self, name: str | None = None) -> float:
        with ModelClient.of(serving(), self.server.address, "toy", label=name) as client:
            return float(client.predict_maps(MAPS).predicted[0])

    def promote(self, version: int, **changes: object) -> float:
        settings = serving(**{"rollout_s": 30.0, **changes})
        return promote(self.repository, version, [self.server.address], settings, self.said).difference_dex

    def rollback(self, to: int | None = None) -> int:
        settings = serving(rollout_s=30.0)
        return rollback(self.repository, to, [self.server.address], settings, self.said).version


@contextmanager
def running(repository: RemoteRepository, storage: StorageSettings, folder: Path) -> Iterator[Service]:
    """Label version 1 stable, and serve it."""
    label(repository, stable=1)
    sidecar = model_sync(repository.location, folder, storage)
    try:
        begun(sidecar)
        while not (folder / CONFIG).exists():
            assert sidecar.poll() is None
            time.sleep(0.05)
        with Server(folder, serving(), SILENT) as server:
            yield Service(repository, storage, folder, server)
    finally:
        sidecar.kill()
        sidecar.wait()


@pytest.fixture
def service(toys: Path, tmp_path: Path) -> Iterator[Service]:
    """With versions 1 to 5, in a folder."""
    shutil.copytree(toys, tmp_path / "models" / "toy")
    repository, storage = RemoteRepository(str(tmp_path / "models"), "toy"), StorageSettings()
    with running(repository, storage, tmp_path / "served") as started:
        yield started


@pytest.fixture
def service_in_s3(place: Place, toys: Path, tmp_path: Path) -> Iterator[Service]:
    """With versions 1 to 3, in S3."""
    storage = place.settings()
    repository = RemoteRepository(f"s3://{place.bucket}/models", "toy", storage)
    for version in range(1, 4):
        repository.publish(toys / str(version))
    with running(repository, storage, tmp_path / "served") as started:
        yield started


def test_a_version_is_promoted_and_rolled_back(service_in_s3: Service) -> None:
    service = service_in_s3
    assert service.answers() == service.answers("stable") == -1.0
    assert service.promote(2) < 1e-6
    assert service.labels() == {"stable": 2}
    assert service.answers() == service.answers("stable") == -2.0
    service.promote(3)
    assert service.rollback() == 2
    assert service.rollback() == 1
    assert service.answers("stable") == -1.0
    with pytest.raises(
        InputError, match="no champion before this one is still there; name a version with --to"
    ):
        service.rollback()
    assert service.rollback(to=3) == 3
    assert service.labels() == {"stable": 3}
    history = service.repository.read().champion.history
    assert [(line["version"], line.get("rolled_back", False)) for line in history[1:]] == [
        (2, False),
        (3, False),
        (2, True),
        (1, True),
        (3, True),
    ]


def test_a_version_that_does_not_answer_as_it_is_known_to_is_never_stable(
    service: Service, tmp_path: Path
) -> None:
    """Version 2 of the repository is another model than the version 2 that the server has."""
    label(service.repository, canary=2)
    wait_for(service, "canary", -2.0)
    store = open_store(service.repository.location, service.storage)
    store.remove("toy/2")
    assert store.publish(write_toy(tmp_path / "other", 2, answer=-7.0, known=-7.0), "toy/2")
    with pytest.raises(InputError, match=r"does not answer 'predict_maps' as it did .* 5 dex off") as caught:
        service.promote(2)
    assert str(caught.value).endswith("the labels are back: stable is 1")
    assert service.labels() == {"stable": 1, "canary": 2}
    assert service.answers("stable") == -1.0
    last = service.repository.read().champion.history[-1]
    assert (last["version"], last["promoted"]) == (2, False)
    assert "5 dex off" in last["reason"]


def test_a_server_that_does_not_come_to_follow_is_told_and_the_labels_go_back(service: Service) -> None:
    """It has a configuration of its own, with version 2 on trial but version 1 stable."""
    label(service.repository, canary=2)
    wait_for(service, "canary", -2.0)
    text = """model_config_list { config { name: "toy" model_platform: "tensorflow"
        model_version_policy { specific { versions: 1 versions: 2 } }
        version_labels { key: "stable" value: 1 } version_labels { key: "trial" value: 2 } } }"""
    with grpc.insecure_channel(service.server.address) as channel:
        config = text_format.Parse(text, ModelServerConfig())
        ModelServiceStub(channel).HandleReloadConfigRequest(ReloadConfigRequest(config=config), timeout=20)
    with pytest.raises(
        InputError, match=r"label stable was not version 2 after [\d.]+ s \(version 1 answers\)"
    ) as caught:
        service.promote(2, rollout_s=1.0)
    assert str(caught.value).endswith("the labels are back: stable is 1")
    assert service.labels() == {"stable": 1, "canary": 2}


def test_a_model_that_the_server_refuses_stays_on_trial_and_the_server_says_why(service: Service) -> None:
    with pytest.raises(InputError, match=r"label trial was not version 4 after [\d.]+ s") as caught:
        service.promote(4, rollout_s=3.0)
    assert "differs by 1 dex from the answers it gave when it was exported" in str(caught.value)
    assert service.labels() == {"stable": 1}
    assert service.answers("stable") == service.answers() == -1.0


def test_what_can_not_be_checked_moves_no_label(service: Service) -> None:
    before = service.repository.read()
    with pytest.raises(InputError, match=r"toy: no complete version 9; there are: 1, 2, 3, 4, 5"):
        service.promote(9)
    with pytest.raises(
        InputError, match=r"toy/5: no requests with known answers .* deployment\.warmup: true"
    ):
        service.promote(5)
    with pytest.raises(InputError, match="no server to check"):
        promote(service.repository, 2, [], serving(), service.said)
    assert service.repository.read() == before
    with pytest.raises(InputError, match=r"no server answers there.*the labels are back: stable is 1"):
        promote(service.repository, 2, ["127.0.0.1:9"], serving(rollout_s=0.5), service.said)
    assert service.labels() == {"stable": 1}


def test_a_stable_version_is_asked_again_and_nothing_moves(service: Service) -> None:
    service.promote(2)
    before = service.repository.read()
    assert service.promote(2) < 1e-6
    assert service.repository.read() == before


def test_a_roll_out_that_is_interrupted_puts_the_labels_back(service: Service) -> None:
    class Interrupting(Said):
        def emit(self, event: dict[str, Any]) -> None:
            super().emit(event)
            if event.get("text") == "version 2 is labelled stable":
                raise KeyboardInterrupt

    service.said = Interrupting()
    with pytest.raises(KeyboardInterrupt):
        service.promote(2)
    assert service.said.lines[-1] == "the labels are back: stable is 1"
    assert service.labels() == {"stable": 1}


def test_every_server_must_pass(service: Service) -> None:
    servers = [service.server.address, "127.0.0.1:9"]
    with pytest.raises(InputError, match=r"^127\.0\.0\.1:9: label trial was not version 2 after [\d.]+ s"):
        promote(service.repository, 2, servers, serving(rollout_s=3.0), service.said)
    assert service.labels() == {"stable": 1}


def test_of_two_roll_outs_at_once_one_wins(service_in_s3: Service) -> None:
    service = service_in_s3

    class Meanwhile(Said):
        def emit(self, event: dict[str, Any]) -> None:
            super().emit(event)
            if event.get("text") == "version 2 is on trial":
                label(service.repository, stable=3)

    service.said = Meanwhile()
    with pytest.raises(InputError, match="changed the labels at the same time, and won") as caught:
        service.promote(2)
    assert "the labels could not be put back" in str(caught.value)
    assert service.labels() == {"stable": 3, "trial": 2}
    service.said = Said()
    service.rollback(to=1)
    assert service.labels() == {"stable": 1}


def test_clients_that_ask_all_the_while_see_no_failure(service_in_s3: Service) -> None:
    service = service_in_s3
    stop, answers, failed = threading.Event(), [set() for _ in range(8)], []

    def ask(number: int) -> None:
        name = "stable" if number % 2 else None
        with ModelClient.of(serving(), service.server.address, "toy", label=name) as client:
            while not stop.is_set():
                try:
                    answers[number].add(float(client.predict_maps(MAPS).predicted[0]))
                except InputError as error:
                    failed.append(str(error))

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    try:
        service.promote(2)
        service.rollback()
        service.promote(3)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert failed == []
    assert all({-2.0, -3.0} & seen and seen <= {-1.0, -2.0, -3.0} for seen in answers)


def test_the_commands_tell_what_they_did_in_one_line(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = typer.Typer()
    app.command()(operate.promote)
    app.command()(operate.rollback)
    settings = str(service.folder.with_name("served.yaml"))
    options = ["--repository", service.repository.location, "--server", service.server.address]
    for command, told in (
        (["promote", "2"], "toy: version 2 is stable, was 1; live answers within "),
        (["rollback"], "toy: version 1 is stable, was 2; live answers within "),
        (["rollback", "--to", "1"], "toy: version 1 is stable; live answers within "),
    ):
        result = CliRunner().invoke(app, [*command, *options, "--settings", settings])
        assert result.exit_code == 0, result.output
        assert result.stdout.startswith(told)
    assert isinstance(
        CliRunner().invoke(app, ["promote", "9", *options, "--model", "toy"]).exception, InputError
    )


@pytest.mark.parametrize(
    ("line", "there", "expected"),
    [
        ([1], [1], None),
        ([1, 2], [1, 2], 1),
        ([1, 2, 3], [1, 3], 1),
        ([1, 2], [2], None),
        ([1, 2, -1], [1, 2], None),
        ([1, 2, 3, -2], [1, 2, 3], 1),
        ([1, 2, -1, 3], [1, 2, 3], 1),
        ([1, 2, 1], [1, 2], 2),
        ([], [], None),
    ],
)
@pytest.mark.parametrize("undone", [False, True])
def test_the_champion_before_is_found_in_the_history(
    line: list[int], there: list[int], expected: int | None, undone: bool
) -> None:
    """A negative number is a roll-back to it; a promotion that was undone changes nothing."""
    history = tuple({"version": abs(one), "promoted": True, "rolled_back": one < 0} for one in line)
    labels = {"stable": abs(line[-1])} if line else {}
    tried = [{"version": 9, "promoted": True}] if undone else []
    after = (*history, *tried, {"version": 9, "promoted": False})
    assert Champion(labels, after).previous([*there, 9]) == expected


def wait_for(service: Service, name: str, answer: float, seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while True:
        with suppress(InputError):
            if service.answers(name) == answer:
                return
        assert time.monotonic() < end, "it did not come to pass"
        time.sleep(0.05)
