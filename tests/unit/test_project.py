"""From a sample to files of maps: physics of one galaxy, many galaxies, bad galaxies, killed runs."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
import tng_files
from identities import map_identity

from ssfr.components import shards as sharing
from ssfr.components.config import UniverseSettings, parse_settings
from ssfr.components.errors import InputError
from ssfr.components.projection import orientation, project
from ssfr.components.projection.backends import backend
from ssfr.components.projection.draw import UnusableGalaxyError, draw_galaxy
from ssfr.components.runtime.progress import SILENT, Progress
from ssfr.components.simulation import open_source
from ssfr.components.simulation.layouts.tng.directory import TngDirectory
from ssfr.components.simulation.universe import write_universe

SNAPSHOTS = (99, 95)
PIXELS = 16


class RunEvents:
    """Keeps what it is told."""

    def __init__(self):
        self.events = []

    def emit(self, event):
        self.events.append(event)

    def lines(self, kind):
        return [event["text"] for event in self.events if event["kind"] == kind]


def settings_with(catalog=None, **projection):
    """Cells as points, unless it is said otherwise: their maps are histograms, which numpy makes too."""
    projection = {"pixels": PIXELS, "workers": 1, "deposition": "point", **projection}
    data = {"projection": projection, "catalog": catalog or {}}
    if "fields" in projection:
        data["cases"] = [{"name": "all", "channels": projection["fields"]}]
    return parse_settings(data, "test")


def open_universe(path):
    return open_source(str(path), settings_with().simulation)


def lengths(source, snapshot):
    return source.subhalos(snapshot, ["SubhaloLenType"])["SubhaloLenType"]


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    path = tmp_path_factory.mktemp("universe")
    recipe = UniverseSettings(
        galaxies=4, snapshots=SNAPSHOTS, cells_min=800, cells_max=1000, chunks=1, workers=1
    )
    write_universe(path, recipe, SILENT)
    return path


@pytest.fixture
def universe(written, tmp_path):
    """A copy that a test may damage."""
    return Path(shutil.copytree(written, tmp_path / "universe"))


@pytest.fixture(scope="module")
def galaxies(written):
    """Well-resolved subhalos, as in a sample, and their star formation rate."""
    source = open_universe(written)
    tables = []
    for snapshot in SNAPSHOTS:
        columns = source.subhalos(snapshot, ["SubhaloGrNr", "SubhaloSFR"])
        subhalo = np.flatnonzero(lengths(source, snapshot)[:, 0] >= 800)
        tables.append(
            pd.DataFrame({"snapshot": snapshot, "subhalo_id": subhalo}).assign(
                halo_id=columns["SubhaloGrNr"][subhalo], sfr=columns["SubhaloSFR"][subhalo]
            )
        )
    table = pd.concat(tables, ignore_index=True)
    assert len(table) >= 8
    return table


@pytest.fixture
def sample_dir(galaxies, tmp_path):
    return write_sample(tmp_path / "sample", galaxies)


def write_sample(folder, table):
    folder.mkdir()
    table.to_parquet(folder / "sample.parquet")
    return folder


def first(galaxies):
    """The galaxy of the first snapshot that forms the most stars: snapshot, subhalo_id, halo_id."""
    row = galaxies.loc[galaxies["sfr"][galaxies["snapshot"] == SNAPSHOTS[0]].idxmax()]
    return tuple(int(row[name]) for name in ("snapshot", "subhalo_id", "halo_id"))


def draw(path, galaxies, settings):
    return draw_galaxy(open_universe(path), *first(galaxies), settings)


def run(output, path, sample_dir, settings, source=None, shard=None):
    output.mkdir(exist_ok=True)
    heard, source = RunEvents(), source or open_universe(path)
    figures = project.run(output, source, sample_dir, settings, Progress(heard), shard)
    return figures, heard


def digests(folder):
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


def change(path, kind, subhalo, field, values, snapshot=99):
    """Overwrite a field of a subhalo's particles."""
    with h5py.File(tng_files.offset_file(path, snapshot)) as offsets:
        begin = int(offsets["Subhalo/SnapByType"][subhalo, kind])
    count = int(lengths(open_universe(path), snapshot)[subhalo, kind])
    with tng_files.changed(tng_files.cell_file(path, 0, snapshot)) as file:
        dataset = file[f"PartType{kind}/{field}"]
        dataset[begin : begin + count] = values(dataset[begin : begin + count])


