"""The tables of a study: Table III.1 of the thesis and our own, each for the page and as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ssfr.components.report.own_figures import sweep
from ssfr.components.report.study import POPULATION_NAMES, SET_NAMES, Study, number
from ssfr.components.report.style import minus
from ssfr.components.report.thesis_figures import ssfr_per_yr
from ssfr.components.statistics.differences import compared, exchanged
from ssfr.components.storage.artifact import atomic_file

Cell = str | int | float | None | Mapping[str, float | None]
"""Text, a number, or a score with value, lower and upper (None: not defined)."""

SCORES = {
    "r": "Pearson r",
    "rmse": "RMSE [dex]",
    "nmad": "NMAD [dex]",
    "bias": "bias [dex]",
    "coverage": "coverage",
}
_ENDS = ("value", "lower", "upper")
_TINY = 1e-6  # below, a number is written with a power of ten


@dataclass(frozen=True)
class Table:
    """A table: its file's name, caption, columns, and rows that begin with their name.

    `classes` says of each row whether it is a model's or a baseline's, for the page; `signed` names the
    columns that are written with their sign, `shares` those that are probabilities.
    """

    name: str
    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    classes: tuple[str, ...] = ()
    signed: frozenset[str] = frozenset()
    shares: frozenset[str] = frozenset()

    def csv(self) -> str:
        """Return the table as CSV with every digit; a score has three columns."""
        wide = [any(isinstance(cell, Mapping) for cell in column) for column in zip(*self.rows, strict=True)]
        wide = wide or [False] * len(self.columns)
        stream = io.StringIO()
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(
            [
                name
                for column, is_score in zip(self.columns, wide, strict=True)
                for name in self._headings(column, is_score)
            ]
        )
        for row in self.rows:
            cells: list[Any] = []
            for cell, is_score in zip(row, wide, strict=True):
                if isinstance(cell, Mapping):
                    cells += [cell[end] for end in _ENDS]
                else:
                    cells += [cell, None, None] if is_score else [cell]
            writer.writerow(cells)
        return stream.getvalue()

    def _headings(self, column: str, is_score: bool) -> list[str]:
        if is_score:
            return [column, f"{column}, lower", f"{column}, upper"]
        return [f"{column}, share of resamples" if column in self.shares else column]


def tables(study: Study) -> dict[str, Table]:
    """Return every table of a study, by name."""
    return {table.name: table for table in _all(study)}


def write(folder: Path, found: Mapping[str, Table]) -> None:
    """Write every table as NAME.csv."""
    for name, table in found.items():
        with atomic_file(folder / f"{name}.csv") as part:
            part.write_text(table.csv(), encoding="utf-8")


def text_of(cell: Cell, study: Study, signed: bool = False, share: bool = False) -> tuple[str, str]:
    """Return what a cell says, and in small type its interval ('' where it has none)."""
    if isinstance(cell, Mapping):
        value = number(cell["value"], signed)
        if cell["lower"] is None:
            return value, ""
        return value, f"{number(cell['lower'], signed)} to {number(cell['upper'], signed)}"
    if share:
        return study.probability(cell if isinstance(cell, float) else None), ""
    if isinstance(cell, float):
        tiny = 0 < abs(cell) < _TINY
        return minus(f"{cell:.2e}") if tiny else number(cell, signed), ""
    return "–" if cell is None else str(cell), ""


def shown_sets(study: Study) -> list[str]:
    """Return the sets that have galaxies: the one of the figures first, promotion, validation."""
    wanted = dict.fromkeys((study.shown_set, "promotion", "validation"))
    return [name for name in wanted if study.metrics["sets"][name]["galaxies"]]


def _all(study: Study) -> Iterator[Table]:
    yield _snapshots(study)
    for split in shown_sets(study):
        yield _scores(study, split, "all")
        if study.metrics["sets"][split]["censored"]:
            yield _scores(study, split, "uncensored")
    for case in study.models:
        yield _gains(study, case)
    yield from _differences(study)
    yield from _seeds(study)
    yield from _audit(study)
    yield from _sweep(study)
    yield _sets(study)


def _snapshots(study: Study) -> Table:
    """Return Table III.1: per snapshot z, galaxies, and mean, smallest and largest sSFR."""
    galaxies = study.galaxies.assign(ssfr=ssfr_per_yr(study))
    rows: list[tuple[Cell, ...]] = []
    snapshots = sorted(galaxies["snapshot"].unique(), reverse=True)
    for name in [*snapshots, *(["all"] if len(snapshots) > 1 else [])]:
        own = galaxies if name == "all" else galaxies[galaxies["snapshot"] == name]
        redshift = float(own["redshift"].iloc[0]) if "redshift" in own and name != "all" else np.nan
        forming = own.loc[own["ssfr"] > 0, "ssfr"]
        rows.append(
            (
                str(name),
                None if np.isnan(redshift) else max(redshift, 0.0),
                len(own),
                float(own["ssfr"].mean()),
                float(forming.min()) if len(forming) else None,
                float(own["ssfr"].max()),
                int((own["ssfr"] <= 0).sum()),
            )
        )
    return Table(
        "table_iii_1",
        f"Table III.1. Snapshots, their redshift and galaxies, and the sSFR [1/yr] by "
        f"{study.settings.preprocessing.label.mass} mass; the smallest of the galaxies that form stars.",
        ("snapshot", "z", "galaxies", "mean sSFR", "min sSFR", "max sSFR", "SFR = 0"),
        tuple(rows),
    )


def _scores(study: Study, split: str, population: str) -> Table:
    cases, counts = study.scored, study.metrics["sets"][split]

    def rmse(case: str) -> float:
        value = cases[case]["scores"][split][population]["rmse"]["value"]
        return float("inf") if value is None else value

    ordered = sorted(cases, key=rmse)
    found = f"All {counts['galaxies']} galaxies, {_censored(counts)}"
    if population == "uncensored":
        found = f"Only the {counts['galaxies'] - counts['censored']} uncensored galaxies"
    return Table(
        f"scores_{split}" if population == "all" else f"scores_{split}_{population}",
        f"{SET_NAMES[split].capitalize()} set. {found}; coverage should be {study.metrics['interval']:.0%}.",
        ("case", *SCORES.values()),
        tuple(
            (study.label(case), *(cases[case]["scores"][split][population][name] for name in SCORES))
            for case in ordered
        ),
        tuple(cases[case]["kind"] for case in ordered),
        frozenset({SCORES["bias"]}),
    )


def _gains(study: Study, case: str) -> Table:
    gains, sets, shown = study.metrics["cases"][case]["gains"], study.metrics["sets"], study.shown_set
    kept = [name for name in dict.fromkeys((shown, "promotion")) if sets[name]["galaxies"]]
    columns: list[str] = ["over the"]
    for split in kept:
        columns += [f"RMSE, {SET_NAMES[split]} [dex]", f"P(better), {SET_NAMES[split]}"]
        columns += [f"r, {SET_NAMES[split]}"] if split == shown else []
    rows: list[tuple[Cell, ...]] = []
    for name in gains[shown]["all"]:
        row: list[Cell] = [study.label(name)]
        for split in kept:
            gain = gains[split]["all"][name]
            row += [gain["rmse"], gain["rmse"]["probability"]]
            row += [gain["r"]] if split == shown else []
        rows.append(tuple(row))
    return Table(
        f"gains_{case}",
        f"{case}: by how much its RMSE is lower and its r higher (positive: the network is better), on the "
        f"same resamples of {study.groups}.",
        tuple(columns),
        tuple(rows),
        ("baseline",) * len(rows),
        frozenset(column for column in columns if not column.startswith("P")),
        frozenset(column for column in columns if column.startswith("P")),
    )


def _differences(study: Study) -> Iterator[Table]:
    split = study.shown_set
    population, found = compared(study.metrics, split)
    for metric, name, unit in (("r", "r", ""), ("rmse", "RMSE", " [dex]")):
        own = [one for one in found if one["metric"] == metric and one["value"] is not None]
        if not own:
            continue
        better = f"difference in {name}{unit}"
        rows: list[tuple[Cell, ...]] = []
        for one in sorted(own, key=lambda one: -abs(one["value"])):
            ahead = one if one["value"] >= 0 else exchanged(one)
            rows.append((f"{ahead['a']} over {ahead['b']}", ahead, ahead["probability"]))
        yield Table(
            f"differences_{metric}",
            f"{SET_NAMES[split].capitalize()} set{POPULATION_NAMES[population]}: by how much one case is "
            f"better than another in {name}, the largest difference first, and how probable it is that it is "
            f"better; on the same resamples of {study.groups}.",
            ("case", better, "P(better)"),
            tuple(rows),
            signed=frozenset({better}),
            shares=frozenset({"P(better)"}),
        )


def _seeds(study: Study) -> Iterator[Table]:
    split = study.shown_set
    several = {case: one["seeds"] for case, one in study.scored.items() if len(one.get("seeds", ())) > 1}
    if not several:
        return
    rows: list[tuple[Cell, ...]] = []
    for case, seeds in several.items():
        values = [one[split]["r"] for one in seeds.values()]
        defined = None not in values
        rows.append((case, *values, float(np.std(values, ddof=1)) if defined else None))
    yield Table(
        "seeds",
        f"r on the {SET_NAMES[split]} set of the networks that differ by their seed alone, and its standard "
        "deviation.",
        ("case", *(f"seed {name}" for name in next(iter(several.values()))), "std"),
        tuple(rows),
        ("model",) * len(rows),
    )


def _audit(study: Study) -> Iterator[Table]:
    audit = study.metrics.get("audit")
    if not audit:
        return
    methods = [
        (f"split: {name}", score["r"], score["rmse"], score["galaxies"])
        for name, score in audit["methods"].items()
    ]
    gaps = [(f"gap: {name.replace('-', ' − ')}", gap, None, None) for name, gap in audit["gap"].items()]
    yield Table(
        "audit",
        f"Leakage audit of {audit['case']}: r and RMSE under each way of splitting, and the gaps in r.",
        ("split", "Pearson r", "RMSE [dex]", "galaxies"),
        (*methods, *gaps),
    )


def _sweep(study: Study) -> Iterator[Table]:
    cases = (*study.cases.gaussians, *study.cases.high_passes, *study.cases.bands)
    if not cases:
        return
    rows: list[tuple[Cell, ...]] = []
    for case, one in zip(cases, sweep(study), strict=True):
        score = study.metrics["cases"][case]["scores"][study.shown_set]["all"]
        scales = " to ".join(f"{scale:g}" for scale in one.scales)
        unit = study.cases.specs[case].filter.unit
        rows.append((case, one.family, f"{scales} {unit}", score["r"], score["rmse"]))
    yield Table(
        "scale_sweep",
        f"Cases with a filter by its scale, {SET_NAMES[study.shown_set]} set.",
        ("case", "filter", "σ", "Pearson r", "RMSE [dex]"),
        tuple(rows),
        ("model",) * len(rows),
    )


def _sets(study: Study) -> Table:
    counted = ("galaxies", "groups", "zero_sfr", "censored")
    return Table(
        "sets",
        f"Galaxies of each set; groups are {study.groups}.",
        ("set", "galaxies", "groups", study.target.zero, "censored"),
        tuple(
            (SET_NAMES[name], *(int(counts[key]) for key in counted))
            for name, counts in study.metrics["sets"].items()
        ),
    )


def _censored(counts: Mapping[str, int]) -> str:
    if not counts["censored"]:
        return "none of them censored"
    return f"{counts['censored']} censored ({counts['zero_sfr']} with SFR = 0) included"
