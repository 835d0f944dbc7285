"""All figures of a study: drawn from its tables, written as PNG and PDF."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ssfr.components.imagesets.reader import MapReader
from ssfr.components.report.own_figures import own_figures
from ssfr.components.report.study import Study
from ssfr.components.report.style import Absent, ReportFigure, save_both
from ssfr.components.report.thesis_figures import thesis_figures


@dataclass(frozen=True)
class Drawn:
    """A figure on disk: its PNG, what it is called, what it shows, and its class on the page."""

    path: Path
    title: str
    caption: str
    kind: str


@dataclass(frozen=True)
class Drawings:
    """The figures of a study by name, and those left out: title -> why."""

    drawn: Mapping[str, Drawn] = field(default_factory=dict)
    left_out: Mapping[str, str] = field(default_factory=dict)


def draw(folder: Path, study: Study, reader: MapReader) -> Drawings:
    """Draw every figure that the study has data for, as NAME.png and NAME.pdf in `folder`."""
    drawn: dict[str, Drawn] = {}
    left_out: dict[str, str] = {}
    for figure in _all(study, reader):
        if isinstance(figure, Absent):
            left_out[figure.title] = figure.reason
            continue
        path = folder / f"{figure.name}.png"
        save_both(figure.figure, path, figure.dpi)
        drawn[figure.name] = Drawn(path, figure.title, figure.caption, figure.kind)
    return Drawings(drawn, left_out)


def _all(study: Study, reader: MapReader) -> Iterator[ReportFigure | Absent]:
    yield from thesis_figures(study, reader)
    yield from own_figures(study, reader)
