"""Charts that set cases beside each other: paired differences, leakage audit, scale sweep."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, MaxNLocator, NullFormatter, NullLocator

from ssfr.components.report.style import (
    BLUE,
    GREEN,
    GREY,
    INK,
    VERMILION,
    WIDTH,
    Floats,
    minus,
    plain,
    styled,
)

_FAMILIES = {"blurs": (BLUE, "o"), "high-pass": (VERMILION, "D"), "bands": (GREEN, "s")}


@dataclass(frozen=True)
class Scaled:
    """A case of the sweep: the scales of its filter (one or two), and r with its interval."""

    family: str
    scales: tuple[float, ...]
    r: tuple[float, float, float]


@styled
def difference_matrix(names: Sequence[str], gain: Floats, probability: Floats, resamples: int) -> Figure:
    """Draw by how much r of the case in the row is higher than that of the case in the column.

    Parameters
    ----------
    names
        Of the cases, the best first.
    gain : (n, n)
        r(row) - r(column); NaN where not defined, and on the diagonal.
    probability : (n, n)
        Of a positive difference.
    resamples
        Number of resamples that `probability` is a share of.
    """
    count = len(names)
    figure = Figure(figsize=(WIDTH, 1.7 + 0.42 * count))
    axes = figure.subplots()
    defined = np.abs(gain[np.isfinite(gain)])
    reach = max(float(defined.max()) if defined.size else 0.0, 0.02)
    colours = mpl.colormaps["PuOr_r"].with_extremes(bad="#f2f2f2")
    shown = axes.imshow(np.ma.masked_invalid(gain), cmap=colours, vmin=-reach, vmax=reach, aspect="auto")
    for row, column in np.argwhere(np.isfinite(gain)):
        dark = abs(gain[row, column]) > 0.62 * reach
        axes.text(
            column,
            row,
            _percent(probability[row, column], resamples),
            ha="center",
            va="center",
            fontsize=10 if count <= 10 else 9,
            color="white" if dark else INK,
        )
    labels = [plain(name) for name in names]
    axes.set_xticks(range(count), labels, rotation=60, ha="right", rotation_mode="anchor", fontsize=10)
    axes.set_yticks(range(count), labels, fontsize=10)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    bar = figure.colorbar(shown, ax=axes, location="top", pad=0.02, aspect=40, shrink=0.9)
    bar.set_label("r of the row − r of the column", fontsize=11)
    bar.locator = MaxNLocator(4)
    bar.update_ticks()
    bar.ax.tick_params(labelsize=10)
    return figure


@styled
def audit_chart(
    scores: Mapping[str, tuple[float, float, float]], notes: Mapping[str, str], gaps: str
) -> Figure:
    """Draw r of one case by way of splitting, with intervals.

    Parameters
    ----------
    scores
        Way -> r and its interval, NaN where not defined.
    notes
        Way -> size of its test set.
    gaps
        The gaps, lines of text.
    """
    figure = Figure(figsize=(WIDTH, 1.5 + 0.7 * len(scores) + 0.22 * gaps.count("\n")))
    axes = figure.subplots()
    places = np.arange(len(scores))[::-1]
    for place, (name, (value, lower, upper)) in zip(places, scores.items(), strict=True):
        colour = VERMILION if name == "random" else BLUE
        axes.plot([lower, upper], [place, place], color=colour, lw=5, alpha=0.5, solid_capstyle="butt")
        axes.plot(value, place, "D", color=colour, ms=9)
        axes.annotate(
            minus(f"{value:.3f}") if np.isfinite(value) else "not defined",
            (value if np.isfinite(value) else 0.0, place),
            xytext=(0, 9),
            textcoords="offset points",
            ha="center",
            fontsize=11,
        )
    axes.set_yticks(places, [f"{name}\n{notes[name]}" for name in scores], fontsize=11)
    axes.set_ylim(-0.6, len(scores) - 0.3)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.grid(axis="x", color="#e3e3e3", lw=0.8)
    axes.set_axisbelow(True)
    axes.margins(x=0.15)
    axes.set_xlabel(f"Pearson r\n{gaps}", linespacing=1.5)
    return figure


@styled
def scale_sweep(
    sweep: Sequence[Scaled], unfiltered: tuple[str, tuple[float, float, float]] | None, unit: str
) -> Figure:
    """Draw r against the scale of the filter, for blurs, high-pass filters and bands.

    Parameters
    ----------
    sweep
        The cases with a filter.
    unfiltered
        Name and r of the case without one, drawn as a line with its interval.
    unit
        Of the scales.
    """
    figure = Figure(figsize=(WIDTH, 4.2))
    axes = figure.subplots()
    if unfiltered is not None and np.isfinite(unfiltered[1][0]):
        name, (value, lower, upper) = unfiltered
        axes.axhspan(lower, upper, color=GREY, alpha=0.16, lw=0)
        axes.axhline(value, color=GREY, lw=1.4, ls="--", label=f"{plain(name)}, no filter")
    for shift, (family, (colour, mark)) in enumerate(_FAMILIES.items()):
        own = [one for one in sweep if one.family == family and np.isfinite(one.r[0])]
        if not own:
            continue
        place = np.array([np.sqrt(one.scales[0] * one.scales[-1]) for one in own]) * 1.025 ** (shift - 1)
        value, lower, upper = np.array([one.r for one in own]).T
        reach = np.maximum([value - lower, upper - value], 0)
        axes.errorbar(
            place, value, np.nan_to_num(reach), fmt=f"{mark}-", color=colour, ms=7, lw=1.6, label=family
        )
        for one in own:
            if len(one.scales) > 1:
                axes.plot(one.scales, [one.r[0]] * 2, color=colour, lw=5, alpha=0.3, solid_capstyle="butt")
    marks = sorted({scale for one in sweep for scale in one.scales})
    axes.set_xscale("log")
    axes.set_xlim(marks[0] / 1.3, marks[-1] * 1.3)
    axes.xaxis.set_major_locator(FixedLocator(marks))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xticklabels([f"{mark:g}" for mark in marks])
    axes.set(xlabel=f"scale of the filter, σ [{unit}]", ylabel="Pearson r")
    axes.grid(axis="y", color="#e3e3e3", lw=0.8)
    axes.set_axisbelow(True)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside upper left", ncols=2)
    return figure


def _percent(share: float, resamples: int) -> str:
    """Return a probability as integer percent, between 1/n and 1 - 1/n for n resamples."""
    if np.isnan(share):
        return "–"
    bounded = float(np.clip(share, 1 / resamples, 1 - 1 / resamples))
    if bounded > 0.99:
        return ">99"
    return "<1" if bounded < 0.01 else f"{100 * bounded:.0f}"
