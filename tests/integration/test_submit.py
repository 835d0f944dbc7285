"""Submitting and following, over HTTP, against a server that speaks the API of Kubeflow Pipelines."""

from __future__ import annotations

import io
import os
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from compiled_pipelines import compile_small
from faulty_proxy import faulty_proxy, random_faults
from kfp import client as kfp_client
from kfp_server import Fault, KfpServer, kfp_server, task

from ssfr.components.errors import InputError
from ssfr.components.runtime.progress import LogLines, Progress
from ssfr.pipelines.kubeflow.api import Kubeflow
from ssfr.pipelines.kubeflow.compiled import CompiledPipeline
from ssfr.pipelines.kubeflow.endpoint import KubeflowError
from ssfr.pipelines.kubeflow.follow import RunFailedError
from ssfr.pipelines.kubeflow.follow import follow as follow_run
from ssfr.pipelines.kubeflow.submit import follow, submit

pytestmark = pytest.mark.usefixtures("no_endpoint")

TOKEN = "a-token-that-nobody-may-see"
PARAMETERS = ["workdir=s3://bucket/study"]
SUBMISSIONS = 12
GOING = ("RUNNING", [task("prepare", "SUCCEEDED"), task("train", "RUNNING")])
COMMANDS = """
import signal
import typer
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where the tests run in the background
from ssfr.pipelines.kubeflow.submit import follow, submit
app = typer.Typer()
app.command()(submit)
app.command()(follow)
app()
"""


def submitted(pipeline: Path, kfp: KfpServer, **options: Any) -> str:
    """Submit, and return the number of the run."""
    before = set(kfp.runs)
    submit(pipeline, PARAMETERS, host=kfp.endpoint, timeout=5.0, poll=0.01, **options)
    (number,) = set(kfp.runs) - before
    return number


def error_of(pipeline: Path, kfp: KfpServer, **options: Any) -> str:
    """Submit in vain, and return what is said."""
    given: dict[str, Any] = {"host": kfp.endpoint, "timeout": 0.3, "poll": 0.01} | options
    with pytest.raises(InputError) as caught:
        submit(pipeline, PARAMETERS, **given)
    said = str(caught.value)
    assert "\n" not in said
    assert TOKEN not in said
    return said


def test_a_run_is_made_and_followed_to_its_end(
    pipeline: Path, kfp: KfpServer, capsys: pytest.CaptureFixture[str]
) -> None:
    loop = [task("train", "SUCCEEDED"), task("train", "RUNNING")]
    kfp.frames = [
        ("PENDING", []),
        ("RUNNING", [task("root-driver", "SUCCEEDED"), task("prepare-driver", "RUNNING")]),
        ("RUNNING", [task("prepare", "SUCCEEDED"), *loop]),
        ("SUCCEEDED", [task(name, "SUCCEEDED") for name in ("prepare", "train", "train", "record")]),
    ]
    number = submitted(pipeline, kfp, experiment="studies", name="first", service_account="runner")
    run = kfp.runs[number]
    version = CompiledPipeline.read(pipeline).version
    assert kfp.versions[run.pipeline_version_reference.pipeline_version_id].display_name == version
    assert kfp.experiments[run.experiment_id].display_name == "studies"
    assert (run.display_name, run.service_account) == ("first", "runner")
    assert run.runtime_config.parameters == {"workdir": "s3://bucket/study"}
    said = capsys.readouterr()
    assert number in said.out
    assert f"{kfp.endpoint}/#/runs/details/{number}" in said.out
    lines = said.err.splitlines()
    for line in ("train: 1 running, 1 succeeded", "train: 2 succeeded", "record: succeeded"):
        assert line in lines
    assert lines[-1].startswith("first: 3/3 tasks")
    assert "driver" not in said.err


def test_parameters_have_the_type_that_the_pipeline_declares(pipeline: Path, kfp: KfpServer) -> None:
    texts = ["workdir=12", "shards=3", "rate=2", "quick=true", "tags=[a, b]"]
    submit(pipeline, texts, wait=False, host=kfp.endpoint)
    (run,) = kfp.runs.values()
    given = {"workdir": "12", "shards": 3, "rate": 2, "quick": True, "tags": ["a", "b"]}
    assert run.runtime_config.parameters == given
    assert kfp.looks == {}


