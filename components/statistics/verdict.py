"""The study's verdict: is the label predicted at all, by which property, and by which scales."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from ssfr.components.statistics.differences import exchanged
from ssfr.components.statistics.pairwise import (
    Difference,
    PairwiseR,
    is_decided,
    is_negative,
    lowest_probability,
)
from ssfr.components.statistics.scales import in_words, ranges

Question = Literal["prediction", "property", "combination", "part", "scale"]


@dataclass(frozen=True)
class Finding:
    """The answer to one question, from paired differences in r.

    Attributes
    ----------
    question
        prediction: is the r of the best case above zero; property: which single channel has the highest r;
        combination: is the r of several channels together above that of the best single one; part: which
        of the ranges of scale that add up to the maps has the highest r; scale: at which filter width do
        small and large scales change places.
    about
        The channels of a part or a scale, joined by "+"; else "".
    answer
        "yes" or "no"; a channel; a range of scales ("below 3 kpc", "above 3 kpc", "1 to 3 kpc").
        None: the interval of a difference includes zero, so the question stays open.
    probability
        The lowest of the comparisons that the answer rests on; None where there is none.
    text
        The answer in a sentence, with its numbers.
    """

    question: Question
    about: str
    answer: str | None
    probability: float | None
    text: str


def findings(metrics: Mapping[str, Any]) -> list[Finding]:
    """Return the answers that the cases and galaxies of a study allow.

    The cases that stand for a property are chosen on the validation set and compared on the test set, on
    the galaxies that `differences.compared` names, so that no galaxy of an answer trained or chose a
    network. A comparison decides if its interval excludes zero; the interval includes the scatter between
    seeds where a case has several.

    Parameters
    ----------
    metrics
        metrics.json.
    """
    study = PairwiseR.of(metrics)
    if not study.models:
        return []
    ranked = study.ranking(study.models)
    first = _prediction(study, ranked[0])
    if first.answer != "yes":
        return [first]
    found = [first, *_property(study, ranked)]
    families = dict.fromkeys(study.channels[case] for case in ranked)
    return found + [
        one for channels in families for one in (*_part(study, channels), *_scale(study, channels))
    ]


def _prediction(study: PairwiseR, leader: str) -> Finding:
    score = study.scores[leader]
    r = score["r"]
    galaxies = f"{score['galaxies']} galaxies of the {study.shown} set"
    if study.population == "uncensored":
        galaxies = f"uncensored {galaxies}"
    chosen = " on the validation set" if study.chooses == "validation" else ""
    if r["value"] is not None and r["lower"] is None:
        text = f"{leader} has r = {_interval(r)} on {galaxies}: too few independent ones for an interval."
        return Finding("prediction", "", None, None, text)
    if r["value"] is None or r["lower"] <= 0.0:
        value = "is not defined" if r["value"] is None else f"= {_interval(r)}"
        text = (
            f"{leader}, the case with the highest r{chosen}, does not predict the label: r {value} on "
            f"{galaxies}, which is not above 0."
        )
        others = [case for case in study.models if case != leader and is_decided(study.scores[case]["r"])]
        if others:
            named = ", ".join(f"{case} {_interval(study.scores[case]['r'])}" for case in others)
            text += (
                f" Others are above 0 ({named}), but were not chosen beforehand: of {len(study.models)} "
                "cases some may be above 0 by chance, and the question stays open."
            )
        return Finding("prediction", "", None if others else "no", None, text)
    text = f"Of the cases, {leader} has the highest r{chosen}: r = {_interval(r)} on {galaxies}."
    return Finding("prediction", "", "yes", None, text)


def _property(study: PairwiseR, ranked: Sequence[str]) -> list[Finding]:
    """Compare the best case of each single channel, filtered or not, then with all channels together."""
    best: dict[str, str] = {}
    for case in ranked:
        if len(study.channels[case]) == 1:
            best.setdefault(study.channels[case][0], case)
    if not best:
        return []
    leader, *others = best
    found = []
    if others:
        over = {_named(other, best[other]): study.differences[best[leader], best[other]] for other in others}
        decided = all(map(is_decided, over.values()))
        text = f"{_named(leader, best[leader])} has {_in_words(over)}."
        text = text[0].upper() + text[1:]
        probability = lowest_probability(list(over.values()))
        found.append(Finding("property", "", leader if decided else None, probability, text))
    several = [case for case in ranked if len(study.channels[case]) > 1]
    if several:
        one = study.differences[several[0], best[leader]]
        answer = "yes" if is_decided(one) else "no" if is_decided(exchanged(one)) else None
        other = study.filters[several[0]] != study.filters[best[leader]]
        text = (
            f"Several channels together ({several[0]}) have "
            f"{_in_words({_named(leader, best[leader]): one}, decided=answer is not None)}"
            f"{'; the two have different filters' if other else ''}."
        )
        ahead = exchanged(one) if is_negative(one) else one
        found.append(Finding("combination", "", answer, ahead["probability"], text))
    return found


def _part(study: PairwiseR, channels: tuple[str, ...]) -> list[Finding]:
    """Compare the ranges of scale that filters cut the maps into."""
    parts = ranges(study, channels)
    if len(parts) <= 2:  # the two sides of a single width are compared by `_scale`
        return []
    leader, *others = study.ranking(list(parts))
    over = {f"scales {parts[other]}": study.differences[leader, other] for other in others}
    decided = all(map(is_decided, over.values()))
    about = "+".join(channels)
    text = f"Of the ranges that add up to {about}, scales {parts[leader]} have {_in_words(over)}."
    answer = parts[leader] if decided else None
    return [Finding("part", about, answer, lowest_probability(list(over.values())), text)]


def _scale(study: PairwiseR, channels: tuple[str, ...]) -> list[Finding]:
    """Compare, at each filter width, the scales below with the scales above.

    Only a width with both filters can answer. Where it has one, the text gives what r loses without the
    scales that the filter takes away, which is no measure of these scales by themselves.
    """
    about = "+".join(channels)
    filtered = [
        study.filters[case]
        for case in study.models
        if study.channels[case] == channels and study.filters[case]["kind"] in ("gaussian", "high_pass")
    ]
    units = {one["unit"] for one in filtered}
    if len(units) != 1:  # none at all, or widths that can't be put in an order
        return []
    unit = units.pop()
    unfiltered = study.find(channels, "none")
    pairs: dict[float, Difference] = {}
    losses = []
    for sigma in sorted({one["sigma"] for one in filtered}):
        blurred = study.find(channels, "gaussian", sigma)
        high_pass = study.find(channels, "high_pass", sigma)
        if blurred and high_pass:
            pairs[sigma] = study.differences[high_pass, blurred]
        elif unfiltered and blurred:
            losses.append(_loss(f"below {sigma:g} {unit}", study.differences[unfiltered, blurred]))
        elif unfiltered and high_pass:
            losses.append(_loss(f"above {sigma:g} {unit}", study.differences[unfiltered, high_pass]))
    if not pairs and not losses:
        return []
    below = min((sigma for sigma, one in pairs.items() if is_decided(one)), default=None)
    above = max((sigma for sigma, one in pairs.items() if is_decided(exchanged(one))), default=None)
    sides = [_sides(sigma, unit, one) for sigma, one in pairs.items()] + losses
    reasons = [pairs[below]] if below is not None else []
    reasons += [exchanged(pairs[above])] if above is not None else []
    text = f"Scales of {about}: {'; '.join(sides)}."
    return [Finding("scale", about, _bracket(below, above, unit), lowest_probability(reasons), text)]


def _loss(scales: str, one: Difference) -> str:
    higher = is_negative(one)
    one = exchanged(one) if higher else one
    return f"without scales {scales}, r is {'higher' if higher else 'lower'} by {_with_probability(one)}"


def _sides(sigma: float, unit: str, one: Difference) -> str:
    first, second = "below", "above"
    if is_negative(one):
        first, second, one = second, first, exchanged(one)
    return f"r is higher {first} {sigma:g} {unit} than {second} it by {_with_probability(one)}"


def _bracket(below: float | None, above: float | None, unit: str) -> str | None:
    if below is None and above is None:
        return None
    begin, end = above or 0.0, below or math.inf
    return in_words(begin, end, unit) if begin < end else None


def _in_words(over: Mapping[str, Difference], decided: bool | None = None) -> str:
    """Return by how much the r of a case is above that of others, name -> difference."""
    parts: list[str] = []
    for name, one in over.items():
        lower = is_negative(one)
        ahead = exchanged(one) if lower else one
        r = f"a {'lower' if lower else 'higher'} {'one' if parts else 'r'}"
        parts.append(f"{r} than {name} by {_with_probability(ahead)}")
    decided = all(map(is_decided, over.values())) if decided is None else decided
    return ", ".join(parts) + ("" if decided else "; an interval includes 0, so the question stays open")


def _named(channel: str, case: str) -> str:
    return channel if case == channel else f"{channel} ({case})"


def _with_probability(one: Difference) -> str:
    probability = one["probability"]
    if probability is None:
        return f"{_interval(one)} (probability not defined)"
    shown = min(max(probability, 0.01), 0.99)  # a resample more or less says no more
    return f"{_interval(one)} (probability {shown:.0%})"


def _interval(one: Mapping[str, Any]) -> str:
    if one["value"] is None:
        return "an undefined amount"
    if one["lower"] is None:
        return f"{one['value']:.3f}"
    return f"{one['value']:.3f} [{one['lower']:.3f}, {one['upper']:.3f}]"
