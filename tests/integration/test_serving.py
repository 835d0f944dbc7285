"""The server over real sockets: status codes, hot swaps, labels, health, TLS, and how it ends."""

import json
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import grpc
import numpy as np
import pytest
import tensorflow as tf
from exported_models import serving, write_toy
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub
from tensorflow_serving.apis.classification_pb2 import ClassificationRequest
from tensorflow_serving.apis.get_model_metadata_pb2 import GetModelMetadataRequest, SignatureDefMap
from tensorflow_serving.apis.get_model_status_pb2 import GetModelStatusRequest, ModelVersionStatus
from tensorflow_serving.apis.inference_pb2 import MultiInferenceRequest
from tensorflow_serving.apis.model_management_pb2 import ReloadConfigRequest
from tensorflow_serving.apis.model_pb2 import ModelSpec
from tensorflow_serving.apis.model_service_pb2_grpc import ModelServiceStub
from tensorflow_serving.apis.predict_pb2 import PredictRequest
from tensorflow_serving.apis.prediction_service_pb2_grpc import PredictionServiceStub
from tensorflow_serving.apis.regression_pb2 import RegressionRequest

from ssfr.components.errors import InputError
from ssfr.components.runtime.progress import SILENT, Progress
from ssfr.components.serving.client.client import ModelClient
from ssfr.components.serving.repository.remote import RemoteRepository
from ssfr.components.serving.server import servable
from ssfr.components.serving.server.server import Server
from ssfr.components.storage.artifact import publish

Code = grpc.StatusCode
MAPS = np.zeros((1, 1, 4, 4), np.float32)


class Lines:
    """Keeps what was said."""

    def __init__(self):
        self.said = []

    def emit(self, event):
        self.said.append(event["text"])


@pytest.fixture(scope="module")
def toys(tmp_path_factory):
    """Versions 1 to 3 that answer -1, -2 and -3, another model, and one that takes 1.5 s."""
    root = tmp_path_factory.mktemp("toys")
    for version in (1, 2, 3):
        write_toy(root, version, answer=-float(version))
    write_toy(root, 1, name="zoo", answer=-1.0)
    write_toy(root, 1, name="slow", seconds=1.5)
    return root


@pytest.fixture
def repository(toys, tmp_path):
    """A repository with version 1 alone."""
    deploy(toys, tmp_path / "models", 1)
    return tmp_path / "models"


def deploy(toys, root, version, name="toy"):
    """Publish a version as a deployment does: in one step."""
    part = root / name / f".{version}.part"
    shutil.copytree(toys / name / str(version), part)
    part.rename(root / name / str(version))


def label(root, **labels):
    for name, version in labels.items():
        models = RemoteRepository(str(root), "toy")
        models.decide(models.read(), version, name == "stable", {})


@contextmanager
def served(root, progress=SILENT, **changes):
    settings = serving(**changes)
    with (
        Server(root, settings, progress) as server,
        ModelClient.of(settings, server.address, "toy") as client,
    ):
        yield server, client


@pytest.fixture(scope="module")
def stubs(toys, tmp_path_factory):
    """A running server with small limits, and raw stubs to it."""
    root = tmp_path_factory.mktemp("codes") / "models"
    deploy(toys, root, 1)
    label(root, stable=1)
    with (
        Server(root, serving(max_batch=8, max_message_mb=0.05), SILENT) as server,
        grpc.insecure_channel(server.address) as channel,
    ):
        yield PredictionServiceStub(channel), ModelServiceStub(channel), HealthStub(channel)


def request(maps=MAPS, signature="", key="maps", **spec):
    inputs = {key: tf.make_tensor_proto(maps)} if maps is not None else {}
    return PredictRequest(model_spec=ModelSpec(name="toy", signature_name=signature, **spec), inputs=inputs)


def refused(call, message):
    with pytest.raises(grpc.RpcError) as error:
        call(message, timeout=20)
    return error.value.code(), error.value.details()


