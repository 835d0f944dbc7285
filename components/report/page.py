"""The report: one self-contained page that says what was predicted, how well, from what, and how."""

from __future__ import annotations

import base64
import html
import io
import json
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from string import Template

import yaml
from PIL import Image

from ssfr.components.imagesets.reader import MapReader
from ssfr.components.report import drawing, model_card, prose, summary, tables, thesis_export
from ssfr.components.report.drawing import Drawings
from ssfr.components.report.study import SET_NAMES, SMALL_GROUPS, Study
from ssfr.components.report.tables import Table
from ssfr.components.storage.artifact import atomic_file

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
    """Return the page; figures that are absent are left out, and said to be where a reason is known."""
    template = Template(resources.files(__package__).joinpath("report.html").read_text(encoding="utf-8"))
    best = study.metrics["cases"][study.best]

    def draw(*names: str) -> str:
        return "".join(_figure(figures, name) for name in names)

    def show(prefix: str, folded: str = "") -> str:
        shown = "".join(_table(study, table) for name, table in found.items() if name.startswith(prefix))
        return _folded(folded, shown) if folded and shown else shown

    return template.substitute(
        title=_text(f"ssfr report: {study.origin}"),
        question=_text(f"What in a galaxy's {'image' if study.from_images else 'gas'} knows its sSFR?"),
        headline=_text(prose.headline(study)),
        badges="".join(_badge(text, loud) for text, loud in _badges(study)),
        answer=_answer(study),
        verdict_class="beats" if best["beats_baselines"] and _better_on_shown(study) else "",
        verdict=_paragraphs([f"The best case: {study.best}.", *prose.verdict(study)]),
        facts="".join(f"<dt>{_text(name)}</dt><dd>{_text(fact)}</dd>" for name, fact in _facts(study)),
        failed="".join(
            f'<p class="failed">{_text(f"Case {case} failed: {reason}")}</p>'
            for case, reason in study.failed.items()
        ),
        scores=draw("scores") + _scores(study, found),
        differences=draw("differences") + show("differences_", "Every pair of cases")
        or _absent(figures, "Which case knows more"),
        sweep=(draw("scale_sweep") or _absent(figures, "At which scale"))
        + show("scale_sweep", "The numbers")
        + draw("bands"),
        seeds=show("seeds", "Each seed's network"),
        gains=_gains(study, found),
        audit=draw("audit") + show("audit") or _absent(figures, "Leakage audit"),
        best=f'<div class="pair">{draw("true_predicted")}{draw("residuals")}</div>' + draw("gallery"),
        thesis=show("table_iii_1")
        + draw(*(name for name in figures.drawn if name.startswith("figure_")))
        + _left_out(figures),
        sets=show("sets") + _notes(study),
        training=draw("training"),
        caveats="".join(f"<li>{_text(caveat)}</li>" for caveat in prose.caveats(study)),
        method=_method(study),
        card=_text(model_card.text(study)),
        card_file=MODEL_CARD,
    )


def _answer(study: Study) -> str:
    """Return the study's findings, each with its answer first."""
    return "".join(f"<p><b>{_text(lead)}</b> {_text(text)}</p>" for lead, text in prose.answers(study))


def _badges(study: Study) -> list[tuple[str, bool]]:
    model = study.models[study.best]
    badges = [("synthetic data", True)] if study.synthetic else []
    badges.append((str(model["model"]), False))
    if model.get("backbone"):
        random = study.random_weights
        badges.append(("RANDOM weights" if random else f"weights: {model['backbone']['weights']}", random))
    badges.append((f"{len(study.galaxies)} galaxies", False))
    if study.metrics["sets"][study.shown_set]["groups"] < SMALL_GROUPS:
        badges.append(("small sample", True))
    if study.failed:
        badges.append((f"{len(study.failed)} failed", True))
    if study.preparation.get("zero_sfr"):
        badges.append((f"{study.preparation['zero_sfr']} with SFR = 0", False))
    return badges


def _facts(study: Study) -> list[tuple[str, str]]:
    model = study.models[study.best]
    return [
        ("Data", study.origin),
        ("Label", f"log10 of SFR / {study.settings.preprocessing.label.mass} mass [dex of 1/yr]"),
        ("Model", prose.network(model)),
        ("Weights", prose.weights(model)),
        ("Best case", f"{study.best}: {study.metrics['best_case_rule']}"),
        ("Its input", f"{', '.join(model['spec']['channels'])}; filter {model['spec']['filter']['kind']}"),
        ("Seeds", ", ".join(map(str, study.seeds))),
    ]


def _scores(study: Study, found: Mapping[str, Table]) -> str:
    parts = []
    for split in tables.shown_sets(study):
        names = [f"scores_{split}", f"scores_{split}_above_floor"]
        block = "".join(_table(study, found[name]) for name in names if name in found)
        parts.append(_folded(f"Every score, {SET_NAMES[split]} set", block))
    return "".join(parts)


def _gains(study: Study, found: Mapping[str, Table]) -> str:
    best = _table(study, found[f"gains_{study.best}"])
    others = [
        _folded(case, _table(study, found[f"gains_{case}"])) for case in study.models if case != study.best
    ]
    rule = _text(f"Rule: {study.metrics['beats_baselines_rule']}.")
    return f'{best}{"".join(others)}<p class="quiet">{rule}</p>'


