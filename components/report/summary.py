"""The study on one page of Markdown, and its scores as plain numbers: what a user interface shows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ssfr.components.report import prose
from ssfr.components.report.model_card import plain
from ssfr.components.report.study import SET_NAMES, Study, interval
from ssfr.components.statistics.differences import shown_set


def text(study: Study) -> str:
    """Return the answers, the limits, and the score of every case."""
    shown = study.shown_set
    lines = [f"# {plain(prose.headline(study))}", ""]
    lines += [f"**{plain(lead)}** {plain(found)}\n" for lead, found in prose.answers(study)]
    lines += [f"- {plain(caveat)}" for caveat in prose.caveats(study)]
    lines += ["", f"| case | r, {SET_NAMES[shown]} set | RMSE [dex] |", "|---|---|---|"]
    ranked = sorted(study.scored.items(), key=lambda item: -_value(item[1], shown, "r"))
    for name, case in ranked:
        score = case["scores"][shown]["all"]
        lines.append(f"| {plain(study.label(name))} | {interval(score['r'])} | {interval(score['rmse'])} |")
    return "\n".join(lines) + "\n"


def figures(metrics: Mapping[str, Any]) -> dict[str, float]:
    """Return r and RMSE [dex] of every case on the test set, or of the first other set that has galaxies."""
    shown = shown_set(metrics)
    found = {}
    for case, one in metrics["cases"].items():
        if "failed" in one:
            continue
        for name, unit in (("r", ""), ("rmse", "_dex")):
            value = one["scores"][shown]["all"][name]["value"]
            if value is not None:
                found[f"{case}.{shown}.{name}{unit}"] = float(value)
    return found


def _value(case: Mapping[str, Any], split: str, score: str) -> float:
    value = case["scores"][split]["all"][score]["value"]
    return float("-inf") if value is None else float(value)