def gas_in_the_map(path, galaxies, maps):
    """Positions [kpc] in the axes of the map, and fields, of the first galaxy, from the files."""
    source, (snapshot, subhalo, _) = open_universe(path), first(galaxies)
    header = source.header(snapshot)
    cells = source.gas(
        snapshot,
        "subhalo",
        subhalo,
        ["Coordinates", "Masses", "InternalEnergy", "ElectronAbundance", "StarFormationRate"],
    )
    offset = cells["Coordinates"] - source.subhalos(snapshot, ["SubhaloPos"])["SubhaloPos"][subhalo]
    offset = (offset + header.box_ckpc_h / 2) % header.box_ckpc_h - header.box_ckpc_h / 2
    x, y, z = maps.rotation @ offset.T / header.h / (1 + header.redshift)
    mass = cells["Masses"].astype(float) * 1e10 / header.h
    mu = 4 * 1.672622e-24 / (1 + 3 * 0.76 + 4 * 0.76 * cells["ElectronAbundance"].astype(float))
    kelvin = 2 / 3 * cells["InternalEnergy"] * 1e10 / 1.380649e-16 * mu
    return x, y, z, mass, kelvin, cells["StarFormationRate"] > 0


def histogram(x, y, weights, width):
    edge = [-width / 2, width / 2]
    return np.histogram2d(y, x, PIXELS, [edge, edge], weights=weights)[0]


def test_a_map_of_everything_holds_all_the_mass(written, galaxies):
    maps = draw(written, galaxies, settings_with(width=60_000, depth=None))
    *_, mass, _, _ = gas_in_the_map(written, galaxies, maps)
    drawn = maps.maps[maps.fields.index("mass")].astype(float).sum()
    assert drawn == pytest.approx(mass.sum(), rel=1e-5)
    assert maps.counts == (maps.gas_cells, 0, 0)


def test_maps_are_sums_of_mass_and_means_by_mass(written, galaxies):
    maps = draw(written, galaxies, settings_with(star_forming_gas="raw", depth=30))
    x, y, z, mass, kelvin, _ = gas_in_the_map(written, galaxies, maps)
    inside = abs(z) < 15
    x, y, mass, kelvin = x[inside], y[inside], mass[inside], kelvin[inside]
    expected = histogram(x, y, mass, 90)
    entropy, drawn, temperature = maps.maps
    assert maps.fields == ("entropy", "mass", "temperature")
    assert maps.units == ("keV cm^2", "Msun", "K")
    assert maps.maps.dtype == np.float32
    np.testing.assert_allclose(drawn, expected, rtol=1e-5)
    assert drawn.sum() == pytest.approx(mass[(abs(x) < 45) & (abs(y) < 45)].sum(), rel=1e-5)
    np.testing.assert_array_equal(np.isnan(temperature), expected == 0)
    np.testing.assert_array_equal(np.isnan(entropy), expected == 0)
    with np.errstate(invalid="ignore"):
        np.testing.assert_allclose(temperature, histogram(x, y, mass * kelvin, 90) / expected, rtol=1e-5)
    assert maps.counts.used == ((abs(x) < 45) & (abs(y) < 45)).sum()
    assert maps.counts.used + maps.counts.outside == maps.gas_cells


def test_the_thesis_maps_are_sums_of_logarithms_in_code_units(written, galaxies):
    settings = settings_with(
        catalog={"little_h": "ignored"},
        weighting="sum",
        transform="log10",
        binning="thesis",
        star_forming_gas="raw",
        depth=None,
        width=60,
        width_unit="ckpc/h",
    )
    maps = draw(written, galaxies, settings)
    x, y, _, mass, kelvin, _ = gas_in_the_map(written, galaxies, maps)
    assert maps.units == ("log10 keV cm^2", "1e10 Msun/h", "log10 K")
    h = open_universe(written).header(99).h
    width = 60 / h
    inside = (abs(x) < width / 2) & (abs(y) < width / 2)
    assert maps.maps[1].sum() == pytest.approx(mass[inside].sum() * h / 1e10, rel=1e-5)
    assert maps.maps[2].sum() == pytest.approx(np.log10(kelvin[inside]).sum(), rel=1e-5)
    assert not np.isnan(maps.maps).any()
    assert maps.field_of_view.bins == pytest.approx(0.99 * PIXELS)


def test_masked_star_forming_gas_keeps_its_mass_but_not_its_temperature(written, galaxies):
    maps = draw(written, galaxies, settings_with(star_forming_gas="masked", depth=None))
    x, y, _, mass, kelvin, forming = gas_in_the_map(written, galaxies, maps)
    assert forming.any()
    np.testing.assert_allclose(maps.maps[1], histogram(x, y, mass, 90), rtol=1e-5)
    quiet = [values[~forming] for values in (x, y, mass, kelvin)]
    weight = histogram(*quiet[:3], 90)
    with np.errstate(invalid="ignore"):
        expected = histogram(*quiet[:2], quiet[2] * quiet[3], 90) / weight
    np.testing.assert_allclose(maps.maps[2], expected, rtol=1e-5)
    assert maps.counts.bad == 0


