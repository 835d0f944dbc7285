"""Step 6 as the pipeline sees it: the best model, exported, promoted if better, checked in service."""

from kfp import dsl
from kfp.dsl import Artifact, Dataset, Input, Model, Output

from ssfr.components.steps.step import IMAGE


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def deployment(
    workdir: str,
    settings: str,
    repository: str,
    maps: Input[Dataset],
    prepared: Input[Dataset],
    models: Input[list[Model]],
    scores: Input[Dataset],
    deployed: Output[Artifact],
) -> None:
    """Export the best model, promote it if it beats the champion, and check it over gRPC.

    Args:
        workdir: folder of the run.
        settings: all settings, as JSON.
        repository: of models that are served: a folder, or a place in S3.
        maps: of step 2.
        prepared: of step 3.
        models: of step 4.
        scores: of step 5.
        deployed: deployment.json.
    """
    from pathlib import Path
    from typing import Any

    from ssfr.components.deployment.connections import DEPLOY
    from ssfr.components.deployment.deploy import run, still_deployed
    from ssfr.components.steps.step import open_step

    with open_step(DEPLOY, workdir, settings) as step:
        maps_dir, prepared_dir = step.take("maps", maps), step.take("prepared", prepared)
        scores_dir, folders = step.take("scores", scores), step.take_each("model", models, "case")

        def work(output: Path) -> dict[str, Any]:
            return run(
                output,
                folders,
                scores_dir,
                maps_dir,
                prepared_dir,
                repository,
                step.settings,
                step.progress,
            )

        step.do(
            work,
            output=deployed,
            extra={"repository": repository},
            still_true=lambda folder: still_deployed(folder, repository, step.settings),
        )


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def verification(
    workdir: str,
    settings: str,
    repository: str,
    maps: Input[Dataset],
    prepared: Input[Dataset],
    scores: Input[Dataset],
    deployed: Input[Artifact],
    verified: Output[Artifact],
) -> None:
    """Compare the answers of deployment.servers with the offline predictions; undo a deployment that differs.

    Args:
        workdir: folder of the run, or its place in S3.
        settings: all settings, as JSON.
        repository: of models that is served.
        maps: of step 2.
        prepared: of step 3.
        scores: of step 5.
        deployed: of step 6.
        verified: verification.json.
    """
    from pathlib import Path
    from typing import Any

    from ssfr.components.deployment.connections import VERIFICATION
    from ssfr.components.steps.step import open_step

    with open_step(VERIFICATION, workdir, settings) as step:
        maps_dir, prepared_dir = step.take("maps", maps), step.take("prepared", prepared)
        scores_dir, deployed_dir = step.take("scores", scores), step.take("deployed", deployed)

        def work(output: Path) -> dict[str, Any]:
            from ssfr.components.deployment.verify import run

            return run(
                output,
                deployed_dir,
                scores_dir,
                maps_dir,
                prepared_dir,
                repository,
                step.settings,
                step.progress,
            )

        step.do(work, output=verified, extra={"repository": repository})
