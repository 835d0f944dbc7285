"""The figures that the thesis does not have: scores with intervals, differences, audit, scale sweep."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from ssfr.components.imagesets.reader import MapReader
from ssfr.components.report import charts, comparison, gallery
from ssfr.components.report.comparison import Scaled
from ssfr.components.report.study import POPULATION_NAMES, SET_NAMES, Study, interval
from ssfr.components.report.style import Absent, ReportFigure, minus
from ssfr.components.report.thesis_figures import filters
from ssfr.components.statistics.differences import compared

_LOSSES = {"gaussian_nll": "loss: Gaussian NLL", "mse": "loss: mean square error"}
_GALLERY_DPI = 130
TITLES = {
    "differences": "Differences between cases",
    "scale_sweep": "Scores by the scale of the filter",
    "audit": "Leakage audit",
}
"""Name of a figure -> its title; the page has a heading of this title where the figure is left out, too."""


def own_figures(study: Study, reader: MapReader) -> Iterator[ReportFigure | Absent]:
    """Yield the figures of our own section, or why one is left out."""
    yield _scores(study)
    yield _differences(study)
    yield _sweep(study)
    if study.cases.bands:
        yield filters(study, reader, study.cases.bands, "Bands", "bands")
    yield _audit(study)
    yield from _best(study, reader)
    yield _training(study)


def sweep(study: Study) -> list[Scaled]:
    """Return r of the shown set for every case with a filter, by family and scale."""
    families = {
        "blurs": study.cases.gaussians,
        "high-pass": study.cases.high_passes,
        "bands": study.cases.bands,
    }
    return [
        Scaled(family, study.cases.specs[case].filter.sigmas, _estimate(_score(study, case)["r"]))
        for family, cases in families.items()
        for case in cases
    ]


def _scores(study: Study) -> ReportFigure:
    shown = study.shown_set
    bars = []
    for name, case in study.scored.items():
        score = _score(study, name)
        label = case["description"]
        if case["kind"] == "model" and len(study.models) == 1:
            label = f"{name} ({study.models[name]['model']})"
        bars.append(
            charts.Bar(
                label,
                case["kind"] == "model",
                _estimate(score["rmse"]),
                _estimate(score["r"]),
                tuple(
                    (_or_nan(one[shown]["rmse"]), _or_nan(one[shown]["r"]))
                    for one in case.get("seeds", {}).values()
                ),
            )
        )
    size = study.size(_score(study, study.best))
    ticks = " Ticks: each seed's network." if any(len(bar.seeds) > 1 for bar in bars) else ""
    return ReportFigure(
        "scores",
        "Scores of every case",
        f"Scores on the {SET_NAMES[shown]} set, {study.metrics['confidence']:.0%} intervals from resampled "
        f"{study.groups}. Diamonds: networks; circles: baselines.{ticks}",
        charts.score_chart(bars, f"{SET_NAMES[shown].capitalize()} set: {size}"),
        "wide",
    )


def _differences(study: Study) -> ReportFigure | Absent:
    title = TITLES["differences"]
    population, differences = compared(study.metrics, study.shown_set)
    found = [one for one in differences if one["metric"] == "r"]
    if not found:
        return Absent(title, "there is only one case")
    names = sorted(
        study.models, key=lambda case: -np.nan_to_num(_estimate(_score(study, case)["r"])[0], nan=-9)
    )
    place = {name: number for number, name in enumerate(names)}
    gain = np.full((len(names), len(names)), np.nan)
    probability = gain.copy()
    for one in found:
        a, b = place[one["a"]], place[one["b"]]
        value, share = _or_nan(one["value"]), _or_nan(one["probability"])
        gain[a, b], gain[b, a], probability[a, b], probability[b, a] = value, -value, share, 1.0 - share
    return ReportFigure(
        "differences",
        title,
        f"Colours: by how much r of the case in the row is higher than that of the case in the column, "
        f"{SET_NAMES[study.shown_set]} set{POPULATION_NAMES[population]}. Numbers: the probability [%] that "
        f"it is higher, on the same resamples of {study.groups}.",
        comparison.difference_matrix(names, gain, probability, int(study.metrics["resamples"])),
        "wide",
    )


def _sweep(study: Study) -> ReportFigure | Absent:
    title = TITLES["scale_sweep"]
    found = sweep(study)
    filtered = (*study.cases.gaussians, *study.cases.high_passes, *study.cases.bands)
    units = {study.cases.specs[case].filter.unit for case in filtered}
    if len(found) < 2 or len(units) > 1:
        reason = (
            "its scales are in pixels and in kpc" if len(units) > 1 else "fewer than two cases have a filter"
        )
        return Absent(title, reason)
    # Of the same channels, so that the difference is due to the filter alone.
    channels = {study.cases.specs[case].channels for case in filtered}
    name = next(
        (case for case in study.cases.unfiltered if channels == {study.cases.specs[case].channels}), None
    )
    reference = (name, _estimate(_score(study, name)["r"])) if name else None
    return ReportFigure(
        "scale_sweep",
        title,
        f"r on the {SET_NAMES[study.shown_set]} set, all galaxies, against the scale σ of the filter, "
        f"{study.metrics['confidence']:.0%} intervals. Blurs keep what is larger than σ, high-pass "
        "filters what is smaller, bands what is between their two scales. Points are shifted a little where "
        "they would cover each other.",
        comparison.scale_sweep(found, reference, units.pop()),
    )


def _audit(study: Study) -> ReportFigure | Absent:
    title = TITLES["audit"]
    audit = study.metrics.get("audit")
    if not audit:
        return Absent(title, "the run has none (evaluation.audit_case)")
    methods: Mapping[str, Any] = audit["methods"]
    gaps = "\n".join(f"{name.replace('-', ' − ')}: {interval(gap)}" for name, gap in audit["gap"].items())
    notes = {
        name: f"{score['galaxies']} galaxies" + (f",\n{score['groups']} trees" if "groups" in score else "")
        for name, score in methods.items()
    }
    return ReportFigure(
        "audit",
        title,
        f"Case {audit['case']}, trained and tested again under three splits with sets of the same size: "
        f"at random, by halo, by merger tree. {study.metrics['confidence']:.0%} intervals; below, the gaps "
        "in r. A random split that scores higher has seen its test galaxies at another time.",
        comparison.audit_chart({name: _estimate(score["r"]) for name, score in methods.items()}, notes, gaps),
    )


def _best(study: Study, reader: MapReader) -> Iterator[ReportFigure]:
    shown, best = study.shown_set, study.best
    held_out = study.predicted(best, shown)
    truth, predicted, lower, upper = (
        held_out[name].to_numpy(np.float64) for name in ("label", "predicted", "lower", "upper")
    )
    score = _score(study, best)
    note = f"r = {_short(score['r'])}, RMSE {_short(score['rmse'])} dex"
    title = f"{best}, {SET_NAMES[shown]} set, {len(held_out)} galaxies"
    yield ReportFigure(
        "true_predicted",
        "The best case: true against predicted",
        "Density of galaxies, true against predicted. Dots: median prediction and its median "
        f"{study.metrics['interval']:.0%} interval in bins of equally many galaxies.",
        charts.true_against_predicted(truth, predicted, lower, upper, study.target.axis, title, note),
        "",
    )
    yield ReportFigure(
        "residuals",
        "The best case: residuals",
        "Residuals: σ is their standard deviation about the bias.",
        charts.residual_histogram(predicted - truth, title),
        "",
    )
    colours = "" if study.from_images else " Colours: a pixel's value; grey: no gas."
    yield ReportFigure(
        "gallery",
        "The best case: galaxies",
        f"Galaxies of the {SET_NAMES[shown]} set from the highest to the lowest {study.target.symbol}, as "
        f"{best} sees them, with true and predicted {study.target.text}.{colours}",
        gallery.draw(held_out, study.galaxies, reader, study.cases.specs[best]),
        "narrow",
        _GALLERY_DPI,
    )


def _training(study: Study) -> ReportFigure | Absent:
    title = "Training"
    histories = {case: history for case, history in study.histories.items() if len(history)}
    if study.best not in histories:
        return Absent(title, "the best case was trained for no epoch")
    kept = study.settings.training.keep.replace("_", " ")
    validated = study.metrics["sets"]["validation"]["galaxies"] > 0
    dot = (
        "The dot is the epoch with the lowest validation loss" if validated else "There is no validation set"
    )
    return ReportFigure(
        "training",
        title,
        f"Loss by epoch. {dot}; the weights kept are those of: {kept}.",
        charts.training_curves(histories, study.best, _LOSSES[study.models[study.best]["training"]["loss"]]),
    )


def _score(study: Study, case: str) -> dict[str, Any]:
    found: dict[str, Any] = study.metrics["cases"][case]["scores"][study.shown_set]["all"]
    return found


def _estimate(score: Mapping[str, float | None]) -> tuple[float, float, float]:
    return _or_nan(score["value"]), _or_nan(score["lower"]), _or_nan(score["upper"])


def _or_nan(value: float | None) -> float:
    return np.nan if value is None else value


def _short(score: Mapping[str, float | None]) -> str:
    if score["value"] is None:
        return "not defined"
    text = f"{score['value']:.2f}"
    if score["lower"] is not None:
        text += f" [{score['lower']:.2f}, {score['upper']:.2f}]"
    return minus(text)
