"""Does the study find what was put in? Synthetic universes whose law is known, and the verdict on each.

Every universe is drawn, trained on (compact network) and scored as in a run; `value` is 1 where the
verdict is the one that the recipe (docs/universe.md) calls for, and 0 where it is not.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.figure import row
from ssfr.components.config import Settings, UniverseSettings
from ssfr.components.config.settings import parse_settings
from ssfr.components.runtime.progress import SILENT, Progress

CASES: dict[str, dict[str, Any]] = {
    "composite": {},
    "entropy": {"channels": ["entropy"]},
    "mass": {"channels": ["mass"]},
    "temperature": {"channels": ["temperature"]},
    "mass-blur3": {"channels": ["mass"], "filter": {"kind": "gaussian", "sigma": 3.0, "unit": "kpc"}},
    "mass-structures3": {"channels": ["mass"], "filter": {"kind": "high_pass", "sigma": 3.0, "unit": "kpc"}},
    "temperature-blur3": {
        "channels": ["temperature"],
        "filter": {"kind": "gaussian", "sigma": 3.0, "unit": "kpc"},
    },
    "temperature-structures3": {
        "channels": ["temperature"],
        "filter": {"kind": "high_pass", "sigma": 3.0, "unit": "kpc"},
    },
}

CHANNELS = ("composite", "entropy", "mass", "temperature")
ASKED: dict[str, tuple[str, ...]] = {
    "mass_clumps": tuple(case for case in CASES if case not in ("composite", "entropy")),
    "temperature": tuple(case for case in CASES if case not in ("composite", "entropy")),
    "none": CHANNELS,
    "small_clumps": CHANNELS,
}
"""Law -> the cases that its questions are about; a property has as many tries as another."""

TRUTH: dict[str, dict[tuple[str, str], str]] = {
    "mass_clumps": {
        ("prediction", ""): "yes",
        ("property", ""): "mass",
        ("scale", "mass"): "below 3 kpc",
    },
    "temperature": {("prediction", ""): "yes", ("property", ""): "temperature"},
    "none": {("prediction", ""): "no"},
    "small_clumps": {("prediction", ""): "yes", ("combination", ""): "yes"},
}
"""Law -> (question, about) -> the answer that its recipe calls for."""

AUDITED = {"many snapshots of few galaxies": True, "a single snapshot": False}
"""Universe of the leakage audit -> whether a random split must score higher than one by tree."""


@dataclass(frozen=True)
class Size:
    """How large a truth is told.

    `galaxies` are trees that end in the sample; `audit_trees` in the universe of eleven snapshots, whose
    maps have `audit_pixels`: enough to know a galaxy again.
    """

    galaxies: int
    cells: tuple[int, int]
    pixels: int
    epochs: int
    seeds: int
    audit_trees: int
    audit_pixels: int
    audit_epochs: int


FULL = Size(1000, (10_000, 30_000), 128, 40, 3, 90, 32, 80)


def run() -> list[dict[str, Any]]:
    """Tell every truth at full size."""
    figures = []
    with tempfile.TemporaryDirectory(prefix="ssfr-truth-") as scratch:
        for law, expected in TRUTH.items():
            started = time.perf_counter()
            metrics = study(Path(scratch) / law, law, ASKED[law], FULL)
            figures += [
                figure | {"seconds": time.perf_counter() - started}
                for figure in verdict(law, metrics, expected)
            ]
        for name, leaks in AUDITED.items():
            metrics = audit(Path(scratch) / name, leaks, FULL)
            gap = metrics["audit"]["gap"]["random-tree"]
            r = {method: score["r"] for method, score in metrics["audit"]["methods"].items()}
            figures.append(
                row(f"truth.audit, {name}", float((gap["lower"] > 0) == leaks), "right")
                | {"gap": gap, "r": r}
            )
    return figures


def verdict(
    law: str, metrics: Mapping[str, Any], expected: Mapping[tuple[str, str], str]
) -> list[dict[str, Any]]:
    """Return a figure for each question of a universe: whether it was answered as the recipe calls for."""
    from ssfr.components.statistics.verdict import Finding, findings

    found: dict[tuple[str, str], Finding] = {(one.question, one.about): one for one in findings(metrics)}
    figures = []
    for question, answer in expected.items():
        one = found.get(question)
        right = one is not None and one.answer == answer
        figure = row(f"truth.{law}.{' of '.join(filter(None, question))}", float(right), "right")
        figure |= {"expected": answer, "found": one.answer if one else None}
        figures.append(figure | {"text": one.text if one else None})
    return figures


def study(folder: Path, law: str, cases: Sequence[str], size: Size) -> dict[str, Any]:
    """Write a universe with one snapshot, do the study of some of `CASES` on it, and return metrics.json."""
    universe = {"law": law, "galaxies": size.galaxies, "snapshots": (99,)}
    return _metrics(folder, universe, _settings(cases, size, size.pixels, size.epochs), size)


def audit(folder: Path, many_snapshots: bool, size: Size) -> dict[str, Any]:
    """Audit the leakage where a galaxy is there eleven times, or once; return metrics.json.

    The law is `none`, so that maps know nothing of the label, and a score is that of a galaxy
    recognised: the purest leak.
    """
    snapshots = tuple(range(99, 88, -1)) if many_snapshots else (99,)
    galaxies = size.audit_trees * (1 if many_snapshots else 11)
    universe = {"law": "none", "galaxies": galaxies, "snapshots": snapshots}
    settings = _settings(("composite",), size, size.audit_pixels, size.audit_epochs, audit_case="composite")
    return _metrics(folder, universe, settings, size)


def _settings(cases: Sequence[str], size: Size, pixels: int, epochs: int, **evaluation: Any) -> Settings:
    return parse_settings(
        {
            "projection": {"pixels": pixels, "width": 60.0, "depth": 60.0},
            # Quenched galaxies have less gas under every law: they would tell nothing of the law itself.
            "preprocessing": {
                "label": {"zero_sfr": "drop"},
                "split": {"validation": 0.15, "test": 0.35, "promotion": 0.0},
            },
            "cases": [{"name": case} | CASES[case] for case in cases],
            "training": {"epochs": epochs, "seeds": size.seeds},
            "evaluation": evaluation,
        },
        "truth",
    )


def _metrics(folder: Path, universe: Mapping[str, Any], settings: Settings, size: Size) -> dict[str, Any]:
    """Do what a run does, in one process, and return the scores."""
    from ssfr.components.catalog import select
    from ssfr.components.evaluation import evaluate
    from ssfr.components.preprocessing import prepare
    from ssfr.components.projection import project
    from ssfr.components.simulation import open_source
    from ssfr.components.simulation.universe import write_universe
    from ssfr.components.storage.artifact import read_json
    from ssfr.components.training import train

    progress: Progress = SILENT
    data, sample, maps, prepared, scores = (
        folder / name for name in ("universe", "sample", "maps", "prepared", "scores")
    )
    for output in (sample, maps, prepared, scores):
        output.mkdir(parents=True)
    low, high = size.cells
    write_universe(data, UniverseSettings(**universe, cells_min=low, cells_max=high), progress)
    source = open_source(str(data), settings.simulation)
    select.run(sample, source, settings, progress)
    project.run(maps, source, sample, settings, progress)
    prepare.run(prepared, sample, maps, settings, progress)
    models = {}
    for case in settings.cases:
        models[case.name] = folder / "models" / case.name
        models[case.name].mkdir(parents=True)
        audited = settings.evaluation.audit_case == case.name
        train.run(models[case.name], maps, prepared, case.name, settings, progress, audit=audited)
    evaluate.run(scores, models, maps, prepared, settings, progress)
    metrics: dict[str, Any] = read_json(scores / "metrics.json")
    return metrics
