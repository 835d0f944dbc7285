"""What a run found, as tables with units."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from astropy import units
from astropy.table import QTable

from ssfr.components.config import Settings, parse_settings
from ssfr.components.errors import InputError
from ssfr.components.labels.registry import label_of
from ssfr.components.results.files import read_metrics
from ssfr.components.simulation import open_source
from ssfr.components.storage.artifact import read_json
from ssfr.components.storage.manifest import MANIFEST
from ssfr.quantities import logarithm, table
from ssfr.simulation import Simulation

_METRICS = ("r", "rmse", "nmad", "bias", "coverage")
_IN_DEX = ("rmse", "nmad", "bias")
_ENDS = {"": "value", "_lower": "lower", "_upper": "upper"}


class Report:
    """The numbers of a run; opened by `ssfr.read_report`.

    Attributes
    ----------
    workdir
        Folder of the run.
    settings
        Of the run.
    """

    def __init__(self, workdir: Path, manifest: Mapping[str, Any]) -> None:
        self.workdir = workdir
        self.settings: Settings = parse_settings(manifest["settings"], f"{workdir / MANIFEST}: settings")
        self._data = str(manifest["data"])
        self._steps: Mapping[str, Mapping[str, Any]] = manifest["steps"]

    def __repr__(self) -> str:
        return f"<Report {self.workdir}: {len(self.predictions)} predictions, best case {self.best_case}>"

    @property
    def best_case(self) -> str:
        """Name of the case whose model has the lowest RMSE on the validation set."""
        return str(self._metrics["best_case"])

    @property
    def simulation(self) -> Simulation:
        """The simulation that was studied, opened with the settings of the run.

        What `ssfr.draw` draws of it is what the models of the run were trained on.

        Examples
        --------
        >>> ssfr.read_report("run/demo").simulation.settings.projection.deposition
        'point'
        """
        source = open_source(self._data, self.settings.simulation)
        return Simulation(self._data, source, self.settings)

    @cached_property
    def galaxies(self) -> QTable:
        """The galaxies of the study with their labels and sets, a row each.

        Examples
        --------
        >>> report = ssfr.read_report("run/demo")
        >>> sorted(set(report.galaxies["split"]))
        ['promotion', 'test', 'train', 'validation']
        """
        return self._with_labels(self._read("preprocessing", "galaxies.parquet"), ("label",))

    @cached_property
    def predictions(self) -> QTable:
        """Predictions for galaxies that trained no model: a row for each galaxy, case and baseline.

        `log10_ssfr` (or the label of the study) is the simulation's value; `predicted` is the model's, with
        the ends of its interval `lower` and `upper`.

        Examples
        --------
        >>> report = ssfr.read_report("run/demo")
        >>> own = report.predictions[report.predictions["case"] == "mass"]
        >>> own["predicted"].unit
        Unit("dex(1 / yr)")
        """
        columns = ("label", "predicted", "lower", "upper")
        return self._with_labels(self._read("evaluation", "predictions.parquet"), columns)

    @cached_property
    def scores(self) -> QTable:
        """Scores of cases and baselines: a row for each, each set, and each population of galaxies.

        r, rmse [dex], nmad [dex], bias [dex] and coverage (the share of true values inside the interval),
        each with the ends of its own interval: `r_lower`, `r_upper`.

        Examples
        --------
        >>> scores = ssfr.read_report("run/demo").scores
        >>> test = scores[(scores["set"] == "test") & (scores["galaxies"] == "all")]
        >>> sorted(name for name, kind in zip(test["case"], test["kind"]) if kind == "model")
        ['mass']
        >>> scores["rmse"].unit
        Unit("dex")
        """
        return _in_dex(pd.DataFrame(self._scores()), _IN_DEX)

    @cached_property
    def differences(self) -> QTable:
        """By how much case `a` is better than case `b`, in r or in RMSE [dex], with the ends of an interval.

        `probability` is the share of resamples in which `a` is better.

        Examples
        --------
        >>> ssfr.read_report("run/demo").differences.colnames[:4]
        ['set', 'galaxies', 'metric', 'a']
        """
        names = ("metric", "a", "b", "value", "lower", "upper", "probability")
        rows = [
            {"set": split, "galaxies": population, **{name: one[name] for name in names}}
            for population, key in (("all", "differences"), ("uncensored", "differences_uncensored"))
            for split, found in self._metrics[key].items()
            for one in found
        ]
        return table(pd.DataFrame(rows, columns=["set", "galaxies", *names]))

    def plot(self, case: str | None = None, split: str = "test") -> Any:
        r"""Plot the predictions of a case over the simulation's values, with their intervals.

        Parameters
        ----------
        case
            Of the study; None: the best.
        split
            Set of galaxies: test, promotion or validation.

        Returns
        -------
        Axes
            Of the new figure.

        Examples
        --------
        >>> ssfr.read_report("run/demo").plot().get_xlabel()
        'simulation: $\\log_{10}$(sSFR / yr$^{-1}$)'
        """
        from matplotlib import pyplot

        case = case or self.best_case
        label = label_of(self.settings.preprocessing.label)
        rows = self.predictions[(self.predictions["case"] == case) & (self.predictions["split"] == split)]
        true, predicted, lower, upper = (
            np.asarray(rows[name].value) for name in (label.name, "predicted", "lower", "upper")
        )
        _, axes = pyplot.subplots(figsize=(4.5, 4.5), layout="constrained")
        axes.errorbar(true, predicted, yerr=(predicted - lower, upper - predicted), fmt="o", alpha=0.7)
        axes.axline((true.mean(), true.mean()), slope=1.0, color="grey", linestyle="--")
        axes.set(
            title=f"{case}, {split} set", xlabel=f"simulation: {label.axis}", ylabel=f"model: {label.axis}"
        )
        axes.set_aspect("equal", adjustable="datalim")
        return axes

    def folders(self, step: str) -> dict[str, Path]:
        """Return the folders that a step wrote: one by the step's name, or one a case by the case's.

        Examples
        --------
        >>> sorted(ssfr.read_report("run/demo").folders("training"))
        ['mass']
        """
        return {
            label.rpartition("/")[2]: self.workdir / made["step"] / made["key"]
            for label, made in self._steps.items()
            if made["step"] == step
        }

    @cached_property
    def _metrics(self) -> dict[str, Any]:
        return read_metrics(self._folder("evaluation"))

    def _scores(self) -> Iterator[dict[str, Any]]:
        for case, one in self._metrics["cases"].items():
            for split, populations in one.get("scores", {}).items():
                for population, scores in populations.items():
                    row: dict[str, Any] = {"case": case, "kind": one["kind"], "set": split}
                    row |= {"galaxies": population, "number": scores["galaxies"]}
                    for metric in _METRICS:
                        row |= {f"{metric}{end}": scores[metric][key] for end, key in _ENDS.items()}
                    yield row

    def _with_labels(self, frame: pd.DataFrame, columns: tuple[str, ...]) -> QTable:
        label = label_of(self.settings.preprocessing.label)
        result = table(frame)
        for name in columns:
            result[name] = logarithm(frame[name].to_numpy(), label.unit)
        result.rename_column("label", label.name)
        return result

    def _read(self, step: str, name: str) -> pd.DataFrame:
        return pd.read_parquet(self._folder(step) / name)

    def _folder(self, step: str) -> Path:
        found = self.folders(step)
        if not found:
            raise InputError(
                f"{self.workdir}: {step} was not run; run the study on: ssfr run ... --until {step}"
            )
        return next(iter(found.values()))


def read_report(workdir: str | PathLike[str]) -> Report:
    """Open the numbers of a run.

    Parameters
    ----------
    workdir
        Folder of the run; one that was ended by ``--until`` has the numbers of the steps that were done.

    Raises
    ------
    InputError
        No run there.

    Examples
    --------
    >>> report = ssfr.read_report("run/demo")
    >>> report.best_case
    'mass'
    """
    folder = Path(workdir)
    written = [*folder.glob(MANIFEST), *folder.glob("manifest-*.json")]
    if not written:
        raise InputError(f"{folder}: no {MANIFEST}; give the folder of a run that ended (ssfr run --workdir)")
    newest = max(written, key=lambda path: path.stat().st_mtime)
    return Report(folder, read_json(newest, "run the study again"))


def _in_dex(frame: pd.DataFrame, metrics: tuple[str, ...]) -> QTable:
    result = table(frame)
    for name in (f"{metric}{end}" for metric in metrics for end in _ENDS):
        result[name] = units.Quantity(frame[name].to_numpy(float), "dex")
        result[name].info.format = ".5g"
    return result
