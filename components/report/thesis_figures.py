"""The thesis' figures, made from the run's own data: which a run has, and what each of them shows.

A run's cases take the place of the thesis' ten by what they are (`cases.CaseGroups`): figure 4.4 has all
blurs of the run, say. What a run has no cases for is left out, and said to be.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd

from ssfr.components.imagesets.reader import MapReader
from ssfr.components.report import gallery, thesis_charts
from ssfr.components.report.cases import scale_label
from ssfr.components.report.study import SET_NAMES, Study
from ssfr.components.report.style import Absent, ReportFigure
from ssfr.components.report.thesis_charts import Comparison
from ssfr.components.statistics.scores import Sample, scores

_GALLERY_DPI = 130  # their many pixels are the bulk of the report


def thesis_figures(study: Study, reader: MapReader) -> Iterator[ReportFigure | Absent]:
    """Yield figures 2.8, 3.1 to 3.5 and 4.1 to 4.8, or why one is left out."""
    yield _sfr_against_mass(study)
    yield _ssfr_histogram(study)
    yield from _examples(study, reader)
    yield _training_and_predicted(study)
    yield _milestones(study)
    for number, cases, what in (
        ("4.3", study.cases.channels, "single channels"),
        ("4.4", study.cases.gaussians, "blurs"),
        ("4.5", study.cases.high_passes, "structures"),
    ):
        yield _cases(study, number, cases, what)
    for number, case, what in (
        ("4.6", study.cases.of_mass, "a single channel"),
        ("4.7", next(reversed(study.cases.gaussians), None), "a blur"),
        ("4.8", next(iter(study.cases.high_passes), None), "structures"),
    ):
        yield _gallery(study, reader, number, case, what)


def ssfr_per_yr(study: Study) -> pd.Series:
    """Return every galaxy's sSFR [1/yr] by the label's mass, before any floor; by row of galaxies."""
    column = f"ssfr_{study.settings.preprocessing.label.mass}_per_yr"
    if column in study.galaxies:
        return study.galaxies[column].astype(np.float64)
    return 10.0 ** study.galaxies["label"].where(~study.galaxies["zero_sfr"], -np.inf)


def floor(study: Study) -> float | None:
    """Return the value to which labels were raised, in their unit; None where none was."""
    raised = bool(study.galaxies["censored"].any())
    return study.target.floor if raised else None


def _sfr_against_mass(study: Study) -> ReportFigure | Absent:
    title = "Figure 2.8: SFR against total mass"
    names = ["total_mass_msun", "sfr_msun_per_yr"]
    if not set(names) <= set(study.galaxies.columns):
        return Absent(title, "the table has no total masses and SFRs")
    defined = study.galaxies[names].dropna()
    defined = defined[defined["total_mass_msun"] > 0]
    if defined.empty:
        return Absent(title, "no galaxy has both a total mass and an SFR")
    mass, sfr = (defined[name].to_numpy(np.float64) for name in names)
    return ReportFigure(
        "figure_2_8_sfr_mass",
        title,
        f"Star formation rate against total mass of the {len(defined)} galaxies of the sample (the "
        "thesis: of about 14,000 galaxies before its cuts). Marks below: SFR = 0.",
        thesis_charts.sfr_against_mass(mass, sfr),
    )


def _ssfr_histogram(study: Study) -> ReportFigure | Absent:
    title = "Figure 3.1: specific star formation rates"
    ssfr = ssfr_per_yr(study)
    forming = np.log10(ssfr[ssfr > 0].to_numpy())
    if not forming.size:
        return Absent(title, "no galaxy forms stars")
    return ReportFigure(
        "figure_3_1_ssfr",
        title,
        f"Galaxies by log10 of SFR over {study.settings.preprocessing.label.mass} mass, before any floor; "
        "counts on a logarithmic axis.",
        thesis_charts.ssfr_histogram(forming, floor(study), int((ssfr <= 0).sum())),
    )


def _examples(study: Study, reader: MapReader) -> Iterator[ReportFigure | Absent]:
    """Yield 3.2 to 3.5: what the images of the cases look like."""
    cases = study.cases
    row = _example(study.galaxies)
    name = f"{study.galaxies['galaxy'].iloc[row]}. {_field_of_view(reader)}"
    title = "Figure 3.2: the composite and its channels"
    if cases.composite is None:
        yield Absent(title, "no case has several channels and no filter")
    else:
        yield ReportFigure(
            "figure_3_2_composite",
            title,
            f"The image of case {cases.composite} and its channels: {name}",
            gallery.channels_of(row, reader, cases.specs[cases.composite]),
        )
    yield _gallery(study, reader, "3.3", cases.main, "images")
    for number, group, what in (("3.4", cases.gaussians, "blurs"), ("3.5", cases.high_passes, "structures")):
        yield filters(study, reader, group, f"Figure {number}: {what}", f"figure_{_file(number)}_{what}")


def filters(
    study: Study, reader: MapReader, group: Sequence[str], title: str, file: str
) -> ReportFigure | Absent:
    """Return the figure of one galaxy through the filters of a group of cases."""
    specs = [study.cases.specs[case] for case in group]
    original = study.cases.specs[study.cases.main]
    specs = [spec for spec in specs if set(spec.channels) <= set(original.channels)]
    if not specs or original.filter.kind != "none":
        return Absent(title, "the run has no such cases")
    row = _example(study.galaxies)
    channel = gallery.channel_to_show(row, reader, original)
    kept = [spec for spec in specs if channel in spec.channels]
    if not kept:
        return Absent(title, f"no such case has the channel {channel}")
    wraps = " Below 0 an 8-bit image wraps around to 255." if _wraps(study, group) else ""
    return ReportFigure(
        file,
        title,
        f"The channel {channel} without a filter, and as the cases {', '.join(group)} have it: "
        f"{study.galaxies['galaxy'].iloc[row]}. {_field_of_view(reader)}{wraps}",
        gallery.filters_of(row, channel, reader, original, kept, [scale_label(spec) for spec in kept]),
    )


def _wraps(study: Study, group: Sequence[str]) -> bool:
    specs = [study.cases.specs[case] for case in group]
    return any(spec.pixel_type == "uint8" and spec.filter.signed for spec in specs)


def _training_and_predicted(study: Study) -> ReportFigure:
    case, shown = study.cases.main, study.shown_set
    galaxies = study.galaxies
    train = galaxies.loc[galaxies["split"] == "train", "label"].to_numpy(np.float64)
    predicted = study.predicted(case, shown)["predicted"].to_numpy(np.float64)
    name = SET_NAMES[shown]
    return ReportFigure(
        "figure_4_1_distributions",
        f"Figure 4.1: true and predicted {study.target.symbol}",
        f"True {study.target.text} of the training sample, and what case {case} predicts for the {name} "
        "sample; counts on a logarithmic axis.",
        thesis_charts.training_and_predicted(train, predicted, floor(study), name, study.target.axis),
    )


def _milestones(study: Study) -> ReportFigure:
    case, shown = study.cases.main, study.shown_set
    last = study.settings.training.epochs
    kept = study.settings.training.keep
    name = f"{last} epochs" if kept == "last" else f"weights kept ({kept.replace('_', ' ')})"
    earlier = {epoch: table for epoch, table in study.milestones(case, shown).items() if len(table)}
    if kept == "last":
        earlier.pop(last, None)
    rows = [_comparison(f"{epoch} epochs", table) for epoch, table in earlier.items()]
    rows.append(_comparison(name, study.predicted(case, shown)))
    without = "" if earlier else " The run kept no earlier epochs (training.milestones)."
    return ReportFigure(
        "figure_4_2_epochs",
        "Figure 4.2: true against predicted, by epochs of training",
        f"Case {case}, {SET_NAMES[shown]} sample: {study.target.text} true against predicted with "
        f"Pearson's r (the brighter, the more galaxies), and the difference, with red lines at its mean ± σ."
        f"{without}",
        thesis_charts.comparisons(rows, study.target.axis),
    )


def _cases(study: Study, number: str, cases: Sequence[str], what: str) -> ReportFigure | Absent:
    title = f"Figure {number}: true against predicted, {what}"
    if not cases:
        return Absent(title, "the run has no such cases")
    shown = study.shown_set
    rows = []
    for case in cases:
        scale = scale_label(study.cases.specs[case])
        rows.append(_comparison(f"{case}, {scale}" if scale else case, study.predicted(case, shown)))
    return ReportFigure(
        f"figure_{_file(number)}_{what.replace(' ', '_')}",
        title,
        f"{SET_NAMES[shown].capitalize()} sample, {', '.join(cases)}, from above; as figure 4.2.",
        thesis_charts.comparisons(rows, study.target.axis),
    )


def _gallery(
    study: Study, reader: MapReader, number: str, case: str | None, what: str
) -> ReportFigure | Absent:
    title = f"Figure {number}: typical galaxies, {case or what}"
    if case is None:
        return Absent(title, "the run has no such case")
    spec = study.cases.specs[case]
    train = ssfr_per_yr(study)[(study.galaxies["split"] == "train").to_numpy()]
    colours = f" Red, green and blue are {', '.join(spec.channels[:3])}." if len(spec.channels) > 1 else ""
    return ReportFigure(
        f"figure_{_file(number)}_gallery",
        title,
        f"Galaxies of the training sample from the most to the least star-forming, evenly by rank, as case "
        f"{case} sees them, with their sSFR [1/yr].{colours} {_field_of_view(reader)}",
        gallery.typical(study.galaxies, train, reader, spec),
        "narrow",
        _GALLERY_DPI,
    )


def _comparison(title: str, table: pd.DataFrame) -> Comparison:
    truth, predicted = (table[name].to_numpy(np.float64) for name in ("label", "predicted"))
    group = np.arange(len(truth))
    r = scores(Sample(truth, predicted, predicted, predicted, group))["r"]
    return Comparison(title, truth, predicted, r)


def _example(galaxies: pd.DataFrame) -> int:
    """Return the row of a galaxy that shows something: of those that form stars, the richest in gas cells."""
    cells = galaxies["gas_cells_used"] if "gas_cells_used" in galaxies else pd.Series(0, galaxies.index)
    ranked = pd.DataFrame({"zero": galaxies["zero_sfr"], "cells": -cells, "ssfr": -galaxies["label"]})
    return int(ranked.assign(name=galaxies["galaxy"]).sort_values([*ranked, "name"]).index[0])


def _field_of_view(reader: MapReader) -> str:
    """Return the size of the images, as a sentence."""
    maps = reader.identity
    if maps.width is None:
        return ""
    return f"Each side is {maps.width:g} {maps.width_unit}."


def _file(number: str) -> str:
    return number.replace(".", "_")
