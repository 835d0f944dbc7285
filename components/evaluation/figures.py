"""The report's figures: functions of arrays that return a matplotlib Figure, and one that writes it."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any, Literal, ParamSpec

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from components.evaluation.metrics import nmad
from components.storage.artifact import atomic_file

Floats = npt.NDArray[np.float64]
P = ParamSpec("P")

BLUE, VERMILION, GREY, INK = "#0072B2", "#D55E00", "#8a8a8a", "#222222"  # Okabe and Ito's, and greys
SSFR = r"$\log_{10}$ sSFR [dex of yr$^{-1}$]"
_WIDTH = 5.2  # inches; with 12 pt type still readable when shown 360 px wide
_STYLE: dict[str, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 12,
    "axes.titlesize": 12,
    "axes.labelsize": 12,
    "axes.edgecolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "legend.fontsize": 11,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "figure.dpi": 100,
    "figure.constrained_layout.use": True,
}


@dataclass(frozen=True)
class Bar:
    """A row of the chart of scores: an estimate and its interval, NaN where not defined."""

    label: str
    is_model: bool
    rmse: tuple[float, float, float]
    r: tuple[float, float, float]


@dataclass(frozen=True)
class Panel:
    """A channel of the gallery: (n, P, P) values to show, NaN without gas, and what they are in units.

    `to_unit` turns a shown (stretched) value into the map's unit.
    """

    title: str
    values: npt.NDArray[np.float32]
    colours: str
    to_unit: Callable[[float], float]
    symmetric: bool = False


def _styled(draw: Callable[P, Figure]) -> Callable[P, Figure]:
    @wraps(draw)
    def with_style(*arguments: P.args, **named: P.kwargs) -> Figure:
        with mpl.rc_context(_STYLE):
            return draw(*arguments, **named)

    return with_style


def save(figure: Figure, path: Path, dpi: int = 200) -> None:
    """Write a figure as PNG, the same bytes for the same figure."""
    with atomic_file(path) as part, mpl.rc_context(_STYLE):
        figure.savefig(part, format="png", dpi=dpi, metadata={"Software": None})


@_styled
def score_chart(bars: Sequence[Bar], title: str) -> Figure:
    """Draw RMSE and r of every model and baseline with their intervals, the lowest RMSE on top."""
    ordered = sorted(bars, key=lambda bar: (not np.isfinite(bar.rmse[0]), bar.rmse[0]))
    places = np.arange(len(ordered))[::-1]
    figure = Figure(figsize=(_WIDTH, 1.4 + 0.52 * len(ordered)))
    left, right = figure.subplots(1, 2, sharey=True)
    for axes, score, label in (
        (left, "rmse", "RMSE [dex]\n← better"),
        (right, "r", "Pearson r\nbetter →"),
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
            axes.annotate(
                f"{value:.2f}",
                (value, place),
                xytext=(0, 9),
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
    left.set_yticks(places, [_two_lines(bar.label) for bar in ordered])
    for tick, bar in zip(left.get_yticklabels(), ordered, strict=True):
        tick.set_color(VERMILION if bar.is_model else INK)
        tick.set_fontweight("bold" if bar.is_model else "normal")
    figure.suptitle(title, fontsize=12)
    return figure


@_styled
def true_against_predicted(
    truth: Floats, predicted: Floats, lower: Floats, upper: Floats, title: str, note: str
) -> Figure:
    """Draw true against predicted values as a density map, with the 1:1 line and the interval in bins.

    Parameters
    ----------
    truth, predicted, lower, upper : (n,)
        [dex of 1/yr].
    title
        Which galaxies.
    note
        The scores, a line.
    """
    figure = Figure(figsize=(_WIDTH, 4.45))
    axes = figure.subplots()
    low, high = _range(truth, predicted)
    cells = int(np.clip(2.2 * np.sqrt(len(truth)), 20, 48))
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
    _interval_in_bins(axes, truth, predicted, lower, upper)
    colours = figure.colorbar(density, ax=axes, pad=0.02, shrink=0.85, label="galaxies")
    colours.locator = MaxNLocator(5, integer=True)
    colours.update_ticks()
    axes.set(xlim=(low, high), ylim=(low, high), xlabel=f"true {SSFR}", ylabel=f"predicted {SSFR}")
    axes.set_aspect("equal")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(5))
    axes.set_title(f"{title}\n{note}", fontsize=11, linespacing=1.4)
    axes.legend(loc="lower right")
    return figure


@_styled
def residual_histogram(residual: Floats, title: str) -> Figure:
    """Draw the histogram of predicted - true [dex] with its bias, sigma and NMAD."""
    figure = Figure(figsize=(_WIDTH, 3.6))
    axes = figure.subplots()
    bias, sigma, robust = residual.mean(), residual.std(), nmad(residual)
    reach = max(float(np.abs(residual).max()), 3 * sigma, 1e-3)
    edges = np.linspace(-reach, reach, 2 * int(np.clip(np.sqrt(len(residual)) * 1.2, 8, 30)) + 1)
    axes.hist(residual, edges.tolist(), color=BLUE, alpha=0.75)
    axes.axvline(0, color=INK, lw=1, ls="--")
    axes.axvspan(bias - sigma, bias + sigma, color=VERMILION, alpha=0.14, lw=0, label="bias ± σ")
    axes.axvline(bias, color=VERMILION, lw=1.5)
    axes.set(xlabel="predicted − true [dex]", ylabel="galaxies", title=title)
    axes.yaxis.set_major_locator(MaxNLocator(5, integer=True))
    note = f"bias {bias:+.2f} dex\nσ {sigma:.2f} dex\nNMAD {robust:.2f} dex"
    axes.text(0.02, 0.97, note, transform=axes.transAxes, va="top", fontsize=11, linespacing=1.4)
    axes.legend(loc="upper right")
    return figure


@_styled
def distributions(
    train: Floats, truth: Floats, predicted: Floats, floor: float | None, held_out: str
) -> Figure:
    """Draw the distributions of log10 sSFR: training set, a held-out set, and what was predicted for it.

    `floor` marks the value to which labels were raised; None: no mark; `held_out` names the set.
    """
    figure = Figure(figsize=(_WIDTH, 3.8))
    axes = figure.subplots()
    low, high = _range(train, truth, predicted, np.array([] if floor is None else [floor]))
    edges = np.linspace(low, high, int(np.clip(1.6 * np.sqrt(len(truth)), 12, 40)) + 1).tolist()
    axes.hist(train, edges, density=True, color="#cfcfcf", label=f"training, true ({len(train)})")
    for values, colour, style, label in (
        (truth, BLUE, "-", f"{held_out}, true ({len(truth)})"),
        (predicted, VERMILION, "--", f"{held_out}, predicted ({len(predicted)})"),
    ):
        axes.hist(values, edges, density=True, histtype="step", lw=2, color=colour, ls=style, label=label)
    if floor is not None:
        axes.axvline(floor, color=INK, lw=1, ls=":")
        axes.annotate(
            "floor",
            (floor, 1),
            xycoords=("data", "axes fraction"),
            xytext=(4, -4),
            textcoords="offset points",
            va="top",
            fontsize=11,
        )
    axes.set(xlim=(low, high), xlabel=SSFR, ylabel="share per dex")
    figure.legend(*axes.get_legend_handles_labels(), loc="outside upper left")
    return figure


@_styled
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
    figure = Figure(figsize=(_WIDTH, 3.6))
    axes = figure.subplots()
    label = "other cases, validation"
    for case, history in histories.items():
        if case != best and np.isfinite(history["validation_loss"]).any():
            axes.plot(history["epoch"], history["validation_loss"], color="#b9b9b9", lw=1, label=label)
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
    finite = np.concatenate([history[["loss", "validation_loss"]].to_numpy().ravel()])
    finite = finite[np.isfinite(finite)]
    low, high = np.quantile(finite, [0, 0.97])
    axes.set_ylim(low - 0.06 * (high - low) - 1e-6, high + 0.1 * (high - low) + 1e-6)
    axes.set(xlabel="epoch", ylabel=loss)
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    figure.legend(*axes.get_legend_handles_labels(), loc="outside upper left")
    return figure


@_styled
def picture_gallery(
    pictures: npt.NDArray[np.float32], captions: Sequence[str], origin: Literal["lower", "upper"]
) -> Figure:
    """Draw galaxies as colour pictures, (n, P, P, 3) in 0..1, three a row, each with its caption.

    `origin` says where row 0 is: "lower" for maps, "upper" for image files.
    """
    rows = -(-len(pictures) // 3)
    figure = Figure(figsize=(_WIDTH, 2.25 * rows))
    grid = figure.subplots(rows, 3, squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    for axes, picture, caption in zip(grid.flat, pictures, captions, strict=False):
        axes.imshow(picture, origin=origin)
        axes.set_title(caption, fontsize=10, linespacing=1.3)
    return figure


@_styled
def map_gallery(panel: Panel, captions: Sequence[str]) -> Figure:
    """Draw galaxies by one channel, three a row, with one scale and one colour bar."""
    rows = -(-len(captions) // 3)
    figure = Figure(figsize=(_WIDTH, 0.7 + 2.25 * rows))
    grid = figure.subplots(rows, 3, squeeze=False)
    low, high = _limits(panel)
    for axes in grid.flat:
        axes.set_axis_off()
    for axes, layer, caption in zip(grid.flat, panel.values, captions, strict=False):
        axes.imshow(np.ones_like(layer), origin="lower", cmap="gray", vmin=0, vmax=1.1)
        shown = axes.imshow(layer, origin="lower", cmap=panel.colours, vmin=low, vmax=high)
        axes.set_title(caption, fontsize=10, linespacing=1.3)
    bar = figure.colorbar(shown, ax=grid, location="top", fraction=0.02, pad=0.01, aspect=60)
    _label_bar(bar, panel, low, high, shares=(0.05, 0.35, 0.65, 0.95))
    return figure


@_styled
def channel_gallery(panels: Sequence[Panel], captions: Sequence[str]) -> Figure:
    """Draw galaxies as rows, channels as columns, each column with one scale and its colour bar."""
    side, gap, left, top = 1.4, 0.1, 1.3, 0.75  # inches
    width = left + len(panels) * (side + gap)
    height = top + len(captions) * (side + gap)
    figure = Figure(figsize=(width, height))
    figure.set_layout_engine("none")
    for column, panel in enumerate(panels):
        low, high = _limits(panel)
        from_left = (left + column * (side + gap)) / width
        for row, layer in enumerate(panel.values):
            from_bottom = (len(captions) - 1 - row) * (side + gap) + gap
            axes = figure.add_axes((from_left, from_bottom / height, side / width, side / height))
            shown = axes.imshow(layer, origin="lower", cmap=panel.colours, vmin=low, vmax=high)
            axes.set(xticks=[], yticks=[], facecolor="#e9e9e9")
            axes.spines[:].set_visible(False)
            if column == 0:
                axes.set_ylabel(
                    captions[row], rotation=0, ha="right", va="center", fontsize=10, linespacing=1.4
                )
        bar_axes = figure.add_axes((from_left, 1 - (top - 0.08) / height, side / width, 0.09 / height))
        bar = figure.colorbar(shown, cax=bar_axes, orientation="horizontal", ticklocation="top")
        _label_bar(bar, panel, low, high, shares=(0.2, 0.8))
    return figure


def _two_lines(label: str) -> str:
    return "\n".join(textwrap.wrap(label, width=max(16, len(label) // 2 + 4), max_lines=2, placeholder="…"))


def _range(*values: Floats) -> tuple[float, float]:
    together = np.concatenate(values)
    low, high = float(together.min()), float(together.max())
    margin = max(0.04 * (high - low), 0.05)
    return low - margin, high + margin


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


def _limits(panel: Panel) -> tuple[float, float]:
    finite = panel.values[np.isfinite(panel.values)]
    if not finite.size:
        return 0.0, 1.0
    low, high = (float(end) for end in np.quantile(finite, [0.01, 0.995]))
    if panel.symmetric:
        high = max(abs(low), abs(high))
        low = -high
    return (low, high) if high > low else (low, low + 1.0)


def _label_bar(bar: Any, panel: Panel, low: float, high: float, shares: Sequence[float]) -> None:
    """Mark shares of a colour bar's length with the map's values."""
    ticks = [low + share * (high - low) for share in shares]
    bar.set_ticks(ticks, labels=[_power(panel.to_unit(tick)) for tick in ticks], fontsize=9)
    bar.outline.set_visible(False)
    bar.set_label(panel.title, fontsize=10)


def _power(value: float) -> str:
    """Return a number as mathtext with one digit and a power of ten where that is shorter."""
    if value == 0 or 0.01 <= abs(value) < 1000:
        return f"{value:.2g}"
    digit, exponent = f"{value:.0e}".split("e")
    return rf"${digit}\times10^{{{int(exponent)}}}$"
