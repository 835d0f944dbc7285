"""The identity of maps: geometry, gas, how fields are reduced to pixels, units."""

from __future__ import annotations

from typing import ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, PositiveFloat, PositiveInt, model_validator

from ssfr.components.identity.base import Identity, number

ATTRIBUTE = "identity"
"""Of a file of maps: holds its identity, as JSON."""
IMAGE_FIELDS = ("red", "green", "blue")
AXIS_ORIENTATIONS = ("face_on", "edge_on")
"""Orientations that are taken from a galaxy's rotation axis."""
_DRAWN_BY = (
    "deposition",
    "binning",
    "transform",
    "gas_of",
    "star_forming_gas",
    "entropy_density",
    "orientation",
    "little_h",
)


class MapField(BaseModel):
    """One layer of a map.

    Attributes
    ----------
    name, unit
        Of the field.
    reduction
        What a pixel shows of the matter along its line of sight: ``sum``, ``mass_weighted_mean``, ...;
        ``none`` for the colours of a picture.
    weight
        Name of the layer that holds the weight of a mean in each pixel; empty for layers that add up.
    version
        Of a field of another package: the package, its version, and the digest of its code; else empty.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    unit: str
    reduction: str
    weight: str = ""
    version: str = ""


class MapIdentity(Identity):
    """What maps show: two arrays of maps can be used by one model only if their identities are equal.

    Attributes
    ----------
    format
        Of this description.
    kind
        "maps": physical float32 maps; "images": 8-bit pictures of an image catalogue, of which only
        fields and pixels are stated.
    fields
        Along the axis of fields, in their order.
    pixels
        A side.
    width, depth
        [width_unit] of the field of view, and along the line of sight; depth None: unlimited.
    width_unit
        "kpc" (physical) or "ckpc/h" (comoving).
    deposition, binning, transform, gas_of, star_forming_gas, entropy_density
        As the settings of the same names (`ssfr.components.config.ProjectionSettings`).
    young_star_age_myr
        [Myr] Stars younger than this are young.
    orientation
        Of the line of sight.
    axis_radius, min_young_stars
        [width_unit] within which matter sets the rotation axis, and with how many young stars these do;
        None for an orientation that does not depend on that axis.
    little_h
        applied: masses in Msun; ignored: as stored, in 1e10 Msun/h.
    """

    noun: ClassVar[str] = "maps"

    format: Literal[1] = 1
    kind: Literal["maps", "images"]
    fields: tuple[MapField, ...]
    pixels: PositiveInt
    width: PositiveFloat | None = None
    width_unit: Literal["kpc", "ckpc/h"] | None = None
    depth: PositiveFloat | None = None
    deposition: str | None = None
    binning: str | None = None
    transform: str | None = None
    gas_of: str | None = None
    star_forming_gas: str | None = None
    entropy_density: str | None = None
    young_star_age_myr: PositiveFloat | None = None
    orientation: str = "face_on"
    axis_radius: PositiveFloat | None = None
    min_young_stars: PositiveInt | None = None
    little_h: str | None = None

    @model_validator(mode="after")
    def _physical_maps_state_everything(self) -> Self:
        needed = ["width", "width_unit", *_DRAWN_BY, "young_star_age_myr"]
        if self.orientation in AXIS_ORIENTATIONS:
            needed += ["axis_radius", "min_young_stars"]
        absent = [name for name in needed if getattr(self, name) is None]
        if self.kind == "maps" and absent:
            raise ValueError(f"{absent[0]} is not stated")
        return self

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the fields, in their order."""
        return tuple(field.name for field in self.fields)

    @property
    def units(self) -> tuple[str, ...]:
        """Units of the fields, in their order."""
        return tuple(field.unit for field in self.fields)

    @property
    def is_images(self) -> bool:
        """Whether these are 8-bit pictures of an image catalogue, not physical maps."""
        return self.kind == "images"

    @property
    def pixel_kpc(self) -> float | None:
        """Side of a pixel [physical kpc]; None where it differs from galaxy to galaxy or is unknown."""
        return self.width / self.pixels if self.width is not None and self.width_unit == "kpc" else None

    def weight_of(self, name: str) -> str:
        """Return the layer that weights a field, which is NaN where it is 0; empty for fields that add up."""
        return self.fields[self.names.index(name)].weight

    def stated(self) -> dict[str, str]:
        """Return every property in words, with its unit."""
        said = {
            "kind": self.kind,
            "fields": f"[{', '.join(self.names)}]",
            **{f"unit of {field.name}": field.unit or "none" for field in self.fields},
            **{f"reduction of {field.name}": field.reduction for field in self.fields},
            **{f"weight of {field.name}": field.weight or "none" for field in self.fields},
            **{f"version of {field.name}": field.version for field in self.fields if field.version},
            "pixels": str(self.pixels),
        }
        if not self.is_images:
            assert self.width is not None and self.young_star_age_myr is not None
            said["width"] = number(self.width, self.width_unit)
            said["depth"] = "unlimited" if self.depth is None else number(self.depth, self.width_unit)
            said |= {name: getattr(self, name) for name in _DRAWN_BY}
            said["young_star_age_myr"] = number(self.young_star_age_myr, "Myr")
            if self.axis_radius is not None:
                said["axis_radius"] = number(self.axis_radius, self.width_unit)
            if self.min_young_stars is not None:
                said["min_young_stars"] = str(self.min_young_stars)
        return said


def picture_identity(pixels: int) -> MapIdentity:
    """Return the identity of 8-bit pictures of red, green and blue, `pixels` a side."""
    fields = tuple(MapField(name=name, unit="count", reduction="none") for name in IMAGE_FIELDS)
    return MapIdentity(kind="images", fields=fields, pixels=pixels)