@pytest.mark.parametrize(
    ("texts", "said"),
    [
        ([], "small-study needs a value for workdir"),
        ([*PARAMETERS, "shard=3"], "has no parameter 'shard' (did you mean 'shards'?)"),
        ([*PARAMETERS, "shards=many"], "parameter 'shards': expected an integer, found 'many'"),
        ([*PARAMETERS, "shards=true"], "parameter 'shards': expected an integer, found True"),
        ([*PARAMETERS, "tags=3"], "parameter 'tags': expected a list, found 3"),
        ([*PARAMETERS, "tags=[a"], "the value is not valid YAML"),
        (["workdir"], "expected KEY=VALUE"),
    ],
)
def test_parameters_that_the_pipeline_does_not_take_are_refused_at_once(
    pipeline: Path, kfp: KfpServer, texts: list[str], said: str
) -> None:
    with pytest.raises(InputError) as caught:
        submit(pipeline, texts, host=kfp.endpoint)
    assert said in str(caught.value)
    assert kfp.requests == []


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("study.yaml", None, "no such file; write it with ssfr compile"),
        ("study.json", "{}", "a compiled pipeline ends in .yaml"),
        ("study.yaml", "a: [", "not valid YAML"),
        ("study.yaml", "", "not a compiled pipeline"),
        ("study.yaml", "- 1", "not a compiled pipeline"),
        ("study.yaml", "pipelineInfo: {name: x}\nroot: {dag: {tasks: {}}}", "not a compiled pipeline"),
        ("study.yaml", "kind: Pipeline\nmetadata: {name: x}", "of its --crd, is for kubectl apply"),
        ("study.yaml", "a: !!python/object/apply:os.system [ls]", "not valid YAML"),
    ],
)
def test_a_file_that_is_not_a_compiled_pipeline_is_refused(
    tmp_path: Path, kfp: KfpServer, name: str, text: str | None, said: str
) -> None:
    if text is not None:
        (tmp_path / name).write_text(text)
    assert said in error_of(tmp_path / name, kfp)
    assert kfp.requests == []


def test_the_same_file_is_uploaded_once_and_a_changed_one_is_a_new_version(
    pipeline: Path, kfp: KfpServer, tmp_path: Path
) -> None:
    for _ in range(2):
        submitted(pipeline, kfp)
    assert (len(kfp.pipelines), len(kfp.versions), len(kfp.experiments), len(kfp.runs)) == (1, 1, 1, 2)
    submitted(compile_small(tmp_path / "small.yaml", "ssfr/train:2"), kfp)
    assert (len(kfp.pipelines), len(kfp.versions), len(kfp.experiments), len(kfp.runs)) == (1, 2, 1, 3)


def test_what_there_is_is_found_on_whichever_page(pipeline: Path, tmp_path: Path) -> None:
    with kfp_server(page=1) as kfp:
        paths = [compile_small(tmp_path / f"{number}.yaml", f"x:{number}") for number in range(3)]
        for path in (*paths, *paths):
            submitted(path, kfp)
        assert len(kfp.versions) == 3


def test_of_several_submitters_all_use_what_the_fastest_made(pipeline: Path, kfp: KfpServer) -> None:
    kfp.faults = [
        Fault("raced", "POST", path) for path in ("/pipelines$", "/upload_version$", "/experiments$")
    ]
    submitted(pipeline, kfp)
    assert (len(kfp.pipelines), len(kfp.versions), len(kfp.experiments), len(kfp.runs)) == (1, 1, 1, 1)


def test_a_name_that_is_taken_by_what_is_not_listed_is_said(pipeline: Path, kfp: KfpServer) -> None:
    kfp.faults = [Fault(409, "POST", "/pipelines$")]
    assert "pipeline small-study: exists already (409): injected 409" in error_of(pipeline, kfp)


