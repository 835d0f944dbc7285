"""Drawings of maps and pictures: galleries of galaxies, channels side by side."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from ssfr.components.report.style import WIDTH, minus, styled

Origin = Literal["lower", "upper"]
"""Where row 0 is: "lower" for maps, "upper" for image files."""

_NO_GAS = "#e9e9e9"


@dataclass(frozen=True)
class Panel:
    """A channel of some galaxies: (n, P, P) values to show, NaN without gas, and what they are in units.

    `to_unit` turns a shown (stretched) value into the map's unit; `limits` are the ends of the colours,
    by default nearly those of the values.
    """

    title: str
    values: npt.NDArray[np.float32]
    colours: str
    to_unit: Callable[[float], float]
    symmetric: bool = False
    limits: tuple[float, float] | None = None

    @property
    def ends(self) -> tuple[float, float]:
        """The values at the ends of the colours."""
        if self.limits is not None:
            return self.limits
        finite = self.values[np.isfinite(self.values)]
        if not finite.size:
            return 0.0, 1.0
        low, high = (float(end) for end in np.quantile(finite, [0.01, 0.995]))
        if self.symmetric:
            high = max(abs(low), abs(high))
            low = -high
        return (low, high) if high > low else (low, low + 1.0)


@styled
def picture_gallery(
    pictures: npt.NDArray[np.float32], captions: Sequence[str], origin: Origin, columns: int = 3
) -> Figure:
    """Draw galaxies as colour pictures, (n, P, P, 3) in 0..1, each with its caption."""
    figure, grid = _grid(captions, columns, 0.0)
    for axes, picture, caption in zip(grid.flat, pictures, captions, strict=False):
        axes.imshow(picture, origin=origin)
        axes.set_title(caption, fontsize=10, linespacing=1.3)
    return figure


@styled
def map_gallery(panel: Panel, captions: Sequence[str], origin: Origin = "lower", columns: int = 3) -> Figure:
    """Draw galaxies by one channel, with one scale and one colour bar."""
    figure, grid = _grid(captions, columns, 0.7)
    low, high = panel.ends
    for axes, layer, caption in zip(grid.flat, panel.values, captions, strict=False):
        axes.imshow(np.ones_like(layer), origin=origin, cmap="gray", vmin=0, vmax=1.1)
        shown = axes.imshow(layer, origin=origin, cmap=panel.colours, vmin=low, vmax=high)
        axes.set_title(caption, fontsize=10, linespacing=1.3)
    bar = figure.colorbar(shown, ax=grid, location="top", fraction=0.02, pad=0.01, aspect=60)
    _label_bar(bar, panel, shares=(0.05, 0.35, 0.65, 0.95))
    return figure


@styled
def channel_gallery(panels: Sequence[Panel], captions: Sequence[str]) -> Figure:
    """Draw galaxies as rows, channels as columns, each column with one scale and its colour bar."""
    side, gap, left, top = 1.4, 0.1, 1.3, 0.75  # inches
    width = left + len(panels) * (side + gap)
    height = top + len(captions) * (side + gap)
    figure = Figure(figsize=(width, height))
    figure.set_layout_engine("none")
    for column, panel in enumerate(panels):
        low, high = panel.ends
        from_left = (left + column * (side + gap)) / width
        for row, layer in enumerate(panel.values):
            from_bottom = (len(captions) - 1 - row) * (side + gap) + gap
            axes = figure.add_axes((from_left, from_bottom / height, side / width, side / height))
            shown = axes.imshow(layer, origin="lower", cmap=panel.colours, vmin=low, vmax=high)
            axes.set(xticks=[], yticks=[], facecolor=_NO_GAS)
            axes.spines[:].set_visible(False)
            if column == 0:
                axes.set_ylabel(
                    captions[row], rotation=0, ha="right", va="center", fontsize=10, linespacing=1.4
                )
        bar_axes = figure.add_axes((from_left, 1 - (top - 0.08) / height, side / width, 0.09 / height))
        bar = figure.colorbar(shown, cax=bar_axes, orientation="horizontal", ticklocation="top")
        _label_bar(bar, panel, shares=(0.2, 0.8))
    return figure


@styled
def one_galaxy(
    panels: Sequence[Panel], titles: Sequence[str], picture: npt.NDArray[np.float32] | None, origin: Origin
) -> Figure:
    """Draw one galaxy in several ways, two a row: maybe a colour picture, then panels with colour bars.

    Parameters
    ----------
    panels
        Each of one galaxy.
    titles
        One for the picture, if there is one, and one for each panel.
    picture : (P, P, 3)
        In 0..1.
    origin
        Where row 0 is.
    """
    count = len(panels) + (picture is not None)
    rows = -(-count // 2)
    figure = Figure(figsize=(WIDTH, 2.95 * rows))
    grid = list(figure.subplots(rows, 2, squeeze=False).flat)
    for axes, title in zip(grid, titles, strict=False):
        axes.set(xticks=[], yticks=[], facecolor=_NO_GAS)
        axes.set_title(title, fontsize=12)
        axes.spines[:].set_visible(False)
    for axes in grid[count:]:
        axes.set_axis_off()
    if picture is not None:
        grid[0].imshow(picture, origin=origin)
    for axes, panel in zip(grid[count - len(panels) :], panels, strict=False):
        low, high = panel.ends
        shown = axes.imshow(panel.values[0], origin=origin, cmap=panel.colours, vmin=low, vmax=high)
        bar = figure.colorbar(shown, ax=axes, location="bottom", pad=0.02, aspect=26, shrink=0.96)
        _label_bar(bar, panel, shares=(0.1, 0.5, 0.9))
    return figure


def _grid(captions: Sequence[str], columns: int, top: float) -> tuple[Figure, Any]:
    """Return a figure with places for pictures, `columns` a row; `top` inches are left for a colour bar."""
    rows = -(-len(captions) // columns)
    lines = 1 + max((caption.count("\n") for caption in captions), default=0)
    figure = Figure(figsize=(WIDTH, top + (WIDTH / columns + 0.18 * lines) * rows))
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    return figure, grid


def _label_bar(bar: Any, panel: Panel, shares: Sequence[float]) -> None:
    """Mark shares of a colour bar's length with the map's values."""
    low, high = panel.ends
    ticks = [low + share * (high - low) for share in shares]
    bar.set_ticks(ticks, labels=[power(panel.to_unit(tick)) for tick in ticks], fontsize=9)
    bar.outline.set_visible(False)
    bar.set_label(panel.title, fontsize=10)


def power(value: float, digits: int = 1) -> str:
    """Return a number as mathtext, with a power of ten where that is shorter."""
    if 100 <= abs(value) < 10_000:
        return minus(f"{value:.0f}")
    if value == 0 or 0.01 <= abs(value) < 100:
        return minus(f"{value:.{digits + 1}g}")
    mantissa, exponent = f"{value:.{digits - 1}e}".split("e")
    return rf"${mantissa}\times10^{{{int(exponent)}}}$"
