"""Identities of the small maps and labels that tests make, and how they stand in files."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ssfr.components.identity.labels import LabelIdentity
from ssfr.components.identity.maps import MapField, MapIdentity, picture_identity

FIELDS = ("entropy", "mass", "temperature")
UNITS = {"entropy": "keV cm^2", "mass": "Msun", "temperature": "K"}


def map_identity(
    fields: Sequence[str] = FIELDS, pixels: int = 16, weighting: str = "mass_weighted_mean", **changed: Any
) -> MapIdentity:
    """Return what maps drawn with the default settings are, with some properties changed."""
    layers = [
        MapField(
            name=name,
            unit=UNITS.get(name, ""),
            reduction="sum" if name == "mass" else weighting,
            weight="mass" if name != "mass" and weighting == "mass_weighted_mean" else "",
        )
        for name in fields
    ]
    default: dict[str, Any] = {
        "kind": "maps",
        "fields": layers,
        "pixels": pixels,
        "width": 90.0,
        "width_unit": "kpc",
        "depth": 90.0,
        "deposition": "smoothed",
        "binning": "exact",
        "transform": "linear",
        "gas_of": "subhalo",
        "star_forming_gas": "fixed_1e4K",
        "entropy_density": "electron",
        "young_star_age_myr": 100.0,
        "axis_radius": 30.0,
        "min_young_stars": 20,
        "little_h": "applied",
    }
    return MapIdentity.model_validate(default | changed)


def label_identity(**changed: Any) -> LabelIdentity:
    """Return what labels by the default settings are, with some properties changed."""
    default = {
        "quantity": "log10_ssfr",
        "unit": "log10(sSFR / yr^-1)",
        "linear_unit": "yr^-1",
        "aperture": "subhalo",
        "mass": "stellar",
        "little_h": "applied",
        "zero_sfr": "floor",
        "floor": -13.0,
    }
    return LabelIdentity.model_validate(default | changed)


def map_attribute(identity: MapIdentity) -> dict[str, str]:
    """Return the attribute of a file of maps that states its identity."""
    return {"identity": identity.model_dump_json()}


def label_attribute(**changed: Any) -> dict[str, Any]:
    """Return what a model's description says of its label's identity."""
    return {"identity": label_identity(**changed).model_dump(mode="json")}


__all__ = [
    "FIELDS",
    "UNITS",
    "label_attribute",
    "label_identity",
    "map_attribute",
    "map_identity",
    "picture_identity",
]
