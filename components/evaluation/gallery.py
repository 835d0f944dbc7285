"""The gallery: galaxies from the most to the least star-forming, as the best case's network sees them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from components.evaluation.figures import Panel, channel_gallery, map_gallery, picture_gallery
from components.imagesets.reader import MapReader
from components.imagesets.spec import ImageSpec
from components.imagesets.transform import images, physical_channels, stretched

_COLOURS = {"mass": "viridis", "entropy": "cividis", "temperature": "inferno"}  # perceptually uniform
_ROWS, _PICTURES, _CHANNELS = 8, 12, 3
_NAME = 24  # characters of a name over a picture


def draw(predictions: pd.DataFrame, galaxies: pd.DataFrame, reader: MapReader, spec: ImageSpec) -> Figure:
    """Draw some galaxies of one case with true and predicted log10 sSFR.

    Parameters
    ----------
    predictions
        Of the case: galaxy, log10_ssfr, predicted; at least one row.
    galaxies
        The reader's table.
    reader
        Of the raw maps.
    spec
        Of the case.
    """
    as_pictures = spec.pixel_type == "uint8" or spec.source == "images"
    in_rows = not as_pictures and len(spec.channels) > 1
    shown = _evenly_by_ssfr(predictions, _ROWS if in_rows else _PICTURES)
    captions = [
        f"{_short(name)}\n" + f"true {truth:.2f}\npred. {predicted:.2f}".replace("-", "−")
        for name, truth, predicted in zip(
            shown["galaxy"], shown["log10_ssfr"], shown["predicted"], strict=True
        )
    ]
    place = pd.Series(np.arange(len(galaxies)), index=galaxies["galaxy"])
    maps = reader.maps(place.loc[shown["galaxy"]].to_numpy())
    if as_pictures:
        return picture_gallery(
            _pictures(maps, spec), captions, "upper" if spec.source == "images" else "lower"
        )
    panels = _panels(maps, spec)
    return channel_gallery(panels, captions) if in_rows else map_gallery(panels[0], captions)


def _short(name: str) -> str:
    """Return a galaxy's name as plain text that fits over its picture: names of files can be long."""
    shown = name if len(name) <= _NAME else f"…{name[1 - _NAME :]}"
    return shown.replace("$", r"\$")


def _evenly_by_ssfr(predictions: pd.DataFrame, count: int) -> pd.DataFrame:
    ordered = predictions.sort_values(["log10_ssfr", "galaxy"], ascending=[False, True])
    places = np.unique(np.linspace(0, len(ordered) - 1, min(count, len(ordered))).round().astype(int))
    return ordered.iloc[places]


def _pictures(maps: np.ndarray, spec: ImageSpec) -> np.ndarray:
    """Return (n, P, P, 3) in 0..1: the 8-bit picture, or the channels of a float image in its place."""
    if spec.pixel_type == "uint8":
        eight_bit: np.ndarray = images(np, maps, spec) / 255.0
        return eight_bit
    layers = [np.nan_to_num(layer) for layer in physical_channels(np, maps, spec)]
    if spec.filter.kind == "structures":
        layers = [0.5 + 2.0 * layer for layer in layers]
    if len(layers) != 3:
        layers = [layers[0]] * 3
    return np.clip(np.stack(layers, axis=-1), 0.0, 1.0)


def _panels(maps: np.ndarray, spec: ImageSpec) -> list[Panel]:
    channels = list(zip(spec.channels, physical_channels(np, maps, spec), strict=True))[:_CHANNELS]
    panels = []
    for name, layer in channels:
        softening = spec.scales[name].softening
        unit = spec.units[spec.fields.index(name)]
        panels.append(
            Panel(
                title=f"{name} [{unit}]".replace("^2", "²").replace("$", r"\$"),
                values=stretched(np, layer, spec, softening),
                colours="PuOr_r" if spec.filter.kind == "structures" else _COLOURS.get(name, "viridis"),
                to_unit=_unstretched(softening),
                symmetric=spec.filter.kind == "structures",
            )
        )
    return panels


def _unstretched(softening: float) -> Callable[[float], float]:
    return lambda value: float(softening * np.sinh(value))
