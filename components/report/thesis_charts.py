"""Charts in the thesis' arrangement (2.8, 3.1, 4.1 to 4.5): functions of arrays that return a Figure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ssfr.components.labels.registry import LABELS
from ssfr.components.report.charts import density_map
from ssfr.components.report.style import (
    BLUE,
    INK,
    VERMILION,
    WIDTH,
    Floats,
    minus,
    plain,
    span,
    styled,
)


@dataclass(frozen=True)
class Comparison:
    """A row of figures 4.2 to 4.5: true and predicted labels of n galaxies, (n,) each."""

    title: str
    truth: Floats
    predicted: Floats
    r: float


@styled
def sfr_against_mass(mass_msun: Floats, sfr_msun_per_yr: Floats) -> Figure:
    """Draw SFR against mass, (n,) each, as a map of counts; SFR = 0 is drawn as a row below the others."""
    forming = sfr_msun_per_yr > 0
    figure = Figure(figsize=(WIDTH, 4.2))
    axes = figure.subplots()
    mass, sfr = np.log10(mass_msun[forming]), np.log10(sfr_msun_per_yr[forming])
    lowest = float(sfr.min()) if sfr.size else 0.0
    cells = int(np.clip(2.2 * np.sqrt(mass.size), 20, 60))
    if sfr.size:
        shown = axes.hexbin(mass, sfr, gridsize=(cells, int(cells / 1.9)), mincnt=1, cmap="cividis", lw=0.2)
        bar = figure.colorbar(shown, ax=axes, pad=0.02, label="galaxies")
        bar.locator = MaxNLocator(5, integer=True)
        bar.update_ticks()
    if not forming.all():
        below = lowest - 0.5
        axes.plot(np.log10(mass_msun[~forming]), np.full((~forming).sum(), below), "|", color=VERMILION, ms=8)
        axes.annotate(
            f"SFR = 0: {np.sum(~forming)} galaxies",
            (0.98, below),
            xycoords=("axes fraction", "data"),
            xytext=(0, 6),
            textcoords="offset points",
            ha="right",
            color=VERMILION,
            fontsize=11,
        )
        axes.set_ylim(bottom=below - 0.3)
    axes.set(
        xlabel=r"$\log_{10}$ total mass [$\mathrm{M}_\odot$]",
        ylabel=r"$\log_{10}$ SFR [$\mathrm{M}_\odot\,$yr$^{-1}$]",
    )
    return figure


@styled
def ssfr_histogram(labels: Floats, floor: float | None, zero: int) -> Figure:
    """Draw the histogram of log10(sSFR / yr^-1), counts on a logarithmic axis.

    Parameters
    ----------
    labels : (n,)
        Before any floor, of the galaxies that form stars.
    floor
        Value to which labels below it are raised; None: no mark.
    zero
        Galaxies with SFR = 0, which have no place on the axis.
    """
    figure = Figure(figsize=(WIDTH, 3.6))
    axes = figure.subplots()
    low, high = span(labels)
    axes.hist(labels, np.linspace(low, high, _bins(labels)).tolist(), color=BLUE, log=True)
    if floor is not None and low < floor < high:
        axes.axvline(floor, color=INK, lw=1, ls=":")
        axes.text(
            floor, 0.97, " floor", transform=axes.get_xaxis_transform(), ha="left", va="top", fontsize=11
        )
    note = f"{len(labels)} galaxies" + (f"\nand {zero} with SFR = 0" if zero else "")
    axes.text(0.02, 0.97, note, transform=axes.transAxes, va="top", fontsize=11, linespacing=1.4)
    axes.set(xlabel=LABELS["log10_ssfr"].axis, ylabel="galaxies")
    axes.set_ylim(bottom=0.7, top=axes.get_ylim()[1] * 2.5)
    return figure


@styled
def training_and_predicted(
    train: Floats, predicted: Floats, floor: float | None, held_out: str, axis: str
) -> Figure:
    """Draw histograms of the training sample's labels and of what was predicted for a held-out set.

    Counts, on a logarithmic axis; `floor` marks the value to which labels were raised; `axis` is the label
    with its unit.
    """
    figure = Figure(figsize=(WIDTH, 3.8))
    axes = figure.subplots()
    low, high = span(train, predicted, np.array([] if floor is None else [floor]))
    edges = np.linspace(low, high, _bins(train)).tolist()
    axes.hist(train, edges, color=BLUE, alpha=0.75, log=True, label=f"training sample, true ({len(train)})")
    axes.hist(
        predicted,
        edges,
        color=VERMILION,
        alpha=0.75,
        log=True,
        label=f"{held_out} sample, predicted ({len(predicted)})",
    )
    if floor is not None:
        axes.axvline(floor, color=INK, lw=1, ls=":")
        axes.text(
            floor, 0.98, " floor", transform=axes.get_xaxis_transform(), ha="left", va="top", fontsize=11
        )
    axes.set(xlim=(low, high), xlabel=axis, ylabel="galaxies")
    axes.set_ylim(bottom=0.7)
    axes.xaxis.set_major_locator(MaxNLocator(6))
    figure.legend(*axes.get_legend_handles_labels(), loc="outside upper left")
    return figure


@styled
def comparisons(rows: Sequence[Comparison], axis: str) -> Figure:
    """Draw a row each: the density map of true against predicted with r, and the residuals with ±sigma.

    All rows have the same axes, so that they can be compared. A residual is predicted - true [dex], its
    sigma the standard deviation about its mean. `axis` is the label with its unit.
    """
    low, high = span(*(values for row in rows for values in (row.truth, row.predicted)))
    residuals = [row.predicted - row.truth for row in rows]
    # The axis ends where all but the last per mille of the widest row do, or one outlier is all there is.
    reach = max(1e-3, *(float(np.quantile(np.abs(residual), 0.999)) for residual in residuals)) * 1.05
    bins = 2 * int(np.clip(0.9 * np.sqrt(len(rows[0].truth)), 8, 24)) + 1
    figure = Figure(figsize=(WIDTH, 0.35 + 2.55 * len(rows)))
    grid = figure.subplots(len(rows), 2, squeeze=False)
    for (left, right), row, residual in zip(grid, rows, residuals, strict=True):
        density_map(left, row.truth, row.predicted, low, high)
        for ticks in (left.xaxis, left.yaxis):
            ticks.set_major_locator(MaxNLocator(4, integer=True))
        score = "r not defined" if np.isnan(row.r) else minus(f"r = {row.r:.3f}")
        left.set_title(f"{plain(row.title)}\n{score}", fontsize=11, linespacing=1.3)
        left.set_ylabel("predicted", fontsize=11)
        mean, sigma = float(residual.mean()), float(residual.std())
        clipped = np.clip(residual, -reach, reach)
        right.hist(clipped, np.linspace(-reach, reach, bins).tolist(), color=BLUE, alpha=0.8)
        for end in (mean - sigma, mean + sigma):
            right.axvline(end, color=VERMILION, lw=1.5)
        right.axvline(0, color=INK, lw=1, ls="--")
        right.set_title(minus(f"mean {mean:+.2f} dex\nσ = {sigma:.2f} dex"), fontsize=11, linespacing=1.3)
        right.set_xlim(-reach, reach)
        right.yaxis.set_major_locator(MaxNLocator(4, integer=True))
        right.tick_params(labelsize=10)
        left.tick_params(labelsize=10)
        right.set_ylabel("galaxies", fontsize=11)
    grid[-1][0].set_xlabel(f"true {axis}", fontsize=10)
    grid[-1][1].set_xlabel("predicted − true [dex]", fontsize=10)
    return figure


def _bins(values: Floats) -> int:
    return int(np.clip(2.0 * np.sqrt(len(values)), 12, 60)) + 1
