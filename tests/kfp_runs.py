"""Run compiled pipelines through Kubeflow's own local runners."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from kfp import local
from kfp.components import load_component_from_text

from ssfr.pipelines.local.runner import left_as_before


def run_compiled(compiled: str, root: Path, runner: Any = None, **arguments: Any) -> None:
    """Run a compiled pipeline to its end, in subprocesses unless a runner is given; files go to `root`."""
    local.init(
        runner or local.SubprocessRunner(use_venv=False),
        pipeline_root=str(root),
        workspace_root=str(root / "workspace"),
    )
    with left_as_before():
        load_component_from_text(compiled)(**arguments)