def wait_for(condition, seconds=20.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come to pass"
        time.sleep(0.02)


def test_a_prediction_names_the_version_that_made_it(stubs):
    answer = stubs[0].Predict(request(MAPS + 0.25))
    assert answer.model_spec.version.value == 1
    assert answer.model_spec.signature_name == "serving_default"
    values = {name: np.frombuffer(t.tensor_content, np.float32)[0] for name, t in answer.outputs.items()}
    assert values["log10_ssfr"] == pytest.approx(-0.75)
    assert values["ssfr"] == pytest.approx(10**-0.75)
    assert (values["lower"], values["upper"]) == pytest.approx((-0.85, -0.65))


def test_the_output_filter_chooses_outputs(stubs):
    message = request()
    message.output_filter.append("ssfr")
    assert list(stubs[0].Predict(message).outputs) == ["ssfr"]
    message.output_filter.append("colour")
    assert refused(stubs[0].Predict, message)[0] is Code.INVALID_ARGUMENT


@pytest.mark.parametrize(
    ("message", "code", "said"),
    [
        (request(signature="classify"), Code.FAILED_PRECONDITION, '"classify" not found'),
        (request(version={"value": 7}), Code.NOT_FOUND, "Servable not found for request: Specific(toy, 7)"),
        (request(version_label="canary"), Code.INVALID_ARGUMENT, "Unrecognized servable version label"),
        (
            PredictRequest(model_spec=ModelSpec(name="other")),
            Code.NOT_FOUND,
            "Servable not found for request",
        ),
        (PredictRequest(), Code.INVALID_ARGUMENT, "no name"),
        (request(None), Code.INVALID_ARGUMENT, "Missing but required: ['maps']"),
        (request(key="image"), Code.INVALID_ARGUMENT, "Sent extra: ['image']"),
        (request(MAPS.astype(np.float64)), Code.INVALID_ARGUMENT, "expected float32 (n, 1, 4, 4), got dtype"),
        (request(np.array([b"maps"], dtype=object)), Code.INVALID_ARGUMENT, "dtype string"),
        (request(MAPS[0]), Code.INVALID_ARGUMENT, "got shape (1, 4, 4)"),
        (request(np.zeros((1, 1, 5, 4), np.float32)), Code.INVALID_ARGUMENT, "got shape (1, 1, 5, 4)"),
        (request(np.zeros((9, 1, 4, 4), np.float32)), Code.INVALID_ARGUMENT, "at most 8"),
        (request(np.zeros((900, 1, 4, 4), np.float32)), Code.RESOURCE_EXHAUSTED, "larger than max"),
    ],
)
def test_what_can_not_be_answered_has_the_status_of_tf_serving(stubs, message, code, said):
    found, details = refused(stubs[0].Predict, message)
    assert found is code
    assert said in details


def test_a_tensor_that_lies_about_its_size_is_refused(stubs):
    message = request()
    message.inputs["maps"].tensor_content = b"\0" * 63
    assert refused(stubs[0].Predict, message)[0] is Code.INVALID_ARGUMENT
    message.inputs["maps"].ClearField("tensor_content")
    assert refused(stubs[0].Predict, message)[0] is Code.INVALID_ARGUMENT


def hostile(kind, count=200_000):
    """A request that is larger inside than outside."""
    message = PredictRequest(model_spec=ModelSpec(name="toy"))
    if kind == "axes":
        message.inputs["maps"].dtype = tf.float32.as_datatype_enum
        message.inputs["maps"].tensor_shape.MergeFromString(b"\x12\x00" * count)
    elif kind == "inputs":
        for number in range(count // 8):
            message.inputs[str(number)].SetInParent()
    elif kind == "a long name":
        message.inputs["x" * count].SetInParent()
    elif kind == "unknown fields":
        message.MergeFromString(b"\x30\x01" * count)
    return message


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("axes", "expected float32 (n, 1, 4, 4), got 200000 axes"),
        ("inputs", "25000!=1. Sent extra: ["),
        ("a long name", "1!=1. Sent extra: ['xxx"),
        ("unknown fields", "0!=1. Sent extra: []. Missing but required: ['maps']."),
    ],
)
def test_a_request_of_very_many_parts_is_refused_in_few_words(repository, kind, said):
    with served(repository) as (server, _), grpc.insecure_channel(server.address) as channel:
        code, details = refused(PredictionServiceStub(channel).Predict, hostile(kind))
    assert code is Code.INVALID_ARGUMENT
    assert said in details
    assert len(details) <= 2000


