"""What `ssfr run demo` adds to a run: a universe to study before it, and a served prediction after it."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pandas as pd

from ssfr.components.config import UniverseSettings
from ssfr.components.errors import InputError
from ssfr.components.runtime.progress import Progress
from ssfr.components.storage.artifact import read_json
from ssfr.components.storage.manifest import MANIFEST
from ssfr.pipelines.local.service import COMMAND, served

UNIVERSE = UniverseSettings(galaxies=320, snapshots=(99, 95))


def demo_universe(workdir: Path, progress: Progress) -> Path:
    """Return the synthetic universe in the folder of a run; one that is absent is written first."""
    from ssfr.components.simulation.universe import write_universe

    universe = workdir / "universe"
    if not universe.exists():
        workdir.mkdir(parents=True, exist_ok=True)
        write_universe(universe, UNIVERSE, progress)
    return universe


def show_prediction(workdir: Path) -> None:
    """Serve the models of a finished run, predict one held-out galaxy over gRPC, and compare.

    Raises
    ------
    InputError
        The run has no deployment yet.
    RuntimeError
        The served prediction is not the offline one.
    """
    manifest = read_json(workdir / MANIFEST, "run the pipeline first")
    steps, repository = manifest.get("steps", {}), manifest.get("repository")
    if "deployment" not in steps or not repository:
        raise InputError(f"{workdir}: no model was deployed; run the pipeline to its end")
    folders = {label: workdir / step["step"] / step["key"] for label, step in steps.items()}
    deployed = read_json(folders["deployment"] / "deployment.json")
    example, tolerance = deployed["example"], deployed["tolerance_dex"]
    galaxies = pd.read_parquet(folders["preprocessing"] / "galaxies.parquet")
    maps = folders["projection"] / galaxies.set_index("galaxy").loc[example["galaxy"], "map_file"]
    with served(Path(repository)) as address:
        command = ["predict", str(maps), "--galaxy", example["galaxy"], "--server", address]
        command += ["--version", str(deployed["version"])]
        print(f"\n$ ssfr serve {repository} &\n$ ssfr {' '.join(command)}", flush=True)
        subprocess.run([*COMMAND, *command], check=True)
        answer = subprocess.run([*COMMAND, *command, "--json"], check=True, capture_output=True, text=True)
    prediction = json.loads(answer.stdout)["log10_ssfr"]
    difference = abs(prediction - example["offline"])
    if difference > tolerance:
        raise RuntimeError(
            f"served {prediction} and offline {example['offline']} differ by {difference:.2g} dex"
        )
    print(
        f"The simulation says {example['true']:.3f}; offline the model says {example['offline']:.3f}, "
        f"{difference:.1e} dex from what was served.\nThe report: {workdir / 'report.html'}"
    )
