"""The study compiled for Kubeflow: read back from the YAML, as a cluster would."""

import functools
import json
import os
import subprocess
import sys

import pytest
import yaml
from kfp import components as kfp_components

from ssfr.components.config import load_settings, parse_settings
from ssfr.components.config.cluster import ClusterSettings
from ssfr.components.errors import InputError
from ssfr.components.steps.code import TRAINED_IN, code_digest
from ssfr.pipelines.connections import code_of
from ssfr.pipelines.kubeflow.compile import compile_command, compile_pipeline
from ssfr.pipelines.options import preset_path

PRESETS = ("demo", "thesis", "recommended")
DRAWING = ("projection-shard", "projection-joined")
STEPS = ("catalog", *DRAWING, "preprocessing", "training", "evaluation", "report", "deployment")
EVERY_POD = (*STEPS, "manifest")
PLACES = {
    "data": "s3://ssfr/tng100",
    "workdir": "s3://ssfr/study",
    "repository": "s3://ssfr/models",
}
GPU = {"gpu": {"enabled": True, "count": 2}}


def compiled(preset="demo", cluster=None, **options):
    return _compiled(preset, json.dumps(cluster or {}), **(PLACES | options))


@functools.cache
def _compiled(preset, cluster, **options):
    changes = {f"cluster.{key}": value for key, value in json.loads(cluster).items()}
    settings = load_settings(preset_path(preset), changes)
    return compile_pipeline(settings, preset=preset, **options)


def read(text):
    return list(yaml.load_all(text, yaml.CSafeLoader))


class Pipeline:
    """A compiled pipeline, by step."""

    def __init__(self, text):
        self.spec, self.platform = read(text)
        executors = self.spec["deploymentSpec"]["executors"]
        self.containers = {name.removeprefix("exec-"): one["container"] for name, one in executors.items()}
        pods = self.platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
        self.pods = {name.removeprefix("exec-"): one for name, one in pods.items()}
        dags = [self.spec["root"], *self.spec["components"].values()]
        self.tasks = {
            name: task for dag in dags if "dag" in dag for name, task in dag["dag"]["tasks"].items()
        }
        self.parameters = self.spec["root"]["inputDefinitions"]["parameters"]


def loops(pipeline):
    return [task for task in pipeline.tasks.values() if "parameterIterator" in task]


def room(step):
    """The folder of a task's code, and its name among the pods."""
    return "projection" if step in DRAWING else step


@pytest.fixture(scope="module", params=PRESETS)
def preset(request):
    return request.param


@pytest.fixture(scope="module")
def plain(preset):
    return Pipeline(compiled(preset))


@pytest.fixture(scope="module")
def on_gpu(preset):
    return Pipeline(compiled(preset, GPU))


def test_every_step_has_a_container_and_a_pod(plain):
    assert set(plain.containers) == set(plain.pods) == set(EVERY_POD)


def test_images_hold_what_a_step_needs_and_no_more(plain):
    version = ClusterSettings().images.data.rpartition(":")[2]
    images = {step: container["image"] for step, container in plain.containers.items()}
    data, train = f"ssfr/data:{version}", f"ssfr/train:{version}"
    assert images == dict.fromkeys(("catalog", *DRAWING, "preprocessing", "manifest"), data) | dict.fromkeys(
        ("training", "evaluation", "report", "deployment"), train
    )
    assert {pod["imagePullPolicy"] for pod in plain.pods.values()} == {"IfNotPresent"}


def test_nothing_is_installed_when_a_pod_starts(plain):
    commands = [" ".join(container["command"]) for container in plain.containers.values()]
    assert not any("pip" in command for command in commands)


def test_requests_and_limits_of_every_pod_are_set(plain):
    rooms = {
        step: tuple(
            container["resources"][f"resource{what}"]
            for what in ("CpuRequest", "CpuLimit", "MemoryRequest", "MemoryLimit")
        )
        for step, container in plain.containers.items()
    }
    small, busy = ("1", "2", "4096Mi", "8192Mi"), ("2", "2", "4096Mi", "8192Mi")
    assert rooms == dict.fromkeys(STEPS, small) | {
        **dict.fromkeys((*DRAWING, "training"), busy),
        "manifest": ("0.1", "1", "512Mi", "1024Mi"),
    }


