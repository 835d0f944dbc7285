"""The study as a pipeline: what knows a galaxy's star formation. One definition, here and on a cluster.

catalog -> projection -> preprocessing -> training (a task a case) -> evaluation -> deployment
ingest  ---------------^                                     (an image catalogue joins at step 3)
                                          ... -> verification, where live servers are named

On a cluster every task is placed (pipelines/placement.py), the maps are drawn by a task for each shard of
each snapshot that the first step found, and a last task writes the run's manifest.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from kfp import dsl

from ssfr.components.catalog.component import catalog
from ssfr.components.config.cluster import ClusterSettings
from ssfr.components.deployment.component import deployment, verification
from ssfr.components.errors import InputError, nearest
from ssfr.components.evaluation.component import evaluation
from ssfr.components.manifest.component import manifest
from ssfr.components.preprocessing.component import ingest, preprocessing
from ssfr.components.projection.component import projection, projection_joined, projection_shard
from ssfr.components.training.component import training
from ssfr.pipelines.placement import place, seconds_of

STEPS = ("catalog", "projection", "preprocessing", "training", "evaluation", "deployment")
IMAGE_STEPS = ("ingest", *STEPS[2:])


def study(
    cases: Sequence[str],
    *,
    workers: int = 1,
    images: bool = False,
    until: str | None = None,
    verify: bool = False,
    cluster: ClusterSettings | None = None,
) -> Any:
    """Return the pipeline, a function of (workdir, data, settings, origin, repository).

    Parameters
    ----------
    cases
        Names of the image sets; each is trained by a task of its own.
    workers
        Cases that are trained at the same time.
    images
        The data are an image catalogue, not a simulation.
    until
        Name of the last step to do; None: all of them.
    verify
        Ask the live servers of ``deployment.servers`` last.
    cluster
        Where tasks run and with what; None: here.

    Raises
    ------
    InputError
        `until` is not a step of this pipeline.
    """
    steps = IMAGE_STEPS if images else STEPS
    if until is not None and until not in steps:
        raise InputError(f"--until {until}: not a step{nearest(until, steps)}")
    last = steps.index(until) if until else len(steps) - 1
    wanted = set(steps[: last + 1])
    tasks = 1 if cluster is None else cluster.projection_shards

    def placed(step: str, task: Any) -> Any:
        return task if cluster is None else place(task, step, cluster)

    @dsl.pipeline(
        name="ssfr-study",
        description="Which gas property, and which scale, knows the sSFR?",
        pipeline_config=_time_limits(cluster),
    )
    def ssfr_study(workdir: str, data: str, settings: str, origin: str, repository: str) -> None:
        asked = {"workdir": workdir, "data": data, "settings": settings, "origin": origin}
        with _recorded(cluster, repository=repository, **asked):
            first = {"workdir": workdir, "data": data, "settings": settings, "repository": repository}
            if images:
                found = placed("ingest", ingest(**first))
            else:
                found = placed("catalog", catalog(tasks=tasks, **first))
            sample = maps = found.outputs["catalogue" if images else "sample"]
            with _if_new(cluster, found):
                if not images:
                    if "projection" not in wanted:
                        return
                    same = found.outputs["data"]
                    given = {"workdir": workdir, "data": same, "settings": settings, "sample": sample}
                    maps = _projected(placed, cluster, found.outputs["shards"], given)
                if "preprocessing" not in wanted:
                    return
                ready = preprocessing(workdir=workdir, settings=settings, sample=sample, maps=maps)
                prepared = placed("preprocessing", ready).outputs["prepared"]
                if "training" not in wanted:
                    return
                drawn = {"workdir": workdir, "settings": settings, "maps": maps, "prepared": prepared}
                with dsl.ParallelFor(list(cases), parallelism=workers) as case:
                    trained = placed("training", training(case=case, **drawn))
                if "evaluation" not in wanted:
                    return
                models = dsl.Collected(trained.outputs["model"])
                synthetic = False if images else found.outputs["synthetic"]
                judged = evaluation(origin=origin, synthetic=synthetic, models=models, **drawn)
                scores = placed("evaluation", judged).outputs["scores"]
                if "deployment" not in wanted:
                    return
                models = dsl.Collected(trained.outputs["model"])
                served = deployment(repository=repository, models=models, scores=scores, **drawn)
                deployed = placed("deployment", served).outputs["deployed"]
                if verify:
                    live = verification(repository=repository, scores=scores, deployed=deployed, **drawn)
                    placed("verification", live)

    return ssfr_study


def _projected(
    placed: Callable[[str, Any], Any], cluster: ClusterSettings | None, shards: Any, given: Any
) -> Any:
    """Return the maps: here drawn by one task, on a cluster by one for each shard, and joined."""
    if cluster is None:
        return projection(**given).outputs["maps"]
    with dsl.ParallelFor(shards, parallelism=cluster.parallel_shards) as one:
        share = {"snapshot": one.snapshot, "shard": one.shard, "shards": one.shards}
        drawn = placed("projection", projection_shard(**share, **given))
    joined = projection_joined(drawn=dsl.Collected(drawn.outputs["maps"]), **given)
    return placed("projection", joined).outputs["maps"]


def _if_new(cluster: ClusterSettings | None, found: Any) -> AbstractContextManager[Any]:
    """Do what is in the block unless an earlier run did; here, each step looks for itself."""
    if cluster is None:
        return nullcontext()
    said = found.outputs["Output"]
    # Always in a condition: beside the task that gives a loop its items, KFP's local runner finds none.
    condition = said == "yes" if cluster.skip_unchanged else said != ""
    block: AbstractContextManager[Any] = dsl.If(condition, name="new")
    return block


def _recorded(cluster: ClusterSettings | None, **asked: Any) -> AbstractContextManager[Any]:
    """Follow what is in the block by the run's manifest, whatever becomes of it; here, `local` writes it."""
    if cluster is None:
        return nullcontext()
    task = manifest(job=dsl.PIPELINE_JOB_ID_PLACEHOLDER, **asked)
    handler: AbstractContextManager[Any] = dsl.ExitHandler(place(task, "manifest", cluster), name="study")
    return handler


def _time_limits(cluster: ClusterSettings | None) -> Any:
    if cluster is None:
        return None
    return dsl.PipelineConfig(
        ttl_seconds_after_finished=seconds_of(cluster.ttl_h),
        active_deadline_seconds=seconds_of(cluster.deadline_h),
    )