def test_star_forming_gas_is_at_1e4_kelvin_by_default(written, galaxies):
    maps = draw(written, galaxies, settings_with(depth=None))
    x, y, _, mass, kelvin, forming = gas_in_the_map(written, galaxies, maps)
    kelvin[forming] = 1e4
    with np.errstate(invalid="ignore"):
        expected = histogram(x, y, mass * kelvin, 90) / histogram(x, y, mass, 90)
    np.testing.assert_allclose(maps.maps[2], expected, rtol=1e-5)


def test_cells_without_electrons_are_counted_and_left_out_of_the_entropy_alone(universe, galaxies):
    before = draw(universe, galaxies, settings_with())

    def no_electrons(values):
        values[:7] = 0
        return values

    change(universe, 0, first(galaxies)[1], "ElectronAbundance", no_electrons)
    after = draw(universe, galaxies, settings_with())
    assert (before.counts.bad, after.counts.bad) == (0, 7)
    np.testing.assert_array_equal(after.maps[1], before.maps[1])
    assert np.isfinite(after.maps[0]).sum() <= np.isfinite(before.maps[0]).sum()


def test_smoothed_maps_hold_the_mass_that_the_field_of_view_does_not_lose(written, galaxies):
    everything = draw(written, galaxies, settings_with(deposition="smoothed", width=60_000, depth=None))
    *_, mass, _, _ = gas_in_the_map(written, galaxies, everything)
    assert everything.maps[1].astype(float).sum() == pytest.approx(mass.sum(), rel=1e-5)
    assert everything.edge_cells == 0 and everything.lost_mass == 0
    maps = draw(written, galaxies, settings_with(deposition="smoothed", width=20, depth=None))
    assert maps.counts.used + maps.counts.outside == maps.gas_cells
    assert 0 < maps.edge_cells < maps.counts.used
    assert 0 < maps.lost_mass < maps.maps[1].sum()


def test_smoothed_maps_are_of_cells_over_three_of_their_radii_each(written, galaxies):
    """The mean of a pixel is sum(m T W) / sum(m W), and there is none where no cell reaches."""
    maps = draw(
        written, galaxies, settings_with(deposition="smoothed", star_forming_gas="raw", width=200, depth=None)
    )
    x, y, z, mass, kelvin, _ = gas_in_the_map(written, galaxies, maps)
    source, (snapshot, subhalo, _) = open_universe(written), first(galaxies)
    header = source.header(snapshot)
    density = source.gas(snapshot, "subhalo", subhalo, ["Density"])["Density"].astype(float)
    volume = mass / (density * 1e10 * header.h**2 * (1 + header.redshift) ** 3)
    support, weights = 3 * np.cbrt(3 * volume / (4 * np.pi)), np.stack([mass, mass * kelvin])
    expected, _, _ = backend("reference").smooth(np.stack([x, y, z]), support, weights, maps.field_of_view)
    np.testing.assert_allclose(maps.maps[1], expected[0], rtol=2e-3, atol=1e-3 * expected[0].max())
    assert (expected[0] == 0).any()
    np.testing.assert_array_equal(np.isnan(maps.maps[2]), expected[0] == 0)
    drawn = expected[0] > 1e-4 * expected[0].max()
    np.testing.assert_allclose(maps.maps[2][drawn], (expected[1][drawn] / expected[0][drawn]), rtol=0.01)


def test_a_smoothed_mean_is_within_the_range_of_the_cells(written, galaxies):
    maps = draw(written, galaxies, settings_with(deposition="smoothed", star_forming_gas="raw", depth=None))
    *_, kelvin, _ = gas_in_the_map(written, galaxies, maps)
    drawn = maps.maps[2][np.isfinite(maps.maps[2])]
    assert kelvin.min() * (1 - 1e-5) <= drawn.min() and drawn.max() <= kelvin.max() * (1 + 1e-5)


def test_smoothed_pictures_have_fewer_holes_than_points(written, galaxies):
    point = draw(written, galaxies, settings_with(pixels=64, depth=None))
    smoothed = draw(written, galaxies, settings_with(pixels=64, depth=None, deposition="smoothed"))
    assert (smoothed.maps[1] == 0).sum() < 0.1 * (point.maps[1] == 0).sum()


def test_bins_of_the_thesis_are_of_points(written):
    with pytest.raises(InputError, match=r"binning: thesis .* needs deposition: point"):
        settings_with(binning="thesis", deposition="smoothed")


def test_mass_is_drawn_even_if_it_is_not_asked_for(written, galaxies):
    maps = draw(written, galaxies, settings_with(fields=["temperature"]))
    assert maps.fields == ("temperature", "mass")
    assert maps.maps.shape == (2, PIXELS, PIXELS)