def test_only_training_is_put_on_a_gpu(on_gpu, plain):
    resources = {step: container["resources"] for step, container in on_gpu.containers.items()}
    assert {step for step, of in resources.items() if "accelerator" in of} == {"training"}
    accelerator = resources["training"]["accelerator"]
    assert (accelerator["resourceType"], accelerator["resourceCount"]) == ("nvidia.com/gpu", "2")
    assert on_gpu.containers["training"]["image"].startswith("ssfr/train-gpu:")
    pod = on_gpu.pods["training"]
    assert pod["nodeSelector"]["labels"] == {"ssfr/pool": "gpu"}
    assert pod["tolerations"] == [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}]
    others = [on_gpu.pods[step] for step in EVERY_POD if step != "training"] + [*plain.pods.values()]
    assert not any("nodeSelector" in other or "tolerations" in other for other in others)
    assert not any("accelerator" in container["resources"] for container in plain.containers.values())


def test_failed_tasks_are_tried_again_after_growing_waits(plain):
    waits = {
        "maxRetryCount": 2,
        "backoffDuration": "30s",
        "backoffFactor": 2.0,
        "backoffMaxDuration": "600s",
    }
    assert {step: plain.tasks[step]["retryPolicy"] for step in EVERY_POD} == dict.fromkeys(EVERY_POD, waits)


def test_attempts_and_runs_end_in_time(plain):
    hours = {step: int(pod["activeDeadlineSeconds"]) / 3600 for step, pod in plain.pods.items()}
    assert hours == dict.fromkeys(STEPS, 6) | dict.fromkeys((*DRAWING, "training"), 24) | {"manifest": 0.5}
    limits = plain.platform["platforms"]["kubernetes"]["pipelineConfig"]
    assert limits == {"activeDeadlineSeconds": 72 * 3600, "resourceTtlOnCompletion": 168 * 3600}


def test_secrets_are_environment_by_reference(plain):
    for pod in plain.pods.values():
        (secret,) = pod["secretAsEnv"]
        assert secret["secretName"] == "ssfr-s3"
        assert secret["optional"] is False
        assert {one["envVar"]: one["secretKey"] for one in secret["keyToEnv"]} == {
            "AWS_ACCESS_KEY_ID": "accesskey",
            "AWS_SECRET_ACCESS_KEY": "secretkey",
        }
    # The image that trains, which a run that ended is compared with; nothing secret.
    trained_in = {"name": TRAINED_IN, "value": plain.containers["training"]["image"]}
    assert all(plain.containers[step]["env"] == [trained_in] for step in plain.pods)


def test_pods_have_shared_memory_and_room_to_work_in(plain):
    for pod in plain.pods.values():
        mounts = {mount["mountPath"]: mount for mount in pod["emptyDirMounts"]}
        assert (mounts["/dev/shm"]["medium"], mounts["/dev/shm"]["sizeLimit"]) == ("Memory", "1024Mi")
        assert mounts["/tmp"]["sizeLimit"] == "51200Mi"
        assert "medium" not in mounts["/tmp"]


def test_no_pod_runs_as_root(plain):
    assert all(pod["securityContext"] == {"runAsNonRoot": True} for pod in plain.pods.values())


def test_pods_say_what_they_are_and_know_their_run(plain):
    for step, pod in plain.pods.items():
        assert pod["podMetadata"]["labels"] == {
            "app.kubernetes.io/part-of": "ssfr",
            "app.kubernetes.io/component": room(step),
        }
        (field,) = pod["fieldPathAsEnv"]
        assert field["name"] == "SSFR_RUN"
        assert field["fieldPath"] == "metadata.labels['workflows.argoproj.io/workflow']"


def test_every_case_is_trained_by_a_task_of_its_own_so_many_at_a_time(preset, plain):
    (loop,) = (task for task in loops(plain) if "raw" in task["parameterIterator"]["items"])
    cases = [case.name for case in load_settings(preset_path(preset)).cases]
    assert json.loads(loop["parameterIterator"]["items"]["raw"]) == cases
    assert loop["iteratorPolicy"]["parallelismLimit"] == 4


