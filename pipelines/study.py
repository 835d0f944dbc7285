"""The study as a pipeline: what knows a galaxy's star formation. One definition, here and on a cluster.

catalog -> projection -> preprocessing -> training (a task a case) -> evaluation -> deployment
ingest  ---------------^                                     (an image catalogue joins at step 3)
"""

from collections.abc import Sequence
from typing import Any

from kfp import dsl

from components.catalog.component import catalog
from components.deployment.component import deployment
from components.errors import InputError, nearest
from components.evaluation.component import evaluation
from components.preprocessing.component import ingest, preprocessing
from components.projection.component import projection
from components.training.component import training

STEPS = ("catalog", "projection", "preprocessing", "training", "evaluation", "deployment")
IMAGE_STEPS = ("ingest", *STEPS[2:])


def study(cases: Sequence[str], *, workers: int = 1, images: bool = False, until: str | None = None) -> Any:
    """Return the pipeline, a function of (workdir, data, settings, origin, synthetic, repository).

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

    @dsl.pipeline(name="ssfr-study", description="Which gas property, and which scale, knows the sSFR?")
    def ssfr_study(
        workdir: str, data: str, settings: str, origin: str, synthetic: bool, repository: str
    ) -> None:
        if images:
            catalogue = ingest(workdir=workdir, data=data, settings=settings).outputs["catalogue"]
            sample, maps = catalogue, catalogue
        else:
            sample = catalog(workdir=workdir, data=data, settings=settings).outputs["sample"]
            if "projection" not in wanted:
                return
            drawn = projection(workdir=workdir, data=data, settings=settings, sample=sample)
            maps = drawn.outputs["maps"]
        if "preprocessing" not in wanted:
            return
        prepared = preprocessing(workdir=workdir, settings=settings, sample=sample, maps=maps).outputs[
            "prepared"
        ]
        if "training" not in wanted:
            return
        with dsl.ParallelFor(list(cases), parallelism=workers) as case:
            trained = training(workdir=workdir, settings=settings, case=case, maps=maps, prepared=prepared)
        if "evaluation" not in wanted:
            return
        scores = evaluation(
            workdir=workdir,
            settings=settings,
            origin=origin,
            synthetic=synthetic,
            maps=maps,
            prepared=prepared,
            models=dsl.Collected(trained.outputs["model"]),
        ).outputs["scores"]
        if "deployment" not in wanted:
            return
        deployment(
            workdir=workdir,
            settings=settings,
            repository=repository,
            maps=maps,
            prepared=prepared,
            models=dsl.Collected(trained.outputs["model"]),
            scores=scores,
        )

    return ssfr_study
