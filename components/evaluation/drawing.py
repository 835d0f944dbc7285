"""Which figures a study has: each drawn from the study's tables and written as PNG."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from components.evaluation import figures, gallery
from components.evaluation.study import Study
from components.imagesets.reader import MapReader
from components.imagesets.spec import ImageSpec

_LOSSES = {"gaussian_nll": "loss: Gaussian NLL", "mse": "loss: mean square error"}
_GALLERY_DPI = 130  # its many pixels are the bulk of the report


def draw(folder: Path, study: Study, reader: MapReader) -> dict[str, Path]:
    """Draw every figure that the study has data for, and return name -> PNG."""
    drawn: dict[str, Path] = {}

    def keep(name: str, figure: Figure, dpi: int = 200) -> None:
        drawn[name] = folder / f"{name}.png"
        figures.save(figure, drawn[name], dpi)

    shown, best = study.shown_set, study.best
    own = study.predictions[study.predictions["case"] == best]
    held_out = own[own["split"] == shown]
    truth, predicted, lower, upper = (
        held_out[name].to_numpy(np.float64) for name in ("log10_ssfr", "predicted", "lower", "upper")
    )
    score = study.metrics["cases"][best]["scores"][shown]["all"]
    keep("scores", figures.score_chart(_bars(study), f"{shown.capitalize()} set: {study.size(score)}"))
    note = f"r = {_short(score['r'])}, RMSE {_short(score['rmse'])} dex"
    title = f"{best}, {shown} set, {len(held_out)} galaxies"
    keep("true_predicted", figures.true_against_predicted(truth, predicted, lower, upper, title, note))
    keep("residuals", figures.residual_histogram(predicted - truth, title))
    train = study.galaxies.loc[study.galaxies["split"] == "train", "log10_ssfr"].to_numpy(np.float64)
    floor = study.settings.preprocessing.label.floor_log10_ssfr if study.galaxies["at_floor"].any() else None
    keep("distributions", figures.distributions(train, truth, predicted, floor, shown))
    spec = ImageSpec.model_validate(study.models[best]["spec"])
    keep("gallery", gallery.draw(held_out, study.galaxies, reader, spec), _GALLERY_DPI)
    histories = {case: history for case, history in study.histories.items() if len(history)}
    if best in histories:
        loss = _LOSSES[study.models[best]["training"]["loss"]]
        keep("training", figures.training_curves(histories, best, loss))
    return drawn


def _bars(study: Study) -> list[figures.Bar]:
    bars = []
    for name, case in study.metrics["cases"].items():
        score = case["scores"][study.shown_set]["all"]
        label = case["description"]
        if case["kind"] == "model" and len(study.models) == 1:
            label = f"{name} ({study.models[name]['model']})"
        bars.append(
            figures.Bar(label, case["kind"] == "model", _estimate(score["rmse"]), _estimate(score["r"]))
        )
    return bars


def _estimate(score: dict[str, Any]) -> tuple[float, float, float]:
    value, lower, upper = (
        np.nan if score[name] is None else score[name] for name in ("value", "lower", "upper")
    )
    return value, lower, upper


def _short(score: dict[str, Any]) -> str:
    if score["value"] is None:
        return "not defined"
    text = f"{score['value']:.2f}"
    if score["lower"] is not None:
        text += f" [{score['lower']:.2f}, {score['upper']:.2f}]"
    return text.replace("-", "−")