def test_every_snapshot_that_the_first_step_finds_is_drawn_by_tasks_of_its_own_and_joined():
    pipeline = Pipeline(compiled(cluster={"projection_shards": 3, "parallel_shards": 2}))
    assert pipeline.tasks["catalog"]["inputs"]["parameters"]["tasks"]["runtimeValue"]["constant"] == 3
    (loop,) = (task for task in loops(pipeline) if "raw" not in task["parameterIterator"]["items"])
    channel = loop["parameterIterator"]["items"]["inputParameter"]
    given = [task["inputs"]["parameters"].get(channel, {}) for task in pipeline.tasks.values()]
    (source,) = (one["taskOutputParameter"] for one in given if "taskOutputParameter" in one)
    assert source == {"producerTask": "catalog", "outputParameterKey": "shards"}
    assert loop["iteratorPolicy"]["parallelismLimit"] == 2
    given = pipeline.tasks["projection-shard"]["inputs"]["parameters"]
    for name in ("snapshot", "shard", "shards"):
        assert given[name]["parameterExpressionSelector"] == f'parseJson(string_value)["{name}"]'
    for step in DRAWING:
        assert pipeline.containers[step]["image"].startswith("ssfr/data:")
        assert "secretAsEnv" in pipeline.pods[step]
    joined = pipeline.tasks["projection-joined"]["inputs"]["artifacts"]["drawn"]["taskOutputArtifact"]
    assert joined["outputArtifactKey"].endswith("projection-shard-maps")


@pytest.mark.parametrize(("skip", "wanted"), [(True, "== 'yes'"), (False, "!= ''")])
def test_what_follows_the_first_step_is_done_for_something_new_or_on_request_always(skip, wanted):
    tasks = Pipeline(compiled(cluster={"skip_unchanged": skip})).tasks.values()
    policies = [task.get("triggerPolicy", {}) for task in tasks]
    (condition,) = (policy["condition"] for policy in policies if "condition" in policy)
    assert condition == f"inputs.parameter_values['pipelinechannel--catalog-Output'] {wanted}"


def test_the_manifest_follows_whatever_becomes_of_the_steps(plain):
    root = plain.spec["root"]["dag"]["tasks"]
    steps = next(name for name in root if name.startswith("exit-handler"))
    last = root["manifest"]
    assert last["dependentTasks"] == [steps]
    assert last["triggerPolicy"] == {"strategy": "ALL_UPSTREAM_TASKS_COMPLETED"}
    assert last["inputs"]["parameters"]["status"]["taskFinalStatus"] == {"producerTask": steps}
    assert set(root) == {steps, "manifest"}


def test_finished_tasks_are_distinguished_by_their_code(plain):
    for step, container in plain.containers.items():
        assert container["args"][-2:] == ["--code", code_digest(code_of(step))]
        assert plain.tasks[step]["cachingOptions"] == {}


def test_every_argument_is_a_default(preset, plain):
    assert all(of["isOptional"] for of in plain.parameters.values())
    defaults = {name: of["defaultValue"] for name, of in plain.parameters.items()}
    settings = load_settings(preset_path(preset))
    assert parse_settings(json.loads(defaults.pop("settings")), "compiled") == settings
    assert defaults == PLACES | {"origin": f"{preset} preset; data: tng100"}
    assert plain.spec["pipelineInfo"]["name"] == f"ssfr-{preset}"


def test_the_first_step_says_which_data_they_are_and_whether_they_are_made_up(plain):
    def given(step, parameter):
        of = plain.tasks[step]["inputs"]["parameters"][parameter]
        return of.get("componentInputParameter") or of["taskOutputParameter"]["outputParameterKey"]

    assert given("report", "synthetic").endswith("catalog-synthetic")
    assert given("projection-shard", "data").endswith("catalog-data")


def test_kubeflow_reads_what_was_compiled(preset):
    loaded = kfp_components.load_component_from_text(compiled(preset))
    assert loaded.name == f"ssfr-{preset}"
    assert set(loaded.component_spec.inputs) == {*PLACES, "settings", "origin"}
    assert set(loaded.platform_spec.platforms) == {"kubernetes"}