def test_a_comoving_field_of_view_shrinks_with_redshift_and_a_physical_one_does_not(written, galaxies):
    earlier = galaxies[galaxies["snapshot"] == 95]
    source = open_universe(written)
    header = source.header(95)
    galaxy = tuple(int(earlier.iloc[0][name]) for name in ("snapshot", "subhalo_id", "halo_id"))
    comoving = draw_galaxy(source, *galaxy, settings_with(width=60, depth=30, width_unit="ckpc/h"))
    assert comoving.field_of_view.width_kpc == pytest.approx(60 / header.h / (1 + header.redshift))
    assert comoving.field_of_view.depth_kpc == pytest.approx(30 / header.h / (1 + header.redshift))
    physical = draw_galaxy(source, *galaxy, settings_with(width=60))
    assert physical.field_of_view.width_kpc == 60


@pytest.mark.parametrize(("deposition", "close"), [("point", 1e-6), ("smoothed", 2e-3)])
def test_the_reference_backend_draws_the_same_maps(written, galaxies, deposition, close):
    native = draw(written, galaxies, settings_with(deposition=deposition))
    reference = draw(written, galaxies, settings_with(deposition=deposition, backend="reference"))
    for drawn, expected in zip(native.maps, reference.maps, strict=True):
        np.testing.assert_allclose(drawn, expected, rtol=close, atol=close * np.nanmax(expected))
    assert native.counts == reference.counts
    assert native.edge_cells == reference.edge_cells
    assert native.lost_mass == pytest.approx(reference.lost_mass, rel=close)


def test_the_young_stars_turn_about_the_line_of_sight(written, galaxies):
    settings = settings_with()
    maps = draw(written, galaxies, settings)
    assert maps.axis == "young_stars"
    assert np.linalg.det(maps.rotation) == pytest.approx(1)
    source, (snapshot, subhalo, _) = open_universe(written), first(galaxies)
    stars = source.stars(
        snapshot, "subhalo", subhalo, ["Coordinates", "Velocities", "Masses", "GFM_StellarFormationTime"]
    )
    header = source.header(snapshot)
    centre = source.subhalos(snapshot, ["SubhaloPos"])["SubhaloPos"][subhalo]
    offset = orientation.recentred(stars["Coordinates"], centre, header.box_ckpc_h)
    young = orientation.ages_myr(stars["GFM_StellarFormationTime"], header) < 100
    young &= np.linalg.norm(offset, axis=1) < 30 * header.h
    x, y, _ = maps.rotation @ offset[young].T
    m, v = stars["Masses"][young], stars["Velocities"][young].astype(float)
    vx, vy, _ = maps.rotation @ (v - np.average(v, axis=0, weights=m)).T
    momentum = np.cross(np.stack([x, y, 0 * x], axis=1), np.stack([vx, vy, 0 * x], axis=1))
    assert (m[:, None] * momentum).sum(axis=0)[2] > 0


def test_a_galaxy_that_the_edge_of_the_box_cuts_is_drawn_whole(universe, galaxies):
    whole = draw(universe, galaxies, settings_with())
    snapshot, subhalo, _ = first(galaxies)
    box = open_universe(universe).header(snapshot).box_ckpc_h
    with tng_files.changed(tng_files.catalogue_file(universe, 0, snapshot)) as file:
        position = file["Subhalo/SubhaloPos"]
        shift = -position[subhalo].astype(float)
        position[subhalo] = 0.0
    for kind in (0, 4):
        change(universe, kind, subhalo, "Coordinates", lambda values: np.mod(values + shift, box))
    moved = draw(universe, galaxies, settings_with())
    assert moved.counts.used == whole.counts.used
    assert moved.maps[1].sum() == pytest.approx(whole.maps[1].sum(), rel=1e-6)


@pytest.mark.parametrize("why", ["few", "wind", "old", "no stars"])
def test_without_young_stars_the_gas_sets_the_axis(universe, galaxies, why):
    subhalo = first(galaxies)[1]
    settings = settings_with()
    if why == "few":
        settings = settings_with(min_young_stars=10**6)
    elif why == "no stars":
        with tng_files.changed(tng_files.catalogue_file(universe, 0)) as file:
            file["Subhalo/SubhaloLenType"][subhalo, 4] = 0
    else:
        born = -0.9 if why == "wind" else 0.5
        change(universe, 4, subhalo, "GFM_StellarFormationTime", lambda values: 0 * values + born)
    maps = draw(universe, galaxies, settings)
    assert maps.axis == "gas"
    assert np.linalg.det(maps.rotation) == pytest.approx(1)


def test_gas_at_rest_is_seen_along_the_axis_of_the_box(universe, galaxies):
    change(universe, 0, first(galaxies)[1], "Velocities", lambda values: 0 * values)
    maps = draw(universe, galaxies, settings_with(min_young_stars=10**6))
    assert maps.axis == "none"
    np.testing.assert_array_equal(maps.rotation, np.eye(3))


