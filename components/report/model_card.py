"""The model card, as Markdown: what the best model is, how well it predicts, and what it is not for."""

from __future__ import annotations

from ssfr.components.config import TrainingSettings
from ssfr.components.report import prose
from ssfr.components.report.study import SET_NAMES, Study, interval
from ssfr.components.report.tables import SCORES

_LICENCE = "BSD-3-Clause, as the program"


def text(study: Study) -> str:
    """Return the card of a study's best case."""
    sections = {
        "What it is": _what(study),
        "Data": _data(study),
        "Scores": _scores(study),
        "Limits": [f"- {one}" for one in (*prose.caveats(study), *_limits(study))],
        "Intended use": _use(study),
        "Licence": _licence(study),
    }
    parts = [f"# Model card: {plain(study.best)}"]
    for title, lines in sections.items():
        parts.append(f"## {title}")
        parts.append("\n".join(lines))
    return "\n\n".join(parts) + "\n"


def _what(study: Study) -> list[str]:
    model = study.models[study.best]
    spec = study.cases.specs[study.best]
    size = f"{spec.pixels} x {spec.pixels} pixels"
    if spec.maps.pixel_kpc is not None:
        size += f" of {spec.maps.pixel_kpc:.3g} kpc"
    kept = f"filter {spec.filter.kind}" + (
        f", sigma {' to '.join(f'{sigma:g}' for sigma in spec.filter.sigmas)} {spec.filter.unit}"
        if spec.filter.sigmas
        else ""
    )
    return [
        f"- Predicts: {plain(prose.label(study))}, with an interval that should hold the "
        f"truth in {study.metrics['interval']:.0%} of cases.",
        f"- Input: {plain(', '.join(spec.channels))}, {size}; {kept}; pixel type {spec.pixel_type}, stretch "
        f"{spec.stretch}. Preprocessing is part of the model.",
        f"- Network: {plain(prose.network(model))}.",
        f"- Weights: {plain(prose.weights(model))}; seed {model['seed']}.",
        f"- Chosen as: {plain(str(study.metrics['best_case_rule']))}; out of {prose.cases_in_words(study)}.",
    ]


def _data(study: Study) -> list[str]:
    split = study.settings.preprocessing.split
    lines = [
        f"- Source: {plain(study.origin)}." + (" The galaxies are synthetic." if study.synthetic else ""),
        f"- Split by {split.method}; groups that are kept together: {study.groups}.",
        "",
        f"| set | galaxies | groups | {study.target.zero} | censored |",
        "|---|---|---|---|---|",
    ]
    for name, counts in study.metrics["sets"].items():
        cells = (counts[key] for key in ("galaxies", "groups", "zero_sfr", "censored"))
        lines.append(f"| {SET_NAMES[name]} | {' | '.join(map(str, cells))} |")
    return lines


def _scores(study: Study) -> list[str]:
    scores = study.metrics["cases"][study.best]["scores"]
    kept = [name for name in ("test", "promotion", "validation") if study.metrics["sets"][name]["galaxies"]]
    lines = [
        f"{study.metrics['confidence']:.0%} intervals from {study.metrics['resamples']} resamples of "
        f"{study.groups}. Model and epochs were chosen on the validation set, where there is one.",
        "",
        f"| | {' | '.join(f'{SET_NAMES[name]} set' for name in kept)} |",
        "|---" * (len(kept) + 1) + "|",
    ]
    for name, title in SCORES.items():
        cells = " | ".join(interval(scores[split]["all"][name]) for split in kept)
        lines.append(f"| {title} | {cells} |")
    return [*lines, "", *(plain(sentence) for sentence in prose.verdict(study))]


def _limits(study: Study) -> list[str]:
    if study.from_images:
        return ["Valid for images like those of its catalogue: same bands, same field of view, same stretch."]
    projection = study.settings.projection
    return [
        f"Valid for maps of {projection.width:g} {projection.width_unit} a side, projection.orientation "
        f"{projection.orientation}, of galaxies that pass the cuts of the sample, at the snapshots it was "
        "trained on; nothing else was tested.",
        "A simulation's galaxies are not observed ones: no noise, no dust, no telescope.",
    ]


def _use(study: Study) -> list[str]:
    found = study.metrics["cases"][study.best]
    served = "It may be promoted to serve." if found["beats_baselines"] else "It is not to be promoted."
    return [
        "Measuring how much images say about star formation, in the simulation or catalogue it comes from. "
        f"{served} Not for measuring the star formation of observed galaxies, nor outside the range of its "
        "training labels."
    ]


def _licence(study: Study) -> list[str]:
    lines = [f"{_LICENCE}. The terms of the data it was trained on apply as well."]
    if (study.models[study.best].get("backbone") or {}).get("weights") not in (None, "random"):
        lines.append(TrainingSettings.class_of(study.models[study.best]["model"]).licence)
    return lines


def plain(text: str) -> str:
    """Return a user's text as Markdown that shows just that text."""
    for mark in "\\`*_{}[]<>|#$":
        text = text.replace(mark, f"\\{mark}")
    return " ".join(text.split())