def test_operators_choose_images_room_nodes_and_surroundings():
    digest = f"registry.example:5000/ssfr/data@sha256:{'0' * 64}"
    pipeline = Pipeline(
        compiled(
            cluster={
                "images.data": digest,
                "pods.training.memory_limit_gib": 24,
                "node_pools": [
                    {
                        "name": "big",
                        "labels": {"size": "big"},
                        "tolerations": [{"key": "big", "operator": "Equal", "value": "yes"}],
                    }
                ],
                "pool": "big",
                "pull_secrets": ["registry"],
                "environment": {"AWS_CA_BUNDLE": "/etc/ssfr/ca.crt"},
                "config_map": "authorities",
                "s3_secret": None,
                "user": 10001,
                "parallel_cases": 2,
                "caching": True,
            },
            data="s3://ssfr/tng100/2",
        )
    )
    assert pipeline.containers["catalog"]["image"] == digest
    resources = pipeline.containers["training"]["resources"]
    assert (resources["resourceMemoryRequest"], resources["resourceMemoryLimit"]) == ("4096Mi", "24576Mi")
    for step in EVERY_POD:
        pod, container = pipeline.pods[step], pipeline.containers[step]
        assert pod["nodeSelector"]["labels"] == {"size": "big"}
        assert pod["tolerations"][0]["value"] == "yes"
        assert pod["imagePullSecret"][0]["secretName"] == "registry"
        assert pod["configMapAsVolume"][0]["configMapName"] == "authorities"
        assert {"name": "AWS_CA_BUNDLE", "value": "/etc/ssfr/ca.crt"} in container["env"]
        assert "secretAsEnv" not in pod
        assert pod["securityContext"] == {"runAsUser": "10001", "runAsNonRoot": True}
    assert any(task.get("iteratorPolicy") == {"parallelismLimit": 2} for task in pipeline.tasks.values())
    skipped = {step for step in EVERY_POD if pipeline.tasks[step]["cachingOptions"].get("enableCache")}
    assert skipped == set(STEPS)  # the manifest is of this run alone


@pytest.mark.parametrize(
    ("preset", "data"),
    [
        ("demo", "s3://ssfr/tng100"),
        ("demo", "s3://ssfr/2/tng100/"),
        ("demo", "/data/tng100/2"),
        ("images", "images:s3://ssfr/pictures"),
    ],
)
def test_tasks_are_not_skipped_unseen_where_the_data_may_change(preset, data):
    with pytest.raises(InputError, match=f"--data {data}: with cluster.caching .*; name a version") as caught:
        compiled(preset, {"caching": True, "data_claim": "tng"}, data=data)
    assert "\n" not in str(caught.value)


def test_data_on_a_claim_are_mounted_where_they_are_read():
    pipeline = Pipeline(compiled(cluster={"data_claim": "tng"}, data="/data/tng50"))
    mounted = {step for step, pod in pipeline.pods.items() if "pvcMount" in pod}
    assert mounted == {"catalog", *DRAWING}
    assert pipeline.pods["catalog"]["pvcMount"][0]["mountPath"] == "/data"
    assert pipeline.parameters["data"]["defaultValue"] == "/data/tng50"


def test_training_alone_works_on_a_claim_where_it_finds_its_checkpoints_again():
    pipeline = Pipeline(compiled(cluster={"training_claim": "ssfr-training"}))
    mounted = {step for step, pod in pipeline.pods.items() if "pvcMount" in pod}
    assert mounted == {"training"}
    assert pipeline.pods["training"]["pvcMount"][0]["mountPath"] == "/training"
    assert {"name": "TMPDIR", "value": "/training"} in pipeline.containers["training"]["env"]
    assert "pvcMount" not in Pipeline(compiled()).pods["training"]


