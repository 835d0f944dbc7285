"""Select the galaxies of a sample from a group catalogue, and say how many fell at each cut."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ssfr.components.catalog.halos import halo_rows
from ssfr.components.config import CatalogSettings, Settings
from ssfr.components.errors import InputError
from ssfr.components.runtime.progress import Progress
from ssfr.components.simulation import Source
from ssfr.components.steps.files import SAMPLE as SAMPLE_FILE
from ssfr.components.steps.tables import write_table
from ssfr.components.storage.artifact import atomic_file
from ssfr.components.units import CODE_MASS_MSUN

SAMPLE, FUNNEL = SAMPLE_FILE.pattern, "funnel.csv"

CUTS: dict[str, str] = {
    "subhalos": "snapshots",
    "halo known": "missing_halos",
    "stellar mass": "stellar_mass_min_msun, stellar_mass_max_msun",
    "total mass": "total_mass_max_msun",
    "flag": "keep_flagged",
    "halo mass": "halo_mass_max_msun",
}
"""The cuts in their order, and the settings of the catalogue that decide them."""

_NO_TREE_SNAPSHOT_BITS = 40


def run(output: Path, source: Source, settings: Settings, progress: Progress) -> dict[str, Any]:
    """Select the galaxies of all snapshots; write ``sample.parquet`` and ``funnel.csv`` into `output`.

    Parameters
    ----------
    output
        Folder of the step; exists.
    source
        Where the catalogues come from.
    settings
        The section `catalog` decides.
    progress
        Shows how many galaxies pass each cut.

    Returns
    -------
    dict
        Figures: galaxies, the funnel in all, and for each snapshot the number of galaxies and the mean,
        least and largest sSFR [1/yr].

    Raises
    ------
    InputError
        A snapshot or field is absent, the catalogue holds impossible values, or no galaxy is left.
    """
    snapshots = _wanted(source, settings.catalog)
    samples: list[pd.DataFrame] = []
    funnels: dict[int, dict[str, int]] = {}
    with progress.task("catalog", len(snapshots), "snapshots") as task:
        for snapshot in snapshots:
            sample, funnels[snapshot] = select(source, snapshot, settings.catalog)
            samples.append(sample)
            task.advance(1, galaxies=len(sample))
    total = {cut: sum(funnel[cut] for funnel in funnels.values()) for cut in CUTS}
    progress.say(funnel_table(funnels, total))
    _refuse_empty(total, settings.catalog)
    for snapshot, funnel in funnels.items():
        dropped = funnel["subhalos"] - funnel["halo known"]
        if dropped:
            progress.warn(
                f"snapshot {snapshot}: {dropped} subhalos dropped, their halo is not in the catalogue"
            )
        if not funnel["halo mass"]:
            progress.warn(f"snapshot {snapshot}: no galaxy is left after the cuts")
    table = pd.concat([sample for sample in samples if len(sample)], ignore_index=True)
    rows = [
        {"snapshot": str(name), "cut": cut, "remaining": funnel[cut]}
        for name, funnel in [*funnels.items(), ("all", total)]
        for cut in CUTS
    ]
    _write(output, table, rows, settings.catalog)
    return {
        "galaxies": len(table),
        "zero_sfr": int((table["sfr_msun_per_yr"] == 0).sum()),
        "in_no_tree": int((~table["in_tree"]).sum()),
        "funnel": total,
        "snapshots": {
            str(snapshot): _statistics(sample) for snapshot, sample in zip(snapshots, samples, strict=True)
        },
    }


def select(source: Source, snapshot: int, settings: CatalogSettings) -> tuple[pd.DataFrame, dict[str, int]]:
    """Select the galaxies of one snapshot.

    Parameters
    ----------
    source
        Where the catalogue comes from.
    snapshot
        Number of the snapshot.
    settings
        Cuts, the treatment of h, and the aperture of the label.

    Returns
    -------
    sample : DataFrame
        A row a galaxy, by subhalo_id: masses [Msun] of all the subhalo, always with h; SFR [Msun/yr], sSFR
        [1/yr], the label's stellar mass [Msun] and gas fraction (gas over gas and stars) as `little_h` and
        `label_aperture` say.
    funnel : dict
        Cut -> subhalos that remain after it.
    """
    header = source.header(snapshot)
    columns = source.subhalos(snapshot, _fields(settings))
    halos = source.halos(snapshot, ["mass", "gas_cells", "first_subhalo"])
    count = len(columns["halo"])
    if not count:
        return pd.DataFrame(), dict.fromkeys(CUTS, 0)
    _refuse_impossible(snapshot, "subhalo", columns)
    if len(halos["mass"]):
        _refuse_impossible(snapshot, "halo", {name: halos[name] for name in ("mass", "gas_cells")})
    rows = halo_rows(source, snapshot, columns["halo"], halos["first_subhalo"], settings.missing_halos)
    stellar = columns["stellar_mass"].astype(np.float64)
    total = columns["mass"].astype(np.float64)
    halo = np.full(count, np.nan)
    halo[rows >= 0] = halos["mass"][rows[rows >= 0]]

    msun = CODE_MASS_MSUN / header.h
    cut_msun = msun if settings.little_h == "applied" else CODE_MASS_MSUN
    stellar_msun = stellar * cut_msun
    keeps = {
        "subhalos": np.ones(count, bool),
        "halo known": rows >= 0,
        "stellar mass": (stellar_msun > settings.stellar_mass_min_msun)
        & (stellar_msun < settings.stellar_mass_max_msun),
        "total mass": total * cut_msun < settings.total_mass_max_msun,
        "flag": columns["is_galaxy"].astype(bool) if "is_galaxy" in columns else np.ones(count, bool),
        "halo mass": halo * cut_msun < settings.halo_mass_max_msun,
    }
    kept = np.ones(count, bool)
    funnel = {}
    for cut in CUTS:
        kept &= keeps[cut]
        funnel[cut] = int(kept.sum())

    ids = np.flatnonzero(kept).astype(np.int64)
    sfr, label_gas, label_stellar, label_total = (
        array[ids].astype(np.float64) for array in _label(columns, settings)
    )
    _refuse_massless(snapshot, ids, label_stellar, label_total, settings)
    roots = source.tree_roots(snapshot, ids)
    sample = pd.DataFrame(
        {
            "snapshot": np.full(len(ids), snapshot, np.int32),
            "subhalo_id": ids,
            "halo_id": rows[ids],
            "tree_id": np.where(roots >= 0, roots, _own_group(snapshot, ids)),
            "in_tree": roots >= 0,
            "redshift": header.redshift,
            "stellar_mass_msun": stellar[ids] * msun,
            "total_mass_msun": total[ids] * msun,
            "halo_mass_msun": halo[ids] * msun,
            "sfr_msun_per_yr": sfr,
            "ssfr_stellar_per_yr": sfr / (label_stellar * cut_msun),
            "ssfr_total_per_yr": sfr / (label_total * cut_msun),
            "label_stellar_mass_msun": label_stellar * cut_msun,
            "gas_fraction": label_gas / (label_gas + label_stellar),
            "gas_cells": columns["gas_cells"][ids].astype(np.int64),
            "halo_gas_cells": halos["gas_cells"][rows[ids]].astype(np.int64),
            "star_particles": columns["star_particles"][ids].astype(np.int64),
        }
    )
    return sample, funnel


def funnel_table(funnels: Mapping[int, Mapping[str, int]], total: Mapping[str, int]) -> str:
    """Return the funnel as aligned text: a line a snapshot, a column a cut."""
    lines = [["snapshot", *CUTS]]
    lines += [[str(name), *(str(funnel[cut]) for cut in CUTS)] for name, funnel in funnels.items()]
    lines.append(["all", *(str(total[cut]) for cut in CUTS)])
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    texts = ["  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)) for line in lines]
    return "\n".join(["subhalos that remain after each cut", *texts])


def _wanted(source: Source, settings: CatalogSettings) -> list[int]:
    present = source.snapshots()
    if settings.snapshots is None:
        return present
    absent = sorted(set(settings.snapshots) - set(present), reverse=True)
    if absent:
        raise InputError(
            f"catalog.snapshots: {', '.join(map(str, absent))} not in the data, which have "
            f"{', '.join(map(str, present))}"
        )
    return sorted(set(settings.snapshots), reverse=True)


def _fields(settings: CatalogSettings) -> list[str]:
    fields = ["halo", "mass", "stellar_mass", "gas_cells", "star_particles"]
    fields += [] if settings.keep_flagged else ["is_galaxy"]
    return list(dict.fromkeys([*fields, *_label_fields(settings)]))


def _label_fields(settings: CatalogSettings) -> list[str]:
    """Return the names of SFR, gas, stellar and total mass of the label's aperture."""
    inner = "" if settings.label_aperture == "subhalo" else "inner_"
    return [f"{inner}{name}" for name in ("star_formation_rate", "gas_mass", "stellar_mass", "mass")]


