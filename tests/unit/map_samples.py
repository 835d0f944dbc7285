"""Small samples with maps on disk, in the form that projection and catalogue write them."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pandas as pd
from identities import FIELDS, map_attribute, map_identity


def physical_maps(count: int, pixels: int, seed: int = 0) -> np.ndarray:
    """Return (n, 3, P, P) float32 maps of entropy [keV cm2], mass [Msun], temperature [K], with holes."""
    rng = np.random.default_rng(seed)
    maps = np.exp(rng.normal(size=(count, 3, pixels, pixels))) * np.array([10, 1e5, 1e5])[:, None, None]
    maps = maps.astype(np.float32)
    empty = rng.random((count, pixels, pixels)) < 0.3
    maps[:, 0][empty] = np.nan
    maps[:, 1][empty] = 0.0
    maps[:, 2][empty] = np.nan
    return maps


def sample_table(count: int, snapshots: tuple[int, ...] = (99, 95), seed: int = 0) -> pd.DataFrame:
    """Return a catalogue: tree t has subhalo t in every snapshot; every tenth galaxy has SFR = 0."""
    rng = np.random.default_rng(seed)
    parts = []
    for snapshot in snapshots:
        numbers = np.arange(count, dtype=np.int64)
        sfr = np.where(numbers % 10 == 9, 0.0, rng.lognormal(0, 1, count))
        parts.append(
            pd.DataFrame(
                {
                    "snapshot": np.full(count, snapshot, np.int32),
                    "subhalo_id": numbers,
                    "halo_id": numbers // 2,
                    "tree_id": 1_000_000 + numbers,
                    "in_tree": True,
                    "redshift": 0.0,
                    "stellar_mass_msun": 1e10,
                    "label_stellar_mass_msun": 1e10,
                    "total_mass_msun": 1e11,
                    "halo_mass_msun": 1e12,
                    "sfr_msun_per_yr": sfr,
                    "ssfr_stellar_per_yr": sfr / 1e10,
                    "ssfr_total_per_yr": sfr / 1e11,
                    "gas_fraction": 0.1,
                    "gas_cells": 1000,
                    "halo_gas_cells": 2000,
                    "star_particles": 500,
                }
            )
        )
    return pd.concat(parts, ignore_index=True)


def write_sample(
    folder: Path,
    sample: pd.DataFrame,
    maps: np.ndarray,
    weighting: str = "mass_weighted_mean",
    per_file: int = 8,
) -> Path:
    """Write sample.parquet, projection.csv and maps-*.h5 into one folder."""
    folder.mkdir(parents=True, exist_ok=True)
    sample.to_parquet(folder / "sample.parquet", index=False)
    rows = []
    for number, start in enumerate(range(0, len(sample), per_file)):
        part = sample.iloc[start : start + per_file]
        name = f"maps-099-{number:03d}.h5"
        with h5py.File(folder / name, "w") as file:
            file.create_dataset("maps", data=maps[start : start + per_file])
            file.attrs.update(map_attribute(map_identity(FIELDS, maps.shape[-1], weighting)))
        for row, (snapshot, subhalo) in enumerate(zip(part["snapshot"], part["subhalo_id"], strict=True)):
            rows.append((snapshot, subhalo, 0, name, row, "young_stars", 1000, 990, 10, 0))
    columns = [
        "snapshot", "subhalo_id", "view", "file", "row", "axis",
        "gas_cells", "used_cells", "outside_cells", "bad_cells",
    ]  # fmt: skip
    pd.DataFrame(rows, columns=columns).to_csv(folder / "projection.csv", index=False)
    return folder