def _notes(study: Study) -> str:
    prepared, notes = study.preparation, []
    if prepared.get("dropped_zero_sfr"):
        notes.append(f"{prepared['dropped_zero_sfr']} galaxies with SFR = 0 were dropped (zero_sfr: drop).")
    if prepared.get("pixels_in_all"):
        high, low, pixels = (prepared[f"pixels_{name}"] for name in ("clipped_high", "clipped_low", "in_all"))
        notes.append(f"8-bit pictures: {high} pixels clipped at 255 and {low} at 0, of {pixels}.")
    reasons = study.set_aside["reason"].astype(str).value_counts().sort_index()
    if reasons.empty:
        notes.append("No galaxy was set aside.")
    notes += [f"Set aside: {count}, {reason}." for reason, count in reasons.items()]
    return "".join(f'<p class="quiet">{_text(note)}</p>' for note in notes)


def _method(study: Study) -> str:
    settings = study.settings
    changed = yaml.safe_dump(settings.model_dump(mode="json", exclude_defaults=True), sort_keys=False)
    complete = yaml.safe_dump(settings.model_dump(mode="json"), sort_keys=False)
    versions = "; ".join(
        f"{name} {version}" for name, version in study.models[study.best]["versions"].items()
    )
    validated = study.metrics["sets"]["validation"]["galaxies"] > 0
    chosen = "the validation set" if validated else "it as well, for there is no validation set"
    text = (
        f"Intervals of scores: {study.metrics['confidence']:.0%} percentile intervals of "
        f"{study.metrics['resamples']} bootstrap resamples of {study.groups}, seed {study.metrics['seed']}. "
        "Gains are paired: both predictors see the same resamples. No probability is said to be surer than "
        "so many resamples can show. The baselines see every field of the maps, are fitted on the training "
        f"set, and take their settings and interval from {chosen}. NMAD is 1.4826 times the "
        f"median absolute deviation; bias is predicted minus true. "
        f"Differences: {study.metrics['differences_rule']}. Made with {versions}. Beside this "
        "page: every figure as figures/*.png and *.pdf, every table as tables/*.csv."
    )
    return (
        f"<p>{_text(text)}</p><h3>Settings that differ from the defaults</h3><pre>{_text(changed)}</pre>"
        + _folded("All settings", f"<pre>{_text(complete)}</pre>")
        + _folded(
            "The best case's input, as data",
            f"<pre>{_text(json.dumps(study.models[study.best]['spec'], indent=1))}</pre>",
        )
    )


def _better_on_shown(study: Study) -> bool:
    gain = prose.strongest_gain(study, study.shown_set)
    return gain is not None and (gain[1]["value"] or 0.0) > 0.0


def _badge(text: str, loud: bool) -> str:
    return f'<li class="{"loud" if loud else ""}">{_text(text)}</li>'


def _paragraphs(sentences: list[str]) -> str:
    return "".join(f"<p>{_text(sentence)}</p>" for sentence in sentences)


def _folded(summary: str, content: str) -> str:
    return f"<details><summary>{_text(summary)}</summary>{content}</details>"


def _table(study: Study, table: Table) -> str:
    head = "".join(f"<th>{_text(column)}</th>" for column in table.columns)
    classes = table.classes or ("",) * len(table.rows)
    body = []
    for kind, row in zip(classes, table.rows, strict=True):
        cells = []
        for column, cell in zip(table.columns, row, strict=True):
            value, small = tables.text_of(cell, study, column in table.signed, column in table.shares)
            below = f"<small>{_text(small)}</small>" if small else ""
            cells.append(f'<td data-label="{_text(column)}">{_text(value)}{below}</td>')
        body.append(f'<tr class="{kind}">{"".join(cells)}</tr>')
    return (
        f'<table class="columns-{len(table.columns) - 1}"><caption>{_text(table.caption)}</caption>'
        f"<thead><tr>{head}</tr></thead><tbody>{''.join(body)}</tbody></table>"
    )


def _figure(figures: Drawings, name: str) -> str:
    if name not in figures.drawn:
        return ""
    drawn = figures.drawn[name]
    caption = _text(drawn.caption)
    return (
        f'<figure class="{drawn.kind}"><img alt="{caption}" loading="lazy" '
        f'src="data:image/png;base64,{_inlined(drawn.path)}">'
        f"<figcaption><b>{_text(drawn.title)}.</b> {caption}</figcaption></figure>"
    )


def _inlined(path: Path) -> str:
    """Return a PNG with fewer colours, in base64."""
    stream = io.BytesIO()
    with Image.open(path) as picture:
        few = picture.convert("RGB").quantize(_COLOURS, dither=Image.Dither.NONE)
        few.save(stream, format="PNG", optimize=True)
    return base64.b64encode(stream.getvalue()).decode()


def _absent(figures: Drawings, title: str) -> str:
    reason = figures.left_out.get(title)
    return f'<p class="quiet">{_text(f"None: {reason}.")}</p>' if reason else ""


def _left_out(figures: Drawings) -> str:
    notes = [f"{title}: {reason}" for title, reason in figures.left_out.items() if title.startswith("Figure")]
    items = "".join(f"<li>{_text(note)}.</li>" for note in notes)
    return f'<p class="quiet">Left out:</p><ul class="notes quiet">{items}</ul>' if items else ""


def _text(text: str) -> str:
    return html.escape(text, quote=True)
