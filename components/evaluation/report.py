"""The report: one self-contained page that says what was predicted, how well, from what, and how."""

from __future__ import annotations

import base64
import html
import json
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from string import Template
from typing import Any

import yaml

from components.evaluation import drawing
from components.evaluation.study import (
    SET_NAMES,
    SMALL_GROUPS,
    Study,
    caveats,
    number,
    strongest_gain,
    verdict,
)
from components.imagesets.reader import MapReader
from components.storage.artifact import atomic_file

_SCORES = {
    "r": "Pearson r",
    "rmse": "RMSE [dex]",
    "nmad": "NMAD [dex]",
    "bias": "bias [dex]",
    "coverage": "coverage",
}


def write_report(output: Path, study: Study, reader: MapReader) -> None:
    """Write figures/*.png and report.html into `output`."""
    figures = drawing.draw(output / "figures", study, reader)
    with atomic_file(output / "report.html") as part:
        part.write_text(page(study, figures), encoding="utf-8")


def page(study: Study, figures: Mapping[str, Path]) -> str:
    """Return the page; `figures` maps a figure's name to its PNG, and those that are absent are left out."""
    template = Template(resources.files(__package__).joinpath("report.html").read_text(encoding="utf-8"))
    best = study.metrics["cases"][study.best]
    headline = f"sSFR from {'images' if study.from_images else 'gas maps'}: {study.best}"
    return template.substitute(
        title=_text(f"ssfr report: {study.origin}"),
        headline=_text(headline),
        badges="".join(_badge(text, loud) for text, loud in _badges(study)),
        verdict_class="beats" if best["beats_baselines"] and _better_on_shown(study) else "",
        verdict="".join(f"<p>{_text(sentence)}</p>" for sentence in verdict(study)),
        facts="".join(f"<dt>{_text(name)}</dt><dd>{_text(fact)}</dd>" for name, fact in _facts(study)),
        score_chart=_figure(figures, "scores", "wide", _chart_caption(study)),
        scores=_score_tables(study),
        gains=_gain_tables(study),
        prediction_figures=_prediction_figures(study, figures),
        gallery=_figure(
            figures,
            "gallery",
            "narrow",
            f"Galaxies of the {SET_NAMES[study.shown_set]} set from the most to the least star-forming, as "
            f"{study.best} starts from them, with true and predicted log10 sSFR [dex of 1/yr]. "
            + ("" if study.from_images else "Colours: a pixel's value; grey: no gas."),
        ),
        sets=_sets_table(study),
        training=_figure(
            figures,
            "training",
            "narrow",
            "Loss by epoch. The dot is the epoch with the lowest validation loss; "
            f"the weights kept are those of: {study.settings.training.keep.replace('_', ' ')}.",
        ),
        caveats="".join(f"<li>{_text(caveat)}</li>" for caveat in caveats(study)),
        method=_method(study),
    )


def _badges(study: Study) -> list[tuple[str, bool]]:
    model = study.models[study.best]
    badges = [("synthetic data", True)] if study.is_synthetic else []
    badges.append((str(model["model"]), False))
    if model.get("backbone"):
        random = study.random_weights
        badges.append(("RANDOM weights" if random else f"weights: {model['backbone']['weights']}", random))
    counts = study.metrics["sets"]
    badges.append((f"{len(study.galaxies)} galaxies", False))
    if counts[study.shown_set]["groups"] < SMALL_GROUPS:
        badges.append(("small sample", True))
    if study.preparation.get("zero_sfr"):
        badges.append((f"{study.preparation['zero_sfr']} with SFR = 0", False))
    return badges


def _facts(study: Study) -> list[tuple[str, str]]:
    model = study.models[study.best]
    galaxies = study.galaxies
    snapshots = galaxies["snapshot"].nunique()
    parameters = model["parameters"]
    name = {"compact": "compact CNN", "vgg16": "VGG16, frozen, with a trained head"}.get(
        model["model"], model["model"]
    )
    label = study.settings.preprocessing.label
    return [
        ("Data", study.origin),
        (
            "Sample",
            f"{study.size({'galaxies': len(galaxies), 'groups': galaxies['group'].nunique()})}, "
            f"{snapshots} snapshot{'s' if snapshots > 1 else ''}",
        ),
        ("Label", f"log10 of SFR / {label.mass} mass [dex of 1/yr]"),
        (
            "Model",
            f"{name}: {parameters['trainable']:,} trainable parameters"
            + (f", {parameters['frozen']:,} frozen" if parameters["frozen"] else ""),
        ),
        ("Weights", _weights(model)),
        ("Input", f"{', '.join(model['spec']['channels'])}; filter {model['spec']['filter']['kind']}"),
        (
            "Cases",
            f"{len(study.models)}; the best is {study.metrics['best_case_rule']}"
            if len(study.models) > 1
            else study.best,
        ),
        ("Seed", str(study.settings.seed)),
    ]


