"""The end of `make run`: starts the server, and asks it for a galaxy that no network was trained on."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pandas as pd

from ssfr.components.errors import InputError
from ssfr.components.storage.artifact import read_json
from ssfr.components.storage.manifest import MANIFEST

_SSFR = (sys.executable, "-m", "ssfr.pipelines.cli")


def main(workdir: Path) -> None:
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
    server = subprocess.Popen([*_SSFR, "serve", repository, "--port", "0"], stderr=subprocess.PIPE, text=True)
    try:
        address = _address(server)
        command = ["predict", str(maps), "--galaxy", example["galaxy"], "--server", address]
        command += ["--version", str(deployed["version"])]
        print(f"\n$ ssfr serve {repository} &\n$ ssfr {' '.join(command)}", flush=True)
        subprocess.run([*_SSFR, *command], check=True)
        answer = subprocess.run([*_SSFR, *command, "--json"], check=True, capture_output=True, text=True)
    finally:
        server.terminate()
        server.wait()
    served = json.loads(answer.stdout)["log10_ssfr"]
    difference = abs(served - example["offline"])
    if difference > tolerance:
        raise RuntimeError(f"served {served} and offline {example['offline']} differ by {difference:.2g} dex")
    print(
        f"The simulation says {example['true']:.3f}; offline the model says {example['offline']:.3f}, "
        f"{difference:.1e} dex from what was served.\nThe report: {workdir / 'report.html'}"
    )


def _address(server: subprocess.Popen[str]) -> str:
    """Wait until the server says where it is."""
    assert server.stderr is not None
    said = []
    for line in server.stderr:
        said.append(line)
        if line.startswith("serving ") and " at " in line:
            return line.rsplit(" at ", 1)[1].strip()
    raise RuntimeError(f"the server did not start: {''.join(said)}")


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]))
    except InputError as error:
        print(f"ssfr: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