def test_a_failed_run_shows_the_reason_and_the_log_and_ends_with_an_error(
    pipeline: Path, kfp: KfpServer, capsys: pytest.CaptureFixture[str]
) -> None:
    kfp.frames = [
        GOING,
        (
            "FAILED",
            [
                task("root", "FAILED"),
                task("prepare", "SUCCEEDED"),
                task("train", "FAILED", "small-study-x7-111", error="exit code 2"),
                task("executor", "FAILED", "small-study-x7-222"),
                task("executor(0)", "FAILED"),
                task("record", "SUCCEEDED"),
            ],
        ),
    ]
    lines = [f"line {number}" for number in range(30)]
    said_last = "ssfr: maps-099-000.h5: \x1b[31mdamaged\x07"
    pod = "small-study-x7-retry-system-container-impl-222"
    kfp.logs[pod] = "\n".join([*lines, "", said_last])
    with pytest.raises(RunFailedError) as caught:
        submitted(pipeline, kfp)
    (number,) = kfp.runs
    assert str(caught.value) == f"run {number} failed in train; {kfp.endpoint}/#/runs/details/{number}"
    assert caught.value.exit_code == 1
    shown = capsys.readouterr().err
    assert "error: train: exit code 2\n" in shown
    assert "the last lines of small-study-x7-222:\n  line 11\n" in shown
    assert "line 29\n  ssfr: maps-099-000.h5: [31mdamaged\n" in shown
    assert "line 10" not in shown


def test_at_the_address_of_the_user_interface_the_log_is_found_as_well(
    pipeline: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with kfp_server(interface=True) as kfp:
        kfp.frames = [("FAILED", [task("prepare", "FAILED", "small-study-x7-111")])]
        kfp.logs["small-study-x7-system-container-impl-111"] = "no room\n"
        with pytest.raises(RunFailedError):
            submitted(pipeline, kfp)
    assert "the last lines of small-study-x7-111:\n  no room\n" in capsys.readouterr().err


def test_where_the_api_has_no_log_the_user_is_told_how_to_get_it(
    pipeline: Path, kfp: KfpServer, capsys: pytest.CaptureFixture[str]
) -> None:
    kfp.frames = [("FAILED", [task("train-driver", "FAILED", "small-study-x7-111")])]
    with pytest.raises(RunFailedError, match="failed in train-driver"):
        submitted(pipeline, kfp)
    (number,) = kfp.runs
    command = f"kubectl logs --namespace kubeflow --selector pipeline/runid={number} --container main"
    assert command in capsys.readouterr().err


def test_a_cancelled_run_is_not_a_success(pipeline: Path, kfp: KfpServer) -> None:
    kfp.frames = [GOING, ("CANCELED", [])]
    with pytest.raises(RunFailedError, match="canceled; http"):
        submitted(pipeline, kfp)


def test_a_cluster_that_is_away_for_a_while_does_not_end_the_following(
    pipeline: Path, kfp: KfpServer, capsys: pytest.CaptureFixture[str]
) -> None:
    kfp.frames = [GOING, ("SUCCEEDED", [])]
    kinds = ("none", 503, 503, 503, 503, "reset", "reset", "reset", "reset")
    kfp.faults = [Fault(kind, "GET", "/runs/") for kind in kinds]
    submitted(pipeline, kfp)
    said = capsys.readouterr().err
    assert said.count("the run goes on, and its state is read again") == 1
    assert said.count("the cluster answers again") == 1


def test_of_a_pod_that_does_not_start_is_spoken_once(pipeline: Path, kfp: KfpServer) -> None:
    """Of a node pool that there isn't, or an image, the API tells no more."""
    waiting = ("RUNNING", [task("train", "RUNNING"), task("executor", "PENDING")])
    kfp.frames = [*[waiting] * 20, ("SUCCEEDED", [])]
    number = submitted(pipeline, kfp, wait=False)
    said = io.StringIO()
    kubeflow = Kubeflow.connect(kfp.endpoint)
    follow_run(kubeflow, number, Progress(LogLines(said)), poll_s=0.01, still_s=0.05)
    command = f"kubectl describe pods --namespace kubeflow --selector pipeline/runid={number}"
    assert said.getvalue().count(command) == 1


def test_a_login_that_ends_while_following_is_said_with_how_to_go_on(pipeline: Path, kfp: KfpServer) -> None:
    kfp.frames = [GOING]
    number = submitted(pipeline, kfp, wait=False)
    kfp.faults = [Fault("none", "GET", "/runs/"), Fault(401, "GET", "/runs/")]
    with pytest.raises(KubeflowError) as caught:
        follow(number, host=kfp.endpoint, poll=0.01)
    again = f"the run goes on; to follow it again: ssfr follow {number} --host {kfp.endpoint}"
    assert again in str(caught.value)


def test_a_run_that_there_is_not_is_said_in_one_line(kfp: KfpServer) -> None:
    with pytest.raises(KubeflowError) as caught:
        follow("1234", host=kfp.endpoint)
    assert str(caught.value) == f"{kfp.endpoint}: run 1234: no such thing (404): Run 1234 not found"


def test_ctrl_c_leaves_the_run_alone_and_says_how_to_follow_it_again(pipeline: Path, kfp: KfpServer) -> None:
    kfp.frames = [GOING]
    command = [
        sys.executable,
        "-c",
        COMMANDS,
        "submit",
        str(pipeline),
        "-p",
        *PARAMETERS,
        "--poll",
        "0.1",
    ]
    process = subprocess.Popen(
        command,
        env=os.environ | {"KFP_ENDPOINT": kfp.endpoint},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 60
    while not any(kfp.looks.values()) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    said = process.communicate(timeout=30)[1]
    (number,) = kfp.runs
    assert process.returncode == 130
    assert f"ssfr follow {number} --host {kfp.endpoint}" in said
    assert "Traceback" not in said
    assert [path for _, path in kfp.changes if "terminate" in path] == []
    kfp.frames = [("SUCCEEDED", [])]
    follow(number, host=kfp.endpoint)


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (401, "not logged in (401); put a valid token into KF_PIPELINES_TOKEN"),
        (403, "not allowed (403): injected 403; get the rights"),
        (404, "no such thing (404): injected 404"),
        (400, "refused (400): injected 400"),
        (500, "the server failed (500): injected 500"),
        (503, "the server failed (503): injected 503"),
        ("html", "what answers isn't Kubeflow Pipelines"),
        ("text", "what answers isn't Kubeflow Pipelines"),
        ("redirect", "redirects (302), to a login it seems"),
        ("stall", "no answer within 0.3 s"),
        ("reset", "the connection broke"),
    ],
)
@pytest.mark.parametrize("path", ["/healthz", "/upload_version", "/runs$"])
def test_whatever_the_server_does_is_said_in_one_line(
    pipeline: Path,
    kfp: KfpServer,
    monkeypatch: pytest.MonkeyPatch,
    fault: int | str,
    said: str,
    path: str,
) -> None:
    monkeypatch.setenv("KF_PIPELINES_TOKEN", TOKEN)
    kfp.token = TOKEN
    kfp.faults = [Fault(fault, path=path, times=9)]
    line = error_of(pipeline, kfp)
    assert line.startswith(f"{kfp.endpoint}: ")
    assert said in line