def _weights(model: Mapping[str, Any]) -> str:
    backbone = model.get("backbone")
    if not backbone:
        return f"trained from scratch, from random ones of seed {model['seed']}"
    if backbone["weights"] == "random":
        return f"RANDOM backbone (seed {backbone.get('seed')}), not pretrained"
    name = "ImageNet" if backbone["weights"] == "imagenet" else str(backbone["weights"])
    return f"backbone: {name} (SHA-256 {str(backbone.get('sha256'))[:16]}…); head trained here"


def _score_tables(study: Study) -> str:
    parts: list[str] = []
    for split in (
        study.shown_set,
        *(name for name in ("promotion", "validation") if name != study.shown_set),
    ):
        counts = study.metrics["sets"][split]
        if not counts["galaxies"]:
            continue
        tables = [_score_table(study, split, "all", f"All {counts['galaxies']} galaxies, {_floored(counts)}")]
        above = counts["galaxies"] - counts["at_floor"]
        if counts["at_floor"] and above:
            label = f"Only the {above} galaxies above the floor"
            tables.append(_score_table(study, split, "above_floor", label))
        block = "".join(tables)
        if parts:
            block = f"<details><summary>{_text(SET_NAMES[split].capitalize())} set</summary>{block}</details>"
        parts.append(block)
    return "".join(parts)


def _floored(counts: Mapping[str, int]) -> str:
    if not counts["at_floor"]:
        return "none of them at the floor"
    return f"{counts['at_floor']} at the floor ({counts['zero_sfr']} with SFR = 0) included"


def _score_table(study: Study, split: str, population: str, caption: str) -> str:
    cases = study.metrics["cases"]

    def rmse(case: str) -> float:
        value = cases[case]["scores"][split][population]["rmse"]["value"]
        return float("inf") if value is None else value

    rows = []
    for case in sorted(cases, key=rmse):
        score = cases[case]["scores"][split][population]
        cells = [_two_lines(score[name], signed=name == "bias") for name in _SCORES]
        rows.append((cases[case]["kind"], [_text(study.label(case)), *cells]))
    name, wanted = SET_NAMES[split].capitalize(), f"{study.metrics['interval']:.0%}"
    caption = f"{name} set. {caption}; coverage should be {wanted}."
    return _table(["", *_SCORES.values()], rows, caption)


def _gain_tables(study: Study) -> str:
    parts = []
    models = [case for case, found in study.metrics["cases"].items() if found["kind"] == "model"]
    for case in sorted(models, key=lambda case: case != study.best):
        gains = study.metrics["cases"][case]["gains"]
        headers = ["", "RMSE, test [dex]", "P(better)", "r, test", "RMSE, promotion [dex]", "P(better)"]
        rows = []
        for name, test in gains["test"]["all"].items():
            promotion = gains["promotion"]["all"][name]["rmse"]
            cells = [
                _two_lines(test["rmse"], signed=True),
                _share(test["rmse"]["probability"]),
                _two_lines(test["r"], signed=True),
                _two_lines(promotion, signed=True),
                _share(promotion["probability"]),
            ]
            rows.append(("baseline", [f"over the {_text(study.label(name))}", *cells]))
        caption = (
            f"{case}: by how much its RMSE is lower and its r higher (positive: the network is better), on "
            f"the same resamples of {study.groups}."
        )
        table = _table(headers, rows, caption)
        parts.append(
            table if case == study.best else f"<details><summary>{_text(case)}</summary>{table}</details>"
        )
    rule = study.metrics["beats_baselines_rule"]
    return "".join(parts) + f'<p class="quiet">{_text("Rule: " + rule)}.</p>'


def _prediction_figures(study: Study, figures: Mapping[str, Path]) -> str:
    left = _figure(
        figures,
        "true_predicted",
        "",
        "Density of galaxies, true against predicted. Dots: median prediction and its median "
        f"{study.metrics['interval']:.0%} interval in bins of equally many galaxies.",
    )
    right = _figure(figures, "residuals", "", "Residuals: σ is their standard deviation about the bias.")
    below = _figure(figures, "distributions", "", "Distributions of log10 sSFR.")
    return f'<div class="pair">{left}<div>{right}{below}</div></div>'


