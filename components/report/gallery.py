"""Galaxies as a case's network sees them: galleries by sSFR, and one galaxy through several filters."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from ssfr.components.imagesets.reader import MapReader
from ssfr.components.imagesets.spec import ImageSpec
from ssfr.components.imagesets.transform import images, physical_channels, stretched
from ssfr.components.report.pictures import (
    Origin,
    Panel,
    channel_gallery,
    map_gallery,
    one_galaxy,
    picture_gallery,
    power,
)
from ssfr.components.report.style import minus, plain

_COLOURS = {"mass": "viridis", "entropy": "cividis", "temperature": "inferno"}  # perceptually uniform
_SIGNED = "PuOr_r"
_ROWS, _PICTURES, _CHANNELS = 8, 12, 3
_NAME = 18  # characters of a name over a picture
_DARK = 2.0  # of 255, the mean of a channel in which the eye sees nothing
TYPICAL = 20
"""Galaxies of the thesis' galleries, four a row."""


def draw(predictions: pd.DataFrame, galaxies: pd.DataFrame, reader: MapReader, spec: ImageSpec) -> Figure:
    """Draw some galaxies of one case with true and predicted labels.

    Parameters
    ----------
    predictions
        Of the case: galaxy, label, predicted; at least one row.
    galaxies
        The reader's table.
    reader
        Of the raw maps.
    spec
        Of the case.
    """
    as_pictures = spec.pixel_type == "uint8" or spec.source == "images"
    in_rows = not as_pictures and len(spec.channels) > 1
    shown = evenly(predictions, "label", _ROWS if in_rows else _PICTURES)
    captions = [
        f"{_short(name)}\n" + minus(f"true {truth:.2f}\npred. {predicted:.2f}")
        for name, truth, predicted in zip(shown["galaxy"], shown["label"], shown["predicted"], strict=True)
    ]
    place = pd.Series(np.arange(len(galaxies)), index=galaxies["galaxy"])
    maps = reader.maps(place.loc[shown["galaxy"]].to_numpy())
    if as_pictures:
        return picture_gallery(pictures(maps, spec), captions, origin(spec))
    panels = [panel(maps, spec, name) for name in spec.channels[:_CHANNELS]]
    return channel_gallery(panels, captions) if in_rows else map_gallery(panels[0], captions)


def typical(galaxies: pd.DataFrame, ssfr_per_yr: pd.Series, reader: MapReader, spec: ImageSpec) -> Figure:
    """Draw twenty galaxies from the most to the least star-forming, each with its sSFR [1/yr] (3.3).

    Parameters
    ----------
    galaxies
        The reader's table; those to choose from are in the index of `ssfr_per_yr`.
    ssfr_per_yr
        By row number of `galaxies`.
    reader, spec
        Of the maps, and of the case.
    """
    table = pd.DataFrame({"ssfr": ssfr_per_yr, "galaxy": galaxies["galaxy"].loc[ssfr_per_yr.index]})
    shown = evenly(table, "ssfr", TYPICAL)
    captions = [power(value, digits=3) if value > 0 else "SFR = 0" for value in shown["ssfr"]]
    maps = reader.maps(shown.index.to_numpy())
    if len(spec.channels) == 1:
        return map_gallery(panel(maps, spec, spec.channels[0]), captions, origin(spec), columns=4)
    return picture_gallery(pictures(maps, spec), captions, origin(spec), columns=4)


def channels_of(row: int, reader: MapReader, spec: ImageSpec) -> Figure:
    """Draw one galaxy as a case's colour picture and as each of its channels (3.2)."""
    maps = reader.maps([row])
    names = list(spec.channels)
    panels = [panel(maps, spec, name) for name in names]
    return one_galaxy(panels, ["composite", *names], pictures(maps, spec)[0], origin(spec))


def channel_to_show(row: int, reader: MapReader, spec: ImageSpec) -> str:
    """Return the channel of gas mass, or the brightest one where there is none or an 8-bit one is dark."""
    if spec.pixel_type == "float32":
        return "mass" if "mass" in spec.channels else spec.channels[0]
    picture = images(np, reader.maps([row]), spec)[0]
    light = dict(zip(spec.channels, picture.mean(axis=(0, 1)), strict=False))
    return "mass" if light.get("mass", 0.0) > _DARK else max(light, key=lambda name: light[name])


