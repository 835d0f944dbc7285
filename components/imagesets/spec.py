"""What turns maps into a case's network input, as data: fields, filter, stretch and fitted scales."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict

from ssfr.components.config import Case, Filter, PreprocessingSettings
from ssfr.components.errors import InputError, nearest
from ssfr.components.identity.maps import MapIdentity

SCALING = "scaling.json"
MASS = "mass"

Stretch = Literal["asinh", "linear", "lupton", "none"]


class _Frozen(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ChannelScale(_Frozen):
    """Standardisation of one channel: (asinh(x / softening) - mean) / std.

    `softening` is in the unit of the map; `mean` and `std` are those of the stretched pixels with gas
    over the training set.
    """

    softening: float = 1.0
    mean: float = 0.0
    std: float = 1.0


class ImageSpec(_Frozen):
    """Everything between a raw map and a network's input, for one case; JSON both ways.

    Attributes
    ----------
    maps
        What the raw maps (galaxy, field, y, x) are.
    channels
        Fields of this case, in the order of the channels.
    composite
        The three fields of the 8-bit picture (pixel_type uint8), as red, green, blue.
    stretch
        "asinh" and "linear" (image catalogues) give standardised floats; "lupton" and "none" (image
        catalogues) give 0..255.
    maxima
        field -> the pixel that normalises it before the Lupton stretch, in the map's unit.
    scales
        channel -> its standardisation (float32).
    """

    case: str
    maps: MapIdentity
    channels: tuple[str, ...]
    filter: Filter = Filter()
    pixel_type: Literal["float32", "uint8"]
    stretch: Stretch
    stretch_beta: float = 0.001
    stretch_negative: Literal["signed", "even"] = "signed"
    composite: tuple[str, ...] = ()
    maxima: dict[str, float] = {}
    scales: dict[str, ChannelScale] = {}

    @classmethod
    def build(
        cls,
        case: Case,
        settings: PreprocessingSettings,
        maps: MapIdentity,
        scaling: Mapping[str, Any] | None = None,
    ) -> Self:
        """Check a case against the maps, and join it with what was fitted on the training set.

        Parameters
        ----------
        case, settings
            Of the run.
        maps
            What the maps are.
        scaling
            Contents of ``scaling.json``; None while it is being fitted (softening 1, mean 0, std 1).

        Raises
        ------
        InputError
            A channel that is not among the fields, a filter smaller than a pixel or wider than the
            map or without its weight map, a combination of settings that has no meaning, or a case
            that was not fitted.
        """
        where = f"case '{case.name}'"
        images = maps.is_images
        eight_bit = settings.pixel_type == "uint8"
        for channel in case.channels:
            if channel not in maps.names:
                raise InputError(f"{where}: no field '{channel}' in the maps{nearest(channel, maps.names)}")
        if len(set(case.channels)) != len(case.channels):
            raise InputError(f"{where}: channels: a field is named twice in {list(case.channels)}")
        if not images and eight_bit != (settings.stretch == "lupton"):
            raise InputError(
                f"preprocessing: pixel_type: {settings.pixel_type} with stretch: {settings.stretch} has no "
                "meaning; use float32 with asinh, or uint8 with lupton"
            )
        if images:
            stretch: Stretch = "none" if eight_bit else "linear"
        else:
            stretch = "lupton" if eight_bit else "asinh"
        composite = _composite(where, case, maps.names) if eight_bit else ()
        maxima: dict[str, float] = {}
        scales: dict[str, ChannelScale] = {}
        if scaling is not None:
            if not eight_bit:
                scales = _fitted(where, case, scaling)
            elif not images:
                maxima = {field: float(scaling["maxima"][field]) for field in composite}
        spec = cls(
            case=case.name,
            maps=maps,
            channels=case.channels,
            filter=case.filter,
            pixel_type=settings.pixel_type,
            stretch=stretch,
            stretch_beta=settings.stretch_beta,
            stretch_negative=settings.stretch_negative,
            composite=composite,
            maxima=maxima,
            scales=scales,
        )
        if case.filter.kind != "none":
            spec._check_filter(where)
        return spec

    @property
    def source(self) -> Literal["maps", "images"]:
        """Physical float32 maps, or 8-bit pictures of an image catalogue."""
        return self.maps.kind

    @property
    def fields(self) -> tuple[str, ...]:
        """Names of the fields of the raw maps, in their order."""
        return self.maps.names

    @property
    def units(self) -> tuple[str, ...]:
        """Units of the fields of the raw maps, in their order."""
        return self.maps.units

    @property
    def pixels(self) -> int:
        """Pixels a side."""
        return self.maps.pixels

    @property
    def takes(self) -> tuple[Literal["maps", "images"], ...]:
        """What a model of this case can predict from."""
        if self.source == "images":
            return ("images",)
        return ("maps", "images") if self.accepts_images else ("maps",)

    @property
    def accepts_images(self) -> bool:
        """Whether 8-bit pictures (n, pixels, pixels, 3) are enough to compute the network's input."""
        return self.source == "images" or self.pixel_type == "uint8"

    @property
    def output_channels(self) -> int:
        """Channels of the network's input: three for uint8 (a single one is copied), else the case's."""
        return 3 if self.pixel_type == "uint8" else len(self.channels)

    @property
    def sigmas_px(self) -> tuple[float, ...]:
        """Standard deviations of the filter's Gaussians [px], the narrow one first."""
        return self.filter.sigmas_px(self.pixels, self.maps.pixel_kpc)

    def _check_filter(self, where: str) -> None:
        try:
            self.filter.sigmas_px(self.pixels, self.maps.pixel_kpc)
        except ValueError as error:
            raise InputError(f"{where}: {error}") from None
        weights = {self.maps.weight_of(channel) for channel in self.channels} - {""}
        absent = sorted(weights - {*self.fields})
        if absent and self.pixel_type == "float32":
            raise InputError(
                f"{where}: a filter on means needs their weight '{absent[0]}'; add it to projection.fields"
            )


def _composite(where: str, case: Case, fields: tuple[str, ...]) -> tuple[str, ...]:
    composite = fields[:3]
    if len(composite) < 3:
        raise InputError(
            "preprocessing.pixel_type: uint8 makes pictures of three fields, but projection.fields has "
            f"{list(fields)}"
        )
    if len(case.channels) not in (1, 3):
        raise InputError(
            f"{where}: a uint8 image has one channel (copied to three) or three, not {len(case.channels)}"
        )
    outside = [channel for channel in case.channels if channel not in composite]
    if outside:
        raise InputError(
            f"{where}: '{outside[0]}' is not in the 8-bit picture, which is made of the first three "
            f"fields {list(composite)}"
        )
    return composite


def _fitted(where: str, case: Case, scaling: Mapping[str, Any]) -> dict[str, ChannelScale]:
    fitted = scaling["cases"].get(case.name, {})
    absent = [channel for channel in case.channels if channel not in fitted]
    if absent:
        raise InputError(f"{where}: {SCALING} has no scale for channel '{absent[0]}'; prepare the data again")
    scales = {channel: ChannelScale.model_validate(fitted[channel]) for channel in case.channels}
    for channel, scale in scales.items():
        if not (scale.softening > 0 and scale.std > 0 and math.isfinite(scale.mean)):
            raise InputError(f"{where}: {SCALING} has an unusable scale for channel '{channel}': {scale!r}")
    return scales
