"""metrics.json: scores of every case, gains over baselines, differences, seeds, milestones, the audit."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

import numpy as np
import pandas as pd

from ssfr.components.config import Settings
from ssfr.components.evaluation.audit import audit, same_galaxy
from ssfr.components.evaluation.baselines import DESCRIPTIONS, PREFIX
from ssfr.components.results.files import METRICS_FORMAT
from ssfr.components.statistics import differences
from ssfr.components.statistics.bootstrap import Resamples, with_interval
from ssfr.components.statistics.differences import Networks, seed_sigma
from ssfr.components.statistics.scores import NAMES, Sample, gains, resampled_scores, scores

HELD_OUT = ("validation", "test", "promotion")
POPULATIONS = {
    "all": "every galaxy, censored ones (SFR = 0, or a label as low as the floor) included",
    "uncensored": "without the censored galaxies, whose label is the floor (SFR = 0 among them)",
}
BEST_CASE_RULES = {
    "validation": "the model with the lowest RMSE on the validation set (all galaxies)",
    "promotion": (
        "the model with the lowest RMSE on the promotion set (all galaxies); there is no validation set"
    ),
    None: "the first case; there is neither a validation nor a promotion set to choose on",
}
"""Set that the best case was chosen on -> how."""
BEATS_RULE = (
    "a model beats the baselines if its RMSE on the promotion set (all galaxies) is lower than that of each; "
    "the number of these galaxies and the probability that the smallest gain is positive are given with it, "
    "as a small set leaves it open; the test set is only reported"
)
_GROUPS = {"tree": "merger trees", "halo": "halos", "random": "galaxies"}
_CATALOGUE_GROUPS = "groups of the catalogue"

_QUICK = tuple(name for name in NAMES if name != "nmad")
"""Scores of milestones that get an interval: the NMAD's takes longer than all others together."""

Tables = Mapping[str, pd.DataFrame]
Found = TypeVar("Found")


def assess(
    predictions: pd.DataFrame,
    extra: pd.DataFrame,
    galaxies: pd.DataFrame,
    settings: Settings,
    failed: Mapping[str, str],
) -> dict[str, Any]:
    """Score every case of a table of predictions, and every model against every baseline and model.

    Parameters
    ----------
    predictions
        As predictions.parquet: case, seed, galaxy, group, split, label, predicted, lower, upper,
        censored; every case has the same galaxies in the same order.
    extra
        As extra_predictions.parquet: the same for other seeds, milestones and the audit, with kind and key.
    galaxies
        galaxies.parquet.
    settings
        seed, evaluation, cases and preprocessing.split are used.
    failed
        Case -> why it has no model.

    Returns
    -------
    dict
        What metrics.json holds; None where a number is not defined.
    """
    tables = {str(case): table for case, table in predictions.groupby("case", sort=False)}
    references = [case for case in tables if case.startswith(PREFIX)]
    models = [case for case in tables if case not in references]
    inputs = {case.name: case.model_dump(mode="json") for case in settings.cases}
    cases: dict[str, dict[str, Any]] = {}
    for case in (*models, *failed, *references):
        cases[case] = {
            "kind": "baseline" if case in references else "model",
            "description": DESCRIPTIONS.get(case, case),
            "scores": {split: {} for split in HELD_OUT},
        }
        if case not in references:
            spec = inputs.get(case, {})
            cases[case] |= {"channels": spec.get("channels"), "filter": spec.get("filter")}
            cases[case]["gains"] = {split: {} for split in HELD_OUT}
        if case in failed:
            cases[case]["failed"] = failed[case]
    empty = dict.fromkeys(failed, predictions.iloc[:0])
    for split in HELD_OUT:
        found = _by_population(predictions, split, partial(_score_set, {**tables, **empty}, split, settings))
        for population, of_set in found.items():
            for case, (own_scores, own_gains) in of_set.items():
                cases[case]["scores"][split][population] = own_scores
                if case not in references:
                    cases[case]["gains"][split][population] = own_gains
    for case in (*models, *failed):
        cases[case] |= _beside_baselines(cases[case], references)
    best, chosen_on = _best(cases, models)
    by_split = {
        split: _by_population(predictions, split, partial(_networks, tables, models, extra, split, settings))
        for split in HELD_OUT
    }
    networks = {
        population: {split: of_split[population] for split, of_split in by_split.items()}
        for population in POPULATIONS
    }
    for case in models:
        cases[case] |= _seeds(case, tables[case], extra, networks["all"])
        cases[case]["milestones"] = _milestones(case, extra, settings)
    result: dict[str, Any] = {
        "format": METRICS_FORMAT,
        "seed": settings.seed,
        "resamples": settings.evaluation.bootstrap,
        "resampled": "groups",
        "groups": group_word(galaxies, settings),
        "sets": sets(galaxies),
        "confidence": settings.evaluation.confidence,
        "interval": settings.evaluation.interval,
        "populations": POPULATIONS,
        "best_case": best,
        "best_case_rule": BEST_CASE_RULES[chosen_on],
        "beats_baselines_rule": BEATS_RULE,
        "differences_rule": differences.RULE,
        "differences": _differences(networks["all"], settings),
        "differences_uncensored": _differences(networks["uncensored"], settings),
        "cases": cases,
    }
    audited = extra[extra["kind"] == "audit"]
    if len(audited):
        result["audit"] = _audit(audited, galaxies, networks["all"]["test"], settings)
    return result


