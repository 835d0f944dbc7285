"""What surrounds the tasks of a pipeline: nothing on this machine; on a cluster pods, limits, a last task."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

from kfp import dsl

from ssfr.components.config.cluster import ClusterSettings
from ssfr.components.manifest.component import manifest
from ssfr.components.steps.code import TRAINED_IN, code_digest
from ssfr.components.storage.ledger import RUN
from ssfr.pipelines.connections import code_of

DATA_MOUNT = "/data"
_TRAINING_MOUNT = "/training"
_CONFIG_MOUNT = "/etc/ssfr"
_DATA_STEPS = ("catalog", "projection", "ingest", "preprocessing", "manifest")
_READ_DATA = ("catalog", "projection", "ingest")
_KEYS = {"accesskey": "AWS_ACCESS_KEY_ID", "secretkey": "AWS_SECRET_ACCESS_KEY"}


class OnThisMachine:
    """Surrounds the tasks of a run on this machine: each finds its own finished work, one at a time draws.

    Parameters
    ----------
    parallel_cases
        Cases that are trained at the same time.
    """

    def __init__(self, parallel_cases: int = 1) -> None:
        self.shards = 1
        """Tasks that draw a snapshot's maps, at most."""
        self.parallel_shards = 1
        """Tasks that draw at the same time; each has projection.workers processes."""
        self.parallel_cases = parallel_cases
        self.limits: Any = None
        """A `kfp.dsl.PipelineConfig`, or None."""

    def place(self, step: str, task: Any) -> Any:
        """Return the task of a step, with where and how it runs."""
        return task

    def recorded(self, **arguments: Any) -> AbstractContextManager[Any]:
        """Follow what is in the block by the task that writes the run's manifest, whatever happened."""
        return nullcontext()

    def unless_done(self, first: Any) -> AbstractContextManager[Any]:
        """Do what is in the block, unless an earlier run did all of it, as the first task found."""
        return _if(first.outputs["Output"] == "yes")


class OnCluster(OnThisMachine):
    """Surrounds the tasks of a run on Kubeflow.

    Parameters
    ----------
    cluster
        Where the pods run and with what; secrets are named here, never read.
    """

    def __init__(self, cluster: ClusterSettings) -> None:
        super().__init__(cluster.parallel_cases)
        self._cluster = cluster
        self.shards, self.parallel_shards = cluster.projection_shards, cluster.parallel_shards
        self.limits = dsl.PipelineConfig(
            ttl_seconds_after_finished=_seconds(cluster.ttl_h),
            active_deadline_seconds=_seconds(cluster.deadline_h),
        )

    def place(self, step: str, task: Any) -> Any:
        """See `OnThisMachine.place`."""
        return place(task, step, self._cluster)

    def recorded(self, **arguments: Any) -> AbstractContextManager[Any]:
        """See `OnThisMachine.recorded`."""
        last = manifest(job=dsl.PIPELINE_JOB_ID_PLACEHOLDER, **arguments)
        handler: AbstractContextManager[Any] = dsl.ExitHandler(self.place("manifest", last), name="study")
        return handler

    def unless_done(self, first: Any) -> AbstractContextManager[Any]:
        """See `OnThisMachine.unless_done`."""
        if self._cluster.skip_unchanged:
            return super().unless_done(first)
        return _if(first.outputs["Output"] != "")


def _if(condition: Any) -> AbstractContextManager[Any]:
    # Always in a condition: beside the task that gives a loop its items, KFP's local runner finds none.
    block: AbstractContextManager[Any] = dsl.If(condition, name="new")
    return block


def place(task: Any, step: str, cluster: ClusterSettings) -> Any:
    """Say of a task of a pipeline where and how it runs, and return it.

    Parameters
    ----------
    task
        A `kfp.dsl.PipelineTask` of one of our components.
    step
        Its name among `ClusterSettings.pods`.
    cluster
        Secrets are named here, never read.
    """
    from kfp import kubernetes

    on_gpu = _on_gpu(step, cluster)
    task.set_container_image(_image(step, cluster))
    kubernetes.set_image_pull_policy(task, cluster.pull_policy)
    if cluster.pull_secrets:
        kubernetes.set_image_pull_secrets(task, list(cluster.pull_secrets))
    kubernetes.set_security_context(task, run_as_user=cluster.user, run_as_non_root=True)
    _resources(task, step, cluster)
    _node(task, on_gpu, cluster)
    _surroundings(task, step, cluster)
    # Kubeflow's key of a finished task has the command line, but neither what it imports nor (in 2.17)
    # its environment; the program ignores arguments that it does not declare.
    task.container_spec.args += ["--code", code_digest(code_of(task.component_spec.name))]
    task.set_caching_options(cluster.caching and step != "manifest")
    return task


