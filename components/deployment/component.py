"""Step 6 as the pipeline sees it: the best model, exported, promoted if better, checked in service."""

from kfp import dsl
from kfp.dsl import Artifact, Dataset, Input, Model, Output

from components.step import IMAGE


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
        repository: folder of models that is served.
        maps: of step 2.
        prepared: of step 3.
        models: of step 4.
        scores: of step 5.
        deployed: deployment.json.
    """
    from pathlib import Path
    from typing import Any

    from components.serving.repository import ModelFolder
    from components.step import open_step
    from components.storage.artifact import read_json

    with open_step("deployment", workdir, settings) as step:
        maps_dir, prepared_dir, scores_dir = Path(maps.path), Path(prepared.path), Path(scores.path)
        folders = {model.metadata["case"]: Path(model.path) for model in models}

        def work(output: Path) -> dict[str, Any]:
            from components.deployment.deploy import run

            return run(
                output,
                folders,
                scores_dir,
                maps_dir,
                prepared_dir,
                Path(repository),
                step.settings,
                step.progress,
            )

        def in_repository(folder: Path) -> bool:
            told = read_json(folder / "deployment.json")
            there = ModelFolder(Path(repository), told["model"])
            return there.says(told["model_digest"], told["version"], told["label"], told["champion"])

        deployed.uri = step.do(
            work,
            inputs={"maps": maps_dir, "prepared": prepared_dir, "scores": scores_dir}
            | {f"model/{case}": folder for case, folder in folders.items()},
            sections=("deployment", "serving"),
            extra={"repository": repository},
            still_true=in_repository,
        )