def sets(galaxies: pd.DataFrame) -> dict[str, dict[str, int]]:
    """Count the galaxies of each set, their groups, and how many have SFR = 0 or a censored label."""
    counts = {}
    for name in ("train", *HELD_OUT):
        chosen = galaxies[galaxies["split"] == name]
        counts[name] = {
            "galaxies": len(chosen),
            "groups": int(chosen["group"].nunique()),
            "zero_sfr": int(chosen["zero_sfr"].sum()),
            "censored": int(chosen["censored"].sum()),
        }
    return counts


def group_word(galaxies: pd.DataFrame, settings: Settings) -> str:
    """Return the kind of group that the split keeps together, in the plural, as "merger trees"."""
    method = settings.preprocessing.split.method
    in_tree = bool(galaxies["in_tree"].any())
    if "file" in galaxies:  # an image catalogue: its group column stands for the tree under every method
        return _CATALOGUE_GROUPS if in_tree or method == "column" else _GROUPS["random"]
    if method in ("tree", "column"):
        return _GROUPS["tree" if in_tree else "halo"]
    return _GROUPS[method]


def _by_population(table: pd.DataFrame, split: str, work: Callable[[str], Found]) -> dict[str, Found]:
    """Return population -> result of `work`, computed once where no galaxy of the set is censored."""
    any_censored = bool(table.loc[table["split"] == split, "censored"].any())
    of_all = work("all")
    return {name: work(name) if name != "all" and any_censored else of_all for name in POPULATIONS}


def _score_set(
    tables: Tables, split: str, settings: Settings, population: str, names: Sequence[str] = NAMES
) -> dict[str, tuple[dict[str, Any], dict[str, Any]]]:
    """Return (scores, gains over the baselines) of every case for one set and population.

    Only the scores `names` get an interval. Baselines have no gains, and a case without predictions has
    scores and gains of nothing.
    """
    samples = {case: sample_of(table, split, population) for case, table in tables.items()}
    count, confidence = settings.evaluation.bootstrap, settings.evaluation.confidence
    resamples = {case: Resamples(sample.group, count, settings.seed) for case, sample in samples.items()}
    values = {case: scores(sample) for case, sample in samples.items()}
    draws = {case: resampled_scores(sample, resamples[case], names) for case, sample in samples.items()}
    undefined = np.full(count, np.nan)
    references = [case for case in tables if case.startswith(PREFIX)]
    result = {}
    for case, sample in samples.items():
        own: dict[str, Any] = {"galaxies": len(sample), "groups": resamples[case].groups}
        for name, value in values[case].items():
            own[name] = with_interval(value, draws[case].get(name, undefined), confidence).to_json()
        over = {
            other: {
                name: gain.to_json()
                for name, gain in gains(
                    values[case], draws[case], values[other], draws[other], confidence
                ).items()
            }
            for other in references
            if case not in references
        }
        result[case] = own, over
    return result


def sample_of(table: pd.DataFrame, split: str, population: str = "all") -> Sample:
    """Return the galaxies of one set and population out of a table of predictions."""
    chosen = table[table["split"] == split]
    if population == "uncensored":
        chosen = chosen[~chosen["censored"].astype(bool)]
    columns = ("label", "predicted", "lower", "upper")
    truth, predicted, lower, upper = (chosen[column].to_numpy(np.float64) for column in columns)
    return Sample(truth, predicted, lower, upper, chosen["group"].to_numpy(np.int64))


