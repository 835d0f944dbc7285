"""Step 7 as the pipeline sees it: the live service answers as the offline predictions, or all goes back."""

from kfp import dsl
from kfp.dsl import Artifact, Dataset, Input, Output

from components.step import IMAGE


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
    """Ask the servers of deployment.servers for held-out galaxies, and undo the deployment if they differ.

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

    from components.step import open_step

    with open_step("verification", workdir, settings) as step:
        maps_dir, prepared_dir = step.take(maps), step.take(prepared)
        scores_dir, deployed_dir = step.take(scores), step.take(deployed)

        def work(output: Path) -> dict[str, Any]:
            from components.verification.verify import run

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

        step.do(
            work,
            output=verified,
            inputs={
                "maps": maps_dir,
                "prepared": prepared_dir,
                "scores": scores_dir,
                "deployed": deployed_dir,
            },
            sections=("deployment", "serving"),
            extra={"repository": repository},
        )
