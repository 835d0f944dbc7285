"""The study's verdict: does anything know the sSFR, which property does, and at which scale."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from ssfr.components.statistics.differences import compared

Question = Literal["knowledge", "property", "combination", "part", "scale"]

_SETS = ("test", "promotion", "validation")


@dataclass(frozen=True)
class Finding:
    """The answer to one question, from paired differences in r.

    Attributes
    ----------
    question
        knowledge: does the best case know anything; property: which single channel knows most;
        combination: do several channels know more than the best one; part: which of the parts that
        filters cut the maps into knows most; scale: of which size are the structures that know most.
    about
        The channels that a part or a scale is found for, joined by "+"; else "".
    answer
        nothing or something; a channel; "more" or "no more"; of parts and scales "below 3 kpc",
        "above 3 kpc", "1 to 3 kpc".
        None: the galaxies leave it open.
    probability
        Of the least sure comparison that the answer rests on; None where there is none.
    text
        The answer in a sentence, with its numbers.
    """

    question: Question
    about: str
    answer: str | None
    probability: float | None
    text: str


def findings(metrics: Mapping[str, Any]) -> list[Finding]:
    """Return what the study found, as far as its cases and galaxies can tell.

    Every answer is from galaxies that neither trained a network nor chose one: the cases that stand for a
    property are chosen on the validation set, and compared on the test set, on the galaxies that `compared`
    names. A comparison decides if its interval excludes zero; it includes the luck of training where a case
    has several seeds.

    Parameters
    ----------
    metrics
        metrics.json.
    """
    study = _Compared.of(metrics)
    if not study.models:
        return []
    ranked = study.ranking(study.models)
    known = _knowledge(study, ranked[0])
    if known.answer != "something":
        return [known]
    found = [known, *_property(study, ranked)]
    families = dict.fromkeys(study.channels[case] for case in ranked)
    return found + [
        one for channels in families for one in (*_part(study, channels), *_scale(study, channels))
    ]


@dataclass(frozen=True)
class _Compared:
    """The differences in r of one set and population, either way round, and what the cases are."""

    shown: str
    population: str
    models: tuple[str, ...]
    scores: Mapping[str, Mapping[str, Any]]
    channels: Mapping[str, tuple[str, ...]]
    filters: Mapping[str, Mapping[str, Any]]
    differences: Mapping[tuple[str, str], Mapping[str, Any]]
    to_choose: Mapping[tuple[str, str], Mapping[str, Any]]
    chooses: str

    @classmethod
    def of(cls, metrics: Mapping[str, Any]) -> _Compared:
        sets = metrics["sets"]
        shown = next((name for name in _SETS if sets[name]["galaxies"]), "test")
        chooses = "validation" if sets["validation"]["galaxies"] else shown
        population, differences = compared(metrics, shown)
        key = "differences" if population == "all" else "differences_above_floor"
        models = {
            case: found
            for case, found in metrics["cases"].items()
            if found["kind"] == "model" and "failed" not in found and found["channels"]
        }
        return cls(
            shown=shown,
            population=population,
            models=tuple(models),
            scores={case: found["scores"][shown][population] for case, found in models.items()},
            channels={case: tuple(found["channels"]) for case, found in models.items()},
            filters={case: found["filter"] for case, found in models.items()},
            differences=_both_ways(differences),
            to_choose=_both_ways(metrics[key][chooses]),
            chooses=chooses,
        )

    def ranking(self, cases: Sequence[str]) -> list[str]:
        """Return cases from the highest to the lowest r on the set that chooses."""

        def above_others(case: str) -> float:
            values = [self.to_choose[case, other]["value"] for other in cases if other != case]
            return sum(-1.0 if value is None else value for value in values)

        return sorted(cases, key=above_others, reverse=True)

    def find(self, channels: tuple[str, ...], kind: str, sigma: float | None = None) -> str | None:
        """Return the case of these channels and filter."""
        for case in self.models:
            filtered = self.filters[case]
            same = self.channels[case] == channels and filtered["kind"] == kind
            if same and sigma in (None, filtered["sigma"]):
                return case
        return None


def _both_ways(records: Iterable[Mapping[str, Any]]) -> dict[tuple[str, str], dict[str, Any]]:
    result = {}
    for one in records:
        if one["metric"] != "r":
            continue
        result[one["a"], one["b"]] = dict(one)
        result[one["b"], one["a"]] = _turned(one)
    return result


def _turned(one: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "value": _minus(one["value"]),
        "lower": _minus(one["upper"]),
        "upper": _minus(one["lower"]),
        "probability": None if one["probability"] is None else 1.0 - one["probability"],
    }


def _knowledge(study: _Compared, leader: str) -> Finding:
    score = study.scores[leader]
    r = score["r"]
    galaxies = f"{score['galaxies']} galaxies of the {study.shown} set"
    if study.population == "above_floor":
        galaxies += " above the floor"
    chosen = " on the validation set" if study.chooses == "validation" else ""
    if r["value"] is not None and r["lower"] is None:
        text = f"{leader} has r = {_range(r)} on {galaxies}, too few independent ones for an interval."
        return Finding("knowledge", "", None, None, text)
    if r["value"] is None or r["lower"] <= 0.0:
        found = "is not defined" if r["value"] is None else f"= {_range(r)}"
        text = (
            f"{leader}, whose r is the highest{chosen}, has not shown that it knows anything of the sSFR: "
            f"r {found} on {galaxies}, which is not above 0."
        )
        others = [case for case in study.models if case != leader and _decides(study.scores[case]["r"])]
        if others:
            named = ", ".join(f"{case} {_range(study.scores[case]['r'])}" for case in others)
            text += (
                f" Others are above 0 ({named}), but were not chosen beforehand: of {len(study.models)} "
                "cases, some may be so by luck, and it stays open."
            )
        return Finding("knowledge", "", None if others else "nothing", None, text)
    text = f"Of the cases, {leader} has the highest r{chosen}: r = {_range(r)} on {galaxies}."
    return Finding("knowledge", "", "something", None, text)


def _property(study: _Compared, ranked: Sequence[str]) -> list[Finding]:
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
        compared = {
            _named(other, best[other]): study.differences[best[leader], best[other]] for other in others
        }
        decided = all(_decides(one) for one in compared.values())
        text = f"{_named(leader, best[leader])} has {_beside(compared)}."
        text = text[0].upper() + text[1:]
        found.append(
            Finding("property", "", leader if decided else None, _least(list(compared.values())), text)
        )
    several = [case for case in ranked if len(study.channels[case]) > 1]
    if several:
        one = study.differences[several[0], best[leader]]
        answer = "more" if _decides(one) else "no more" if _decides(_turned(one)) else None
        other = study.filters[several[0]] != study.filters[best[leader]]
        text = (
            f"Several channels together ({several[0]}) have "
            f"{_beside({_named(leader, best[leader]): one}, decides=answer is not None)}"
            f"{'; the two have different filters' if other else ''}."
        )
        least = one if not _is_negative(one) else _turned(one)
        found.append(Finding("combination", "", answer, least["probability"], text))
    return found


def _part(study: _Compared, channels: tuple[str, ...]) -> list[Finding]:
    """Compare the parts that filters cut the maps into: structures, bands and a blur that meet."""
    chain = _chain(study, channels)
    if len(chain) <= 2:  # a scale's two sides are `_scale`'s
        return []
    leader, *others = study.ranking(list(chain))
    compared = {f"what is {chain[other]}": study.differences[leader, other] for other in others}
    decided = all(_decides(one) for one in compared.values())
    about = "+".join(channels)
    text = f"Of the parts that add up to {about}, what is {chain[leader]} has {_beside(compared)}."
    answer = chain[leader] if decided else None
    return [Finding("part", about, answer, _least(list(compared.values())), text)]


def _chain(study: _Compared, channels: tuple[str, ...]) -> dict[str, str]:
    """Return case -> its range of scales, in words, for cases whose ranges meet from zero to infinity."""
    by_unit: dict[str, dict[str, tuple[float, float]]] = {}
    for case in study.models:
        filtered = study.filters[case]
        if study.channels[case] == channels and filtered["kind"] in _SPANS:
            by_unit.setdefault(filtered["unit"], {})[case] = _SPANS[filtered["kind"]](filtered)
    for unit, spans in by_unit.items():
        if chain := _longest_chain(spans, 0.0):
            return {case: _span(*spans[case], unit) for case in chain}
    return {}


def _longest_chain(spans: Mapping[str, tuple[float, float]], begin: float) -> list[str] | None:
    """Return the most cases whose ranges meet from `begin` to infinity; None where they leave a gap."""
    if begin == math.inf:
        return []
    chains = []
    for case, (own, end) in spans.items():
        rest = _longest_chain(spans, end) if own == begin else None
        if rest is not None:
            chains.append([case, *rest])
    return max(chains, key=len, default=None)


_SPANS: dict[str, Callable[[Mapping[str, Any]], tuple[float, float]]] = {
    "structures": lambda one: (0.0, one["sigma"]),
    "band": lambda one: (one["sigma"], one["sigma_max"]),
    "gaussian": lambda one: (one["sigma"], math.inf),
}
"""Filter -> the range of scales that it keeps."""


def _span(begin: float, end: float, unit: str) -> str:
    if begin == 0.0:
        return f"below {end:g} {unit}"
    return f"above {begin:g} {unit}" if end == math.inf else f"{begin:g} to {end:g} {unit}"


def _scale(study: _Compared, channels: tuple[str, ...]) -> list[Finding]:
    """Ask at each scale whether what is smaller or what is larger knows more.

    Only a scale with both filters can answer. Where it has one, the text says what is missed without the
    part that the filter takes away, which tells nothing of what that part knows by itself.
    """
    about = "+".join(channels)
    filtered = [
        study.filters[case]
        for case in study.models
        if study.channels[case] == channels and study.filters[case]["kind"] in ("gaussian", "structures")
    ]
    units = {one["unit"] for one in filtered}
    if len(units) != 1:  # none at all, or scales that can't be put in an order
        return []
    unit = units.pop()
    whole = study.find(channels, "none")
    pairs: dict[float, Mapping[str, Any]] = {}
    missed = []
    for sigma in sorted({one["sigma"] for one in filtered}):
        blurred = study.find(channels, "gaussian", sigma)
        structures = study.find(channels, "structures", sigma)
        if blurred and structures:
            pairs[sigma] = study.differences[structures, blurred]
        elif whole and blurred:
            missed.append(_missed("smaller", sigma, unit, study.differences[whole, blurred]))
        elif whole and structures:
            missed.append(_missed("larger", sigma, unit, study.differences[whole, structures]))
    if not pairs and not missed:
        return []
    below_scale = min((sigma for sigma, one in pairs.items() if _decides(one)), default=None)
    above_scale = max((sigma for sigma, one in pairs.items() if _decides(_turned(one))), default=None)
    parts = [_side("smaller", "larger", sigma, unit, one) for sigma, one in pairs.items()] + missed
    rests = [pairs[below_scale]] if below_scale is not None else []
    rests += [_turned(pairs[above_scale])] if above_scale is not None else []
    answer = _scale_answer(below_scale, above_scale, unit)
    text = f"Scales of {about}, in r: {'; '.join(parts)}."
    return [Finding("scale", about, answer, _least(rests), text)]


def _missed(which: str, sigma: float, unit: str, one: Mapping[str, Any]) -> str:
    less = _is_negative(one)
    one = _turned(one) if less else one
    return (
        f"without what is {which} than {sigma:g} {unit}, r is {'higher' if less else 'lower'} by "
        f"{_range(one)} (probability {_percent(one)})"
    )


def _side(more: str, less: str, sigma: float, unit: str, one: Mapping[str, Any]) -> str:
    if _is_negative(one):
        more, less, one = less, more, _turned(one)
    return (
        f"what is {more} than {sigma:g} {unit} knows more than what is {less} by {_range(one)} "
        f"(probability {_percent(one)})"
    )


def _scale_answer(below: float | None, above: float | None, unit: str) -> str | None:
    if below is None and above is None:
        return None
    begin, end = above or 0.0, below or math.inf
    return _span(begin, end, unit) if begin < end else None


def _beside(compared: Mapping[str, Mapping[str, Any]], decides: bool | None = None) -> str:
    """Say how a case's r compares with that of others, name -> difference, and whether that decides."""
    parts: list[str] = []
    for name, one in compared.items():
        less = _is_negative(one)
        shown = _turned(one) if less else one
        what = f"a {'lower' if less else 'higher'} {'one' if parts else 'r'}"
        parts.append(f"{what} than {name} by {_range(shown)} (probability {_percent(shown)})")
    decided = all(_decides(one) for one in compared.values()) if decides is None else decides
    return ", ".join(parts) + ("" if decided else ": not sure enough, so that it stays open")


def _decides(one: Mapping[str, Any]) -> bool:
    return one["lower"] is not None and one["lower"] > 0.0


def _is_negative(one: Mapping[str, Any]) -> bool:
    return one["value"] is not None and one["value"] < 0.0


def _least(compared: Sequence[Mapping[str, Any]]) -> float | None:
    known = [one["probability"] for one in compared]
    return min(known) if known and None not in known else None


def _named(channel: str, case: str) -> str:
    return channel if case == channel else f"{channel} ({case})"


def _range(one: Mapping[str, Any]) -> str:
    if one["value"] is None:
        return "an unknown amount"
    if one["lower"] is None:
        return f"{one['value']:.3f}"
    return f"{one['value']:.3f} [{one['lower']:.3f}, {one['upper']:.3f}]"


def _percent(one: Mapping[str, Any]) -> str:
    if one["probability"] is None:
        return "unknown"
    return f"{min(max(one['probability'], 0.01), 0.99):.0%}"  # a resample more or less says no more


def _minus(value: float | None) -> float | None:
    return None if value is None else -value