def _beside_baselines(case: Mapping[str, Any], references: list[str]) -> dict[str, Any]:
    """Return whether a model beats every baseline on the promotion set, and with which probability."""
    over = {name: case["gains"]["promotion"]["all"][name]["rmse"] for name in references}
    not_beaten = [name for name in references if (over[name]["value"] or 0.0) <= 0.0]
    probabilities = {
        name: gain["probability"] for name, gain in over.items() if gain["probability"] is not None
    }
    hardest = min(probabilities, key=lambda name: probabilities[name], default=None)
    score = case["scores"]["promotion"]["all"]
    return {
        "beats_baselines": not not_beaten,
        "not_beaten": not_beaten,
        "promotion": {
            "galaxies": score["galaxies"],
            "groups": score["groups"],
            "hardest": hardest,
            "probability": probabilities[hardest] if hardest else None,
        },
    }


def _best(cases: Mapping[str, dict[str, Any]], models: list[str]) -> tuple[str, str | None]:
    """Return the best model and the set that it was chosen on, which is never the test set."""
    for split in ("validation", "promotion"):
        rmse = {case: cases[case]["scores"][split]["all"]["rmse"]["value"] for case in models}
        if None not in rmse.values():
            return min(models, key=lambda case: rmse[case]), split
    return models[0], None


def _networks(
    tables: Tables,
    models: list[str],
    extra: pd.DataFrame,
    split: str,
    settings: Settings,
    population: str,
) -> dict[str, Networks]:
    """Score every seed of every model on one set and population."""
    result = {}
    for case in models:
        others = _of(extra, case, "seed").groupby("key", sort=False)
        by_seed = {"first": tables[case]} | {str(seed): table for seed, table in others}
        samples = {seed: sample_of(table, split, population) for seed, table in by_seed.items()}
        group = next(iter(samples.values())).group
        resamples = Resamples(group, settings.evaluation.bootstrap, settings.seed)
        result[case] = Networks.score(samples, resamples)
    return result


def _differences(networks: Mapping[str, Mapping[str, Networks]], settings: Settings) -> dict[str, Any]:
    evaluation = settings.evaluation
    return {
        split: differences.pairs(of_set, evaluation.bootstrap, evaluation.confidence, settings.seed)
        for split, of_set in networks.items()
    }


def _seeds(
    case: str, table: pd.DataFrame, extra: pd.DataFrame, networks: Mapping[str, Mapping[str, Networks]]
) -> dict[str, Any]:
    """Return each seed's scores and their spread, over all galaxies of each set."""
    names = [str(table["seed"].iloc[0]), *_of(extra, case, "seed")["key"].unique()]
    seeds: dict[str, dict[str, Any]] = {name: {} for name in names}
    for split, of_set in networks.items():
        for place, name in enumerate(names):
            seeds[name][split] = {
                metric: _or_none(values[place]) for metric, values in of_set[case].values.items()
            }
    return {
        "seeds": seeds,
        "seed_spread": {split: of_set[case].spread() for split, of_set in networks.items()},
    }


def _milestones(case: str, extra: pd.DataFrame, settings: Settings) -> dict[str, Any]:
    """Return the scores, as those of the case itself, of its network after fewer epochs."""
    found = _of(extra, case, "milestone")
    result: dict[str, Any] = {}
    for key in sorted(found["key"].unique(), key=int):
        table = found[found["key"] == key]
        result[key] = {}
        for split in HELD_OUT:
            score = partial(_score_set, {key: table}, split, settings, names=_QUICK)
            of_set = _by_population(table, split, score)
            result[key][split] = {population: scored[key][0] for population, scored in of_set.items()}
    return result


def _audit(
    audited: pd.DataFrame, galaxies: pd.DataFrame, networks: Mapping[str, Networks], settings: Settings
) -> dict[str, Any]:
    same = pd.Series(same_galaxy(galaxies), index=galaxies["galaxy"])
    tested = audited[audited["split"] == "test"]
    tested = tested.assign(group=same.loc[tested["galaxy"]].to_numpy())
    samples = {str(key): sample_of(table, "test") for key, table in tested.groupby("key", sort=False)}
    return audit(
        str(audited["case"].iloc[0]),
        samples,
        settings.evaluation.bootstrap,
        settings.evaluation.confidence,
        settings.seed,
        seed_sigma(networks, "r"),
    )


def _of(extra: pd.DataFrame, case: str, kind: str) -> pd.DataFrame:
    return extra[(extra["case"] == case) & (extra["kind"] == kind)]


def _or_none(number: float) -> float | None:
    return float(number) if np.isfinite(number) else None
