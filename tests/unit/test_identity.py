"""What maps and labels are: JSON both ways, and every difference in one plain line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from identities import FIELDS, label_identity, map_identity, picture_identity
from pydantic import ValidationError

from ssfr.components.config import ProjectionSettings, Settings, parse_settings
from ssfr.components.config.section import can_change_result
from ssfr.components.errors import InputError
from ssfr.components.identity.labels import LABEL, LabelIdentity
from ssfr.components.identity.maps import MapIdentity
from ssfr.components.projection.map_files import map_identity as identity_of

MAPS, LABELS = map_identity(), label_identity()


@pytest.mark.parametrize("identity", [MAPS, picture_identity(64), LABELS, label_identity(floor=None)])
def test_an_identity_survives_json(identity: Any) -> None:
    assert type(identity).parse(identity.model_dump_json(), "file", "again") == identity
    assert type(identity).parse(json.loads(identity.model_dump_json()), "file", "again") == identity
    assert identity.differences(identity) == ()


@pytest.mark.parametrize(
    ("changed", "line"),
    [
        ({"width": 45.0}, "width: 90 kpc, not 45 kpc"),
        ({"width_unit": "ckpc/h"}, "width: 90 kpc, not 90 ckpc/h"),
        ({"width": 90.0 + 1e-13}, "width: 90 kpc, not 90.0000000000001 kpc"),
        ({"depth": None}, "depth: 90 kpc, not unlimited"),
        ({"gas_of": "halo"}, "gas_of: subhalo, not halo"),
        ({"weighting": "sum"}, "reduction of entropy: mass_weighted_mean, not sum"),
        ({"transform": "log10"}, "transform: linear, not log10"),
        ({"deposition": "point"}, "deposition: smoothed, not point"),
        ({"binning": "thesis"}, "binning: exact, not thesis"),
        ({"star_forming_gas": "masked"}, "star_forming_gas: fixed_1e4K, not masked"),
        ({"entropy_density": "gas"}, "entropy_density: electron, not gas"),
        ({"orientation": "edge_on"}, "orientation: face_on, not edge_on"),
        ({"young_star_age_myr": 10.0}, "young_star_age_myr: 100 Myr, not 10 Myr"),
        ({"axis_radius": 15.0}, "axis_radius: 30 kpc, not 15 kpc"),
        ({"min_young_stars": 5}, "min_young_stars: 20, not 5"),
        ({"little_h": "ignored"}, "little_h: applied, not ignored"),
        ({"pixels": 32}, "pixels: 16, not 32"),
        (
            {"fields": ("mass", "entropy", "temperature")},
            "fields: [entropy, mass, temperature], not [mass, entropy, temperature]",
        ),
    ],
)
def test_every_property_of_maps_is_compared(changed: dict[str, Any], line: str) -> None:
    assert line in MAPS.differences(map_identity(**changed))


def test_a_change_of_unit_is_named_with_its_field() -> None:
    fields = [field.model_copy(update={"unit": "1e10 Msun/h"}) for field in MAPS.fields]
    other = MAPS.model_copy(update={"fields": (MAPS.fields[0], fields[1], MAPS.fields[2])})
    assert MAPS.differences(other) == ("unit of mass: Msun, not 1e10 Msun/h",)


CHANGED: dict[str, Any] = {
    "fields": ("mass", "entropy", "temperature"),
    "pixels": 64,
    "width": 45.0,
    "width_unit": "ckpc/h",
    "depth": None,
    "deposition": "point",
    "binning": "thesis",
    "weighting": "sum",
    "transform": "log10",
    "reductions": {"temperature": "maximum"},
    "entropy_density": "gas",
    "star_forming_gas": "raw",
    "gas_of": "halo",
    "young_star_age_myr": 10.0,
    "min_young_stars": 5,
    "axis_radius": 15.0,
    "orientation": "edge_on",
}
"""Of every setting of the projection that makes other maps, another value."""
HARMLESS = {
    "views": "several directions of the same random orientations",
    "orientation_seed": "another draw of the same random orientations",
    "backend": "both draw the same, to rounding",
    "threads": "the order of a sum, to rounding",
}
"""Setting -> why maps drawn with another value can be used together."""


def test_every_setting_that_makes_other_maps_is_stated() -> None:
    settings = ProjectionSettings.model_fields
    can_change = {name for name, field in settings.items() if can_change_result(field)}
    assert can_change == {*CHANGED, *HARMLESS}
    default = identity_of(Settings())
    for name, value in CHANGED.items():
        needed = {"deposition": "point"} if name == "binning" else {}
        without = identity_of(parse_settings({"projection": needed}, "test")) if needed else default
        other = identity_of(parse_settings({"projection": {**needed, name: value}}, "test"))
        assert without.differences(other), name


def test_the_rotation_axis_matters_only_to_what_is_turned_by_it() -> None:
    def random(**changed: Any) -> MapIdentity:
        return identity_of(parse_settings({"projection": {"orientation": "random", **changed}}, "test"))

    assert random(axis_radius=15.0, min_young_stars=5) == random()
    with pytest.raises(ValidationError, match="axis_radius is not stated"):
        map_identity(axis_radius=None)


def test_no_property_of_an_identity_escapes_the_comparison() -> None:
    for identity, aside in ((MAPS, {"format", "width_unit"}), (LABELS, {"format"})):
        stated = " ".join(identity.stated())
        said = {name for name in type(identity).model_fields if name in stated}
        assert set(type(identity).model_fields) - said == aside


def test_pictures_and_maps_differ_in_kind() -> None:
    assert picture_identity(16).differences(MAPS)[0] == "kind: images, not maps"


@pytest.mark.parametrize(
    ("changed", "line"),
    [
        ({"aperture": "two_half_mass_radii"}, "aperture: subhalo, not two_half_mass_radii"),
        ({"mass": "total"}, "mass: stellar, not total"),
        ({"little_h": "ignored"}, "little_h: applied, not ignored"),
        ({"floor": -12.0}, "floor: -13, not -12"),
        ({"zero_sfr": "drop", "floor": None}, "zero_sfr: floor, not drop"),
        ({"quantity": "log10_sfr"}, "quantity: log10_ssfr, not log10_sfr"),
    ],
)
def test_every_property_of_labels_is_compared(changed: dict[str, Any], line: str) -> None:
    assert line in LABELS.differences(label_identity(**changed))


def test_other_maps_end_in_one_line_with_the_way_out() -> None:
    other = map_identity(width=45.0, gas_of="halo")
    message = (
        "maps.h5: other maps than the model's: width: 45 kpc, not 90 kpc; "
        "gas_of: halo, not subhalo; draw them again"
    )
    with pytest.raises(InputError) as refused:
        other.require_same(MAPS, Path("maps.h5"), "the model's", "draw them again")
    assert str(refused.value) == message
    MAPS.require_same(map_identity(), Path("maps.h5"), "the model's", "draw them again")


@pytest.mark.parametrize(
    ("stored", "message"),
    [
        (None, "file: does not say what its maps are; draw them again"),
        ("{", "file: invalid json.*; draw them again"),
        (MAPS.model_dump_json().replace('"format":1', '"format":2'), "file: format: input should be 1"),
        (MAPS.model_dump_json(exclude={"gas_of"}), "gas_of is not stated; draw them again"),
        (MAPS.model_dump_json().replace('"gas_of"', '"gass_of"'), "file: gass_of: extra inputs"),
        (
            MAPS.model_dump_json().replace('"pixels":16', '"pixels":-16'),
            "file: pixels: input should be",
        ),
    ],
)
def test_what_is_no_identity_is_refused(stored: str | None, message: str) -> None:
    with pytest.raises(InputError, match=message):
        MapIdentity.parse(stored, "file", "draw them again")


def test_labels_are_stated_in_their_table(tmp_path: Path) -> None:
    table = pd.DataFrame({"galaxy": ["Snap99ID1"]})
    table.attrs[LABEL] = LABELS.model_dump(mode="json")
    table.to_parquet(tmp_path / "galaxies.parquet", index=False)
    assert LabelIdentity.of_table(tmp_path / "galaxies.parquet") == LABELS


def test_a_table_without_labels_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "galaxies.parquet"
    with pytest.raises(InputError, match="no such file"):
        LabelIdentity.of_table(path)
    path.write_bytes(b"not parquet")
    with pytest.raises(InputError, match=r"galaxies.parquet: not a parquet file"):
        LabelIdentity.of_table(path)
    pd.DataFrame({"galaxy": ["Snap99ID1"]}).to_parquet(path)
    with pytest.raises(InputError, match="does not say what its labels are; prepare the data again"):
        LabelIdentity.of_table(path)


def test_fields_of_maps_have_names_and_units() -> None:
    assert MAPS.names == FIELDS
    assert MAPS.units == ("keV cm^2", "Msun", "K")
    assert MAPS.pixel_kpc == 90 / 16
    assert map_identity(width_unit="ckpc/h").pixel_kpc is None
    assert (MAPS.weight_of("entropy"), MAPS.weight_of("mass")) == ("mass", "")