def test_the_gas_of_the_halo_is_more_than_that_of_its_subhalo(written, galaxies):
    of_subhalo = draw(written, galaxies, settings_with())
    of_halo = draw(written, galaxies, settings_with(gas_of="halo"))
    assert of_halo.gas_cells > of_subhalo.gas_cells


def test_a_run_writes_files_of_maps_and_a_row_a_galaxy(written, galaxies, sample_dir, tmp_path):
    figures, heard = run(tmp_path / "maps", written, sample_dir, settings_with())
    output = tmp_path / "maps"
    assert {path.name for path in output.iterdir()} == {
        "maps-099-000.h5",
        "maps-095-000.h5",
        "projection.csv",
        "rejected.csv",
    }
    table = pd.read_csv(output / "projection.csv")
    assert list(table.columns) == [
        *("snapshot", "subhalo_id", "view", "file", "row", "axis"),
        *("gas_cells", "used_cells", "outside_cells", "bad_cells", "edge_cells", "lost_mass"),
    ]
    pd.testing.assert_frame_equal(table[["snapshot", "subhalo_id"]], galaxies[["snapshot", "subhalo_id"]])
    source = open_universe(written)
    for row in table.itertuples():
        with h5py.File(output / row.file) as file:
            assert (file["snapshot"][row.row], file["subhalo_id"][row.row]) == (row.snapshot, row.subhalo_id)
            drawn = file["maps"][row.row]
        assert row.gas_cells == lengths(source, row.snapshot)[row.subhalo_id, 0]
        halo = int(galaxies["halo_id"][row.Index])
        expected = draw_galaxy(source, row.snapshot, row.subhalo_id, halo, settings_with())
        np.testing.assert_array_equal(drawn, expected.maps)
    assert len(pd.read_csv(output / "rejected.csv")) == 0
    assert figures["galaxies"] == figures["drawn"] == len(galaxies)
    assert sum(figures["axis"].values()) == len(galaxies)
    assert json.loads(json.dumps(figures)) == figures
    ended = next(event for event in heard.events if event["kind"] == "task" and event["finished"])
    assert ended["done"] == ended["total"] == len(galaxies)


def test_several_views_of_a_galaxy_are_a_row_each(written, galaxies, sample_dir, tmp_path):
    several = settings_with(orientation="random", views=3)
    figures, heard = run(tmp_path / "maps", written, sample_dir, several)
    table = pd.read_csv(tmp_path / "maps/projection.csv")
    assert (figures["galaxies"], figures["drawn"]) == (len(galaxies), 3 * len(galaxies))
    assert table["view"].tolist() == [0, 1, 2] * len(galaxies)
    assert table["subhalo_id"].tolist() == np.repeat(galaxies["subhalo_id"], 3).tolist()
    seen = table[table["subhalo_id"] == first(galaxies)[1]].iloc[:3]
    with h5py.File(tmp_path / "maps" / seen["file"].iloc[0]) as file:
        assert file["view"][:3].tolist() == [0, 1, 2]
        maps = file["maps"][seen["row"].tolist()]
    for view, drawn in enumerate(maps):
        expected = draw_galaxy(open_universe(written), *first(galaxies), several, view=view)
        np.testing.assert_array_equal(drawn, expected.maps)
    assert not np.array_equal(maps[0, 1], maps[1, 1])
    np.testing.assert_allclose(maps[:, 1].sum((1, 2)), maps[0, 1].sum(), rtol=0.2)  # as much gas in each
    alone, _ = run(tmp_path / "one", written, sample_dir, settings_with(orientation="random"))
    assert alone["drawn"] == len(galaxies)
    with h5py.File(tmp_path / "one" / seen["file"].iloc[0]) as file:
        row = (
            pd.read_csv(tmp_path / "one/projection.csv")
            .query(f"snapshot == {seen['snapshot'].iloc[0]} and subhalo_id == {seen['subhalo_id'].iloc[0]}")[
                "row"
            ]
            .item()
        )
        np.testing.assert_array_equal(file["maps"][row], maps[0])  # the first view stays what it was
    assert any("views of galaxies" in event.get("text", "") for event in heard.events)


def test_several_views_need_random_orientations():
    with pytest.raises(
        InputError, match="views: 3 would be equal maps; several views need orientation: random"
    ):
        settings_with(views=3)


def test_a_file_of_maps_says_what_it_holds(written, sample_dir, tmp_path):
    run(tmp_path / "maps", written, sample_dir, settings_with(depth=None))
    with h5py.File(tmp_path / "maps/maps-095-000.h5") as file:
        maps, attributes = file["maps"], dict(file.attrs)
        assert maps.dtype == np.float32 and maps.chunks == (1, 3, PIXELS, PIXELS)
        assert maps.compression == "gzip" and maps.shuffle
        assert file["snapshot"].dtype == file["subhalo_id"].dtype == np.int64
    identity = map_identity(pixels=PIXELS, depth=None, deposition="point")
    assert attributes.pop("identity") == identity.model_dump_json()
    header = open_universe(written).header(95)
    assert attributes == {"h": header.h, "redshift": header.redshift, "version": attributes["version"]}


