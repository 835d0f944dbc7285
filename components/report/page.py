"""The report: one self-contained page that says what was predicted, how well, from what, and how."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2
import yaml
from PIL import Image

from ssfr.components.imagesets.reader import MapReader
from ssfr.components.report import drawing, model_card, prose, summary, tables, thesis_export
from ssfr.components.report.drawing import Drawings, Drawn
from ssfr.components.report.own_figures import TITLES
from ssfr.components.report.study import SET_NAMES, SMALL_GROUPS, Study
from ssfr.components.report.tables import Table
from ssfr.components.storage.artifact import atomic_file

_TEMPLATE = jinja2.Environment(
    autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
).from_string(resources.files(__package__).joinpath("report.html").read_text(encoding="utf-8"))

MODEL_CARD = "model-card.md"
SUMMARY = "summary.md"
_COLOURS = 200  # of an inlined figure: a quarter of the bytes, and no difference to the eye


def write_report(output: Path, study: Study, reader: MapReader, png_dir: Path | None = None) -> None:
    """Write figures/*.{png,pdf}, tables/*.csv, model-card.md, summary.md and report.html into `output`.

    With evaluation.export: thesis also ``thesis/``, with the pictures of `png_dir` where there are any.
    """
    figures = drawing.draw(output / "figures", study, reader)
    found = tables.tables(study)
    tables.write(output / "tables", found)
    texts = {
        MODEL_CARD: model_card.text(study),
        SUMMARY: summary.text(study),
        "report.html": page(study, figures, found),
    }
    for name, text in texts.items():
        with atomic_file(output / name) as part:
            part.write_text(text, encoding="utf-8")
    if study.settings.evaluation.export == "thesis":
        thesis_export.write(output, study, png_dir)


def page(study: Study, figures: Drawings, found: Mapping[str, Table]) -> str:
    """Return the page as HTML.

    Parameters
    ----------
    study
        What was found.
    figures
        Written to disk; absent ones are left out, with the reason where there is one.
    found
        Tables by name.
    """
    return _TEMPLATE.render(
        title=f"ssfr report: {study.origin}",
        question=prose.question(study),
        headline=prose.headline(study),
        badges=_badges(study),
        failed=study.failed,
        answers=prose.answers(study),
        beats=study.metrics["cases"][study.best]["beats_baselines"] and _better_on_shown(study),
        verdict=[f"The best case: {study.best}.", *prose.verdict(study)],
        facts=_facts(study),
        titles=TITLES,
        figures={name: _figure(one) for name, one in figures.drawn.items()},
        left_out=figures.left_out,
        thesis_left_out={
            title: reason for title, reason in figures.left_out.items() if title.startswith("Figure")
        },
        named=lambda begin: [_table(study, one) for name, one in found.items() if name.startswith(begin)],
        scores=_scores(study, found),
        gains=_table(study, found[f"gains_{study.best}"]),
        other_gains={
            case: _table(study, found[f"gains_{case}"]) for case in study.models if case != study.best
        },
        beats_rule=study.metrics["beats_baselines_rule"],
        notes=_notes(study),
        caveats=prose.caveats(study),
        method=_method(study),
        changed_settings=_yaml(study.settings.model_dump(mode="json", exclude_defaults=True)),
        settings=_yaml(study.settings.model_dump(mode="json")),
        spec=json.dumps(study.models[study.best]["spec"], indent=1),
        card=model_card.text(study),
        card_file=MODEL_CARD,
    )


def _badges(study: Study) -> list[dict[str, Any]]:
    """Return short notes on the run; loud ones are warnings."""
    model = study.models[study.best]
    badges = [("synthetic data", True)] if study.synthetic else []
    badges.append((str(model["model"]), False))
    if model.get("backbone"):
        random = study.random_weights
        badges.append(("RANDOM weights" if random else f"weights: {model['backbone']['weights']}", random))
    badges.append((f"{len(study.galaxies)} {study.counted}", False))
    if study.metrics["sets"][study.shown_set]["groups"] < SMALL_GROUPS:
        badges.append(("small sample", True))
    if study.failed:
        badges.append((f"{len(study.failed)} failed", True))
    if study.preparation.get("zero_sfr"):
        badges.append((f"{study.preparation['zero_sfr']} with {study.target.zero}", False))
    return [{"text": text, "loud": loud} for text, loud in badges]


def _facts(study: Study) -> list[tuple[str, str]]:
    model = study.models[study.best]
    return [
        ("Data", study.origin),
        ("Label", prose.label(study)),
        ("Model", prose.network(model)),
        ("Weights", prose.weights(model)),
        ("Best case", f"{study.best}: {study.metrics['best_case_rule']}"),
        ("Its input", f"{', '.join(model['spec']['channels'])}; filter {model['spec']['filter']['kind']}"),
        ("Seeds", ", ".join(map(str, study.seeds))),
    ]


def _scores(study: Study, found: Mapping[str, Table]) -> dict[str, list[dict[str, Any]]]:
    """Return the tables of scores by the name of their set."""
    return {
        SET_NAMES[split]: [
            _table(study, found[name])
            for name in (f"scores_{split}", f"scores_{split}_uncensored")
            if name in found
        ]
        for split in tables.shown_sets(study)
    }


def _notes(study: Study) -> list[str]:
    prepared, notes = study.preparation, []
    if prepared.get("dropped_zero_sfr"):
        notes.append(
            f"{prepared['dropped_zero_sfr']} galaxies with {study.target.zero} were dropped (zero_sfr: drop)."
        )
    if prepared.get("pixels_in_all"):
        high, low, pixels = (prepared[f"pixels_{name}"] for name in ("clipped_high", "clipped_low", "in_all"))
        notes.append(f"8-bit pictures: {high} pixels clipped at 255 and {low} at 0, of {pixels}.")
    reasons = study.rejected["reason"].astype(str).value_counts().sort_index()
    if reasons.empty:
        notes.append("No galaxy was rejected.")
    notes += [f"Rejected: {count}, {reason}." for reason, count in reasons.items()]
    return notes


def _method(study: Study) -> str:
    versions = "; ".join(
        f"{name} {version}" for name, version in study.models[study.best]["versions"].items()
    )
    validated = study.metrics["sets"]["validation"]["galaxies"] > 0
    chosen = "the validation set" if validated else "it as well, for there is no validation set"
    return (
        f"Intervals of scores: {study.metrics['confidence']:.0%} percentile intervals of "
        f"{study.metrics['resamples']} bootstrap resamples of {study.groups}, seed {study.metrics['seed']}. "
        "Gains are paired: both predictors see the same resamples. Probabilities are shares of the n "
        "resamples, between 1/n and 1 - 1/n. The baselines see every field of the maps, are fitted on the "
        f"training set, and take their settings and interval from {chosen}. NMAD is 1.4826 times the "
        f"median absolute deviation; bias is predicted minus true. "
        f"Differences: {study.metrics['differences_rule']}. Made with {versions}. Beside this "
        "page: every figure as figures/*.png and *.pdf, every table as tables/*.csv."
    )


def _better_on_shown(study: Study) -> bool:
    gain = prose.strongest_gain(study, study.shown_set)
    return gain is not None and (gain[1]["value"] or 0.0) > 0.0


def _table(study: Study, table: Table) -> dict[str, Any]:
    """Return a table as texts: caption, columns, and rows of cells with their intervals."""
    kinds = table.classes or ("",) * len(table.rows)
    rows = []
    for kind, row in zip(kinds, table.rows, strict=True):
        cells = []
        for column, cell in zip(table.columns, row, strict=True):
            value, interval = tables.text_of(cell, study, column in table.signed, column in table.shares)
            cells.append({"column": column, "value": value, "interval": interval})
        rows.append({"kind": kind, "cells": cells})
    return {"caption": table.caption, "columns": table.columns, "rows": rows}


def _figure(drawn: Drawn) -> dict[str, str]:
    """Return a figure's title, caption, class, and its PNG with fewer colours, in base64."""
    stream = io.BytesIO()
    with Image.open(drawn.path) as picture:
        few = picture.convert("RGB").quantize(_COLOURS, dither=Image.Dither.NONE)
        few.save(stream, format="PNG", optimize=True)
    png = base64.b64encode(stream.getvalue()).decode()
    return {"title": drawn.title, "caption": drawn.caption, "kind": drawn.kind, "png": png}


def _yaml(settings: Mapping[str, Any]) -> str:
    return str(yaml.safe_dump(settings, sort_keys=False))