def test_what_changes_nothing_is_asked_again(pipeline: Path, kfp: KfpServer) -> None:
    kfp.faults = [
        Fault(kind, "GET", path) for kind in (503, "reset") for path in ("healthz", "pipelines$", "/runs/")
    ]
    submitted(pipeline, kfp)
    assert len(kfp.runs) == 1


def test_whatever_befalls_the_connection_it_ends_well_or_in_one_line(pipeline: Path, kfp: KfpServer) -> None:
    """Connections that break, stall and are cut short: of the pipeline there is one, with one version."""
    kfp.frames = [GOING, GOING, ("SUCCEEDED", [])]
    ended: Counter[str] = Counter()
    with faulty_proxy(kfp.port, random_faults(seed=1, share=0.25, reach=500), stall_s=2.0) as proxy:
        for _ in range(SUBMISSIONS):
            try:
                submit(pipeline, PARAMETERS, host=proxy.endpoint, timeout=0.3, poll=0.01)
                ended["well"] += 1
            except KubeflowError as error:
                assert "\n" not in str(error)
                ended["said"] += 1
    assert proxy.injected.total() >= SUBMISSIONS
    assert ended["well"] > 0
    assert (len(kfp.pipelines), len(kfp.versions), len(kfp.experiments)) == (1, 1, 1)
    assert len(kfp.runs) >= ended["well"]


def test_a_run_whose_start_was_not_answered_is_not_started_twice(pipeline: Path, kfp: KfpServer) -> None:
    kfp.faults = [Fault("lost", "POST", "/runs$", times=9)]
    said = error_of(pipeline, kfp)
    assert "no answer within 0.3 s; it may have been done all the same" in said
    assert len(kfp.runs) == 1


def test_a_server_of_something_else_is_told_from_a_run_that_there_is_not(pipeline: Path) -> None:
    script = "import http.server as h; s = h.HTTPServer(('127.0.0.1', 0), h.SimpleHTTPRequestHandler);"
    script += "print(s.server_port, flush=True); s.serve_forever()"
    command = [sys.executable, "-c", script]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        host = f"http://127.0.0.1:{int(process.stdout.readline())}"
        try:
            with pytest.raises(InputError, match=r"404; what answers isn't Kubeflow Pipelines"):
                submit(pipeline, PARAMETERS, host=host)
        finally:
            process.kill()


