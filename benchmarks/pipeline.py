"""The whole study at 1000 galaxies: how long each step takes, and what the network gains over each baseline.

The gains are on held-out trees, with paired bootstrap intervals (resampled by tree): `value` is the
network's RMSE, `peer_value` the baseline's, and the interval of the difference stands beside.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.figure import row
from ssfr.components.storage.artifact import read_json

GALAXIES = 1000
SNAPSHOTS = "99"


def run() -> list[dict[str, Any]]:
    """Simulate, run the demo preset, and read its metrics."""
    with tempfile.TemporaryDirectory(prefix="ssfr-pipeline-") as scratch:
        universe, workdir = Path(scratch) / "universe", Path(scratch) / "run"
        started = time.perf_counter()
        _ssfr("simulate", universe, "--galaxies", GALAXIES, "--snapshots", SNAPSHOTS)
        simulated = time.perf_counter()
        _ssfr("run", "demo", "--data", universe, "--workdir", workdir)
        finished = time.perf_counter()
        steps = read_json(workdir / "manifest.json")["steps"]
        scores = workdir / "evaluation" / steps["evaluation"]["key"]
        metrics = read_json(scores / "metrics.json")
    figures = [
        row("pipeline.simulate", simulated - started, "s"),
        row("pipeline.run", finished - simulated, "s"),
    ]
    figures += [row(f"pipeline.{label}", step["seconds"], "s") for label, step in steps.items()]
    return figures + _gains(metrics)


def _gains(metrics: dict[str, Any]) -> list[dict[str, Any]]:
    best = metrics["best_case"]
    model = metrics["cases"][best]
    own = model["scores"]["test"]["all"]
    figures = [row("pipeline.test_r", own["r"]["value"], "Pearson r")]
    for baseline, gain in model["gains"]["test"]["all"].items():
        peer = metrics["cases"][baseline]["scores"]["test"]["all"]["rmse"]["value"]
        rmse = own["rmse"]["value"]
        figure = row(f"pipeline.rmse_beside_{baseline}", rmse, "dex", baseline, peer)
        figure["gain"] = gain["rmse"]
        figure["test_trees"] = own["groups"]
        figures.append(figure)
    return figures


def _ssfr(*arguments: object) -> None:
    command = [sys.executable, "-m", "ssfr.pipelines.cli", *map(str, arguments)]
    subprocess.run(command, check=True, stdout=sys.stderr)  # standard output is for the figures alone
