"""Settings of the cluster: images, resources and time of every step's pod, where it runs, and what it may see."""

from __future__ import annotations

import importlib.metadata
import re
from typing import Annotated, ClassVar, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from ssfr.components.config.section import Positive, Section
from ssfr.components.errors import nearest

_TAG = importlib.metadata.version("ssfr").replace("+", "-")
_IMAGE = re.compile(
    r"(?P<name>(?:[a-z0-9.-]+(?::[0-9]+)?/)?[a-z0-9]+(?:[._/-]+[a-z0-9]+)*)"
    r"(?::(?P<tag>[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}))?(?P<digest>@sha256:[0-9a-f]{64})?"
)
_SECRET = re.compile(r"SECRET|PASSWORD|TOKEN|CREDENTIAL|(^|_)KEY(_|$)", re.IGNORECASE)
_PASSWORD = re.compile(r"://[^/\s]*@")


def _tagged(image: str) -> str:
    parts = _IMAGE.fullmatch(image)
    if parts is None:
        raise ValueError("not the name of an image; expected REGISTRY/NAME:TAG")
    if parts["tag"] == "latest":
        raise ValueError("the tag latest is whatever was pushed last; name a version")
    if parts["tag"] is None and parts["digest"] is None:
        raise ValueError(f"an image needs a tag or a digest, as in {parts['name']}:{_TAG}")
    return image


Image = Annotated[str, AfterValidator(_tagged)]
Name = Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$")]
"""Of an object in Kubernetes."""
Resource = Annotated[str, Field(pattern=r"^[a-z0-9.-]+/[A-Za-z0-9._-]+$")]
"""Of an accelerator, as a node offers it."""


class ImageSettings(Section):
    """What each step runs in; a tag or a digest is required, and latest is none."""

    data: Image = Field(f"ssfr/data:{_TAG}", description="catalogue, projection, preprocessing, manifest")
    train: Image = Field(
        f"ssfr/train:{_TAG}", description="training, evaluation, report, deployment, verification"
    )
    train_gpu: Image = Field(f"ssfr/train-gpu:{_TAG}", description="the steps on a GPU")


class PodSettings(Section):
    """Resources and time of a step's pod."""

    cpu: Positive = Field(1.0, description="[cores] that are kept for it")
    cpu_limit: Positive = Field(2.0, description="[cores] at most")
    memory_gib: Positive = Field(4.0, description="[GiB] that is kept for it")
    memory_limit_gib: Positive = Field(8.0, description="[GiB] beyond which it is killed")
    timeout_h: Positive = Field(6.0, description="[h] after which an attempt is ended")

    @model_validator(mode="after")
    def _limits_hold_requests(self) -> Self:
        for name, unit in (("cpu", ""), ("memory", "_gib")):
            request, limit = getattr(self, f"{name}{unit}"), getattr(self, f"{name}_limit{unit}")
            if limit < request:
                raise ValueError(f"{name}_limit{unit} {limit:g} is below {name}{unit} {request:g}")
        return self


class WorkerPod(PodSettings):
    """As many cores as projection.workers, or training.threads, has by default; and a day."""

    cpu: Positive = Field(2.0, description="[cores] that are kept for it")
    timeout_h: Positive = Field(24.0, description="[h] after which an attempt is ended")


class ManifestPod(PodSettings):
    """Reads and writes a few small documents."""

    cpu: Positive = Field(0.1, description="[cores] that are kept for it")
    cpu_limit: Positive = Field(1.0, description="[cores] at most")
    memory_gib: Positive = Field(0.5, description="[GiB] that is kept for it")
    memory_limit_gib: Positive = Field(1.0, description="[GiB] beyond which it is killed")
    timeout_h: Positive = Field(0.5, description="[h] after which an attempt is ended")


class PodsSettings(Section):
    """The pod of each step."""

    catalog: PodSettings = PodSettings()
    projection: WorkerPod = WorkerPod()
    ingest: PodSettings = PodSettings()
    preprocessing: PodSettings = PodSettings()
    training: WorkerPod = WorkerPod()
    evaluation: PodSettings = PodSettings()
    report: PodSettings = PodSettings()
    deployment: PodSettings = PodSettings()
    verification: PodSettings = PodSettings()
    manifest: ManifestPod = ManifestPod()


class Toleration(Section):
    """A taint of nodes that does not keep our pods away."""

    key: str = Field(min_length=1)
    operator: Literal["Exists", "Equal"] = "Exists"
    value: str | None = Field(None, description="of the taint, for operator Equal")
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = Field(
        "NoSchedule", description="None: every effect"
    )

    @model_validator(mode="after")
    def _equal_has_a_value(self) -> Self:
        if (self.operator == "Equal") != (self.value is not None):
            raise ValueError("operator Equal needs a value, and Exists has none")
        return self


class NodePool(Section):
    """Nodes of one kind: how they are found, and what they have."""

    name: Name
    labels: dict[str, str] = Field(min_length=1, description="node selector: labels of its nodes")
    tolerations: tuple[Toleration, ...] = Field((), description="of the taints of its nodes")
    accelerators: tuple[Resource, ...] = Field((), description="what its nodes offer, as nvidia.com/gpu")