def test_an_empty_batch_answers_empty(stubs):
    answer = stubs[0].Predict(request(MAPS[:0]))
    assert answer.outputs["ssfr"].tensor_shape.dim[0].size == 0


def test_calls_that_are_not_implemented_say_so(stubs):
    prediction = stubs[0]
    for call, message in (
        (prediction.Classify, ClassificationRequest()),
        (prediction.Regress, RegressionRequest()),
        (prediction.MultiInference, MultiInferenceRequest()),
    ):
        assert refused(call, message)[0] is Code.UNIMPLEMENTED


def test_tf_servings_clients_read_the_signatures_and_states(stubs):
    prediction, model, _ = stubs
    spec = ModelSpec(name="toy")
    answer = prediction.GetModelMetadata(
        GetModelMetadataRequest(model_spec=spec, metadata_field=["signature_def"])
    )
    signatures = SignatureDefMap()
    assert answer.metadata["signature_def"].Unpack(signatures)
    taken = signatures.signature_def["predict_maps"].inputs["maps"]
    assert tf.dtypes.as_dtype(taken.dtype) is tf.float32
    assert [dim.size for dim in taken.tensor_shape.dim] == [-1, 1, 4, 4]
    assert taken.name == "predict_maps_maps:0"
    (status,) = model.GetModelStatus(GetModelStatusRequest(model_spec=spec)).model_version_status
    assert (status.version, status.state, status.status.error_code) == (1, ModelVersionStatus.AVAILABLE, 0)


def test_metadata_and_status_have_tf_servings_statuses(stubs):
    prediction, model, _ = stubs
    spec = ModelSpec(name="toy")
    call = prediction.GetModelMetadata
    assert refused(call, GetModelMetadataRequest(model_spec=spec))[0] is Code.INVALID_ARGUMENT
    odd = GetModelMetadataRequest(model_spec=spec, metadata_field=["colour"])
    assert refused(call, odd)[0] is Code.INVALID_ARGUMENT
    other = ModelSpec(name="other")
    unknown = GetModelMetadataRequest(model_spec=other, metadata_field=["signature_def"])
    assert refused(call, unknown)[0] is Code.NOT_FOUND
    assert refused(model.GetModelStatus, GetModelStatusRequest(model_spec=other))[0] is Code.NOT_FOUND
    seven = GetModelStatusRequest(model_spec=ModelSpec(name="toy", version={"value": 7}))
    assert refused(model.GetModelStatus, seven)[0] is Code.NOT_FOUND


def test_health_is_answered_for_the_server_and_the_service(stubs):
    health = stubs[2]
    for service in ("", "tensorflow.serving.PredictionService"):
        answer = health.Check(HealthCheckRequest(service=service))
        assert answer.status == HealthCheckResponse.SERVING
    assert refused(health.Check, HealthCheckRequest(service="other"))[0] is Code.NOT_FOUND


def test_the_client_tells_what_the_model_takes(repository):
    with served(repository) as (_, client):
        found = {name: {k: str(v) for k, v in keys.items()} for name, keys in client.metadata().items()}
        assert found["predict_maps"] == {"maps": "float32 (n, 1, 4, 4)"}
        with pytest.raises(InputError, match=r"sent .*\(2, 3, 4, 4\); the model takes .*\(n, 1, 4, 4\)"):
            client.predict_maps(np.zeros((2, 3, 4, 4)))
        with pytest.raises(InputError, match=r"Missing but required: \['maps'\]"):
            client.predict_images(np.zeros((1, 4, 4, 3), np.uint8))
        with pytest.raises(InputError, match='"predict_png" not found'):
            client.predict_png([b"png"])


def test_the_client_splits_what_is_too_much_for_one_request(repository):
    maps = np.arange(100, dtype=np.float32)[:, None, None, None] * np.ones((1, 1, 4, 4), np.float32)
    for limit in ({"max_batch": 7}, {"max_message_mb": 0.066}):
        with served(repository, **limit) as (_, client):
            answer = client.predict_maps(maps)
            np.testing.assert_allclose(answer.predicted, np.arange(100) - 1.0)
            assert answer.versions.tolist() == [1] * 100