def test_a_file_of_smoothed_maps_says_so_and_its_table_what_was_lost(written, sample_dir, tmp_path):
    output = tmp_path / "maps"
    figures, _ = run(output, written, sample_dir, settings_with(deposition="smoothed", width=30))
    with h5py.File(output / "maps-095-000.h5") as file:
        assert json.loads(file.attrs["identity"])["deposition"] == "smoothed"
    table = pd.read_csv(output / "projection.csv")
    assert (table["edge_cells"] > 0).all() and (table["lost_mass"] > 0).all()
    assert figures["edge_cells"] == table["edge_cells"].sum()


def test_the_fall_back_of_the_axis_is_said(written, sample_dir, galaxies, tmp_path):
    figures, heard = run(tmp_path / "maps", written, sample_dir, settings_with(min_young_stars=10**6))
    assert figures["axis"] == {"gas": len(galaxies)}
    assert set(pd.read_csv(tmp_path / "maps/projection.csv")["axis"]) == {"gas"}
    assert any(
        "by the rotation axis of their gas, for they have fewer than 1000000 young stars" in line
        for line in heard.lines("warn")
    )


def test_any_number_of_workers_gives_the_same_files(written, sample_dir, tmp_path):
    run(tmp_path / "one", written, sample_dir, settings_with(workers=1))
    run(tmp_path / "three", written, sample_dir, settings_with(workers=3))
    assert digests(tmp_path / "one") == digests(tmp_path / "three")


def test_a_run_goes_on_after_the_files_that_are_whole(written, sample_dir, tmp_path, monkeypatch):
    monkeypatch.setattr(project, "GALAXIES_A_FILE", 2)
    output = tmp_path / "maps"
    figures, _ = run(output, written, sample_dir, settings_with())
    before = digests(output)
    assert "maps-099-001.h5" in before
    for name in ("maps-099-001.h5", "maps-095-000.h5", "projection.csv", "rejected.csv"):
        (output / name).unlink()
    (output / ".maps-095-000.h5.123.part").write_bytes(b"half")
    kept = (output / "maps-099-000.h5").stat()
    again, heard = run(output, written, sample_dir, settings_with())
    (output / ".maps-095-000.h5.123.part").unlink()
    assert digests(output) == before and again == figures
    assert (output / "maps-099-000.h5").stat() == kept
    started = next(event for event in heard.events if event["kind"] == "task")
    assert started["done"] == len(pd.read_csv(output / "projection.csv")) - 4


@pytest.fixture
def small_files(monkeypatch):
    """Two galaxies a file of maps: several files a snapshot."""
    for module in (project, sharing):
        monkeypatch.setattr(module, "GALAXIES_A_FILE", 2)


def all_shards(galaxies, tasks):
    counts = galaxies["snapshot"].value_counts(sort=False)
    figures = {"snapshots": {str(snapshot): {"galaxies": count} for snapshot, count in counts.items()}}
    return sharing.shards(figures, tasks)


def draw_shards(folder, path, sample_dir, galaxies, tasks, settings):
    """Draw each shard into a folder of its own."""
    folder.mkdir()
    drawn = {shard: folder / f"{shard.snapshot}-{shard.shard}" for shard in all_shards(galaxies, tasks)}
    for shard, output in drawn.items():
        run(output, path, sample_dir, settings, shard=shard)
    return drawn


def join(output, drawn, sample_dir, settings):
    output.mkdir()
    heard = RunEvents()
    return project.join(output, drawn, sample_dir, settings, Progress(heard)), heard


@pytest.mark.parametrize("tasks", [1, 2, 50])
@pytest.mark.usefixtures("small_files")
def test_shards_that_are_joined_are_what_one_task_draws(written, sample_dir, galaxies, tmp_path, tasks):
    figures, _ = run(tmp_path / "whole", written, sample_dir, settings_with())
    drawn = draw_shards(tmp_path / "drawn", written, sample_dir, galaxies, tasks, settings_with())
    files = [file.name for folder in drawn.values() for file in folder.glob("maps-*.h5")]
    assert sorted(files) == sorted(file.name for file in (tmp_path / "whole").glob("maps-*.h5"))
    again, heard = join(tmp_path / "joined", drawn.values(), sample_dir, settings_with())
    assert again == figures and digests(tmp_path / "joined") == digests(tmp_path / "whole")
    ended = [event for event in heard.events if event["kind"] == "task"][-1]
    assert ended["done"] == ended["total"] == len(galaxies)


