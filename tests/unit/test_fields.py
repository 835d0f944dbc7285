"""Fields and views against analytic answers: rings, spheres, streams, and units by hand."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from ssfr.components.catalog import select
from ssfr.components.config import ProjectionSettings, Settings, UniverseSettings, parse_settings
from ssfr.components.errors import InputError
from ssfr.components.imagesets.spec import ImageSpec
from ssfr.components.imagesets.transform import gaussian_matrix, physical_channels
from ssfr.components.projection import project
from ssfr.components.projection.columns import draw_columns
from ssfr.components.projection.draw import draw_galaxy
from ssfr.components.projection.field_of_view import FieldOfView
from ssfr.components.projection.fields import View, field_named
from ssfr.components.projection.fields.registry import own_fields
from ssfr.components.projection.largest import largest
from ssfr.components.projection.layers import layers
from ssfr.components.projection.map_files import map_identity
from ssfr.components.projection.orientation import edge_on, face_on, random_rotation
from ssfr.components.runtime.progress import SILENT
from ssfr.components.simulation import Header, open_source
from ssfr.components.simulation.universe import write_universe

H, A = 0.7, 0.5
HEADER = Header(50, h=H, redshift=1.0, scale_factor=A, omega_matter=0.3, omega_lambda=0.7, box_ckpc_h=35000.0)
CENTRE = np.array([34999.0, 2.0, 100.0])
BULK = np.array([300.0, -200.0, 50.0])


def view(rotation=None, **projection):
    chosen = ProjectionSettings(**{"deposition": "point", "star_forming_gas": "raw", **projection})
    return View(HEADER, chosen, "applied", np.eye(3) if rotation is None else rotation, CENTRE, BULK)


def cells(positions_kpc, velocities_km_s=None, **more):
    """Cells in code units, somewhere in the box, of a galaxy that moves by BULK; each has 1e5 Msun."""
    positions = np.asarray(positions_kpc, float)
    stored = {
        "position": np.mod(CENTRE + positions * H / A, HEADER.box_ckpc_h),
        "mass": np.full(len(positions), 1e-5 * H, np.float32),
    }
    if velocities_km_s is not None:
        stored["velocity"] = ((velocities_km_s + BULK) / np.sqrt(A)).astype(np.float32)
    return stored | {name: np.asarray(values, np.float32) for name, values in more.items()}


def draw(particles, seen, *names, width=20.0, pixels=20):
    """Maps of fields, by name."""
    settings = Settings().model_copy(
        update={"projection": seen.projection.model_copy(update={"fields": names})}
    )
    wanted = [layer for layer in layers(settings) if not layer.is_weight]
    matter = field_named(names[0]).matter
    wanted = [layer for layer in wanted if layer.matter == matter]
    fov = FieldOfView(width, np.inf, pixels, pixels)
    return draw_columns(wanted, particles, seen.positions_kpc(particles["position"]), seen, fov).maps


def ring(axis, speed, radius, count=3600):
    """A ring that turns about an axis, right-handed: positions and velocities."""
    first = np.cross(axis, [0.3, 0.5, 0.81])
    first /= np.linalg.norm(first)
    second = np.cross(axis, first)
    angle = (np.arange(count) + 0.5)[:, None] * (2 * np.pi / count)
    positions = radius * (np.cos(angle) * first + np.sin(angle) * second)
    return positions, speed * (-np.sin(angle) * first + np.cos(angle) * second)


def test_a_ring_seen_edge_on_recedes_by_v_cos_phi():
    """At x = R cos(phi) on the map the line of sight sees v cos(phi), away on the right, for any axis."""
    axis = np.array([0.48, -0.36, 0.8])
    positions, velocities = ring(axis, speed=200.0, radius=8.0)
    maps = draw(cells(positions, velocities), view(edge_on(axis)), "line_of_sight_velocity")
    middle = maps["line_of_sight_velocity"][[9, 10]]
    x = np.arange(20) - 9.5
    assert np.isnan(middle[:, [0, 1, 18, 19]]).all()
    drawn = np.nanmean(middle[:, 2:18], axis=0)
    np.testing.assert_allclose(drawn[1:15], 200.0 * x[3:17] / 8.0, atol=3.0)


def test_a_ring_seen_face_on_has_no_velocity_along_the_line_of_sight():
    axis = np.array([0.6, 0.0, -0.8])
    maps = draw(cells(*ring(axis, 200.0, 8.0)), view(face_on(axis)), "line_of_sight_velocity")
    velocity = maps["line_of_sight_velocity"]
    assert np.nanmax(np.abs(velocity)) < 0.01 and np.isfinite(velocity).sum() > 20


def test_the_dispersion_of_two_streams_is_half_of_their_difference():
    """Equal masses at v1 = 120 and v2 = -40 km/s: sigma = |v1 - v2| / 2 = 80; 3 to 1: 160 sqrt(3/16)."""
    velocities = np.array([[0, 0, -120.0], [0, 0, 40.0]])
    equal = cells(np.full((2, 3), 0.5), velocities)
    assert draw(equal, view(), "velocity_dispersion")["velocity_dispersion"][10, 10] == pytest.approx(80.0)
    heavier = equal | {"mass": equal["mass"] * [3, 1]}
    maps = draw(heavier, view(), "velocity_dispersion", "line_of_sight_velocity")
    assert maps["velocity_dispersion"][10, 10] == pytest.approx(160.0 * np.sqrt(3 / 16), rel=1e-6)
    assert maps["line_of_sight_velocity"][10, 10] == pytest.approx((3 * 120 - 40) / 4, rel=1e-5)
    assert np.isnan(maps["velocity_dispersion"]).sum() == 399


def test_cells_that_move_as_one_have_no_dispersion():
    together = cells(np.random.default_rng(1).uniform(-9, 9, (5000, 3)), np.full((5000, 3), 700.0))
    dispersion = draw(together, view(), "velocity_dispersion")["velocity_dispersion"]
    assert np.nanmax(dispersion) < 0.01


def test_columns_through_a_uniform_sphere():
    """Its column at distance b is 2 rho sqrt(R^2 - b^2): here of star formation, 5 Msun/yr in R = 8 kpc."""
    rng = np.random.default_rng(1)
    n, radius = 400_000, 8.0
    direction = rng.normal(size=(n, 3))
    positions = (
        direction / np.linalg.norm(direction, axis=1)[:, None] * radius * rng.uniform(0, 1, (n, 1)) ** (1 / 3)
    )
    gas = cells(positions, star_formation_rate=np.full(n, 5.0 / n))
    drawn = draw(gas, view(random_rotation(0, 1, 2)), "star_formation_rate")["star_formation_rate"]
    x = np.arange(20) - 9.5
    b2 = x[:, None] ** 2 + x**2
    expected = 2 * 5.0 / (4 / 3 * np.pi * radius**3) * np.sqrt(np.maximum(radius**2 - b2, 0))
    inner = b2 < 6**2
    np.testing.assert_allclose(drawn[inner], expected[inner], rtol=0.09)  # 4 sigma of 2000 cells a pixel
    assert drawn[inner].sum() == pytest.approx(expected[inner].sum(), rel=0.005)
    assert drawn.sum() == pytest.approx(5.0, rel=1e-5)  # pixels of 1 kpc^2
    assert (drawn[b2 > 9.5**2] == 0).all()


def test_units_come_from_the_header():
    """a = 0.5, h = 0.7: a density 1e-5 is 1e5 Msun h^2 / (a kpc)^3 = 3.92e5 Msun/kpc^3 (1e10 Msun/h

    over (a kpc/h)^3), so n_H = 0.76 x 3.92e5 x 1.98841e33 / 2.93800e64 / 1.672622e-24 = 0.012054 / cm^3.
    A magnetic field of 1 is 2.6015 h/a^2 = 7.284 uG: sqrt(1.98841e43 x 1e10 / 2.93800e64) = 2.6015e-6.
    """
    gas = cells(
        np.zeros((1, 3)),
        density=[1e-5],
        magnetic_field=[[0.6, 0.0, 0.8]],
        metallicity=[0.0127],
        neutral_hydrogen_abundance=[0.25],
        star_formation_rate=[0.0],
    )
    seen = view()
    assert field_named("hydrogen_density").compute(gas, seen) == pytest.approx(0.012054, rel=1e-4)
    assert field_named("magnetic_field").compute(gas, seen) == pytest.approx(2.6015 * 0.7 / 0.25, rel=1e-4)
    assert field_named("metallicity").compute(gas, seen) == pytest.approx(0.0127, rel=1e-6)
    assert field_named("neutral_hydrogen").compute(gas, seen) == pytest.approx(0.76 * 1e5 * 0.25, rel=1e-5)


def test_star_forming_gas_counts_as_neutral():
    gas = cells(np.zeros((2, 3)), neutral_hydrogen_abundance=[0.2, 0.2], star_formation_rate=[0.0, 0.1])
    np.testing.assert_allclose(
        field_named("neutral_hydrogen").compute(gas, view()), [15_200, 76_000], rtol=1e-5
    )
    drawn = draw(gas, view(), "neutral_hydrogen", width=40.0)["neutral_hydrogen"]
    assert drawn.max() == pytest.approx(91_200 / 4, rel=1e-5)  # pixels of 4 kpc^2


def test_velocities_are_peculiar_and_relative_to_the_galaxy():
    seen = view(edge_on(np.array([0.0, 0.0, 1.0])))
    moving = cells(np.zeros((1, 3)), np.array([[10.0, 20.0, 30.0]]))
    np.testing.assert_allclose(seen.velocities_km_s(moving["velocity"])[:, 0], [10, 30, -20], atol=1e-4)


def test_stars_count_by_age_and_wind_does_not():
    """At a = 0.5 stars born at a = 0.499 are some 20 Myr old; those at 0.3 some 2.4 Gyr."""
    stars = cells(np.zeros((3, 3)), formation_scale_factor=[0.499, 0.3, -0.4])
    maps = draw(stars, view(), "stellar_mass", "young_stars", "stellar_age")
    assert maps["stellar_mass"].max() == pytest.approx(2e5, rel=1e-6)
    assert maps["young_stars"].max() == pytest.approx(1e5, rel=1e-6)
    assert maps["stellar_age_weight"].max() == pytest.approx(2e5, rel=1e-6)
    ages = field_named("stellar_age").compute(stars, view())
    assert maps["stellar_age"][10, 10] == pytest.approx(ages[:2].mean()) and np.isnan(ages[2])
    older = draw(stars, view(young_star_age_myr=5000.0), "young_stars")["young_stars"]
    assert older.max() == pytest.approx(2e5, rel=1e-6)


REDUCED = {
    "sum": 10.0 + 1000.0,
    "surface_density": (10.0 + 1000.0) / 4.0,
    "mass_weighted_mean": (3 * 10.0 + 1000.0) / 4,
    "volume_weighted_mean": (3 * 10.0 + 0.5 * 1000.0) / 3.5,
    "mean_log10": (3 * 1.0 + 3.0) / 4,
    "dispersion": 990.0 * np.sqrt(3 / 16),
    "maximum": 1000.0,
}


@pytest.mark.parametrize("reduction", REDUCED)
def test_every_reduction_by_hand(reduction):
    """Two cells in one pixel of 4 kpc^2: 10 with mass 3 and volume 3, 1000 with mass 1 and volume 1/2."""
    gas = cells(np.full((2, 3), 0.5), density=[1e-5, 2e-5], metallicity=[10.0, 1000.0])
    gas["mass"] = gas["mass"] * np.array([3, 1], np.float32)
    maps = draw(gas, view(reductions={"metallicity": reduction}), "metallicity", width=40.0)
    drawn = maps["metallicity"]
    assert drawn[10, 10] == pytest.approx(REDUCED[reduction], rel=1e-5)
    elsewhere = np.delete(drawn.ravel(), 210)
    empty = 0.0 if reduction in ("sum", "surface_density") else np.nan
    np.testing.assert_array_equal(elsewhere, np.full(399, empty))


def test_the_weight_of_a_mean_by_volume_is_drawn_beside_it():
    gas = cells(np.full((2, 3), 0.5), density=[1e-5, 2e-5], metallicity=[1.0, 2.0])
    maps = draw(gas, view(reductions={"metallicity": "volume_weighted_mean"}), "metallicity")
    volume_kpc3 = 1e-5 * H * (1 / 1e-5 + 1 / 2e-5) * (A / H) ** 3
    assert maps["metallicity_weight"].max() == pytest.approx(volume_kpc3, rel=1e-5)


def test_a_reduction_of_a_field_that_is_not_drawn_is_refused():
    settings = parse_settings({"projection": {"reductions": {"metals": "sum"}}}, "test")
    with pytest.raises(
        InputError, match=r"projection\.reductions: 'metals' is none of .* entropy, temperature"
    ):
        layers(settings)
    with pytest.raises(InputError, match="reductions"):
        parse_settings({"projection": {"reductions": {"entropy": "median"}}}, "test")


def test_the_largest_value_of_spheres_that_overlap():
    fov = FieldOfView(10.0, 4.0, 10, 10)
    positions = np.array([[0.5, 0.5, -4.5, 0.5], [0.5, 2.5, -4.5, 0.5], [0.0, 0.0, 0.0, 3.0]])
    drawn = largest(positions, np.array([1.2, 2.2, 0.0, 5.0]), np.array([5.0, 3.0, 7.0, 99.0]), fov)
    assert drawn[5, 5] == 5 and drawn[6, 5] == 5 and drawn[7, 5] == 3 and drawn[0, 0] == 7
    assert drawn[9, 5] == 3 and np.isnan(drawn[2, 5])  # the fourth lies outside the depth
    assert np.isfinite(drawn).sum() == 1 + len({*disc(5, 5, 1.2), *disc(5, 7, 2.2)})


def disc(column, row, radius):
    return [(x, y) for x in range(10) for y in range(10) if np.hypot(x - column, y - row) < radius]


# --- orientation


def test_a_random_orientation_is_a_rotation_of_seed_and_galaxy():
    one = random_rotation(1, 99, 7)
    np.testing.assert_array_equal(one, random_rotation(1, 99, 7))
    np.testing.assert_allclose(one @ one.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(one) == pytest.approx(1.0)
    for other in (random_rotation(2, 99, 7), random_rotation(1, 98, 7), random_rotation(1, 99, 8)):
        assert np.abs(one - other).max() > 0.01


def test_random_lines_of_sight_are_uniform_on_the_sphere():
    """The mean of cos(theta) is 0 and of cos(theta)^2 1/3: 4 sigma of 3000 are 0.042 and 0.022."""
    rotations = np.array([random_rotation(0, 99, galaxy) for galaxy in range(3000)])
    np.testing.assert_allclose(rotations.mean(axis=0), 0.0, atol=0.045)
    np.testing.assert_allclose((rotations**2).mean(axis=0), 1 / 3, atol=0.025)


def orientation(value):
    return parse_settings({"projection": {"orientation": value}}, "study.yaml").projection.orientation


def test_an_orientation_may_be_a_matrix():
    turn = [[0, 1, 0], [-1, 0, 0], [0, 0, 1]]
    assert orientation(turn) == ((0, 1, 0), (-1, 0, 0), (0, 0, 1))
    tilted = face_on(np.array([0.48, -0.36, 0.8]))
    np.testing.assert_allclose(orientation(tilted.tolist()), tilted)


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ([[1, 0, 0], [0, 1, 0], [0, 0, -1]], "mirror image"),
        ([[1, 0, 0], [0, 1, 0], [0, 0, 2]], "no rotation: its rows must be of length 1"),
        (
            [[1, 0, 0], [0.1, 1, 0], [0, 0, 1]],
            "no rotation: its rows must be of length 1 and at right angles",
        ),
        ([[1, 0], [0, 1]], "three rows of three numbers"),
        ([[1, 0, 0], [0, 1, 0], [0, 0, float("nan")]], "three rows of three numbers"),
        ([[10**400, 0, 0], [0, 1, 0], [0, 0, 1]], "three rows of three numbers"),
        ([[1e200, 1e200, 0], [1e200, -1e200, 0], [0, 0, 1]], "no rotation: its rows must be of length 1"),
        ("sideways", "expected face_on, edge_on, random"),
        (7, "three rows of three numbers"),
    ],
)
def test_a_matrix_that_is_no_rotation_is_refused_in_one_line(value, problem):
    with pytest.raises(InputError, match=rf"^study\.yaml: projection\.orientation: .*{problem}") as error:
        orientation(value)
    assert "\n" not in str(error.value)


# --- a universe with all of it

ALL = ("hydrogen_density", "metallicity", "magnetic_field", "neutral_hydrogen", "star_formation_rate")
MOTION = ("line_of_sight_velocity", "velocity_dispersion")
PARTICLES = ("stellar_mass", "young_stars", "dark_matter")


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    path = tmp_path_factory.mktemp("fields") / "universe"
    recipe = UniverseSettings(
        galaxies=3,
        snapshots=(95,),
        cells_min=800,
        cells_max=1000,
        chunks=2,
        workers=1,
        extra_fields=True,
        dark_particle_msun=3e8,
    )
    write_universe(path, recipe, SILENT)
    return path


def drawn_of(path, subhalo, catalog=None, /, **projection):
    fields = projection.setdefault("fields", (*ALL, *MOTION, *PARTICLES))
    settings = parse_settings(
        {
            "catalog": catalog or {},
            "projection": {"pixels": 32, "width": 60_000, "depth": None, **projection},
            "cases": [{"name": "all", "channels": fields[:8]}],
        },
        "test",
    )
    source = open_source(str(path), settings.simulation)
    halo = int(source.subhalos(95, ["halo"])["halo"][subhalo])
    maps = draw_galaxy(source, 95, subhalo, halo, settings)
    return dict(zip(maps.fields, maps.maps, strict=True)), source, maps


@pytest.fixture(scope="module")
def forming(written):
    source = open_source(str(written), Settings().simulation)
    return int(np.argmax(source.subhalos(95, ["star_formation_rate"])["star_formation_rate"]))


def test_maps_of_everything_hold_what_the_catalogue_says(written, forming):
    """Totals of the subhalo: SFR, stars and gas to rounding; dark matter to half a particle."""
    maps, source, drawn = drawn_of(written, forming)
    header = source.header(95)
    names = ["star_formation_rate", "stellar_mass", "gas_mass", "SubhaloMassType"]
    catalogue = {name: values[forming] for name, values in source.subhalos(95, names).items()}
    msun = 1e10 / header.h
    area = drawn.field_of_view.pixel_area_kpc2
    assert maps["star_formation_rate"].sum() * area == pytest.approx(
        catalogue["star_formation_rate"], rel=1e-5
    )
    assert maps["stellar_mass"].sum() == pytest.approx(catalogue["stellar_mass"] * msun, rel=1e-5)
    assert abs(maps["dark_matter"].sum() - catalogue["SubhaloMassType"][1] * msun) <= 0.51 * 3e8
    assert 0 < maps["young_stars"].sum() < 0.5 * maps["stellar_mass"].sum()
    assert 0 < maps["neutral_hydrogen"].sum() * area < 0.76 * maps["mass"].sum()


def test_a_galaxy_turns_edge_on_and_not_face_on(written, forming):
    """Edge-on the two sides recede and approach by more than 100 km/s; face-on nothing does so."""

    def halves(orientation):
        maps, _, _ = drawn_of(
            written, forming, width=30.0, depth=30.0, fields=MOTION, orientation=orientation
        )
        velocity = maps["line_of_sight_velocity"]
        return np.nanmedian(velocity[14:18, 20:]), np.nanmedian(velocity[14:18, :12])

    right, left = halves("edge_on")
    assert right > 100 and left < -100
    right, left = halves("face_on")
    assert abs(right) < 40 and abs(left) < 40


@pytest.mark.parametrize("orientation", ["random", [[0, 1, 0], [-1, 0, 0], [0, 0, 1]]])
def test_an_orientation_that_needs_no_axis_is_taken_as_it_is(written, forming, orientation):
    _, _, drawn = drawn_of(written, forming, orientation=orientation, orientation_seed=3, fields=("mass",))
    expected = random_rotation(3, 95, forming) if orientation == "random" else np.array(orientation)
    np.testing.assert_array_equal(drawn.rotation, expected)
    assert drawn.axis == ("random" if orientation == "random" else "matrix")


@pytest.mark.parametrize("gas_of", ["label", "two_half_mass_radii"])
def test_gas_is_drawn_of_the_aperture_of_the_label(written, forming, gas_of):
    """The star formation in the map is that of the label: SubhaloSFRinRad, and the gas what made it."""
    settings = {"label_aperture": "two_half_mass_radii" if gas_of == "label" else "subhalo"}
    maps, source, drawn = drawn_of(
        written, forming, settings, fields=("star_formation_rate", "temperature"), gas_of=gas_of
    )
    names = ["inner_star_formation_rate", "inner_gas_mass", "star_formation_rate", "gas_cells"]
    catalogue = {name: values[forming] for name, values in source.subhalos(95, names).items()}
    total = maps["star_formation_rate"].sum() * drawn.field_of_view.pixel_area_kpc2
    assert total == pytest.approx(catalogue["inner_star_formation_rate"], rel=1e-3)
    assert total < 0.99 * catalogue["star_formation_rate"]
    assert 0 < drawn.gas_cells < catalogue["gas_cells"]
    # the catalogue counts wind particles as gas
    inner_msun = catalogue["inner_gas_mass"] * 1e10 / source.header(95).h
    assert 0.9 * inner_msun < maps["mass"].sum() <= inner_msun * (1 + 1e-4)


def test_a_sample_by_the_inner_label_is_selected_and_drawn_from_our_own_universe(written, tmp_path):
    settings = parse_settings(
        {
            "catalog": {"label_aperture": "two_half_mass_radii"},
            "projection": {"pixels": 16, "workers": 1, "max_rejected": 0.5},
        },
        "test",
    )
    source = open_source(str(written), settings.simulation)
    (tmp_path / "sample").mkdir()
    (tmp_path / "maps").mkdir()
    selected = select.run(tmp_path / "sample", source, settings, SILENT)
    figures = project.run(tmp_path / "maps", source, tmp_path / "sample", settings, SILENT)
    assert figures["drawn"] >= 2 and figures["drawn"] + figures["rejected"] == selected["galaxies"]


def test_filters_take_the_gas_that_counts_as_weight_where_star_forming_gas_is_masked(written, forming):
    """Blurred, the masked temperature is blur(m T) / blur(m) of the gas that forms no stars, by hand."""
    fields = ("temperature", "mass")
    masked = {"star_forming_gas": "masked", "width": 40.0, "depth": None, "fields": fields}
    settings = parse_settings(
        {
            "projection": {"pixels": 32, "deposition": "point", **masked},
            "cases": [
                {"name": "soft", "channels": ["temperature"], "filter": {"kind": "gaussian", "sigma": 2}}
            ],
        },
        "test",
    )
    source = open_source(str(written), settings.simulation)
    drawn = draw_galaxy(source, 95, forming, int(source.subhalos(95, ["halo"])["halo"][forming]), settings)
    assert drawn.fields == ("temperature", "mass", "temperature_weight")
    spec = ImageSpec.build(settings.cases[0], settings.preprocessing, map_identity(settings))
    [soft] = physical_channels(np, drawn.maps[None], spec)

    names = ["position", "mass", "internal_energy", "electron_abundance", "star_formation_rate"]
    gas = source.gas(95, "subhalo", forming, names)
    centre = source.subhalos(95, ["position"])["position"][forming]
    seen = View(source.header(95), settings.projection, "applied", drawn.rotation, centre)
    x, y, _ = seen.positions_kpc(gas["position"])
    quiet = gas["star_formation_rate"] == 0
    assert 0 < quiet.sum() < len(quiet)
    kelvin = field_named("temperature").compute(gas, seen)[quiet]
    mass = field_named("mass").compute(gas, seen)[quiet]
    matrix = gaussian_matrix(32, 2.0).astype(float)

    def blurred(weights):
        edges = np.linspace(-20, 20, 33)
        return matrix @ np.histogram2d(y[quiet], x[quiet], (edges, edges), weights=weights)[0] @ matrix.T

    weight = blurred(mass)
    there = weight > 1e-3 * weight.max()
    np.testing.assert_allclose(soft[0][there], (blurred(mass * kelvin)[there] / weight[there]), rtol=1e-4)


def test_fields_that_a_universe_lacks_are_named(tmp_path):
    recipe = UniverseSettings(galaxies=1, snapshots=(95,), cells_min=200, cells_max=200, chunks=1, workers=1)
    write_universe(tmp_path / "universe", recipe, SILENT)
    with pytest.raises(InputError, match=r"no field NeutralHydrogenAbundance in PartType0"):
        drawn_of(tmp_path / "universe", 0, fields=("neutral_hydrogen",))
    with pytest.raises(InputError, match=r"PartType1|MassTable"):
        drawn_of(tmp_path / "universe", 0, fields=("dark_matter",))


def test_all_fields_have_units_that_astropy_reads():
    units = pytest.importorskip("astropy.units")
    settings = Settings()
    projection = settings.projection.model_copy(update={"fields": (*ALL, *MOTION, *PARTICLES, "stellar_age")})
    expected = {
        "hydrogen_density": 1 / units.cm**3,
        "neutral_hydrogen": units.Msun / units.kpc**2,
        "star_formation_rate": units.Msun / units.yr / units.kpc**2,
        "magnetic_field": units.uG,
        "metallicity": units.dimensionless_unscaled,
    }
    for layer in layers(settings.model_copy(update={"projection": projection})):
        assert units.Unit(layer.unit) == expected.get(layer.name, units.Unit(layer.unit)), layer


def test_the_page_of_fields_lists_them_all_with_their_units():
    page = (Path(__file__).resolve().parents[2] / "docs/fields.md").read_text()
    rows = dict(re.findall(r"^\| `(\w+)` \| (\S[^|]*?) \|", page, re.MULTILINE))
    names = tuple(own_fields())
    settings = Settings().model_copy(update={"projection": ProjectionSettings(fields=names)})
    assert rows == {layer.name: layer.unit for layer in layers(settings) if not layer.is_weight}