def test_the_command_predict_imports_no_tensorflow(repository, tmp_path):
    np.save(tmp_path / "galaxy.npy", MAPS[0])
    with served(repository) as (server, _):
        command = "-X importtime -m ssfr.pipelines.cli predict galaxy.npy --model toy --json --server"
        found = subprocess.run(
            [sys.executable, *command.split(), server.address],
            cwd=tmp_path,
            check=True,
            capture_output=True,
            text=True,
        )
    assert json.loads(found.stdout)["log10_ssfr"] == -1.0
    assert "galaxy.npy: an array does not say how it was drawn" in found.stderr
    imported = {
        line.rpartition("|")[2].strip() for line in found.stderr.splitlines() if "import time:" in line
    }
    assert {"grpc", "numpy"} <= imported
    assert not {"keras", "tensorflow", "tensorflow_serving"} & imported


def test_an_unknown_model_is_said_in_one_line(repository):
    settings = serving()
    with served(repository) as (server, _), ModelClient.of(settings, server.address, "other") as client:
        with pytest.raises(InputError, match=r"no model 'other' loaded"):
            client.predict_maps(MAPS)
        with pytest.raises(InputError, match=r"no model 'other' loaded"):
            client.status()


def test_versions_and_labels_are_addressed(toys, repository):
    deploy(toys, repository, 2), deploy(toys, repository, 3)
    label(repository, stable=1, canary=3)
    with served(repository) as (server, client):
        assert [status.version for status in client.status()] == [3, 1]
        assert client.predict_maps(MAPS).predicted == -1.0
        expected = {"stable": -1.0, "canary": -3.0}
        for name, value in expected.items():
            with ModelClient.of(serving(), server.address, "toy", label=name) as by_label:
                assert by_label.predict_maps(MAPS).predicted == value
        with ModelClient.of(serving(), server.address, "toy", version=3) as by_version:
            assert by_version.predict_maps(MAPS).predicted == -3.0
        with (
            ModelClient.of(serving(), server.address, "toy", version=2) as by_version,
            pytest.raises(InputError),
        ):
            by_version.predict_maps(MAPS)


def test_a_promotion_moves_the_labels_of_a_running_server(toys, repository):
    deploy(toys, repository, 2)
    label(repository, stable=1, canary=2)
    with served(repository) as (_, client):
        assert client.predict_maps(MAPS).predicted == -1.0
        label(repository, stable=2)
        wait_for(lambda: client.predict_maps(MAPS).predicted == -2.0)
        wait_for(lambda: {s.version: s.state for s in client.status()} == {2: "AVAILABLE", 1: "END"})


def test_a_model_without_a_champion_is_still_served(repository):
    label(repository, canary=1)
    with served(repository) as (_, client):
        assert client.predict_maps(MAPS).predicted == -1.0


def test_no_request_fails_while_versions_are_swapped(toys, repository):
    stop = threading.Event()
    seen = [[] for _ in range(8)]

    def ask(address, mine):
        with ModelClient.of(serving(retries=0), address, "toy") as client:
            while not stop.is_set():
                answer = client.predict_maps(MAPS)
                assert answer.predicted[0] == -float(answer.versions[0])
                mine.append(int(answer.versions[0]))

    with served(repository) as (server, _), ThreadPoolExecutor(8) as pool:
        clients = [pool.submit(ask, server.address, mine) for mine in seen]
        try:
            for version in (2, 3):
                deploy(toys, repository, version)
                wait_for(lambda v=version: all(mine and mine[-1] == v for mine in seen))
        finally:
            stop.set()
        for client in clients:
            client.result()
    for mine in seen:
        assert mine == sorted(mine)
        assert set(mine) == {1, 2, 3}


def test_an_old_version_is_unloaded_only_after_its_calls(toys, repository):
    with served(repository) as (server, client):
        old = server.loader.servable(ModelSpec(name="toy"))
        with old.call():
            deploy(toys, repository, 2)
            wait_for(lambda: client.status()[-1].state == "UNLOADING")
            time.sleep(0.3)
            assert client.predict_maps(MAPS).versions.tolist() == [2]
            assert old.signature("predict_maps")({"maps": MAPS})["log10_ssfr"] == -1.0
            assert client.status()[-1].state == "UNLOADING"
        wait_for(lambda: client.status()[-1].state == "END")


