"""The study as a pipeline, which finds what predicts a galaxy's star formation: one graph, wherever it runs.

catalog -> projection (a task a shard of a snapshot, joined) -> preprocessing -> training (a task a case)
ingest  ------------------------------------------------------------^        (an image catalogue joins here)
        -> evaluation -> report
                      -> deployment -> verification, where live servers are named

What surrounds the tasks on a cluster, pods, a condition and a last task, is in pipelines/placement.py.
"""

from collections.abc import Sequence
from typing import Any

from kfp import dsl

from ssfr.components.catalog.component import catalog
from ssfr.components.deployment.component import deployment, verification
from ssfr.components.errors import InputError, nearest
from ssfr.components.evaluation.component import evaluation
from ssfr.components.preprocessing.component import ingest, preprocessing
from ssfr.components.projection.component import projection_joined, projection_shard
from ssfr.components.report.component import report
from ssfr.components.training.component import training
from ssfr.pipelines.placement import OnThisMachine

STEPS = ("catalog", "projection", "preprocessing", "training", "evaluation", "report", "deployment")
IMAGE_STEPS = ("ingest", *STEPS[2:])


def study(
    cases: Sequence[str],
    surroundings: OnThisMachine,
    *,
    images: bool = False,
    until: str | None = None,
    verify: bool = False,
) -> Any:
    """Return the pipeline, a function of (workdir, data, settings, origin, repository).

    Parameters
    ----------
    cases
        Names of the image sets; each is trained by a task of its own.
    surroundings
        Where the tasks run, and how many at the same time.
    images
        The data are an image catalogue, not a simulation.
    until
        Name of the last step to do; None: all of them.
    verify
        Compare the answers of the live servers ``deployment.servers`` last.

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
    place = surroundings.place

    @dsl.pipeline(
        name="ssfr-study",
        description="Which gas property, and which scale, predicts the sSFR?",
        pipeline_config=surroundings.limits,
    )
    def ssfr_study(workdir: str, data: str, settings: str, origin: str, repository: str) -> None:
        run = {"workdir": workdir, "settings": settings}
        with surroundings.recorded(data=data, origin=origin, repository=repository, **run):
            source = {"data": data, "repository": repository, **run}
            if images:
                found = place("ingest", ingest(**source))
            else:
                found = place("catalog", catalog(tasks=surroundings.shards, **source))
            sample = maps = found.outputs["catalogue" if images else "sample"]
            if last == 0:
                return
            with surroundings.unless_done(found):
                if not images:
                    given = {"data": found.outputs["data"], "sample": sample, **run}
                    shards = found.outputs["shards"]
                    with dsl.ParallelFor(shards, parallelism=surroundings.parallel_shards) as one:
                        share = {"snapshot": one.snapshot, "shard": one.shard, "shards": one.shards}
                        drawn = place("projection", projection_shard(**share, **given))
                    joined = projection_joined(
                        drawn=dsl.Collected(drawn.outputs["maps"]), sample=sample, **run
                    )
                    maps = place("projection", joined).outputs["maps"]
                if "preprocessing" not in wanted:
                    return
                ready = preprocessing(sample=sample, maps=maps, **run)
                prepared = place("preprocessing", ready).outputs["prepared"]
                if "training" not in wanted:
                    return
                image_sets = {"maps": maps, "prepared": prepared, **run}
                with dsl.ParallelFor(list(cases), parallelism=surroundings.parallel_cases) as case:
                    trained = place("training", training(case=case, **image_sets))
                if "evaluation" not in wanted:
                    return
                models = dsl.Collected(trained.outputs["model"])
                scores = place("evaluation", evaluation(models=models, **image_sets)).outputs["scores"]
                if "report" not in wanted:
                    return
                models = dsl.Collected(trained.outputs["model"])
                synthetic = False if images else found.outputs["synthetic"]
                results = {"scores": scores, "models": models, "synthetic": synthetic}
                place("report", report(origin=origin, **results, **image_sets))
                if "deployment" not in wanted:
                    return
                models = dsl.Collected(trained.outputs["model"])
                target = {"repository": repository, "scores": scores, **image_sets}
                deployed = place("deployment", deployment(models=models, **target)).outputs["deployed"]
                if verify:
                    place("verification", verification(deployed=deployed, **target))

    return ssfr_study
