"""The demo preset on few galaxies: for tests of where it runs, not of what its networks learn."""

from __future__ import annotations

import json
from typing import Any

SIMULATE = ("--galaxies", "40", "--snapshots", "99", "--cells-min", "1500", "--cells-max", "3000")
_SMALL = {
    "projection.pixels": 128,
    "training.epochs": 2,
    "training.batch": 8,
    "training.compact": {"input_pixels": 32, "widths": [8, 16], "dense": 8},
    "preprocessing.split": {"validation": 0.2, "test": 0.2, "promotion": 0.2},
    "evaluation.bootstrap": 100,
    "deployment.require_beats_baselines": False,
}


def overrides(**more: Any) -> list[str]:
    """Return the options of the command line that make the demo small; `more` as ``section__key=value``."""
    changes = {**_SMALL, **{key.replace("__", "."): value for key, value in more.items()}}
    return [f"--set={key}={json.dumps(value)}" for key, value in changes.items()]