@pytest.mark.parametrize("harm", ["altered", "added", "no manifest", "truncated"])
def test_a_version_that_was_tampered_with_is_not_loaded_and_the_old_one_answers(toys, repository, harm):
    lines = Lines()
    with served(repository, Progress(lines)) as (_, client):
        part = repository / "toy" / ".2.part"
        shutil.copytree(toys / "toy" / "2", part)
        if harm == "altered":
            program = (part / "saved_model.pb").read_bytes()
            (part / "saved_model.pb").write_bytes(program.replace(b"log10_ssfr", b"log01_ssfr"))
        elif harm == "added":
            (part / "saved_model.pbtxt").write_text("")
        elif harm == "no manifest":
            (part / "manifest.json").unlink()
        else:
            (part / "saved_model.pb").write_bytes((part / "saved_model.pb").read_bytes()[:-100])
        part.rename(repository / "toy" / "2")
        wait_for(lambda: any(status.problem for status in client.status()))
        newest = client.status()[0]
        assert (newest.version, newest.state) == (2, "END")
        assert str(repository / "toy" / "2") in newest.problem
        time.sleep(0.3)
        said = [line for line in lines.said if "version 2 not loaded" in line]
        assert len(said) == 1
        assert "version 1 goes on answering" in said[0]
        assert client.predict_maps(MAPS).versions.tolist() == [1]
        shutil.rmtree(repository / "toy" / "2")
        deploy(toys, repository, 2)
        wait_for(lambda: client.predict_maps(MAPS).versions.tolist() == [2])


def test_a_champion_that_is_damaged_does_not_hand_its_name_to_the_canary(toys, repository):
    deploy(toys, repository, 2)
    label(repository, stable=1, canary=2)
    (repository / "toy" / "1" / "saved_model.pb").write_bytes(b"damaged")
    with served(repository) as (server, client):
        with pytest.raises(InputError, match="Servable not found"):
            client.predict_maps(MAPS)
        with ModelClient.of(serving(), server.address, "toy", label="canary") as canary:
            assert canary.predict_maps(MAPS).predicted == -2.0


def test_a_first_champion_that_is_damaged_leaves_what_answered(toys, repository):
    lines = Lines()
    label(repository, canary=1)
    with served(repository, Progress(lines)) as (_, client):
        deploy(toys, repository, 2)
        wait_for(lambda: any("version 2" not in line and "1 loaded" in line for line in lines.said))
        (repository / "toy" / "2" / "saved_model.pb").write_bytes(b"damaged")
        label(repository, stable=2)
        wait_for(lambda: any("version 1 goes on answering" in line for line in lines.said))
        assert client.predict_maps(MAPS).versions.tolist() == [1]
        shutil.rmtree(repository / "toy" / "2")
        deploy(toys, repository, 2)
        wait_for(lambda: client.predict_maps(MAPS).versions.tolist() == [2])


@pytest.mark.parametrize(
    ("file", "content", "said"),
    [
        ("saved_model.pb", "", "holds no graph"),
        ("assets.extra/ssfr.json", "[]", r"ssfr.json: a list, not an object"),
        ("assets.extra/ssfr.json", '{"known_answers": []}', "known_answers: not what we write"),
        (
            "assets.extra/ssfr.json",
            '{"known_answers": {"predict_maps": {"log10_ssfr": 1, "tolerance_dex": 1}}}',
            "known_answers: not what we write",
        ),
        ("assets.extra/ssfr.json", '{"one_thread": "unforeseen"}', "AttributeError"),
    ],
)
def test_a_fault_of_one_version_does_not_stop_the_others(toys, repository, monkeypatch, file, content, said):
    load = servable._load_signatures

    def unforeseen(directory, one_thread):
        if "unforeseen" in content and directory.parts[-2:] == ("toy", "2"):
            raise AttributeError("what nobody foresaw")
        return load(directory, one_thread)

    monkeypatch.setattr(servable, "_load_signatures", unforeseen)
    lines = Lines()
    with served(repository, Progress(lines)) as (server, client):
        part = repository / "toy" / ".2.part"
        shutil.copytree(toys / "toy" / "2", part)
        (part / "manifest.json").unlink()
        (part / "assets.extra").mkdir()
        (part / "assets.extra" / "tf_serving_warmup_requests").touch()
        (part / file).write_text(content)
        publish(part, repository / "toy" / "2", {})
        deploy(toys, repository, 1, "zoo")
        with ModelClient.of(serving(), server.address, "zoo") as other:
            wait_for(lambda: "zoo version 1 loaded" in lines.said)
            assert other.predict_maps(MAPS).predicted == -1.0
        time.sleep(0.3)
        refusals = [line for line in lines.said if "toy version 2 not loaded" in line]
        assert len(refusals) == 1
        assert said in refusals[0]
        assert client.predict_maps(MAPS).versions.tolist() == [1]


