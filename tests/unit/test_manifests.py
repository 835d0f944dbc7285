"""The manifests of k8s/: composed, held against Kubernetes' own schemas, and asked for what matters."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import typer
import yaml
from kubernetes_validate.utils import all_versions
from kustomize import Manifest, compose, containers

from ssfr.components.config import Settings, parse_settings
from ssfr.components.config.cluster import ClusterSettings
from ssfr.components.serving.repository.folder import CANARY, STABLE
from ssfr.components.storage.location import Bucket, parse_location
from ssfr.pipelines.kubeflow.operate import model_sync

K8S = Path(__file__).resolve().parents[2] / "k8s"
OVERLAYS = ("base", "overlays/minikube", "overlays/gpu")
VERSIONS = ("1.27", all_versions()[-1])
"""The oldest that knows every field, and the newest."""

each_overlay = pytest.mark.parametrize("overlay", OVERLAYS)


@cache
def composed(overlay: str) -> tuple[Manifest, ...]:
    return tuple(compose(K8S / overlay))


def of_kind(overlay: str, kind: str) -> dict[str, Manifest]:
    return {one["metadata"]["name"]: one for one in composed(overlay) if one["kind"] == kind}


def pods(overlay: str) -> Iterator[tuple[str, Manifest]]:
    for name, deployment in of_kind(overlay, "Deployment").items():
        yield name, deployment["spec"]["template"]["spec"]


def all_containers(overlay: str) -> list[Manifest]:
    return [one for deployment in of_kind(overlay, "Deployment").values() for one in containers(deployment)]


def container(overlay: str, name: str, deployment: str = "ssfr-serving") -> Manifest:
    return next(one for one in containers(of_kind(overlay, "Deployment")[deployment]) if one["name"] == name)


def flags(one: Manifest) -> dict[str, str]:
    """Return the options of a container's command line; those without a value have an empty one."""
    return dict(arg.partition("=")[::2] for arg in one["args"] if arg.startswith("--"))


def settings(overlay: str) -> Settings:
    return parse_settings(told(overlay), "settings.yaml")


def told(overlay: str) -> dict[str, Any]:
    return yaml.safe_load(of_kind(overlay, "ConfigMap")["ssfr-settings"]["data"]["settings.yaml"])


def launcher(overlay: str) -> dict[str, Any]:
    providers = of_kind(overlay, "ConfigMap")["kfp-launcher"]["data"]["providers"]
    return yaml.safe_load(providers)["s3"]["default"]


def amount(quantity: str) -> float:
    """Return a quantity of Kubernetes as a number: cores, or bytes."""
    number, unit = re.fullmatch(r"([0-9.]+)(m|Mi|Gi)?", str(quantity)).groups()
    return float(number) * {None: 1, "m": 1e-3, "Mi": 2**20, "Gi": 2**30}[unit]


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="there is no kubectl to compose with")
@each_overlay
def test_kubectl_composes_the_same(overlay: str) -> None:
    def by_identity(manifests: Any) -> dict[tuple[str, ...], Manifest]:
        return {
            (one["kind"], one["metadata"].get("namespace", ""), one["metadata"]["name"]): one
            for one in manifests
        }

    printed = subprocess.run(
        ["kubectl", "kustomize", K8S / overlay], check=True, capture_output=True, text=True
    )
    theirs = by_identity(yaml.safe_load_all(printed.stdout))
    assert by_identity(composed(overlay)) == theirs
    assert len(composed(overlay)) == len(theirs)


@pytest.mark.parametrize("version", VERSIONS)
@each_overlay
def test_every_manifest_is_one_of_kubernetes(overlay: str, version: str) -> None:
    for manifest in composed(overlay):
        assert version.startswith(kubernetes_validate.validate(manifest, version, strict=True))


def test_a_field_that_kubernetes_does_not_know_is_found() -> None:
    service = of_kind("base", "Service")["ssfr-serving"]
    wrong = {**service, "spec": {**service["spec"], "replicas": 2}}
    with pytest.raises(kubernetes_validate.ValidationError, match="replicas"):
        kubernetes_validate.validate(wrong, VERSIONS[-1], strict=True)


