"""Studies with known scores, for the tests of the report and its figures."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from components.config import Settings, parse_settings
from components.evaluation.evaluate import assess, sets
from components.evaluation.study import Study
from components.imagesets.spec import ImageSpec

SPLIT = {"train": 0.5, "validation": 0.15, "test": 0.2, "promotion": 0.15}


def settings(**changed: Any) -> Settings:
    """Return settings with few resamples, and what differs from them."""
    return parse_settings({"evaluation": {"bootstrap": 100}, **changed}, "test")


def galaxies(trees: int, seed: int = 0, floor: float = -13.0) -> pd.DataFrame:
    """Return galaxies.parquet of some trees in two snapshots; about a tenth is at the floor."""
    random = np.random.default_rng(seed)
    split = np.repeat(list(SPLIT), np.round(np.array(list(SPLIT.values())) * trees).astype(int))
    label = random.normal(-10.5, 0.6, len(split))
    label[::9] = floor
    return pd.concat(
        pd.DataFrame(
            {
                "snapshot": np.full(len(split), snapshot, np.int32),
                "subhalo_id": np.arange(len(split)),
                "galaxy": [f"Snap{snapshot}ID{i}" for i in range(len(split))],
                "in_tree": True,
                "split": split,
                "group": np.arange(len(split)),
                "log10_ssfr": label,
                "zero_sfr": label == floor,
                "at_floor": label == floor,
                "map_file": "maps-099-000.h5",
                "map_row": np.arange(len(split)),
            }
        )
        for snapshot in (99, 95)
    ).reset_index(drop=True)


def predictions(table: pd.DataFrame, scatter: dict[str, float], seed: int = 1) -> pd.DataFrame:
    """Return predictions.parquet: every case is the truth with a Gaussian scatter [dex]; 0: the mean."""
    random = np.random.default_rng(seed)
    held_out = table[table["split"] != "train"].reset_index(drop=True)
    mean = table.loc[table["split"] == "train", "log10_ssfr"].mean()
    parts = []
    for case, sigma in scatter.items():
        truth = held_out["log10_ssfr"].to_numpy()
        predicted = truth + random.normal(0, sigma, len(truth)) if sigma else np.full(len(truth), mean)
        part = held_out[
            ["galaxy", "snapshot", "subhalo_id", "group", "split", "log10_ssfr", "at_floor"]
        ].copy()
        part.insert(0, "case", case)
        half = sigma or 0.6
        parts.append(part.assign(predicted=predicted, lower=predicted - half, upper=predicted + half))
    return pd.concat(parts, ignore_index=True)


SCATTER = {
    "composite": 0.2,
    "baseline_mean": 0.0,
    "baseline_fluxes": 0.5,
    "baseline_cells": 0.8,
    "baseline_profiles": 0.4,
}


def study(
    origin: str = "synthetic universe",
    trees: int = 150,
    scatter: dict[str, float] | None = None,
    backbone: dict[str, Any] | None = None,
    chosen: Settings | None = None,
) -> Study:
    """Return a study whose best case has the least scatter."""
    chosen = chosen or settings()
    table = galaxies(trees)
    predicted = predictions(table, scatter or SCATTER)
    cases = [case for case in scatter or SCATTER if not case.startswith("baseline_")]
    spec = ImageSpec(
        case="composite",
        source="maps",
        fields=("mass",),
        units=("Msun",),
        pixels=16,
        weighting="mass_weighted_mean",
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
        "versions": {"keras": "3"},
    }
    history = pd.DataFrame({"epoch": [1, 2, 3], "loss": [1.0, 0.5, 0.3], "validation_loss": [1.1, 0.7, 0.8]})
    return Study(
        origin=origin,
        settings=chosen,
        galaxies=table,
        predictions=predicted,
        metrics=assess(predicted, chosen) | {"origin": origin, "sets": sets(table)},
        models=dict.fromkeys(cases, model),
        histories=dict.fromkeys(cases, history),
        preparation={"zero_sfr": int(table["zero_sfr"].sum())},
        set_aside=pd.DataFrame({"snapshot": [99, 95], "subhalo_id": [7, 8], "reason": ["no gas", "no gas"]}),
    )