def test_a_damaged_champion_file_leaves_what_is_loaded(toys, repository):
    lines = Lines()
    label(repository, stable=1)
    with served(repository, Progress(lines)) as (_, client):
        (repository / "toy" / "champion.json").write_text("{")
        deploy(toys, repository, 2)
        wait_for(lambda: any("champion.json" in line for line in lines.said))
        assert client.predict_maps(MAPS).versions.tolist() == [1]


def test_an_empty_repository_is_not_serving_until_a_model_comes(toys, tmp_path):
    root = tmp_path / "models"
    root.mkdir()
    with served(root) as (server, client), grpc.insecure_channel(server.address) as channel:
        health = HealthStub(channel)
        assert health.Check(HealthCheckRequest()).status == HealthCheckResponse.NOT_SERVING
        deploy(toys, root, 1)
        wait_for(lambda: health.Check(HealthCheckRequest()).status == HealthCheckResponse.SERVING)
        assert client.predict_maps(MAPS).predicted == -1.0


def test_a_reload_chooses_models_versions_and_labels(toys, repository):
    deploy(toys, repository, 2)
    with served(repository) as (server, client), grpc.insecure_channel(server.address) as channel:
        reload = ModelServiceStub(channel).HandleReloadConfigRequest

        def config(**changes):
            message = ReloadConfigRequest()
            entry = message.config.model_config_list.config.add(name="toy", model_platform="tensorflow")
            entry.base_path = changes.get("base_path", str(repository / "toy"))
            entry.model_version_policy.specific.versions.extend(changes.get("versions", [1]))
            for name, version in changes.get("labels", {}).items():
                entry.version_labels[name] = version
            return message

        assert client.predict_maps(MAPS).versions.tolist() == [2]
        reload(config(versions=[1, 2], labels={"canary": 1}))
        with ModelClient.of(serving(), server.address, "toy", label="canary") as canary:
            assert canary.predict_maps(MAPS).versions.tolist() == [1]
        assert refused(reload, ReloadConfigRequest())[0] is Code.INVALID_ARGUMENT
        outside = config(base_path=str(toys / "toy"))
        assert refused(reload, outside)[0] is Code.INVALID_ARGUMENT
        reload(config(versions=[1]))
        assert client.predict_maps(MAPS).versions.tolist() == [1]


def test_a_refused_reload_changes_nothing(toys, repository):
    """Of two models, the one that a refused configuration names, and the one that it leaves out."""
    deploy(toys, repository, 2)
    deploy(toys, repository, 3)
    deploy(toys, repository, 1, "zoo")
    lines = Lines()
    with served(repository, Progress(lines)) as (server, _), grpc.insecure_channel(server.address) as channel:
        reload = ModelServiceStub(channel).HandleReloadConfigRequest
        message = ReloadConfigRequest()
        for name, versions in (("toy", (1, 2)), ("zoo", (1,))):
            entry = message.config.model_config_list.config.add(name=name)
            entry.model_version_policy.specific.versions.extend(versions)
        reload(message)
        specs = [ModelSpec(name="toy", version={"value": version}) for version in (1, 2)]
        specs.append(ModelSpec(name="zoo"))
        before = [server.loader.servable(spec) for spec in specs]
        lines.said.clear()
        del message.config.model_config_list.config[1]
        message.config.model_config_list.config[0].model_version_policy.specific.versions[:] = [1, 3]
        message.config.model_config_list.config[0].version_labels["stable"] = 9
        assert refused(reload, message)[0] is Code.FAILED_PRECONDITION
        time.sleep(0.3)
        assert [server.loader.servable(spec) for spec in specs] == before
        assert lines.said == ["toy version 3 loaded"]
        assert [status.version for status in server.loader.statuses(ModelSpec(name="toy"))] == [2, 1]