def test_a_claim_that_training_would_not_work_on_is_refused():
    changes = {"cluster": {"training_claim": "ssfr-training"}, "storage": {"scratch": "/scratch"}}
    settings = parse_settings(changes, "test")
    with pytest.raises(InputError, match=r"storage\.scratch: .* cluster\.training_claim; set one") as caught:
        compile_pipeline(settings, preset="demo", **PLACES)
    assert "\n" not in str(caught.value)
    changes = {"cluster": {"training_claim": "ssfr-training", "environment": {"TMPDIR": "/scratch"}}}
    with pytest.raises(InputError, match=r"environment: TMPDIR .* training_claim; set one"):
        parse_settings(changes, "test")


def test_pictures_join_at_the_third_step():
    pipeline = Pipeline(compiled("images", data="images:s3://ssfr/pictures"))
    assert set(pipeline.containers) == {"ingest", *STEPS[3:], "manifest"}
    assert pipeline.parameters["data"]["defaultValue"] == "s3://ssfr/pictures"
    assert pipeline.containers["ingest"]["args"][-1] == code_digest(code_of("ingest"))


def test_kubectl_gets_a_pipeline_and_a_version_named_after_its_content():
    pipeline, version = read(compiled(crd=True))
    assert {one["apiVersion"] for one in (pipeline, version)} == {"pipelines.kubeflow.org/v2beta1"}
    assert (pipeline["kind"], version["kind"]) == ("Pipeline", "PipelineVersion")
    assert pipeline["metadata"] == {"name": "ssfr-demo", "namespace": "kubeflow"}
    assert version["spec"]["pipelineName"] == "ssfr-demo"
    spec, platform = read(compiled())
    assert version["spec"]["pipelineSpec"] == spec
    assert version["spec"]["platformSpec"] == platform
    _, changed = read(compiled(cluster=GPU, crd=True))
    assert version["metadata"]["name"].startswith("ssfr-demo-")
    assert changed["metadata"]["name"] != version["metadata"]["name"]


def test_the_verification_of_live_servers_has_a_pod_like_the_others():
    settings = load_settings(preset_path("demo"), {"deployment.servers": ["ssfr-serving.ssfr:8500"]})
    pipeline = Pipeline(compile_pipeline(settings, preset="demo", **PLACES))
    assert {*pipeline.containers} == {*EVERY_POD, "verification"}
    container, pod = pipeline.containers["verification"], pipeline.pods["verification"]
    assert container["image"].startswith("ssfr/train:")
    assert container["resources"]["resourceMemoryLimit"] == "8192Mi"
    assert container["args"][-1] == code_digest(code_of("verification"))
    assert {"secretAsEnv", "imagePullPolicy"} <= set(pod)
    assert "deployment" in pipeline.tasks["verification"]["dependentTasks"]
    assert "retryPolicy" in pipeline.tasks["verification"]


def test_the_same_input_gives_the_same_bytes(tmp_path):
    arguments = {"preset": "thesis", "overrides": [f"cluster.gpu={json.dumps(GPU['gpu'])}"]} | PLACES
    program = (
        "import sys; from pathlib import Path; from ssfr.pipelines.kubeflow.compile import compile_command\n"
        f"compile_command(output=Path(sys.argv[1]), **{arguments!r})"
    )
    paths = {seed: tmp_path / f"{seed}.yaml" for seed in ("1", "2")}
    processes = [
        subprocess.Popen([sys.executable, "-c", program, path], env=os.environ | {"PYTHONHASHSEED": seed})
        for seed, path in paths.items()
    ]
    assert [process.wait() for process in processes] == [0, 0]
    assert {path.read_text() for path in paths.values()} == {compiled("thesis", GPU)}


def test_no_secret_gets_into_what_is_compiled(monkeypatch):
    names = (
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SESSION_TOKEN",
        "AWS_PROFILE",
        "AWS_ENDPOINT_URL",
    )
    for number, name in enumerate(names):
        monkeypatch.setenv(name, f"https://value{number}.ofthesecret")
    for crd in (False, True):
        text = compile_pipeline(load_settings(preset_path("demo")), preset="demo", crd=crd, **PLACES)
        assert "ofthesecret" not in text