@each_overlay
def test_nothing_runs_as_root_or_may_become_it(overlay: str) -> None:
    for name, pod in pods(overlay):
        context = pod["securityContext"]
        assert context["runAsNonRoot"], name
        assert context["runAsUser"] > 0
        assert context["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not {"hostNetwork", "hostPID", "hostIPC"} & pod.keys()
        assert not any("hostPath" in volume for volume in pod["volumes"])
    for one in all_containers(overlay):
        assert one["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }, one["name"]
    assert of_kind(overlay, "Namespace")["ssfr"]["metadata"]["labels"][
        "pod-security.kubernetes.io/enforce"
    ] == "restricted"  # fmt: skip


@each_overlay
def test_pods_carry_no_token_and_rights_are_two_named_objects(overlay: str) -> None:
    accounts = of_kind(overlay, "ServiceAccount")
    for _, pod in pods(overlay):
        assert not pod["automountServiceAccountToken"]
        assert not accounts[pod["serviceAccountName"]]["automountServiceAccountToken"]
    (role,) = of_kind(overlay, "Role").values()
    named = {name for rule in role["rules"] for name in rule["resourceNames"]}
    assert named == {"ssfr-s3", "kfp-launcher"}
    assert {verb for rule in role["rules"] for verb in rule["verbs"]} == {"get"}
    (binding,) = of_kind(overlay, "RoleBinding").values()
    assert binding["roleRef"]["name"] == role["metadata"]["name"]
    assert not of_kind(overlay, "ClusterRole")


@each_overlay
def test_every_container_has_requests_and_limits_above_them(overlay: str) -> None:
    for one in all_containers(overlay):
        requests, limits = one["resources"]["requests"], one["resources"]["limits"]
        assert {"cpu", "memory", "ephemeral-storage"} <= requests.keys() == limits.keys(), one["name"]
        for resource, kept in requests.items():
            assert 0 < amount(kept) <= amount(limits[resource]), (one["name"], resource)
    for name, pod in pods(overlay):
        for volume in pod["volumes"]:
            if "emptyDir" in volume:
                assert amount(volume["emptyDir"]["sizeLimit"]) > 0, (name, volume["name"])


@each_overlay
def test_every_image_has_a_tag_and_none_is_latest(overlay: str) -> None:
    for one in all_containers(overlay):
        name, _, tag = one["image"].rpartition(":")
        assert name, f"{one['name']}: {one['image']} has no tag"
        assert not tag.startswith("latest"), one["name"]
    assert container(overlay, "model-sync")["image"] == ClusterSettings().images.data
    assert container(overlay, "model-sync-once")["image"] == ClusterSettings().images.data


@each_overlay
def test_secrets_are_named_and_nowhere_written(overlay: str) -> None:
    assert not of_kind(overlay, "Secret")
    for one in all_containers(overlay):
        for variable in one["env"]:
            assert not ("value" in variable and re.search("KEY|SECRET|TOKEN|PASSWORD", variable["name"]))
    templates = list(yaml.safe_load_all((K8S / "secret.example.yaml").read_text()))
    assert {one["metadata"]["namespace"] for one in templates} == {"ssfr", "kubeflow"}
    for template in templates:
        assert template["stringData"] == {"accesskey": "", "secretkey": ""}
        for _, pod in pods(overlay):
            secrets = [volume["secret"]["secretName"] for volume in pod["volumes"] if "secret" in volume]
            assert secrets == [template["metadata"]["name"]]
    reference = launcher(overlay)["credentials"]["secretRef"]
    assert reference["secretName"] == templates[0]["metadata"]["name"]
    assert {reference["accessKeyKey"], reference["secretKeyKey"]} == templates[0]["stringData"].keys()


def test_no_kustomization_takes_the_template_of_the_secret_in() -> None:
    for path in K8S.rglob("kustomization.yaml"):
        assert "secret" not in path.read_text().lower(), path
    assert not [
        path
        for path in K8S.rglob("*.yaml")
        if "kind: Secret" in path.read_text() and path.name != "secret.example.yaml"
    ]


@each_overlay
def test_selectors_choose_the_pods_that_are_meant(overlay: str) -> None:
    deployments = of_kind(overlay, "Deployment")
    labels = {name: one["spec"]["template"]["metadata"]["labels"] for name, one in deployments.items()}

    def chosen(selector: dict[str, str]) -> set[str]:
        return {name for name, given in labels.items() if selector.items() <= given.items()}

    assert labels.keys() == {"ssfr-serving", "ssfr-serving-canary"}
    for name, deployment in deployments.items():
        spec = deployment["spec"]
        assert chosen(spec["selector"]["matchLabels"]) == {name}
        for spread in spec["template"]["spec"]["topologySpreadConstraints"]:
            assert chosen(spread["labelSelector"]["matchLabels"]) == {name}
    for name, service in of_kind(overlay, "Service").items():
        assert chosen(service["spec"]["selector"]) == {name}
    for name, budget in of_kind(overlay, "PodDisruptionBudget").items():
        assert chosen(budget["spec"]["selector"]["matchLabels"]) == {name}
    policies = of_kind(overlay, "NetworkPolicy")
    assert chosen(policies["ssfr-serving"]["spec"]["podSelector"]["matchLabels"]) == labels.keys()
    assert policies["default-deny"]["spec"]["podSelector"] == {}


@each_overlay
def test_ports_are_the_same_from_service_to_server(overlay: str) -> None:
    for name in of_kind(overlay, "Deployment"):
        server = container(overlay, "serving", name)
        listening = {port["name"]: port["containerPort"] for port in server["ports"]}
        assert listening == {"grpc": 8500, "http": 8501}
        assert flags(server)["--port"] == str(listening["grpc"])
        assert flags(server)["--rest_api_port"] == str(listening["http"])
        offered = of_kind(overlay, "Service")[name]["spec"]["ports"]
        assert {port["targetPort"]: port["port"] for port in offered} == listening
        let_in = of_kind(overlay, "NetworkPolicy")["ssfr-serving"]["spec"]["ingress"]
        assert {port["port"] for rule in let_in for port in rule["ports"]} == set(listening.values())
        assert all(rule["from"] for rule in let_in)
        assert server["startupProbe"]["grpc"]["port"] == listening["grpc"]
        assert server["livenessProbe"]["grpc"]["port"] == listening["grpc"]


@each_overlay
def test_a_server_is_asked_for_its_model_before_it_gets_requests(overlay: str) -> None:
    model = settings(overlay).deployment.name
    server = container(overlay, "serving")
    assert server["readinessProbe"]["httpGet"]["path"] == f"/v1/models/{model}/metadata"
    # Liveness is of the process, not of the model: a server without one must not be restarted for it.
    assert "httpGet" not in server["livenessProbe"]
    assert flags(server)["--enable_grpc_healthcheck_service"] == "true"
    startup = server["startupProbe"]
    assert startup["periodSeconds"] * startup["failureThreshold"] >= 300


@each_overlay
def test_only_names_are_looked_up_and_only_the_storage_is_reached(overlay: str) -> None:
    names, storage = of_kind(overlay, "NetworkPolicy")["ssfr-serving"]["spec"]["egress"]
    assert {port["port"] for port in names["ports"]} == {53}
    endpoint = settings(overlay).storage.endpoint
    port = int(endpoint.rpartition(":")[2]) if endpoint else 443
    assert storage["ports"] == [{"port": port, "protocol": "TCP"}]
    (to,) = storage["to"]
    if "ipBlock" in to:
        assert "169.254.0.0/16" in to["ipBlock"]["except"]
    else:
        assert to["podSelector"]["matchLabels"]


@each_overlay
def test_what_is_mounted_is_there(overlay: str) -> None:
    maps = of_kind(overlay, "ConfigMap")
    for name, deployment in of_kind(overlay, "Deployment").items():
        volumes = {volume["name"]: volume for volume in deployment["spec"]["template"]["spec"]["volumes"]}
        for one in containers(deployment):
            mounts = {mount["mountPath"]: volumes[mount["name"]] for mount in one["volumeMounts"]}
            for variable in one["env"]:
                if key := variable.get("valueFrom", {}).get("configMapKeyRef"):
                    assert key["key"] in maps[key["name"]]["data"], (name, variable)
            if one["name"].startswith("model-sync"):
                folder, _, file = flags(one)["--settings"].rpartition("/")
                assert file in maps[mounts[folder]["configMap"]["name"]]["data"]
                assert "secret" in mounts[settings(overlay).storage.secret_folder]
        config_maps = {one["configMap"]["name"] for one in volumes.values() if "configMap" in one}
        assert config_maps <= maps.keys()
        assert {maps[one]["metadata"]["namespace"] for one in config_maps} == {"ssfr"}


@each_overlay
def test_the_server_reads_what_model_sync_writes(overlay: str) -> None:
    for name in of_kind(overlay, "Deployment"):
        server, sync, once = (
            container(overlay, each, name) for each in ("serving", "model-sync", "model-sync-once")
        )
        folder = flags(sync)["--folder"]
        assert flags(once)["--folder"] == folder
        assert flags(server)["--model_config_file"] == f"{folder}/models.config"
        assert int(flags(server)["--model_config_file_poll_wait_seconds"]) > 0
        shared = {
            one["name"]: mount
            for one in (server, sync, once)
            for mount in one["volumeMounts"]
            if mount["mountPath"] == folder
        }
        assert {mount["name"] for mount in shared.values()} == {"models"}
        assert {each for each, mount in shared.items() if mount.get("readOnly")} == {"serving"}


@each_overlay
def test_model_sync_is_called_as_it_is_defined(overlay: str) -> None:
    app = typer.Typer()
    app.command()(model_sync)
    command = typer.main.get_command(app)
    data = of_kind(overlay, "ConfigMap")["ssfr-settings"]["data"]
    assert isinstance(parse_location(data["repository"]), Bucket)
    for name, deployment in of_kind(overlay, "Deployment").items():
        track = deployment["spec"]["template"]["metadata"]["labels"]["track"]
        assert track in (STABLE, CANARY)
        for each in ("model-sync-once", "model-sync"):
            one = container(overlay, each, name)
            values = {variable["name"]: variable.get("valueFrom") for variable in one["env"]}
            assert values["SSFR_TRACK"] == {"fieldRef": {"fieldPath": "metadata.labels['track']"}}
            line = " ".join(one["args"]).replace("$(SSFR_TRACK)", track)
            line = line.replace("$(SSFR_REPOSITORY)", data["repository"]).split()
            assert [*one["command"], line[0]] == ["ssfr", "model-sync"]
            given = command.make_context("model-sync", line[1:]).params
            assert given.pop("folder") == Path("/models")
            assert given == {
                "repository": data["repository"],
                "once": each == "model-sync-once",
                "model": None,
                "label": track,
                "settings": Path("/etc/ssfr/settings.yaml"),
            }


@each_overlay
def test_the_settings_are_those_of_model_sync_and_no_others(overlay: str) -> None:
    assert told(overlay).keys() == {"storage", "serving", "deployment"}
    assert settings(overlay).storage.secret_folder


@each_overlay
def test_versions_have_room(overlay: str) -> None:
    for name, pod in pods(overlay):
        (models,) = (volume["emptyDir"] for volume in pod["volumes"] if volume["name"] == "models")
        # Stable, on trial, one that still answers and one on its way; VGG16's has 60 MiB.
        assert amount(models["sizeLimit"]) >= 4 * 250 * 2**20, name


@each_overlay
def test_the_launcher_and_model_sync_use_the_same_storage(overlay: str) -> None:
    storage, kubeflow = settings(overlay).storage, launcher(overlay)
    if storage.endpoint:
        scheme, _, host = storage.endpoint.partition("://")
        assert kubeflow["endpoint"] == host
        assert kubeflow["disableSSL"] == (scheme == "http") == storage.allow_http
    else:
        assert kubeflow["endpoint"] == "s3.amazonaws.com"
        assert not kubeflow["disableSSL"]
    assert kubeflow["region"] == storage.region
    assert kubeflow["forcePathStyle"] == storage.path_style
    data = of_kind(overlay, "ConfigMap")
    root = parse_location(data["kfp-launcher"]["data"]["defaultPipelineRoot"])
    models = parse_location(data["ssfr-settings"]["data"]["repository"])
    assert root.name == models.name
    assert root.prefix != models.prefix


@each_overlay
def test_a_roll_out_never_takes_a_server_away_that_is_still_asked(overlay: str) -> None:
    for name, deployment in of_kind(overlay, "Deployment").items():
        strategy = deployment["spec"]["strategy"]["rollingUpdate"]
        assert strategy["maxUnavailable"] == 0, name
        assert strategy["maxSurge"] >= 1
        server = container(overlay, "serving", name)
        command = server["lifecycle"]["preStop"]["exec"]["command"]
        assert command[0] == "sleep"
        wait = int(command[1])
        assert wait < deployment["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]
        ages = dict(one.split("=") for one in flags(server)["--grpc_channel_arguments"].split(","))
        # gRPC lengthens an age by up to a tenth, so that connections don't end at once.
        oldest_ms = 1.1 * int(ages["grpc.max_connection_age_ms"]) + int(
            ages["grpc.max_connection_age_grace_ms"]
        )
        assert oldest_ms < 1000 * wait


@pytest.mark.parametrize("overlay", ["base", "overlays/gpu"])
def test_the_autoscaler_is_of_the_stable_server_alone(overlay: str) -> None:
    (scaler,) = of_kind(overlay, "HorizontalPodAutoscaler").values()
    target = scaler["spec"]["scaleTargetRef"]["name"]
    assert target == "ssfr-serving"
    deployments = of_kind(overlay, "Deployment")
    assert "replicas" not in deployments[target]["spec"], "it would undo the autoscaler's number"
    assert deployments["ssfr-serving-canary"]["spec"]["replicas"] == 1
    assert (
        scaler["spec"]["minReplicas"]
        > of_kind(overlay, "PodDisruptionBudget")[target]["spec"]["maxUnavailable"]
    )
    (metric,) = scaler["spec"]["metrics"]
    assert container(overlay, metric["containerResource"]["container"])


@each_overlay
def test_the_canary_is_the_same_server_under_another_label(overlay: str) -> None:
    stable, canary = (
        of_kind(overlay, "Deployment")[name] for name in ("ssfr-serving", "ssfr-serving-canary")
    )
    assert canary["spec"]["template"]["metadata"]["labels"]["track"] == "canary"
    text = yaml.safe_dump(canary["spec"]["template"]).replace("track: canary", "track: stable")
    assert yaml.safe_load(text) == stable["spec"]["template"]


def test_minikube_runs_one_server_from_images_that_were_loaded() -> None:
    overlay = "overlays/minikube"
    deployments = of_kind(overlay, "Deployment")
    assert {name: one["spec"]["replicas"] for name, one in deployments.items()} == {
        "ssfr-serving": 1,
        "ssfr-serving-canary": 0,
    }
    assert not of_kind(overlay, "HorizontalPodAutoscaler")
    for one in all_containers(overlay):
        ours = one["image"].startswith("ssfr/")
        assert one["imagePullPolicy"] == ("Never" if ours else "IfNotPresent"), one["name"]
    requested = sum(
        amount(one["resources"]["requests"]["memory"]) for one in containers(deployments["ssfr-serving"])
    )
    assert requested < 2**30
    # The shipped SeaweedFS lets in namespaces with this label alone.
    labels = of_kind(overlay, "Namespace")["ssfr"]["metadata"]["labels"]
    assert labels["app.kubernetes.io/part-of"] == "kubeflow-profile"


def test_gpu_nodes_are_those_of_the_pipeline() -> None:
    (pool,) = ClusterSettings().node_pools
    for name, pod in pods("overlays/gpu"):
        assert pod["nodeSelector"] == pool.labels, name
        assert [one["key"] for one in pod["tolerations"]] == [one.key for one in pool.tolerations]
        server = container("overlays/gpu", "serving", name)
        assert server["image"].endswith("-gpu")
        assert server["resources"]["limits"][pool.accelerators[0]] == 1
        assert (
            pool.accelerators[0] not in container("overlays/gpu", "model-sync", name)["resources"]["limits"]
        )


def test_the_composition_refuses_what_it_does_not_know(tmp_path: Path) -> None:
    (tmp_path / "kustomization.yaml").write_text("resources: []\nconfigMapGenerator: []\n")
    with pytest.raises(ValueError, match="configMapGenerator"):
        compose(tmp_path)
    (tmp_path / "kustomization.yaml").write_text(
        "resources: []\npatches: [{patch: '{kind: Service, metadata: {name: gone}}'}]\n"
    )
    with pytest.raises(ValueError, match="gone"):
        compose(tmp_path)