def test_health_is_answered_while_every_worker_is_busy(toys, tmp_path):
    root = tmp_path / "models"
    deploy(toys, root, 1, "slow")
    settings = serving(workers=1)
    with (
        Server(root, settings, SILENT) as server,
        ModelClient.of(settings, server.address, "slow") as client,
        grpc.insecure_channel(server.address) as channel,
        ThreadPoolExecutor(1) as pool,
    ):
        call = pool.submit(client.predict_maps, MAPS)
        time.sleep(0.3)
        HealthStub(channel).Check(HealthCheckRequest(), timeout=1.0)
        assert not call.done()
        call.result()


def test_a_full_server_refuses_calls_but_not_the_question_for_health(toys, tmp_path, monkeypatch):
    monkeypatch.setattr("ssfr.components.serving.server.server._QUEUE_PER_WORKER", 1)
    root = tmp_path / "models"
    deploy(toys, root, 1, "slow")
    settings = serving(workers=1)
    with (
        Server(root, settings, SILENT) as server,
        ModelClient.of(settings, server.address, "slow") as client,
        ModelClient.of(serving(retries=20), server.address, "slow") as patient,
        grpc.insecure_channel(server.address) as channel,
        ThreadPoolExecutor(3) as pool,
    ):
        calls = [pool.submit(client.predict_maps, MAPS) for _ in range(2)]
        time.sleep(0.5)
        with pytest.raises(InputError, match=r"too busy \(2 calls are under way already\); try again later"):
            client.predict_maps(MAPS)
        HealthStub(channel).Check(HealthCheckRequest(), timeout=1.0)
        assert not any(call.done() for call in calls)
        assert patient.predict_maps(MAPS).predicted == -10.0
        assert [call.result().predicted for call in calls] == [-10.0, -10.0]


def test_a_call_under_way_is_finished_when_the_server_stops(toys, tmp_path):
    root = tmp_path / "models"
    deploy(toys, root, 1, "slow")
    settings = serving()
    server = Server(root, settings, SILENT)
    server.start()
    with (
        ModelClient.of(settings, server.address, "slow") as client,
        ModelClient.of(settings, server.address, "slow") as late,
        grpc.insecure_channel(server.address) as channel,
        ThreadPoolExecutor(2) as pool,
    ):
        changes = HealthStub(channel).Watch(HealthCheckRequest())
        assert next(changes).status == HealthCheckResponse.SERVING
        call = pool.submit(client.predict_maps, MAPS)
        time.sleep(0.3)
        stopping = pool.submit(server.stop)
        assert next(changes).status == HealthCheckResponse.NOT_SERVING
        changes.cancel()
        with pytest.raises(InputError, match="no server answers"):
            while True:  # what arrives between the two announcements is still answered
                late.predict_maps(MAPS)
        assert call.result().predicted == -10.0
        stopping.result()


def test_a_taken_port_is_said_in_one_line(repository):
    with (
        served(repository) as (server, _),
        pytest.raises(InputError, match=r"can't listen there, the port is taken"),
    ):
        Server(repository, serving(port=int(server.address.rpartition(":")[2])), SILENT)


def test_an_open_port_without_tls_is_warned_of(repository):
    lines = Lines()
    Server(repository, serving(host="0.0.0.0"), Progress(lines))
    assert "anyone who reaches 0.0.0.0" in lines.said[0]


def test_certificates_guard_both_sides(repository, tmp_path):
    ca, certificate, key = make_certificates(tmp_path)
    tls = {"tls_certificate": certificate, "tls_key": key, "tls_client_ca": ca}
    with Server(repository, serving(**tls), SILENT) as server:
        address = f"localhost:{server.address.rpartition(':')[2]}"
        mine = {"tls_server_ca": ca, "tls_client_certificate": certificate, "tls_client_key": key}
        with ModelClient.of(serving(**mine), address, "toy") as client:
            assert client.predict_maps(MAPS).predicted == -1.0
        for stranger in ({}, {"tls_server_ca": ca}):
            with (
                ModelClient.of(serving(**stranger), address, "toy") as client,
                pytest.raises(InputError),
            ):
                client.predict_maps(MAPS)
    with pytest.raises(InputError, match="tls_certificate and tls_key go together"):
        Server(repository, serving(tls_certificate=certificate), SILENT)
    with pytest.raises(InputError, match="tls_client_certificate and tls_client_key go together"):
        ModelClient.of(serving(tls_server_ca=ca, tls_client_key=key), address)


