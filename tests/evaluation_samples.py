"""Studies with known scores, for the tests of the report and its figures."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from identities import map_identity

from ssfr.components.config import Settings, parse_settings
from ssfr.components.evaluation.assess import assess
from ssfr.components.imagesets.spec import ImageSpec
from ssfr.components.report.study import Study

SPLIT = {"train": 0.5, "validation": 0.15, "test": 0.2, "promotion": 0.15}

SCATTER = {
    "composite": 0.2,
    "baseline_mean": 0.0,
    "baseline_fluxes": 0.5,
    "baseline_cells": 0.8,
    "baseline_profiles": 0.4,
    "baseline_spectrum": 0.45,
    "baseline_boosting": 0.35,
}
"""Case -> scatter of its predictions about the truth [dex]; 0: the mean for everyone."""

BASELINES = {case: sigma for case, sigma in SCATTER.items() if case.startswith("baseline_")}

TEN_CASES = {
    "composite": 0.22,
    "entropy": 0.34,
    "mass": 0.3,
    "temperature": 0.2,
    "blur3": 0.25,
    "blur5": 0.28,
    "blur10": 0.33,
    "structures3": 0.36,
    "structures5": 0.3,
    "structures10": 0.26,
}
"""The thesis' cases with a scatter each: temperature knows most, and a blur of 10 costs most."""

AUDIT_SCATTER = {"random": 0.15, "halo": 0.25, "tree": 0.35}
MILESTONES = {500: 1.6, 1000: 1.2}
"""Epochs -> by how much the scatter is larger than at the end."""


def settings(**changed: Any) -> Settings:
    """Return settings with few resamples, and what differs from them."""
    return parse_settings({"evaluation": {"bootstrap": 100}, **changed}, "test")


def ten_case_settings(**changed: Any) -> Settings:
    """Return settings that name the cases of `TEN_CASES`, as thesis.yaml does."""
    cases: list[dict[str, Any]] = []
    for name in TEN_CASES:
        kind = name.rstrip("0123456789")
        case: dict[str, Any] = {"name": name}
        if kind in ("entropy", "mass", "temperature"):
            case["channels"] = [kind]
        elif kind in ("blur", "structures"):
            sigma = float(name.removeprefix(kind))
            case["filter"] = {
                "kind": {"blur": "gaussian", "structures": "high_pass"}[kind],
                "sigma": sigma,
                "unit": "px",
            }
        cases.append(case)
    return settings(cases=cases, **changed)


def galaxies(trees: int, seed: int = 0, floor: float = -13.0) -> pd.DataFrame:
    """Return galaxies.parquet of some trees in two snapshots; about a tenth is censored."""
    random = np.random.default_rng(seed)
    split = np.repeat(list(SPLIT), np.round(np.array(list(SPLIT.values())) * trees).astype(int))
    label = random.normal(-10.5, 0.6, len(split))
    label[::9] = floor
    table = pd.concat(
        pd.DataFrame(
            {
                "snapshot": np.full(len(split), snapshot, np.int32),
                "subhalo_id": np.arange(len(split)),
                "view": 0,
                "galaxy": [f"Snap{snapshot}ID{i}" for i in range(len(split))],
                "tree_id": np.arange(len(split)),
                "halo_id": np.arange(len(split)),
                "in_tree": True,
                "split": split,
                "group": np.arange(len(split)),
                "label": label,
                "zero_sfr": label == floor,
                "censored": label == floor,
                "map_file": "maps-099-000.h5",
                "map_row": np.arange(len(split)),
            }
        )
        for snapshot in (99, 95)
    ).reset_index(drop=True)
    audit = {"random": random.random(len(table)), "tree": random.random(len(split))[table["tree_id"]]}
    audit["halo"] = audit["random"]
    for method in AUDIT_SCATTER:
        names = np.array(["test", "validation", "train"])
        table[f"audit_{method}"] = names[np.searchsorted([0.2, 0.35], audit[method])]
    return table


def predictions(table: pd.DataFrame, scatter: dict[str, float], seed: int = 1) -> pd.DataFrame:
    """Return predictions.parquet: every case is the truth with a Gaussian scatter [dex]; 0: the mean."""
    held_out = table[table["split"] != "train"]
    mean = float(table.loc[table["split"] == "train", "label"].mean())
    random = np.random.default_rng(seed)
    parts = []
    for case, sigma in scatter.items():
        part = _predicted(held_out, case, sigma, random, mean)
        part.insert(1, "seed", 1)
        parts.append(part)
    return pd.concat(parts, ignore_index=True)


