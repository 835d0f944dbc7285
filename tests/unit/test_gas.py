"""Temperature, entropy and mass of gas cells, against numbers worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from ssfr.components.config import ProjectionSettings, Settings
from ssfr.components.errors import InputError
from ssfr.components.projection.fields import View, field, field_named, registry
from ssfr.components.projection.fields.gas import entropy, mass, radius, temperature
from ssfr.components.projection.layers import particle_fields
from ssfr.components.simulation import Header

TODAY = Header(
    99, h=0.7, redshift=0.0, scale_factor=1.0, omega_matter=0.3, omega_lambda=0.7, box_ckpc_h=35000.0
)
EARLIER = Header(
    50, h=0.7, redshift=1.0, scale_factor=0.5, omega_matter=0.3, omega_lambda=0.7, box_ckpc_h=35000.0
)

IONISED = 1 + 2 * (0.24 / 4) / 0.76
"""Electrons a hydrogen atom, with all hydrogen and helium ionised: 1.15789."""


def cells(**changes):
    fields = {
        "mass": [1e-5],
        "internal_energy": [1000.0],
        "electron_abundance": [IONISED],
        "density": [1e-5],
        "star_formation_rate": [0.0],
    }
    return {name: np.array(value, np.float32) for name, value in (fields | changes).items()}


def test_ionised_gas_has_the_temperature_of_its_internal_energy():
    """mu = 4/(1 + 2.28 + 3.52) = 0.588235; T = 2/3 x 1e13 x 0.588235 x 1.672622e-24 / 1.380649e-16 (cgs)."""
    assert temperature(cells(), View(TODAY)) == pytest.approx(47_510.0, rel=1e-4)


def test_neutral_gas_is_hotter_for_the_same_energy():
    """mu = 4/(1 + 2.28) = 1.219512: T = 2/3 x 1e13 x 1.219512 x 1.672622e-24 / 1.380649e-16."""
    assert temperature(cells(electron_abundance=[0.0]), View(TODAY)) == pytest.approx(98_495.0, rel=1e-4)


def test_temperature_does_not_depend_on_the_redshift():
    assert temperature(cells(), View(EARLIER)) == temperature(cells(), View(TODAY))


@pytest.mark.parametrize(
    ("header", "factor"), [(TODAY, 1.0), (EARLIER, 0.25)], ids=["redshift 0", "redshift 1"]
)
def test_entropy_of_the_electrons(header, factor):
    """rho = 1e-5 x 1e10 Msun x 0.7^2 / kpc^3 = 4.9e4 x 1.98841e33 g / 2.93800e64 cm^3 = 3.31623e-27 g/cm^3;

    n_e = 1.157895 x 0.76 x rho / 1.672622e-24 g = 1.744708e-3 / cm^3, kB T = 8.617333e-8 x 47510 =
    4.094093e-3 keV, K = 4.094093e-3 / 1.744708e-3^(2/3) = 0.28249 keV cm^2. At a = 0.5 the same comoving
    density is eight times as dense, and K a quarter.
    """
    assert entropy(cells(), View(header)) == pytest.approx(0.28249 * factor, rel=2e-4)


def test_entropy_of_the_gas_counts_protons_instead_of_electrons():
    """n = rho / mp = 1.982654e-3 / cm^3."""
    view = View(TODAY, ProjectionSettings(entropy_density="gas"))
    assert entropy(cells(), view) == pytest.approx(0.25940, rel=2e-4)
    assert entropy(cells(), view) / entropy(cells(), View(TODAY)) == pytest.approx(
        (IONISED * 0.76) ** (2 / 3), rel=1e-6
    )


def test_entropy_is_not_defined_without_electrons():
    assert np.isnan(entropy(cells(electron_abundance=[0.0]), View(TODAY))).all()
    assert np.isfinite(
        entropy(cells(electron_abundance=[0.0]), View(TODAY, ProjectionSettings(entropy_density="gas")))
    ).all()


@pytest.mark.parametrize(
    ("setting", "expected"), [("raw", 47_510.0), ("fixed_1e4K", 1e4), ("masked", np.nan)]
)
def test_star_forming_gas_has_the_temperature_of_the_setting(setting, expected):
    view = View(TODAY, ProjectionSettings(star_forming_gas=setting))
    kelvin = temperature(cells(star_formation_rate=[0.01]), view)
    assert kelvin == pytest.approx(expected, rel=1e-4, nan_ok=True)
    assert temperature(cells(), view) == pytest.approx(47_510.0, rel=1e-4)


def test_entropy_of_star_forming_gas_follows_its_temperature():
    view = View(TODAY, ProjectionSettings(star_forming_gas="fixed_1e4K"))
    ratio = entropy(cells(star_formation_rate=[0.01]), view) / entropy(cells(), view)
    assert ratio == pytest.approx(1e4 / temperature(cells(), view), rel=1e-12)


@pytest.mark.parametrize(
    ("header", "factor"), [(TODAY, 1.0), (EARLIER, 0.5)], ids=["redshift 0", "redshift 1"]
)
def test_the_radius_is_that_of_a_sphere_of_the_volume_of_the_cell(header, factor):
    """V = 1e-5 / 1e-5 = 1 (ckpc/h)^3, r = (3 / 4 pi)^(1/3) = 0.62035 ckpc/h = 0.88622 kpc today."""
    assert radius(cells(), View(header)) == pytest.approx(0.88622 * factor, rel=1e-5)
    assert radius(cells(), View(header, little_h="ignored")) == pytest.approx(0.88622 * factor, rel=1e-5)


def test_mass_is_physical_unless_h_is_ignored():
    assert mass(cells(), View(TODAY)) == pytest.approx(1e5 / 0.7, rel=1e-6)
    assert mass(cells(), View(TODAY, little_h="ignored")) == pytest.approx(1e-5, rel=1e-6)


def test_only_the_particle_fields_that_are_needed_are_asked_for():
    raw = ProjectionSettings(star_forming_gas="raw", deposition="point")
    assert particle_fields(("mass",), raw) == ["mass", "position"]
    assert particle_fields(("mass", "temperature"), raw) == [
        "electron_abundance",
        "internal_energy",
        "mass",
        "position",
    ]
    assert "star_formation_rate" in particle_fields(("entropy",), ProjectionSettings())
    assert "density" in particle_fields(("mass",), ProjectionSettings(deposition="smoothed"))


def test_fields_say_their_units():
    assert [field_named(name).unit for name in Settings().projection.fields] == ["keV cm^2", "Msun", "K"]


def test_an_unknown_field_is_refused_with_the_nearest_right_one():
    with pytest.raises(InputError, match=r"no field 'temprature' \(did you mean 'temperature'\?\)"):
        field_named("temprature")


def test_a_new_field_is_a_registered_function(monkeypatch):
    monkeypatch.setattr(registry, "_FIELDS", dict(registry._FIELDS))

    @field(unit="Msun/yr", needs=("star_formation_rate",))
    def star_formation(cells, view):
        return cells["star_formation_rate"]

    assert field_named("star_formation").compute is star_formation
    settings = ProjectionSettings(fields=("star_formation",), star_forming_gas="raw", deposition="point")
    assert particle_fields(settings.fields, settings) == ["mass", "position", "star_formation_rate"]