def make_certificates(folder):
    """A key with a self-signed certificate for localhost, which is its own authority."""
    command = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost"
    command += " -addext subjectAltName=DNS:localhost -keyout key.pem -out cert.pem"
    subprocess.run(command.split(), cwd=folder, check=True, capture_output=True)
    return str(folder / "cert.pem"), str(folder / "cert.pem"), str(folder / "key.pem")


_SERVE = """
import sys
from pathlib import Path
from ssfr.components.config import ServingSettings
from ssfr.components.runtime.progress import LogLines, Progress
from ssfr.components.serving.server.server import serve
sys.stdin.readline()
settings = ServingSettings(port=int(sys.argv[2]), grace_s=float(sys.argv[3]))
serve(Path(sys.argv[1]), settings, Progress(LogLines(sys.stdout)))
"""


@contextmanager
def process(root, port=0, grace_s=10.0):
    """A server in a process of its own, that has imported what it needs and waits for `until_serving`."""
    top = Path(__file__).resolve().parents[2]
    command = [sys.executable, "-c", _SERVE, str(root), str(port), str(grace_s)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    server = subprocess.Popen(command, cwd=top, text=True, **pipes)
    try:
        yield server
    finally:
        server.kill()
        server.wait()


def until_serving(server):
    server.stdin.write("\n")
    server.stdin.flush()
    for line in server.stdout:
        if line.startswith("serving "):
            return line.split()[-1]
    raise AssertionError("the server ended before it served")


@pytest.mark.slow
def test_a_killed_server_is_noticed_and_waited_for_and_sigterm_finishes_calls(toys, tmp_path):
    root = tmp_path / "models"
    deploy(toys, root, 1, "slow")
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    with (
        ThreadPoolExecutor(2) as pool,
        process(root, port) as first,
        process(root, port) as second,
    ):
        address = until_serving(first)
        hasty = ModelClient.of(serving(retries=0), address, "slow")
        patient = ModelClient.of(serving(retries=50, deadline_s=120), address, "slow")
        with hasty, patient:
            failing, waiting = pool.submit(hasty.predict_maps, MAPS), pool.submit(patient.predict_maps, MAPS)
            time.sleep(0.5)
            first.send_signal(signal.SIGKILL)
            with pytest.raises(InputError, match=r"it went away and did not come back") as said:
                failing.result()
            assert "\n" not in str(said.value)
            until_serving(second)
            assert waiting.result().predicted == -10.0
            call = pool.submit(hasty.predict_maps, MAPS)
            time.sleep(0.5)
            second.send_signal(signal.SIGTERM)
            assert call.result().predicted == -10.0
            assert second.wait(20) == 0
            assert "stopped" in second.stdout.read()


@pytest.fixture(scope="module")
def endless(tmp_path_factory):
    """A model that takes a minute."""
    root = tmp_path_factory.mktemp("endless")
    write_toy(root, 1, name="endless", seconds=60.0)
    return root


@pytest.mark.parametrize(
    ("grace_s", "second"), [(0.5, None), (60.0, signal.SIGINT)], ids=["the grace is over", "a second signal"]
)
def test_a_server_does_not_outlast_its_grace_or_a_second_signal(endless, grace_s, second):
    with (
        process(endless, grace_s=grace_s) as server,
        ThreadPoolExecutor(1) as pool,
        ModelClient.of(serving(), until_serving(server), "endless") as client,
    ):
        call = pool.submit(client.predict_maps, MAPS)
        time.sleep(0.5)
        server.send_signal(signal.SIGTERM)
        if second:
            assert server.stdout.readline().startswith("stopping")
            server.send_signal(second)
        assert server.wait(10) == -(second or signal.SIGTERM)
        with pytest.raises(InputError):
            call.result()