class GpuSettings(Section):
    """GPUs of a step; scores and the served model stay on CPUs, where they are alike to 1e-4 dex."""

    enabled: bool = False
    steps: tuple[Literal["training", "evaluation"], ...] = ("training",)
    accelerator: Resource = "nvidia.com/gpu"
    count: int = Field(1, ge=1, description="of each pod")
    pool: Name = Field("gpu", description="node pool, by name")


class RetrySettings(Section):
    """Of a task whose pod failed; inside a step, requests to S3 are repeated before (section storage)."""

    count: int = Field(2, ge=0, description="attempts after the first")
    backoff_s: int = Field(30, ge=0, description="[s] before the second attempt")
    factor: float = Field(2.0, ge=1, description="by which each wait is longer than the one before")
    backoff_max_s: int = Field(600, ge=0, description="[s] the longest wait")


class ClusterSettings(Section):
    """A run on Kubeflow Pipelines."""

    changes_result: ClassVar[bool] = False

    namespace: Name = Field(
        "kubeflow", description="where Kubeflow runs the pods of pipelines, or that of a user's profile"
    )
    images: ImageSettings = ImageSettings()
    pull_policy: Literal["IfNotPresent", "Always", "Never"] = "IfNotPresent"
    pull_secrets: tuple[Name, ...] = Field((), description="secrets of the registry, by name")
    s3_secret: Name | None = Field(
        "ssfr-s3",
        description="secret with the keys accesskey and secretkey; None: the service account's own rights",
    )
    config_map: Name | None = Field(
        None, description="mounted at /etc/ssfr in every pod, as for a certificate authority; None: none"
    )
    environment: dict[str, str] = Field(
        default_factory=dict, description="of every pod, as AWS_CA_BUNDLE or HTTPS_PROXY; never a secret"
    )
    data_claim: Name | None = Field(
        None, description="volume claim that pods which read --data find at /data; None: data are in S3"
    )
    training_claim: Name | None = Field(
        None,
        description="volume claim on which training works: a pod that is tried again goes on from the last checkpoint; None: it begins its case anew. Of mode ReadWriteMany where cases are trained on several nodes",
    )
    user: int | None = Field(
        None, ge=1, description="number of the user that containers run as; None: the image's, if not root"
    )
    node_pools: tuple[NodePool, ...] = Field(
        (
            NodePool(
                name="gpu",
                labels={"ssfr/pool": "gpu"},
                tolerations=(Toleration(key="nvidia.com/gpu"),),
                accelerators=("nvidia.com/gpu",),
            ),
        ),
        description="kinds of nodes that steps may be put on",
    )
    pool: Name | None = Field(None, description="node pool of steps without a GPU; None: any node")
    gpu: GpuSettings = GpuSettings()
    pods: PodsSettings = PodsSettings()
    retry: RetrySettings = RetrySettings()
    projection_shards: int = Field(
        1,
        ge=1,
        description="tasks that draw a snapshot's maps; at most one for each 256 galaxies. Another number draws the snapshots of more than 256 galaxies again, into the same maps",
    )
    parallel_shards: int = Field(4, ge=1, description="of them, of all snapshots, at the same time")
    parallel_cases: int = Field(4, ge=1, description="cases that are trained at the same time")
    shm_gib: Positive = Field(1.0, description="[GiB] of /dev/shm, which counts as the pod's memory")
    scratch_gib: Positive = Field(50.0, description="[GiB] of /tmp, where a step's inputs and outputs lie")
    skip_unchanged: bool = Field(
        True,
        description="end after the first step if the last run of this workdir that ended with these settings and repository had the same data and code",
    )
    caching: bool = Field(
        False,
        description="let Kubeflow skip tasks, of data named as .../NAME/NUMBER; a step finds its own finished artifact in any case, and looks whether it is still there",
    )
    deadline_h: Positive = Field(72.0, description="[h] after which a run is ended")
    ttl_h: Positive = Field(168.0, description="[h] that pods and logs of an ended run are kept")

    @model_validator(mode="after")
    def _pools_are_there(self) -> Self:
        pools = {pool.name: pool for pool in self.node_pools}
        if len(pools) < len(self.node_pools):
            raise ValueError("node_pools: a name is used twice")
        if self.pool is not None and self.pool not in pools:
            raise ValueError(f"pool: no node pool '{self.pool}'{nearest(self.pool, pools)}")
        if self.gpu.enabled:
            pool, wanted = self.gpu.pool, self.gpu.accelerator
            if pool not in pools:
                raise ValueError(f"gpu.pool: no node pool '{pool}'{nearest(pool, pools)}")
            offered = pools[pool].accelerators
            if wanted not in offered:
                others = nearest(wanted, offered) if offered else ""
                raise ValueError(f"gpu.accelerator: node pool '{pool}' offers no {wanted}{others}")
        return self

    @model_validator(mode="after")
    def _training_works_on_its_claim(self) -> Self:
        if self.training_claim is not None and "TMPDIR" in self.environment:
            raise ValueError(
                "environment: TMPDIR would lead training away from training_claim; set one of the two"
            )
        return self

    @model_validator(mode="after")
    def _secrets_are_elsewhere(self) -> Self:
        for name, value in self.environment.items():
            if _SECRET.search(name) or _PASSWORD.search(value):
                raise ValueError(f"environment: {name} looks like a secret, which belongs in a Secret")
        return self