def test_a_snapshot_has_as_many_shards_as_asked_for_but_none_without_a_file():
    figures = {"snapshots": {"95": {"galaxies": 256}, "99": {"galaxies": 600}, "91": {"galaxies": 0}}}
    shards = sharing.shards(figures, 2)
    assert shards == [(99, 0, 2), (99, 1, 2), (95, 0, 1)]
    assert [shard.label for shard in shards] == [
        "projection/099 1 of 2",
        "projection/099 2 of 2",
        "projection/095",
    ]


@pytest.mark.usefixtures("small_files")
def test_only_its_own_rows_matter_to_a_shard(galaxies, tmp_path):
    more = galaxies.iloc[:2].assign(snapshot=90)
    for name, table in {
        "before": galaxies,
        "measured anew": galaxies.assign(sfr=0.0),
        "with another snapshot": pd.concat([galaxies, more], ignore_index=True),
        "another galaxy": galaxies.assign(subhalo_id=galaxies["subhalo_id"].replace(first(galaxies)[1], 0)),
        "in another halo": galaxies.assign(halo_id=galaxies["halo_id"] + 1),
    }.items():
        write_sample(tmp_path / name, table)
    shards = all_shards(galaxies, 2)

    def digests_of(name):
        return [project.rows_of(tmp_path / name, shard) for shard in shards]

    before = digests_of("before")
    assert len(set(before)) == len(shards) == 4
    assert digests_of("measured anew") == digests_of("with another snapshot") == before
    changed = [new != old for new, old in zip(digests_of("another galaxy"), before, strict=True)]
    assert sum(changed[:2]) == 1
    assert not set(digests_of("in another halo")) & set(before)


@pytest.mark.usefixtures("small_files")
def test_a_shard_that_is_missing_is_told_when_they_are_joined(written, sample_dir, galaxies, tmp_path):
    drawn = draw_shards(tmp_path / "drawn", written, sample_dir, galaxies, 1, settings_with())
    with pytest.raises(InputError, match=r"no shard drew maps-099-000\.h5"):
        join(tmp_path / "joined", list(drawn.values())[1:], sample_dir, settings_with())


def test_too_many_bad_galaxies_in_all_shards_together_end_the_run(universe, galaxies, tmp_path):
    sample_dir = write_sample(tmp_path / "sample", galaxies)
    for snapshot, of in galaxies.groupby("snapshot"):
        change(universe, 0, int(of["subhalo_id"].iloc[0]), "Masses", poison, snapshot)
    settings = settings_with(max_rejected=1.5 / len(galaxies))
    drawn = draw_shards(tmp_path / "drawn", universe, sample_dir, galaxies, 1, settings)
    with pytest.raises(InputError, match=rf"2 of {len(galaxies)} galaxies .*max_rejected"):
        join(tmp_path / "joined", drawn.values(), sample_dir, settings)


def test_a_damaged_file_of_maps_is_drawn_again(written, sample_dir, tmp_path):
    output = tmp_path / "maps"
    run(output, written, sample_dir, settings_with())
    before = digests(output)
    (output / "maps-099-000.h5").write_bytes(b"not HDF5")
    _, heard = run(output, written, sample_dir, settings_with())
    assert digests(output) == before
    assert any("maps-099-000.h5: damaged" in line for line in heard.lines("warn"))


def test_rejected_galaxies_are_remembered_when_a_run_goes_on(universe, galaxies, tmp_path):
    sample_dir = write_sample(tmp_path / "sample", galaxies)
    change(universe, 0, first(galaxies)[1], "Masses", lambda values: values * np.nan)
    output, settings = tmp_path / "maps", settings_with(max_rejected=0.5)
    figures, _ = run(output, universe, sample_dir, settings)
    (output / "projection.csv").unlink()
    (output / "rejected.csv").unlink()
    again, _ = run(output, universe, sample_dir, settings)
    assert again == figures and figures["rejected"] == 1
    assert len(pd.read_csv(output / "rejected.csv")) == 1


def poison(values):
    values[3] = np.nan
    return values


def endless(values):
    values[5] = np.inf
    return values


@pytest.mark.parametrize(
    ("field", "values", "reason"),
    [
        ("Coordinates", poison, "gas cells have an impossible position"),
        ("Masses", poison, "gas cells have an impossible mass"),
        ("Masses", lambda values: -values, "gas cells have an impossible mass"),
        ("Density", lambda values: 0 * values, "gas cells have an impossible density"),
        ("InternalEnergy", endless, "gas cells have an impossible internal_energy"),
        ("Coordinates", lambda values: np.mod(values + 10_000, 35_000), "no gas cells in the field of view"),
    ],
)
def test_a_bad_galaxy_is_rejected_with_the_reason(universe, galaxies, tmp_path, field, values, reason):
    sample_dir = write_sample(tmp_path / "sample", galaxies)
    subhalo = int(galaxies["subhalo_id"][1])
    change(universe, 0, subhalo, field, values)
    output = tmp_path / "maps"
    figures, heard = run(output, universe, sample_dir, settings_with(max_rejected=0.5))
    assert (figures["galaxies"], figures["rejected"]) == (len(galaxies), 1)
    rejected = pd.read_csv(output / "rejected.csv")
    assert rejected[["snapshot", "subhalo_id"]].values.tolist() == [[99, subhalo]]
    assert reason in rejected["reason"][0]
    table = pd.read_csv(output / "projection.csv")
    assert len(table) == len(galaxies) - 1
    with h5py.File(output / "maps-099-000.h5") as file:
        assert subhalo not in file["subhalo_id"][()]
        assert len(file["maps"]) == len(file["subhalo_id"]) == (table["snapshot"] == 99).sum()
    assert any("1 galaxies cannot be drawn" in line for line in heard.lines("warn"))


