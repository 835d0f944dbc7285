"""The results of a study in sentences: headline, answers, verdict on the best case, and limits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ssfr.components.config import TrainingSettings
from ssfr.components.report.study import SET_NAMES, SMALL_GROUPS, Study, interval
from ssfr.components.statistics.verdict import findings

_QUESTIONS = {
    "prediction": "Is the label predicted",
    "property": "Which property predicts it best",
    "part": "Which range of scales predicts it best",
    "combination": "Do several channels together predict it better than the best one alone",
    "scale": "Which scales predict it best",
}


def headline(study: Study) -> str:
    """Return data source, sample size, weights and seeds in one sentence."""
    galaxies = study.galaxies
    snapshots = galaxies["snapshot"].nunique()
    sample = study.size({"galaxies": len(galaxies), "groups": galaxies["group"].nunique()})
    times = f" at {snapshots} snapshots" if snapshots > 1 else ""
    seeds = ", ".join(map(str, study.seeds))
    return (
        f"{study.origin}. {sample}{times}; {cases_in_words(study)}; {weights(study.models[study.best])}; "
        f"seed{'s' if len(study.seeds) > 1 else ''} {seeds}."
    )


def cases_in_words(study: Study) -> str:
    """Return how many cases there are, and how many of them failed."""
    count = len(study.models)
    failed = f" ({len(study.failed)} more failed)" if study.failed else ""
    return f"{count} case{'s' if count > 1 else ''}{failed}"


def question(study: Study) -> str:
    """Return the question of the study, its heading."""
    return f"What in a galaxy's {'image' if study.from_images else 'gas'} predicts its {study.target.symbol}?"


def label(study: Study) -> str:
    """Return what is predicted, with its unit and where it comes from."""
    return f"{study.target.text}, of the column {study.target.column}"


def network(model: Mapping[str, Any]) -> str:
    """Return a model's network and its size."""
    parameters = model["parameters"]
    frozen = f", {parameters['frozen']:,} frozen" if parameters["frozen"] else ""
    title = TrainingSettings.class_of(model["model"]).title
    return f"{title}: {parameters['trainable']:,} trainable parameters{frozen}"


def weights(model: Mapping[str, Any]) -> str:
    """Return where a model's weights came from."""
    backbone = model.get("backbone")
    if not backbone:
        return "weights trained from scratch"
    if backbone["weights"] == "random":
        return f"RANDOM backbone weights (seed {backbone.get('seed')}), not pretrained"
    name = "ImageNet" if backbone["weights"] == "imagenet" else str(backbone["weights"])
    return f"backbone weights: {name} (SHA-256 {str(backbone.get('sha256'))[:16]}…), head trained here"


def answers(study: Study) -> list[tuple[str, str]]:
    """Return each question with its answer, and the sentence with its numbers."""
    found = []
    for one in findings(study.metrics):
        about = f" of {one.about.replace('+', ', ')}" if one.about else ""
        found.append((f"{_QUESTIONS[one.question]}{about}: {one.answer or 'left open'}.", one.text))
    return found


def verdict(study: Study) -> list[str]:
    """Return the scores of the best case and its comparison with the baselines, in sentences."""
    shown = study.shown_set
    case = study.metrics["cases"][study.best]
    score = case["scores"][shown]["all"]
    confidence = f"{study.metrics['confidence']:.0%}"
    lines = [
        f"On the {SET_NAMES[shown]} set ({study.size(score)}), {study.best} predicts {study.target.text} "
        f"with RMSE {interval(score['rmse'])} dex and r = {interval(score['r'])} ({confidence} intervals)."
    ]
    gain = strongest_gain(study, shown)
    if gain:
        lines.append(_on_gain(study, *gain))
    promotion = study.metrics["sets"]["promotion"]
    if not promotion["galaxies"]:
        lines.append("The promotion set is empty, so that it can not be shown to beat the baselines.")
    elif case["beats_baselines"]:
        lines.append(
            f"On the promotion set ({study.size(promotion)}) it is better than every baseline"
            f"{_lowest_probability(study)}: it may be promoted."
        )
    else:
        names = ", ".join(study.label(name) for name in case["not_beaten"])
        lines.append(
            f"On the promotion set ({study.size(promotion)}) it does not beat: {names}. Its predictions "
            "are no better than those of these simple numbers, and it is not to be promoted."
        )
    return lines