def _label(columns: Mapping[str, NDArray[Any]], settings: CatalogSettings) -> list[NDArray[Any]]:
    """Return SFR [Msun/yr]; gas, stellar and total mass [1e10 Msun/h]; of one and the same aperture."""
    return [columns[name] for name in _label_fields(settings)]


def _own_group(snapshot: int, ids: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return a negative number that no other subhalo has, whatever else is in the sample."""
    return -((np.int64(snapshot) << _NO_TREE_SNAPSHOT_BITS) + ids + 1)


def _refuse_impossible(snapshot: int, of: str, columns: Mapping[str, NDArray[Any]]) -> None:
    """Refuse a catalogue with NaN or negative values: it is damaged, and a cut would hide that."""
    for name, values in columns.items():
        if values.ndim != 1:
            raise InputError(
                f"snapshot {snapshot}: {of} {name} has shape {values.shape}, expected one number a row"
            )
        if name in ("halo", "is_galaxy"):
            continue
        bad = ~(np.isfinite(values) & (values >= 0))
        if bad.any():
            raise InputError(
                f"snapshot {snapshot}: {of} {name} is negative or not finite in {bad.sum()} of {len(bad)} "
                f"rows, the first is {np.argmax(bad)}; the catalogue is damaged, get it again"
            )


def _refuse_massless(
    snapshot: int,
    ids: NDArray[np.int64],
    stellar: NDArray[np.float64],
    total: NDArray[np.float64],
    settings: CatalogSettings,
) -> None:
    bad = (stellar <= 0) | (total <= 0)
    if bad.any():
        raise InputError(
            f"snapshot {snapshot}: {bad.sum()} selected subhalos have no mass in the aperture of the label "
            f"(catalog.label_aperture = {settings.label_aperture}), the first is {ids[np.argmax(bad)]}; "
            "raise catalog.stellar_mass_min_msun"
        )


def _refuse_empty(total: Mapping[str, int], settings: CatalogSettings) -> None:
    before = 0
    for cut, remaining in total.items():
        if not remaining:
            names = CUTS[cut].split(", ")
            values = ", ".join(f"catalog.{name} = {getattr(settings, name)}" for name in names)
            raise InputError(
                f"no galaxy is left: the cut '{cut}' ({values}) removed the last {before}; change it"
                if before
                else f"no galaxy is left: the catalogue has no {cut} ({values})"
            )
        before = remaining


def _statistics(sample: pd.DataFrame) -> dict[str, float | int | None]:
    """Return the number of galaxies, and mean, least and largest sSFR [1/yr]; None without galaxies."""
    figures: dict[str, float | int | None] = {"galaxies": len(sample)}
    for name in ("ssfr_stellar_per_yr", "ssfr_total_per_yr"):
        for statistic in ("mean", "min", "max"):
            figures[f"{name}_{statistic}"] = float(sample[name].agg(statistic)) if len(sample) else None
    return figures


def _write(
    output: Path, table: pd.DataFrame, funnel: Sequence[Mapping[str, Any]], settings: CatalogSettings
) -> None:
    with atomic_file(output / FUNNEL) as part:
        pd.DataFrame(funnel).to_csv(part, index=False)
    notes = {"funnel": list(funnel), "catalog": settings.model_dump(mode="json")}
    write_table(output / SAMPLE, table, SAMPLE_FILE, notes)
