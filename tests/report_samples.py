"""A study with every part that a report can have, made of known numbers, for the tests of the report."""

from __future__ import annotations

import copy
import json
from collections.abc import Container
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
from evaluation_samples import whole_study
from identities import map_attribute, map_identity

from ssfr.components.config import Filter
from ssfr.components.imagesets.spec import ChannelScale, ImageSpec
from ssfr.components.report.study import Study

FIELDS = ("entropy", "mass", "temperature")
UNITS = ("keV cm^2", "Msun", "K")
THESIS_CASES: dict[str, tuple[tuple[str, ...], Filter]] = {
    "composite": (FIELDS, Filter()),
    **{field: ((field,), Filter()) for field in FIELDS},
    **{f"blur{px}": (FIELDS, Filter(kind="gaussian", sigma=px)) for px in (3, 5, 10)},
    **{f"structures{px}": (FIELDS, Filter(kind="high_pass", sigma=px)) for px in (3, 5, 10)},
}
BANDS = {"band3": (FIELDS, Filter(kind="band", sigma=3, sigma_max=5))}
PIXELS = 16


def specs(
    cases: dict[str, tuple[tuple[str, ...], Filter]], pixels: int = PIXELS, **changed: Any
) -> dict[str, ImageSpec]:
    """Return how the images of some cases are made from float maps of three fields."""
    default: dict[str, Any] = {
        "maps": map_identity(FIELDS, pixels),
        "pixel_type": "float32",
        "stretch": "asinh",
        "scales": {name: ChannelScale() for name in FIELDS},
    }
    return {
        case: ImageSpec(case=case, channels=channels, filter=kept, **(default | changed))
        for case, (channels, kept) in cases.items()
    }


def write_maps(folder: Path, galaxies: pd.DataFrame, pixels: int = PIXELS) -> None:
    """Write maps of three fields for every galaxy; a part of every map has no gas."""
    count = int(galaxies["map_row"].max()) + 1
    maps = np.random.default_rng(0).lognormal(size=(count, 3, pixels, pixels)).astype("f4")
    maps[:, [0, 2], : pixels // 4], maps[:, 1, : pixels // 4] = np.nan, 0.0
    with h5py.File(folder / "maps-099-000.h5", "w") as file:
        file["maps"] = maps
        file.attrs.update(map_attribute(map_identity(FIELDS, pixels)))


def whole(trees: int = 150, cases: dict[str, Any] | None = None, **changed: Any) -> Study:
    """Return a study of the thesis' ten cases (blur5 failed) with seeds, milestones and an audit.

    With `cases` only of these, whose images may be others' than their names say; `changed` replaces
    attributes.
    """
    found = copy.deepcopy(_scored(trees))
    made = specs({case: of for case, of in (cases or THESIS_CASES).items() if case in found.models})
    return replace(with_masses(only(found, made)), models=with_specs(found, made), **changed)


@cache
def _scored(trees: int) -> Study:
    return whole_study(trees)


def only(found: Study, cases: Container[str]) -> Study:
    """Return the study with fewer cases, of which the first is the best if the best is not among them."""
    metrics = json.loads(json.dumps(found.metrics))
    metrics["cases"] = {
        case: one
        for case, one in metrics["cases"].items()
        if case in cases or one["kind"] == "baseline" or "failed" in one
    }
    for key in ("differences", "differences_uncensored"):
        metrics[key] = {
            split: [one for one in pairs if one["a"] in cases and one["b"] in cases]
            for split, pairs in metrics[key].items()
        }
    if metrics["best_case"] not in cases:
        metrics["best_case"] = next(case for case in metrics["cases"] if case in cases)
    histories = {case: history for case, history in found.histories.items() if case in cases}
    return replace(found, metrics=metrics, histories=histories)


def with_specs(found: Study, made: dict[str, ImageSpec]) -> dict[str, Any]:
    """Return models whose images are made in these ways."""
    return {case: {**found.models[case], "spec": made[case].model_dump(mode="json")} for case in made}


def with_masses(found: Study) -> Study:
    """Return the study with masses, SFRs and redshifts of its galaxies."""
    random = np.random.default_rng(3)
    galaxies = found.galaxies
    ssfr = np.where(galaxies["zero_sfr"], 0.0, 10.0 ** galaxies["label"])
    mass = 10.0 ** random.normal(10.5, 0.4, len(galaxies))
    return replace(
        found,
        galaxies=galaxies.assign(
            redshift=np.where(galaxies["snapshot"] == 99, 0.0, 0.0485),
            stellar_mass_msun=mass,
            total_mass_msun=20 * mass,
            sfr_msun_per_yr=ssfr * mass,
            ssfr_stellar_per_yr=ssfr,
            ssfr_total_per_yr=ssfr / 20,
            gas_cells_used=random.integers(100, 9000, len(galaxies)),
        ),
    )