def strongest_gain(study: Study, split: str) -> tuple[str, dict[str, float | None]] | None:
    """Return the baseline with the smallest gain in RMSE, and that gain; None if no gain is defined."""
    over = {
        name: gain["rmse"]
        for name, gain in study.metrics["cases"][study.best]["gains"][split]["all"].items()
        if gain["rmse"]["value"] is not None
    }
    return min(over.items(), key=lambda item: item[1]["value"]) if over else None


def caveats(study: Study) -> list[str]:
    """Return what limits the result, most important first, as plain text."""
    counts = study.metrics["sets"]
    test = counts[study.shown_set]
    found = []
    if study.synthetic:
        found.append(
            "The galaxies are synthetic: the scores show that the program works, but nothing about real "
            "galaxies."
        )
    if study.random_weights:
        found.append("RANDOM backbone weights: the network was never pretrained.")
    found += [f"Case {case} has no result: {reason}." for case, reason in study.failed.items()]
    for case, model in study.models.items():
        if broken := model.get("broken_starts"):
            found.append(f"Case {case} took {len(broken) + 1} starts, as training broke down: {broken[-1]}.")
    if test["groups"] < SMALL_GROUPS:
        found.append(
            f"Small sample: the {SET_NAMES[study.shown_set]} set has {study.size(test)}. Differences within "
            "the intervals are not findings."
        )
    if study.views > 1:
        found.append(
            f"Each galaxy is seen from {study.views} random directions. Wherever galaxies are counted, each "
            "view counts; the views of a galaxy are in one set, and the intervals of scores take them as "
            "one galaxy."
        )
    snapshots = study.galaxies["snapshot"].nunique()
    if snapshots > 1 and study.not_by_tree:
        found.append(
            f"{study.not_by_tree} of {len(study.galaxies)} galaxies, over {snapshots} snapshots, are not "
            "kept together by merger tree: the same galaxy at another time may be in the training set, so "
            "the scores are too good."
        )
    if not counts["validation"]["galaxies"]:
        found.append("There is no validation set: nothing was chosen on held-out galaxies.")
    if test["censored"]:
        found.append(
            f"{test['censored']} of the {test['galaxies']} {SET_NAMES[study.shown_set]} galaxies are "
            f"censored (SFR = 0, or a label as low as the floor, {study.target.floor:g}): scores are "
            "given with and without them."
        )
    if "baseline_cells" not in study.metrics["cases"]:
        found.append("The data have no count of gas cells: that baseline is left out.")
    if not study.from_images:
        found.append(
            "In the simulations the SFR of a cell follows from its density, so a map of gas mass nearly "
            "determines the label. What structure adds is the gain over the baselines, not r."
        )
    return found


def _lowest_probability(study: Study) -> str:
    """Return the baseline with the lowest probability that the best case beats it, and that probability."""
    found = study.metrics["cases"][study.best]["promotion"]
    if found["hardest"] is None:
        return ""
    lowest = study.probability(found["probability"])
    return f" (lowest probability: {lowest}, over the {study.label(found['hardest'])})"


def _on_gain(study: Study, baseline: str, gain: Mapping[str, float | None]) -> str:
    lower = (gain["value"] or 0.0) >= 0.0
    ends = {"value": gain["value"], "lower": gain["upper"], "upper": gain["lower"]}
    worse = {name: None if end is None else -end for name, end in ends.items()}
    zero = ""
    if gain["lower"] is not None and gain["upper"] is not None:
        zero = f"; the interval {'excludes' if gain['lower'] > 0 or gain['upper'] < 0 else 'includes'} zero"
    return (
        f"Its RMSE is {'lower' if lower else 'higher'} than that of the strongest baseline there, "
        f"{study.label(baseline)}, by {interval(gain if lower else worse)} dex{zero}."
    )
