"""How figures look, and how they are written: as PNG and PDF, the same bytes for the same data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from ssfr.components.storage.artifact import atomic_file

Floats = npt.NDArray[np.float64]
P = ParamSpec("P")

BLUE, VERMILION, GREEN, PURPLE = "#0072B2", "#D55E00", "#009E73", "#CC79A7"  # Okabe and Ito's
GREY, PALE, INK = "#8a8a8a", "#cfcfcf", "#222222"
WIDTH = 5.2
"""Inches: with type of 10 to 12 pt still readable when shown 360 px wide."""

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
class ReportFigure:
    """A figure of the report: the name of its files, what it is called, and what it shows.

    `kind` is its class on the page: narrow, wide, or none.
    """

    name: str
    title: str
    caption: str
    figure: Figure
    kind: str = "narrow"
    dpi: int = 200


@dataclass(frozen=True)
class Absent:
    """A figure for which the run has no data, and why."""

    title: str
    reason: str


def styled(draw: Callable[P, Figure]) -> Callable[P, Figure]:
    """Make a function draw in the report's style, whatever the style outside is."""

    @wraps(draw)
    def with_style(*arguments: P.args, **named: P.kwargs) -> Figure:
        with mpl.rc_context(_STYLE):
            return draw(*arguments, **named)

    return with_style


def save(figure: Figure, path: Path, dpi: int = 200) -> None:
    """Write a figure in the format of the path's suffix (png or pdf), without a date in it."""
    metadata = {"Software": None} if path.suffix == ".png" else {"CreationDate": None}
    with atomic_file(path) as part, mpl.rc_context(_STYLE):
        figure.savefig(part, format=path.suffix.removeprefix("."), dpi=dpi, metadata=metadata)


def save_both(figure: Figure, path: Path, dpi: int = 200) -> None:
    """Write a figure as `path`, a PNG, and as PDF beside it, laid out once."""
    save(figure, path, dpi)
    figure.set_layout_engine("none")  # keeps what was laid out
    save(figure, path.with_suffix(".pdf"), dpi)


def span(*values: Floats) -> tuple[float, float]:
    """Return the range of all values with a margin; of nothing, 0 to 1."""
    together = np.concatenate(values)
    together = together[np.isfinite(together)]
    if not together.size:
        return 0.0, 1.0
    low, high = float(together.min()), float(together.max())
    margin = max(0.04 * (high - low), 0.05)
    return low - margin, high + margin


def minus(text: str) -> str:
    """Return text with true minus signs."""
    return text.replace("-", "−")


def plain(text: str) -> str:
    """Return text in which a dollar sign is no formula's: names are the user's."""
    return text.replace("$", r"\$")