def _on_gpu(step: str, cluster: ClusterSettings) -> bool:
    return cluster.gpu.enabled and step in cluster.gpu.steps


def _image(step: str, cluster: ClusterSettings) -> str:
    images = cluster.images
    if _on_gpu(step, cluster):
        return images.train_gpu
    return images.data if step in _DATA_STEPS else images.train


def _resources(task: Any, step: str, cluster: ClusterSettings) -> None:
    from kfp import kubernetes

    pod, retry = getattr(cluster.pods, step), cluster.retry
    task.set_cpu_request(f"{pod.cpu:g}").set_cpu_limit(f"{pod.cpu_limit:g}")
    task.set_memory_request(_mebibytes(pod.memory_gib)).set_memory_limit(_mebibytes(pod.memory_limit_gib))
    task.set_retry(
        retry.count,
        backoff_duration=f"{retry.backoff_s}s",
        backoff_factor=retry.factor,
        backoff_max_duration=f"{retry.backoff_max_s}s",
    )
    kubernetes.set_timeout(task, _seconds(pod.timeout_h))


def _node(task: Any, on_gpu: bool, cluster: ClusterSettings) -> None:
    """Choose the nodes, and ask for a GPU where there is one."""
    from kfp import kubernetes

    if on_gpu:
        task.set_accelerator_type(cluster.gpu.accelerator).set_accelerator_limit(cluster.gpu.count)
    name = cluster.gpu.pool if on_gpu else cluster.pool
    for pool in cluster.node_pools:
        if pool.name != name:
            continue
        for label, value in sorted(pool.labels.items()):
            kubernetes.add_node_selector(task, label, value)
        for toleration in pool.tolerations:
            kubernetes.add_toleration(
                task, toleration.key, toleration.operator, toleration.value, toleration.effect
            )


def _surroundings(task: Any, step: str, cluster: ClusterSettings) -> None:
    """Give a pod its volumes and its environment."""
    from kfp import kubernetes

    kubernetes.add_pod_label(task, "app.kubernetes.io/part-of", "ssfr")
    kubernetes.add_pod_label(task, "app.kubernetes.io/component", step)
    shm, scratch = _mebibytes(cluster.shm_gib), _mebibytes(cluster.scratch_gib)
    kubernetes.empty_dir_mount(task, "shm", "/dev/shm", medium="Memory", size_limit=shm)
    kubernetes.empty_dir_mount(task, "scratch", "/tmp", size_limit=scratch)
    if cluster.s3_secret is not None:
        kubernetes.use_secret_as_env(task, cluster.s3_secret, _KEYS)
    if cluster.config_map is not None:
        kubernetes.use_config_map_as_volume(task, cluster.config_map, _CONFIG_MOUNT)
    if cluster.data_claim is not None and step in _READ_DATA:
        kubernetes.mount_pvc(task, cluster.data_claim, DATA_MOUNT)
    if cluster.training_claim is not None and step == "training":
        kubernetes.mount_pvc(task, cluster.training_claim, _TRAINING_MOUNT)
        task.set_env_variable("TMPDIR", _TRAINING_MOUNT)
    task.set_env_variable(TRAINED_IN, _image("training", cluster))
    for name, value in sorted(cluster.environment.items()):
        task.set_env_variable(name, value)
    kubernetes.use_field_path_as_env(task, RUN, "metadata.labels['workflows.argoproj.io/workflow']")


def _seconds(hours: float) -> int:
    """Return hours in whole seconds, at least one: Kubernetes takes zero for no limit."""
    return max(1, round(hours * 3600))


def _mebibytes(gib: float) -> str:
    return f"{max(1, round(gib * 1024))}Mi"