def test_a_galaxy_without_gas_is_rejected(universe, galaxies):
    with tng_files.changed(tng_files.catalogue_file(universe, 0)) as file:
        file["Subhalo/SubhaloLenType"][first(galaxies)[1], 0] = 0
    with pytest.raises(UnusableGalaxyError, match="no gas cells"):
        draw(universe, galaxies, settings_with())


def test_a_galaxy_whose_catalogue_position_is_nan_is_rejected(universe, galaxies):
    with tng_files.changed(tng_files.catalogue_file(universe, 0)) as file:
        file["Subhalo/SubhaloPos"][first(galaxies)[1], 2] = np.nan
    with pytest.raises(UnusableGalaxyError, match="the position or velocity in the catalogue is NaN"):
        draw(universe, galaxies, settings_with())


def test_stars_with_impossible_numbers_set_a_galaxy_aside_too(universe, galaxies):
    change(universe, 4, first(galaxies)[1], "Velocities", poison)
    with pytest.raises(UnusableGalaxyError, match="star particles have an impossible velocity"):
        draw(universe, galaxies, settings_with())


def test_too_many_bad_galaxies_end_the_run(universe, galaxies, tmp_path):
    sample_dir = write_sample(tmp_path / "sample", galaxies)
    for subhalo in galaxies["subhalo_id"][:2]:
        change(universe, 0, int(subhalo), "Masses", poison)
    share = 1.5 / len(galaxies)
    with pytest.raises(InputError, match=rf"2 of {len(galaxies)} galaxies .*max_rejected.* impossible mass"):
        run(tmp_path / "maps", universe, sample_dir, settings_with(max_rejected=share))
    assert not list((tmp_path / "maps").glob("*.h5"))


def test_a_missing_particle_field_ends_the_run_in_one_line(universe, sample_dir, tmp_path):
    with tng_files.changed(tng_files.cell_file(universe, 0)) as file:
        del file["PartType0/InternalEnergy"]
    with pytest.raises(InputError, match=r"snap_099\.0\.hdf5.*InternalEnergy"):
        run(tmp_path / "maps", universe, sample_dir, settings_with(workers=2))


def test_an_unknown_field_is_refused_before_anything_is_read(sample_dir, written, tmp_path):
    with pytest.raises(InputError, match="did you mean 'entropy'"):
        run(tmp_path / "maps", written, sample_dir, settings_with(fields=["entropie"]))


@pytest.mark.parametrize("what", ["absent", "not parquet", "without a column", "empty", "of other data"])
def test_a_sample_that_cannot_be_used_is_refused(written, galaxies, tmp_path, what):
    folder = tmp_path / "sample"
    folder.mkdir()
    if what == "not parquet":
        (folder / "sample.parquet").write_bytes(b"PAR1")
    elif what == "without a column":
        galaxies.drop(columns="halo_id").to_parquet(folder / "sample.parquet")
    elif what == "empty":
        galaxies[:0].to_parquet(folder / "sample.parquet")
    elif what == "of other data":
        galaxies.assign(subhalo_id=10**6).to_parquet(folder / "sample.parquet")
    with pytest.raises(InputError) as raised:
        run(tmp_path / "maps", written, folder, settings_with())
    assert "\n" not in str(raised.value)
    if what != "of other data":
        assert "sample.parquet" in str(raised.value)


class Deadly(TngDirectory):
    """A source that takes the process that reads it down, as a full memory does."""

    def gas(self, snapshot, of, number, fields):
        os.kill(os.getpid(), signal.SIGKILL)
        return super().gas(snapshot, of, number, fields)


def test_a_killed_worker_ends_the_run_with_what_to_do(written, sample_dir, tmp_path):
    deadly = Deadly(str(written), settings_with().simulation)
    with pytest.raises(InputError, match=r"killed \(out of memory\?\); lower projection.workers"):
        run(tmp_path / "maps", written, sample_dir, settings_with(workers=2), source=deadly)
    assert not list((tmp_path / "maps").glob("*.h5"))