@pytest.mark.parametrize(
    ("place", "value", "said"),
    [
        ("workdir", "s3://user:word@bucket/x", "credentials belong in"),
        ("data", "s3://user:word@bucket/x", "credentials belong in"),
        ("workdir", "/tmp/run", "a folder ends with its pod; expected s3://bucket/prefix"),
        ("repository", "models", "a folder ends with its pod"),
        ("data", "/home/me/tng", "no pod has that"),
        ("data", "/data/../etc", "no pod has that"),
        ("data", "/data/tng", "cluster.data_claim, which is not set"),
        ("data", "images:pictures", "no pod has that"),
        *(
            ("data", data, r"the name is missing; expected s3://bucket/prefix/NAME")
            for data in ("s3://ssfr", "s3://ssfr/", "s3://ssfr/1", "s3://ssfr/tng/1/2", "images:s3://ssfr/1")
        ),
    ],
)
def test_places_that_no_pod_reaches_are_refused(place, value, said):
    with pytest.raises(InputError, match=said) as caught:
        compiled(**{place: value})
    assert f"--{place}" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "word" not in str(caught.value)


def test_a_password_in_a_url_is_refused_and_not_repeated():
    settings = parse_settings({"storage": {"endpoint": "https://me:word@s3.example"}}, "file")
    with pytest.raises(InputError, match="settings: holds a URL with a user or a password") as caught:
        compile_pipeline(settings, preset="demo", **PLACES)
    assert "word@" not in str(caught.value)


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("images.train", "ssfr/train", r"cluster.images.train: an image needs a tag or a digest, as in"),
        ("images.train", "registry:5000/ssfr/train", "an image needs a tag or a digest"),
        ("images.data", "ssfr/data:latest", "the tag latest is whatever was pushed last"),
        ("images.data", "ssfr/data:", "not the name of an image"),
        ("images.data", "SSFR data:1", "not the name of an image"),
        ("pool", "bgi", r"pool: no node pool 'bgi'"),
        ("gpu", {"enabled": True, "pool": "gpus"}, r"gpu.pool: no node pool 'gpus' \(did you mean 'gpu'\?\)"),
        (
            "gpu",
            {"enabled": True, "accelerator": "nvidia.com/mig-1g.5gb"},
            "node pool 'gpu' offers no nvidia.com/mig-1g.5gb",
        ),
        ("gpu", {"steps": ["catalog"]}, "gpu.steps"),
        ("node_pools", [{"name": "a", "labels": {"a": "b"}}] * 2, "a name is used twice"),
        (
            "node_pools",
            [{"name": "a", "labels": {"a": "b"}, "tolerations": [{"key": "a", "value": "b"}]}],
            "Exists",
        ),
        ("pods.training.memory_gib", 64, "memory_limit_gib 8 is below memory_gib 64"),
        ("pull_policy", "Sometimes", "cluster.pull_policy: no choice 'Sometimes'"),
        ("s3_secret", "My Secret", "cluster.s3_secret"),
        ("environment", {"AWS_SECRET_ACCESS_KEY": "x"}, "AWS_SECRET_ACCESS_KEY looks like a secret"),
        ("environment", {"HTTPS_PROXY": "http://me:word@proxy"}, "HTTPS_PROXY looks like a secret"),
        ("imagse", {}, r"unknown setting 'cluster.imagse' \(did you mean 'images'\?\)"),
    ],
)
def test_settings_that_no_cluster_can_follow_are_one_line(key, value, said):
    with pytest.raises(InputError, match=said) as caught:
        compiled(cluster={key: value})
    assert "\n" not in str(caught.value)


def test_the_command_writes_a_file_whole(tmp_path):
    output = tmp_path / "new" / "study.yaml"
    compile_command("demo", output=output, overrides=["cluster.parallel_cases=3"], **PLACES)
    assert output.read_text() == compiled("demo", {"parallel_cases": 3})
    with pytest.raises(InputError, match=r"expected a name that ends in \.yaml"):
        compile_command("demo", output=tmp_path / "study.json", **PLACES)
    (tmp_path / "taken.yaml").mkdir()
    with pytest.raises(InputError, match="can't be written"):
        compile_command("demo", output=tmp_path / "taken.yaml", **PLACES)