def filters_of(
    row: int,
    name: str,
    reader: MapReader,
    original: ImageSpec,
    filtered: Sequence[ImageSpec],
    labels: Sequence[str],
) -> Figure:
    """Draw the channel `name` of one galaxy without a filter and through several (3.4, 3.5).

    All filtered images share one stretch and one scale.
    """
    maps = reader.maps([row])
    first = panel(maps, original, name)
    softening = filtered[0].scales[name].softening if filtered[0].scales else None
    layers = [panel(maps, spec, name, softening) for spec in filtered]
    if filtered[0].filter.kind == "gaussian":
        limits = first.ends if softening is None else panel(maps, original, name, softening).ends
    else:
        together = np.stack([layer.values for layer in layers])
        limits = Panel("", together, "", float, layers[0].symmetric).ends
    shared = [Panel(one.title, one.values, one.colours, one.to_unit, one.symmetric, limits) for one in layers]
    return one_galaxy([first, *shared], ["no filter", *labels], None, origin(original))


def evenly(table: pd.DataFrame, by: str, count: int) -> pd.DataFrame:
    """Return some rows from the largest to the smallest `by`, evenly by rank."""
    ordered = table.sort_values([by, "galaxy"], ascending=[False, True])
    places = np.unique(np.linspace(0, len(ordered) - 1, min(count, len(ordered))).round().astype(int))
    return ordered.iloc[places]


def origin(spec: ImageSpec) -> Origin:
    """Return where row 0 of a case's images is."""
    return "upper" if spec.source == "images" else "lower"


def pictures(maps: np.ndarray, spec: ImageSpec) -> np.ndarray:
    """Return (n, P, P, 3) in 0..1: the 8-bit picture, or the channels of a float image in its place.

    Channels of float images are red, green and blue in their order, each stretched, and scaled by the
    galaxies shown; signed ones are grey at 0. Pixels without gas are light grey.
    """
    if spec.pixel_type == "uint8":
        eight_bit: np.ndarray = images(np, maps, spec) / 255.0
        return eight_bit
    layers = []
    for name in spec.channels[:_CHANNELS]:
        shown = panel(maps, spec, name)
        low, high = (0.0, 1.0) if spec.source == "images" and not spec.filter.signed else shown.ends
        layers.append((shown.values - low) / (high - low))
    layers = [layers[0]] * 3 if len(layers) == 1 else layers
    while len(layers) < 3:
        layers.append(np.zeros_like(layers[0]))
    picture = np.stack(layers, axis=-1)
    empty = np.isnan(picture).any(axis=-1, keepdims=True)
    drawn: np.ndarray = np.where(empty, 0.92, np.clip(np.nan_to_num(picture), 0.0, 1.0)).astype(np.float32)
    return drawn


def panel(maps: np.ndarray, spec: ImageSpec, name: str, softening: float | None = None) -> Panel:
    """Return one channel of some galaxies to be drawn; `softening` instead of the case's own."""
    colours = _COLOURS.get(name, "viridis")
    if spec.pixel_type == "uint8":
        place = spec.channels.index(name) if len(spec.channels) > 1 else 0
        values = images(np, maps, spec)[..., place]
        lit = values[values > 0]
        brightest = float(np.quantile(lit, 0.995)) if lit.size else 255.0
        return Panel(f"{plain(name)} [of 255]", values, colours, float, limits=(0.0, brightest))
    layer = physical_channels(np, maps, spec)[spec.channels.index(name)]
    softening = spec.scales[name].softening if softening is None else softening
    unit = spec.units[spec.fields.index(name)]
    title = f"{name} [{unit}]" if unit and spec.source == "maps" else name
    return Panel(
        title=plain(title.replace("^2", "²")),
        values=stretched(np, layer, spec, softening),
        colours=_SIGNED if spec.filter.signed else colours,
        to_unit=float if spec.stretch == "linear" else _unstretched(softening),
        symmetric=spec.filter.signed,
    )


def _short(name: str) -> str:
    """Return a galaxy's name as plain text that fits over its picture: names of files can be long."""
    return plain(name if len(name) <= _NAME else f"…{name[1 - _NAME :]}")


def _unstretched(softening: float) -> Callable[[float], float]:
    return lambda value: float(softening * np.sinh(value))
