"""Charts of scores, predictions and training: functions of arrays that return a matplotlib Figure."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ssfr.components.report.style import (
    BLUE,
    GREY,
    INK,
    PALE,
    VERMILION,
    WIDTH,
    Floats,
    minus,
    plain,
    span,
    styled,
)
from ssfr.components.statistics.scores import nmad


@dataclass(frozen=True)
class Bar:
    """A row of the chart of scores: an estimate and its interval, NaN where not defined.

    `seeds` holds (RMSE, r) of every network of the case.
    """

    label: str
    is_model: bool
    rmse: tuple[float, float, float]
    r: tuple[float, float, float]
    seeds: tuple[tuple[float, float], ...] = ()


@styled
def score_chart(bars: Sequence[Bar], title: str) -> Figure:
    """Draw RMSE and r of every model and baseline with intervals and seeds, the lowest RMSE on top."""
    ordered = sorted(bars, key=lambda bar: (not np.isfinite(bar.rmse[0]), bar.rmse[0]))
    places = np.arange(len(ordered))[::-1]
    figure = Figure(figsize=(WIDTH, 1.4 + 0.52 * len(ordered)))
    left, right = figure.subplots(1, 2, sharey=True)
    for column, (axes, score, label) in enumerate(
        ((left, "rmse", "RMSE [dex]\n← better"), (right, "r", "Pearson r\nbetter →"))
    ):
        for place, bar in zip(places, ordered, strict=True):
            value, lower, upper = getattr(bar, score)
            colour = VERMILION if bar.is_model else GREY
            if not np.isfinite(value):
                axes.text(
                    0.04, place, "not defined", transform=axes.get_yaxis_transform(), va="center", color=GREY
                )
                continue
            axes.plot([lower, upper], [place, place], color=colour, lw=4, alpha=0.5, solid_capstyle="butt")
            axes.plot(value, place, "D" if bar.is_model else "o", color=colour, ms=8, clip_on=False)
            if len(bar.seeds) > 1:
                each = [seed[column] for seed in bar.seeds]
                axes.plot(each, [place - 0.2] * len(each), "|", color=INK, ms=7, mew=1.4)
            axes.annotate(
                minus(f"{value:.2f}"),
                (value, place),
                xytext=(0, 8),
                textcoords="offset points",
                ha="center",
                fontsize=10,
            )
        axes.set_xlabel(label)
        axes.xaxis.set_major_locator(MaxNLocator(3, prune="both"))
        axes.grid(axis="x", color="#e3e3e3", lw=0.8)
        axes.set_axisbelow(True)
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        axes.margins(x=0.12)
    left.set_ylim(-0.6, len(ordered) - 0.3)
    left.set_yticks(places, [_two_lines(plain(bar.label)) for bar in ordered])
    for tick, bar in zip(left.get_yticklabels(), ordered, strict=True):
        tick.set_color(VERMILION if bar.is_model else INK)
        tick.set_fontweight("bold" if bar.is_model else "normal")
    figure.suptitle(title, fontsize=12)
    return figure


def density_map(axes: Any, truth: Floats, predicted: Floats, low: float, high: float) -> Any:
    """Draw true against predicted values as a map of counts, with the 1:1 line; return the map."""
    cells = int(np.clip(2.2 * np.sqrt(len(truth)), 18, 48))
    density = axes.hexbin(
        truth,
        predicted,
        gridsize=(cells, int(cells / np.sqrt(3))),
        extent=(low, high, low, high),
        mincnt=1,
        cmap="cividis",
        lw=0.2,
    )
    axes.plot([low, high], [low, high], color=INK, lw=1.2, ls="--", label="1:1")
    axes.set(xlim=(low, high), ylim=(low, high))
    axes.set_aspect("equal")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(5))
    return density


@styled
def true_against_predicted(
    truth: Floats, predicted: Floats, lower: Floats, upper: Floats, axis: str, title: str, note: str
) -> Figure:
    """Draw true against predicted values as a density map, with the 1:1 line and the interval in bins.

    Parameters
    ----------
    truth, predicted, lower, upper : (n,)
        [dex].
    axis
        The label with its unit.
    title
        Names the galaxies.
    note
        The scores, in a line.
    """
    figure = Figure(figsize=(WIDTH, 4.45))
    axes = figure.subplots()
    density = density_map(axes, truth, predicted, *span(truth, predicted))
    _interval_in_bins(axes, truth, predicted, lower, upper)
    colours = figure.colorbar(density, ax=axes, pad=0.02, shrink=0.85, label="galaxies")
    colours.locator = MaxNLocator(5, integer=True)
    colours.update_ticks()
    axes.set(xlabel=f"true {axis}", ylabel=f"predicted {axis}")
    axes.set_title(f"{plain(title)}\n{note}", fontsize=11, linespacing=1.4)
    axes.legend(loc="lower right")
    return figure


@styled
def residual_histogram(residual: Floats, title: str) -> Figure:
    """Draw the histogram of predicted - true [dex] with its bias, sigma and NMAD."""
    figure = Figure(figsize=(WIDTH, 3.6))
    axes = figure.subplots()
    bias, sigma, robust = residual.mean(), residual.std(), nmad(residual)
    reach = max(float(np.abs(residual).max()), 3 * sigma, 1e-3)
    edges = np.linspace(-reach, reach, 2 * int(np.clip(np.sqrt(len(residual)) * 1.2, 8, 30)) + 1)
    axes.hist(residual, edges.tolist(), color=BLUE, alpha=0.75)
    axes.axvline(0, color=INK, lw=1, ls="--")
    axes.axvspan(bias - sigma, bias + sigma, color=VERMILION, alpha=0.14, lw=0, label="bias ± σ")
    axes.axvline(bias, color=VERMILION, lw=1.5)
    axes.set(xlabel="predicted − true [dex]", ylabel="galaxies", title=plain(title))
    axes.yaxis.set_major_locator(MaxNLocator(5, integer=True))
    note = minus(f"bias {bias:+.2f} dex\nσ {sigma:.2f} dex\nNMAD {robust:.2f} dex")
    axes.text(0.02, 0.97, note, transform=axes.transAxes, va="top", fontsize=11, linespacing=1.4)
    axes.legend(loc="upper right")
    return figure


@styled
def training_curves(histories: Mapping[str, pd.DataFrame], best: str, loss: str) -> Figure:
    """Draw the loss by epoch: training and validation of the best case, validation of the others.

    A validation loss that is never finite (there is no validation set) is left out.

    Parameters
    ----------
    histories
        Case -> history.csv (epoch, loss, validation_loss).
    best
        Case to be emphasised.
    loss
        Its name and unit, for the axis.
    """
    figure = Figure(figsize=(WIDTH, 3.6))
    axes = figure.subplots()
    label = "other cases, validation"
    for case, history in histories.items():
        if case != best and np.isfinite(history["validation_loss"]).any():
            axes.plot(history["epoch"], history["validation_loss"], color=PALE, lw=1, label=label)
            label = "_"
    history = histories[best]
    axes.plot(history["epoch"], history["loss"], color=BLUE, lw=1.6, label=f"{best}, training")
    validated = history[np.isfinite(history["validation_loss"])]
    if len(validated):
        axes.plot(
            history["epoch"], history["validation_loss"], color=VERMILION, lw=1.6, label=f"{best}, validation"
        )
        lowest = validated.loc[validated["validation_loss"].idxmin()]
        axes.plot(
            lowest["epoch"],
            lowest["validation_loss"],
            "o",
            color=VERMILION,
            ms=7,
            mec="white",
            label="lowest",
        )
    finite = history[["loss", "validation_loss"]].to_numpy(np.float64).ravel()
    low, high = np.quantile(finite[np.isfinite(finite)], [0, 0.97])
    axes.set_ylim(low - 0.06 * (high - low) - 1e-6, high + 0.1 * (high - low) + 1e-6)
    axes.set(xlabel="epoch", ylabel=loss)
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    figure.legend(*axes.get_legend_handles_labels(), loc="outside upper left")
    return figure


def _two_lines(label: str) -> str:
    return "\n".join(textwrap.wrap(label, width=max(16, len(label) // 2 + 4), max_lines=2, placeholder="…"))


def _interval_in_bins(axes: Any, truth: Floats, predicted: Floats, lower: Floats, upper: Floats) -> None:
    """Draw the median prediction and the median ends of its interval in bins of equally many galaxies."""
    bins = int(np.clip(len(truth) // 8, 1, 9))
    parts = np.array_split(np.argsort(truth, kind="stable"), bins)
    centres, middle, below, above = (
        np.array([np.median(values[part]) for part in parts]) for values in (truth, predicted, lower, upper)
    )
    reach = np.maximum([middle - below, above - middle], 0)
    axes.errorbar(
        centres, middle, reach, fmt="o", color=VERMILION, ms=6, mec="white", lw=1.8, label="median, interval"
    )