def test_a_cluster_that_is_not_there_is_said_in_one_line(pipeline: Path, kfp: KfpServer) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    said = error_of(pipeline, kfp, host=f"http://127.0.0.1:{port}")
    assert "can't connect; is the cluster up, and the port forwarded?" in said
    assert "no machine has this name" in error_of(pipeline, kfp, host="https://kubeflow.invalid")
    assert "TLS: " in error_of(pipeline, kfp, host=kfp.endpoint.replace("http", "https"))


@pytest.mark.parametrize(
    ("host", "said"),
    [
        (None, "no cluster: give --host URL, or set KFP_ENDPOINT, like http://127.0.0.1:8888"),
        ("kubeflow:8080", "--host kubeflow:8080: expected a URL"),
        ("http://", "expected a URL"),
        ("http://here:notaport", "expected a URL"),
        ("ftp://here", "expected a URL"),
        ("http://he re", "expected a URL"),
        (f"https://user:{TOKEN}@here", "--host: expected a URL without user"),
        (f"https://here/?token={TOKEN}", "--host: expected a URL without user"),
    ],
)
def test_an_address_that_is_none_is_refused(
    pipeline: Path, kfp: KfpServer, host: str | None, said: str
) -> None:
    assert said in error_of(pipeline, kfp, host=host)


def test_the_token_comes_from_the_environment_or_from_a_file_that_is_read_anew(
    pipeline: Path, kfp: KfpServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Any
) -> None:
    kfp.token = TOKEN
    monkeypatch.setenv("KF_PIPELINES_TOKEN", f"{TOKEN}\n")
    submitted(pipeline, kfp)
    monkeypatch.delenv("KF_PIPELINES_TOKEN")
    file = tmp_path / "token"
    file.write_text(TOKEN)
    monkeypatch.setenv("KF_PIPELINES_SA_TOKEN_PATH", str(file))
    kubeflow = Kubeflow.connect(kfp.endpoint)
    file.write_text("renewed")
    kfp.token = "renewed"
    assert kubeflow.find_experiment("ssfr")
    said = capfd.readouterr()
    assert TOKEN not in said.out + said.err
    file.unlink()
    assert f"KF_PIPELINES_SA_TOKEN_PATH: {file} can't be read" in error_of(pipeline, kfp)


@pytest.mark.parametrize("host", ["http://kubeflow.example.org", "http://10.1.2.3:8888"])
def test_a_token_does_not_travel_in_the_clear(
    pipeline: Path, kfp: KfpServer, monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    monkeypatch.setenv("KF_PIPELINES_TOKEN", TOKEN)
    assert "a token is sent over https only" in error_of(pipeline, kfp, host=host)


def test_a_cluster_of_several_users_is_asked_for_a_namespace(pipeline: Path, kfp: KfpServer) -> None:
    kfp.multi_user = True
    assert "name your profile with --namespace" in error_of(pipeline, kfp)
    submitted(pipeline, kfp, namespace="ada")
    assert kfp.namespaces == {"ada"}
    assert {one.namespace for one in (*kfp.pipelines.values(), *kfp.experiments.values())} == {"ada"}


def test_a_run_is_not_followed_unless_wanted(pipeline: Path, kfp: KfpServer) -> None:
    kfp.frames = [("FAILED", [])]
    submitted(pipeline, kfp, wait=False)
    assert kfp.looks == {}


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_the_official_client_sees_what_was_submitted(pipeline: Path, kfp: KfpServer) -> None:
    number = submitted(pipeline, kfp, name="first", experiment="studies")
    client = kfp_client.Client(host=kfp.endpoint, namespace="kubeflow")
    run = client.get_run(number)
    assert (run.display_name, run.state) == ("first", "SUCCEEDED")
    (experiment,) = client.list_experiments().experiments
    assert (experiment.display_name, experiment.experiment_id) == ("studies", run.experiment_id)
    (uploaded,) = client.list_pipelines().pipelines
    (version,) = client.list_pipeline_versions(uploaded.pipeline_id).pipeline_versions
    assert version.display_name == CompiledPipeline.read(pipeline).version
    assert version.pipeline_spec["platform_spec"]["platforms"]["kubernetes"]