def extra_predictions(
    table: pd.DataFrame,
    scatter: dict[str, float],
    seeds: tuple[int, ...] = (2, 3),
    milestones: tuple[int, ...] = (500, 1000),
    audit_case: str | None = "composite",
) -> pd.DataFrame:
    """Return extra_predictions.parquet: other seeds and milestones of every model, and the audit of one."""
    random = np.random.default_rng(7)
    held_out = table[table["split"] != "train"]
    parts = [_predicted(held_out.iloc[:0], "", 0.1, random).assign(kind="", key="")]
    for case, sigma in scatter.items():
        if case.startswith("baseline_"):
            continue
        for seed in seeds:
            sigma_of_seed = sigma * random.normal(1.0, 0.05)
            parts.append(_predicted(held_out, case, sigma_of_seed, random).assign(kind="seed", key=str(seed)))
        for epoch in milestones:
            part = _predicted(held_out, case, sigma * MILESTONES[epoch], random)
            parts.append(part.assign(kind="milestone", key=str(epoch)))
    for method, sigma in AUDIT_SCATTER.items():
        if audit_case:
            tested = table[table[f"audit_{method}"] == "test"].assign(split="test")
            parts.append(_predicted(tested, audit_case, sigma, random).assign(kind="audit", key=method))
    return pd.concat(parts, ignore_index=True)


def _predicted(
    table: pd.DataFrame, case: str, sigma: float, random: np.random.Generator, mean: float = -10.5
) -> pd.DataFrame:
    truth = table["label"].to_numpy()
    predicted = truth + random.normal(0, sigma, len(truth)) if sigma else np.full(len(truth), mean)
    names = ["galaxy", "snapshot", "subhalo_id", "view", "group", "split", "label", "censored"]
    part = table[names].reset_index(drop=True)
    part.insert(0, "case", case)
    half = sigma or 0.6
    return part.assign(predicted=predicted, lower=predicted - half, upper=predicted + half)


def study(
    origin: str = "synthetic universe",
    trees: int = 150,
    scatter: dict[str, float] | None = None,
    backbone: dict[str, Any] | None = None,
    chosen: Settings | None = None,
) -> Study:
    """Return a study of one network a case, whose best case has the least scatter."""
    scatter = scatter or SCATTER
    table = galaxies(trees)
    extra = extra_predictions(table, scatter, seeds=(), milestones=(), audit_case=None)
    return _study(origin, table, scatter, extra, chosen or settings(), backbone, {})


def whole_study(trees: int = 150, backbone: dict[str, Any] | None = None) -> Study:
    """Return a study of ten cases, three seeds, two milestones and an audit, in which one case failed."""
    table = galaxies(trees)
    scatter = TEN_CASES | BASELINES
    del scatter["blur5"]
    extra = extra_predictions(table, scatter)
    chosen = ten_case_settings(training={"milestones": list(MILESTONES)})
    failed = {"blur5": "the loss is not finite in epoch 3; lower training.learning_rate"}
    return _study("synthetic universe", table, scatter, extra, chosen, backbone, failed)


def _study(
    origin: str,
    table: pd.DataFrame,
    scatter: dict[str, float],
    extra: pd.DataFrame,
    chosen: Settings,
    backbone: dict[str, Any] | None,
    failed: dict[str, str],
) -> Study:
    predicted = predictions(table, scatter)
    cases = [case for case in scatter if not case.startswith("baseline_")]
    spec = ImageSpec(
        case="composite",
        maps=map_identity(["mass"]),
        channels=("mass",),
        pixel_type="float32",
        stretch="asinh",
    )
    model = {
        "model": "vgg16" if backbone else "compact",
        "parameters": {"trainable": 309186, "frozen": 14714688 if backbone else 0},
        "spec": spec.model_dump(mode="json"),
        "training": {"loss": "gaussian_nll"},
        "backbone": backbone,
        "seed": 1,
        "broken_starts": [],
        "versions": {"keras": "3"},
    }
    history = pd.DataFrame({"epoch": [1, 2, 3], "loss": [1.0, 0.5, 0.3], "validation_loss": [1.1, 0.7, 0.8]})
    return Study(
        origin=origin,
        settings=chosen,
        galaxies=table,
        predictions=predicted,
        extra_predictions=extra,
        synthetic="synthetic" in origin,
        metrics=assess(predicted, extra, table, chosen, failed),
        models=dict.fromkeys(cases, model),
        histories=dict.fromkeys(cases, history),
        preparation={"zero_sfr": int(table["zero_sfr"].sum())},
        rejected=pd.DataFrame({"snapshot": [99, 95], "subhalo_id": [7, 8], "reason": ["no gas", "no gas"]}),
    )