def _sets_table(study: Study) -> str:
    rows = [
        ("", [SET_NAMES[name], *(str(counts[key]) for key in ("galaxies", "groups", "zero_sfr", "at_floor"))])
        for name, counts in study.metrics["sets"].items()
    ]
    table = _table(
        ["set", "galaxies", "groups", "SFR = 0", "at the floor"],
        rows,
        f"Galaxies of each set; groups are {study.groups}.",
        "counts",
    )
    notes = []
    prepared = study.preparation
    if prepared.get("dropped_zero_sfr"):
        notes.append(f"{prepared['dropped_zero_sfr']} galaxies with SFR = 0 were dropped (zero_sfr: drop).")
    if prepared.get("pixels_in_all"):
        high, low, pixels = (prepared[f"pixels_{name}"] for name in ("clipped_high", "clipped_low", "in_all"))
        notes.append(f"8-bit pictures: {high} pixels clipped at 255 and {low} at 0, of {pixels}.")
    reasons = study.set_aside["reason"].astype(str).value_counts().sort_index()
    if reasons.empty:
        notes.append("No galaxy was set aside.")
    for reason, count in reasons.items():
        notes.append(f"Set aside: {count}, {reason}.")
    return table + "".join(f'<p class="quiet">{_text(note)}</p>' for note in notes)


def _method(study: Study) -> str:
    settings = study.settings
    changed = yaml.safe_dump(settings.model_dump(mode="json", exclude_defaults=True), sort_keys=False)
    complete = yaml.safe_dump(settings.model_dump(mode="json"), sort_keys=False)
    versions = "; ".join(
        f"{name} {version}" for name, version in study.models[study.best]["versions"].items()
    )
    text = (
        f"Intervals of scores: {study.metrics['confidence']:.0%} percentile intervals of "
        f"{study.metrics['resamples']} bootstrap resamples of {study.groups}, seed {study.metrics['seed']}. "
        "Gains are paired: both predictors see the same resamples. The baselines see every field of the "
        "maps, are fitted on the training set, and take their penalty and interval from the validation set. "
        "NMAD is 1.4826 times the median absolute deviation; bias is predicted minus true. "
        f"Made with {versions}."
    )
    return (
        f"<p>{_text(text)}</p><h3>Settings that differ from the defaults</h3><pre>{_text(changed)}</pre>"
        f"<details><summary>All settings</summary><pre>{_text(complete)}</pre></details>"
        f"<details><summary>The best case's input, as data</summary><pre>"
        f"{_text(json.dumps(study.models[study.best]['spec'], indent=1))}</pre></details>"
    )


def _chart_caption(study: Study) -> str:
    return (
        f"Scores on the {SET_NAMES[study.shown_set]} set, {study.metrics['confidence']:.0%} intervals from "
        f"resampled {study.groups}. Diamonds: networks; circles: baselines."
    )


def _better_on_shown(study: Study) -> bool:
    gain = strongest_gain(study, study.shown_set)
    return gain is not None and (gain[1]["value"] or 0.0) > 0.0


def _badge(text: str, loud: bool) -> str:
    return f'<li class="{"loud" if loud else ""}">{_text(text)}</li>'


def _table(
    headers: Sequence[str], rows: Sequence[tuple[str, Sequence[str]]], caption: str, kind: str = ""
) -> str:
    """Return a table; cells are HTML, headers and caption plain text, rows begin with their class."""
    head = "".join(f"<th>{_text(header)}</th>" for header in headers)
    body = "".join(
        f'<tr class="{row_kind}">'
        + "".join(
            f'<td data-label="{_text(header)}">{cell}</td>'
            for header, cell in zip(headers, cells, strict=True)
        )
        + "</tr>"
        for row_kind, cells in rows
    )
    parts = f"<caption>{_text(caption)}</caption><thead><tr>{head}</tr></thead><tbody>{body}</tbody>"
    return f'<table class="{kind}">{parts}</table>'


def _figure(figures: Mapping[str, Path], name: str, kind: str, caption: str) -> str:
    if name not in figures:
        return ""
    data = base64.b64encode(figures[name].read_bytes()).decode()
    text = _text(caption)
    return (
        f'<figure class="{kind}"><img alt="{text}" src="data:image/png;base64,{data}">'
        f"<figcaption>{text}</figcaption></figure>"
    )


def _two_lines(score: Mapping[str, float | None], signed: bool = False) -> str:
    value = number(score["value"], signed)
    if score["lower"] is None:
        return value
    low, high = number(score["lower"], signed), number(score["upper"], signed)
    return f"{value}<small>{low} to {high}</small>"


def _share(value: float | None) -> str:
    if value is None:
        return "–"
    if not 0.001 <= value <= 0.999:
        return "&lt; 0.1%" if value < 0.5 else "&gt; 99.9%"
    return f"{value:.1%}"


def _text(text: str) -> str:
    return html.escape(text, quote=True)
