"""The field of view of a map: how wide and how deep it is, and into which pixel a position falls."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ssfr.components.config import ProjectionSettings
from ssfr.components.simulation import Header
from ssfr.components.units import length_kpc

THESIS_BINS = 0.99
"""Share of the pixels along a side that the thesis' index reaches (table of faults, row 5)."""


@dataclass(frozen=True)
class FieldOfView:
    """A box about the galaxy's centre, z along the line of sight.

    Attributes
    ----------
    width_kpc
        [kpc, physical] in x and in y.
    depth_kpc
        [kpc, physical] along the line of sight, in all; infinite: no limit.
    pixels
        Of a map, along a side.
    bins
        Pixels in use along a side, from the low edge: `pixels`, or 0.99 of it.
    """

    width_kpc: float
    depth_kpc: float
    pixels: int
    bins: float

    @property
    def bounds(self) -> tuple[float, float, float, float, float, float]:
        """Low and high edge in x, y and z [kpc]; the high one belongs to the outside."""
        x, z = 0.5 * self.width_kpc, 0.5 * self.depth_kpc
        return -x, x, -x, x, -z, z

    @property
    def pixel_area_kpc2(self) -> float:
        """Area of a pixel [kpc^2, physical]."""
        return (self.width_kpc / self.bins) ** 2


def physical_kpc(length: float, settings: ProjectionSettings, header: Header) -> float:
    """Return a length in `settings.width_unit` as physical kpc at the snapshot's redshift."""
    if settings.width_unit == "kpc":
        return length
    return length_kpc(length, header.h, header.redshift)


def field_of_view(settings: ProjectionSettings, header: Header) -> FieldOfView:
    """Return the field of view of a snapshot's maps."""
    depth = math.inf if settings.depth is None else physical_kpc(settings.depth, settings, header)
    bins = settings.pixels * (THESIS_BINS if settings.binning == "thesis" else 1.0)
    return FieldOfView(physical_kpc(settings.width, settings, header), depth, settings.pixels, bins)
