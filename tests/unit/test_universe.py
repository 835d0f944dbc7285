"""The synthetic universe: illustris_python reads it, its books balance, and its laws do what they say."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import h5py
import illustris_python as il
import numpy as np
import pytest
from astropy.cosmology import FlatLambdaCDM

from ssfr.components.config import UniverseSettings
from ssfr.components.errors import InputError, LockedError
from ssfr.components.runtime.progress import SILENT, Progress
from ssfr.components.simulation import MARKER
from ssfr.components.simulation.universe import write_universe
from ssfr.components.simulation.universe.cells import make_halo_data
from ssfr.components.simulation.universe.cosmology import BOX_CKPC_H, REDSHIFTS, age_gyr, scale_factor
from ssfr.components.simulation.universe.gas import Gas, Phase, equation_of_state_k, make_gas
from ssfr.components.simulation.universe.halos import FRAGMENT, halo_count, make_halo
from ssfr.components.simulation.universe.laws import star_formation_rate
from ssfr.components.simulation.universe.recipe import HYDROGEN_PER_MSUN_KPC3, THRESHOLD_CM3, Galaxy
from ssfr.components.units import BOLTZMANN_ERG_K, PROTON_MASS_G

GAS, STARS = 0, 4
SNAPSHOTS = (99, 98, 91)
SETTINGS = UniverseSettings(
    galaxies=14, snapshots=SNAPSHOTS, cells_min=800, cells_max=2000, chunks=3, seed=4, workers=1
)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> str:
    directory = tmp_path_factory.mktemp("universe") / "synthetic"
    write_universe(directory, SETTINGS, SILENT)
    return str(directory / "output")


def catalogue(base: str, snapshot: int) -> tuple[dict[str, Any], dict[str, Any]]:
    return il.groupcat.loadSubhalos(base, snapshot), il.groupcat.loadHalos(base, snapshot)


def one(base: str, of: str, snapshot: int, number: int, kind: str) -> dict[str, Any]:
    load = il.snapshot.loadSubhalo if of == "subhalo" else il.snapshot.loadHalo
    return load(base, snapshot, number, kind)


def files(directory: Path) -> dict[str, bytes]:
    return {str(p.relative_to(directory)): p.read_bytes() for p in directory.rglob("*") if p.is_file()}


def temperature(gas: dict[str, Any]) -> np.ndarray:
    """The TNG specifications' formula, written out with numbers of its own."""
    weight = 4 * 1.67262e-24 / (1 + 3 * 0.76 + 4 * 0.76 * gas["ElectronAbundance"].astype(float))
    return (2 / 3) * gas["InternalEnergy"].astype(float) / 1.380649e-16 * 1e10 * weight


def hydrogen(gas: dict[str, Any], redshift: float) -> np.ndarray:
    kpc = 3.0856776e21
    cgs = 1e10 * 1.98841e33 / 0.6774 / (kpc / 0.6774 / (1 + redshift)) ** 3
    return gas["Density"].astype(float) * cgs * 0.76 / 1.67262e-24


# ---------------------------------------------------------------- on disk


@pytest.mark.parametrize("snapshot", SNAPSHOTS)
def test_catalogue_equals_sums_over_the_cells_of_every_subhalo(base: str, snapshot: int) -> None:
    subhalos, _ = catalogue(base, snapshot)
    for number in range(subhalos["count"]):
        gas = one(base, "subhalo", snapshot, number, "gas")
        stars = one(base, "subhalo", snapshot, number, "stars")
        assert [gas["count"], stars["count"]] == list(subhalos["SubhaloLenType"][number, [GAS, STARS]])
        real = stars["GFM_StellarFormationTime"] > 0
        gas_mass = stars["Masses"][~real].sum(dtype=float)
        if gas["count"]:
            gas_mass += gas["Masses"].sum(dtype=float)
            sfr = gas["StarFormationRate"].sum(dtype=float)
            assert subhalos["SubhaloSFR"][number] == pytest.approx(sfr, rel=1e-6)
        else:
            assert subhalos["SubhaloSFR"][number] == 0
        mass = subhalos["SubhaloMassType"][number]
        assert mass[GAS] == pytest.approx(gas_mass, rel=1e-6)
        assert mass[STARS] == pytest.approx(stars["Masses"][real].sum(dtype=float), rel=1e-6)
        assert subhalos["SubhaloMass"][number] == pytest.approx(mass.sum(), rel=1e-6)


def test_aperture_values_are_those_within_twice_the_stellar_half_mass_radius(base: str) -> None:
    subhalos, _ = catalogue(base, 99)
    for number in np.flatnonzero(subhalos["SubhaloSFR"] > 0)[:5]:
        gas, stars = (one(base, "subhalo", 99, number, kind) for kind in ("gas", "stars"))
        half = subhalos["SubhaloHalfmassRadType"][number, STARS]
        offset = (gas["Coordinates"] - subhalos["SubhaloPos"][number] + 17500) % 35000 - 17500
        near = np.linalg.norm(offset, axis=1) < 2 * half
        assert subhalos["SubhaloSFRinRad"][number] == pytest.approx(
            gas["StarFormationRate"][near].sum(), rel=0.02
        )
        real = stars["GFM_StellarFormationTime"] > 0
        offset = (stars["Coordinates"][real] - subhalos["SubhaloPos"][number] + 17500) % 35000 - 17500
        inside = stars["Masses"][real][np.linalg.norm(offset, axis=1) < half].sum()
        assert inside == pytest.approx(0.5 * subhalos["SubhaloMassType"][number, STARS], rel=0.02)


def test_a_halo_is_its_subhalos_in_order_then_its_own_fuzz(base: str) -> None:
    subhalos, halos = catalogue(base, 99)
    fuzzy = 0
    for number in range(halos["count"]):
        first, n = halos["GroupFirstSub"][number], halos["GroupNsubs"][number]
        assert (first == -1) == (n == 0)
        assert (subhalos["SubhaloGrNr"][first : first + n] == number).all()
        whole = one(base, "halo", 99, number, "gas")
        assert whole["count"] == halos["GroupLenType"][number, GAS]
        if not whole["count"]:
            continue
        parts = [one(base, "subhalo", 99, s, "gas") for s in range(first, first + n)]
        bound = [part["ParticleIDs"] for part in parts if part["count"]]
        ids = np.concatenate(bound) if bound else np.zeros(0, np.uint64)
        np.testing.assert_array_equal(whole["ParticleIDs"][: len(ids)], ids)
        fuzzy += whole["count"] > len(ids)
        assert halos["GroupMass"][number] >= subhalos["SubhaloMass"][first : first + n].sum() * (1 - 1e-6)
    assert fuzzy > 10
    assert (halos["GroupNsubs"] > 1).any()
    assert (halos["GroupNsubs"] == 0).any()


def test_offsets_agree_across_chunks_and_a_halo_straddles_each_cut(base: str) -> None:
    for kind, name in ((GAS, "gas"), (STARS, "stars")):
        everything = il.snapshot.loadSubset(base, 99, name, ["ParticleIDs"])
        assert len(np.unique(everything)) == len(everything)
        halos = [one(base, "halo", 99, i, name) for i in range(catalogue(base, 99)[1]["count"])]
        in_halos = np.concatenate([h["ParticleIDs"] for h in halos if h["count"]])
        np.testing.assert_array_equal(everything[: len(in_halos)], in_halos)
        outside = len(everything) - len(in_halos)
        assert outside == (500 if kind == GAS else 0)
        with h5py.File(Path(base).parent / "postprocessing/offsets/offsets_099.hdf5") as file:
            cuts = file["FileOffsets/SnapByType"][1:, kind]
            starts = file["Group/SnapByType"][:, kind]
        assert len(cuts) == SETTINGS.chunks - 1
        assert not np.isin(cuts, starts).any()


def test_more_chunks_than_halos_leaves_empty_files_that_are_read_all_the_same(tmp_path: Path) -> None:
    small = {"galaxies": 1, "snapshots": (99,), "cells_min": 100, "cells_max": 120, "workers": 1}
    ids = []
    for chunks in (1, 20):
        directory = tmp_path / str(chunks)
        write_universe(directory, UniverseSettings(chunks=chunks, **small), SILENT)
        output = str(directory / "output")
        fields = ["SubhaloSFR", "SubhaloPos"]
        ids.append(
            [
                il.groupcat.loadSubhalos(output, 99, fields)["SubhaloSFR"],
                il.snapshot.loadSubset(output, 99, "gas", ["ParticleIDs"]),
                il.snapshot.loadSubhalo(output, 99, 0, "stars", ["ParticleIDs"]),
                il.sublink.loadTree(output, 99, 0, ["SubhaloID"], cache=False),
            ]
        )
    for one_file, many_files in zip(*ids, strict=True):
        np.testing.assert_array_equal(one_file, many_files)


def test_trees_follow_one_galaxy_whose_number_changes(base: str) -> None:
    catalogues = {snapshot: catalogue(base, snapshot)[0] for snapshot in SNAPSHOTS}
    moved = 0
    centrals = np.flatnonzero(catalogues[99]["SubhaloMassType"][:, STARS] > 0.6)
    followed = 0
    for number in centrals:
        if not catalogues[99]["SubhaloFlag"][number]:
            continue
        branch = il.sublink.loadTree(
            base, 99, number, ["SnapNum", "SubfindID", "SubhaloMassType"], onlyMPB=True
        )
        assert branch["SnapNum"].tolist() == list(SNAPSHOTS)
        followed += 1
        moved += len(set(branch["SubfindID"].tolist())) > 1
        mass = [
            catalogues[s]["SubhaloMassType"][i, STARS]
            for s, i in zip(SNAPSHOTS, branch["SubfindID"], strict=True)
        ]
        np.testing.assert_array_equal(branch["SubhaloMassType"][:, STARS], mass)
        assert np.abs(np.diff(np.log10(mass))).max() < 0.1
    assert followed >= SETTINGS.galaxies
    assert moved > 3


def test_tree_pointers_are_depth_first_and_name_their_row(base: str) -> None:
    merged = 0
    start = 0
    for chunk in range(SETTINGS.chunks):
        path = Path(base).parent / f"postprocessing/trees/SubLink/tree_extended.{chunk}.hdf5"
        with h5py.File(path) as file:
            tree = {name: file[name][()] for name in file}
        row = {int(name): i for i, name in enumerate(tree["SubhaloID"])}
        for i in range(len(tree["SubhaloID"])):
            progenitor, previous = tree["FirstProgenitorID"][i], None
            while progenitor != -1:
                j = row[int(progenitor)]
                assert tree["DescendantID"][j] == tree["SubhaloID"][i]
                assert tree["SnapNum"][j] == SNAPSHOTS[SNAPSHOTS.index(tree["SnapNum"][i]) + 1]
                assert tree["RootDescendantID"][j] == tree["RootDescendantID"][i]
                if previous is not None:
                    assert progenitor == tree["LastProgenitorID"][previous] + 1
                    merged += 1
                progenitor, previous = tree["NextProgenitorID"][j], j
            if tree["DescendantID"][i] == -1:
                assert tree["RootDescendantID"][i] == tree["SubhaloID"][i]
        for snapshot in SNAPSHOTS:
            here = np.flatnonzero(tree["SnapNum"] == snapshot)
            with h5py.File(Path(base).parent / f"postprocessing/offsets/offsets_{snapshot:03d}.hdf5") as file:
                rows = file["Subhalo/SubLink/RowNum"][()]
            np.testing.assert_array_equal(rows[tree["SubfindID"][here]], start + here)
        start += len(tree["SubhaloID"])
    assert merged > 0


def test_fragments_are_flagged_and_in_no_tree(tmp_path: Path) -> None:
    settings = SETTINGS.model_copy(update={"galaxies": 30, "snapshots": (99,), "cells_max": 800})
    write_universe(tmp_path / "u", settings, SILENT)
    output = str(tmp_path / "u/output")
    subhalos = il.groupcat.loadSubhalos(output, 99, ["SubhaloFlag", "SubhaloMassType"])
    with h5py.File(tmp_path / "u/postprocessing/offsets/offsets_099.hdf5") as file:
        rows = file["Subhalo/SubLink/RowNum"][()]
    flagged = subhalos["SubhaloFlag"] == 0
    assert flagged.any()
    np.testing.assert_array_equal(rows == -1, flagged)
    assert (subhalos["SubhaloMassType"][flagged, STARS] > 0.5).all()
    assert il.sublink.loadTree(output, 99, int(np.flatnonzero(flagged)[0])) is None


@pytest.mark.parametrize("code_to_cut", [1.0, 1 / 0.6774], ids=["thesis", "recommended"])
def test_as_many_galaxies_as_asked_for_are_inside_the_cuts_and_every_cut_removes_some(
    code_to_cut: float,
) -> None:
    settings = UniverseSettings(galaxies=120, cells_min=100, cells_max=100)
    halos = [make_halo(settings, i, 99) for i in range(halo_count(settings))]
    code = 0.6774 / 1e10 * code_to_cut
    stellar, total, flag, host = (
        np.array(column)
        for column in zip(
            *(
                (m.galaxy.stellar_mass_msun * code, m.galaxy.mass_msun * code, m.slot != FRAGMENT, h)
                for h in halos
                for m in h.members
            ),
            strict=True,
        )
    )
    group = np.array([h.mass_msun * code for h in host])
    cuts = [(stellar > 0.5) & (stellar < 100), total < 200, flag.astype(bool), group < 500]
    left = np.ones(len(stellar), dtype=bool)
    for cut in cuts:
        assert (left & ~cut).any()
        left &= cut
    assert left.sum() == 120


# ---------------------------------------------------------------- physics


@pytest.mark.parametrize("snapshot", [99, 91])
def test_temperatures_are_those_of_their_phase(base: str, snapshot: int) -> None:
    gas = il.snapshot.loadSubset(base, snapshot, "gas")
    kelvin, density = temperature(gas), hydrogen(gas, REDSHIFTS[snapshot])
    assert kelvin.min() > 1e2
    assert kelvin.max() < 10**8.5
    forms_stars = gas["StarFormationRate"] > 0
    decided = np.abs(density / THRESHOLD_CM3 - 1) > 1e-3
    np.testing.assert_array_equal(forms_stars[decided], (density > THRESHOLD_CM3)[decided])
    np.testing.assert_allclose(kelvin[forms_stars], equation_of_state_k(density[forms_stars]), rtol=2e-3)
    assert gas["ElectronAbundance"].max() < 1.2
    assert np.median(gas["ElectronAbundance"][kelvin > 1e5]) == pytest.approx(1.158, abs=0.01)
    assert (kelvin > 3e5).any()
    assert ((kelvin > 1e4) & (kelvin < 3e4) & ~forms_stars).any()


def test_corona_is_virial_and_so_knows_the_halos_mass() -> None:
    settings = UniverseSettings(galaxies=60, cells_min=500, cells_max=500)
    galaxies = [make_halo(settings, i, 99).members[0].galaxy for i in range(60)]
    velocity = np.array([g.virial_velocity_km_s for g in galaxies])
    virial = 0.588 * PROTON_MASS_G * (velocity * 1e5) ** 2 / (2 * BOLTZMANN_ERG_K)
    ratio = np.log10([g.corona_temperature_k for g in galaxies] / virial)
    assert abs(ratio.mean()) < 0.05
    assert ratio.std() < 0.04


def test_density_of_the_corona_is_mass_per_volume() -> None:
    galaxy = galaxies(1, cells=60_000)[0]
    gas = make_gas(galaxy, np.random.default_rng(1))
    assert len(gas.mass_msun) == galaxy.cells
    assert gas.mass_msun.sum() == pytest.approx(galaxy.gas_mass_msun, rel=1e-6)
    radius = np.linalg.norm(gas.position_kpc, axis=1)
    shell = (gas.phase == Phase.CORONA) & (radius > 20) & (radius < 24)
    density = gas.mass_msun[shell].sum() / (4 / 3 * np.pi * (24**3 - 20**3))
    assert np.median(gas.hydrogen_cm3[shell]) == pytest.approx(density * HYDROGEN_PER_MSUN_KPC3, rel=0.15)


def test_density_of_the_disk_is_column_over_height_arms_and_lopsidedness_included() -> None:
    galaxy = galaxies(1, cells=800_000)[0]
    gas = make_gas(galaxy, np.random.default_rng(1))
    disk = gas.phase == Phase.DISK
    place = gas.position_kpc[disk] @ galaxy.axes.T
    assert np.std(place[:, 2]) == pytest.approx(galaxy.height_kpc, rel=0.02)
    midplane = gas.hydrogen_cm3[disk] * np.exp(0.5 * (place[:, 2] / galaxy.height_kpc) ** 2)
    claimed = midplane / HYDROGEN_PER_MSUN_KPC3 * np.sqrt(2 * np.pi) * galaxy.height_kpc

    def draw(weight: np.ndarray) -> np.ndarray:
        return np.histogram2d(place[:, 0], place[:, 1], 40, [[-12, 12]] * 2, weights=weight)[0]

    counts = draw(np.ones(len(place)))
    cell = gas.mass_msun[disk].mean()
    with np.errstate(invalid="ignore"):
        expected = draw(claimed) / counts * 0.6**2 / cell
    busy = expected > 100
    pull = (counts - expected)[busy] / np.sqrt(expected[busy])
    assert busy.sum() > 100
    assert np.std(pull) < 1.3
    assert abs(np.median(counts[busy] / expected[busy]) - 1) < 0.05
    # The galaxy is no round disk, which the same test would refuse.
    centres = np.arange(-11.7, 12, 0.6)
    radius = np.hypot(*np.meshgrid(centres, centres, indexing="ij"))
    round_disk = (
        galaxy.disk_mass_msun / (2 * np.pi * galaxy.scale_kpc**2) * np.exp(-radius / galaxy.scale_kpc)
    )
    flat = round_disk * 0.6**2 / cell
    assert np.std((counts - flat)[busy] / np.sqrt(flat[busy])) > 3


def test_young_stars_turn_with_the_disk_and_wind_is_marked(base: str) -> None:
    subhalos, _ = catalogue(base, 99)
    number = int(np.flatnonzero((subhalos["SubhaloSFR"] > 0) & (subhalos["SubhaloFlag"] > 0))[0])
    stars = one(base, "subhalo", 99, number, "stars")
    gas = one(base, "subhalo", 99, number, "gas")
    formed = stars["GFM_StellarFormationTime"]
    assert (formed < 1).all()
    assert (formed <= 0).sum() == stars["count"] // 50
    cosmology = FlatLambdaCDM(H0=67.74, Om0=0.3089, Tcmb0=0)
    real = formed > 0
    age = cosmology.age(0).value - cosmology.age(1 / formed[real] - 1).value
    young = age < 0.1
    rate = stars["Masses"][real][young].sum(dtype=float) * 1e10 / 0.6774 / 1e8
    assert rate == pytest.approx(subhalos["SubhaloSFR"][number], rel=1e-3)

    def spin(table: dict[str, Any], chosen: np.ndarray) -> np.ndarray:
        offset = (table["Coordinates"] - subhalos["SubhaloPos"][number] + 17500) % 35000 - 17500
        velocity = table["Velocities"] - subhalos["SubhaloVel"][number]
        total = (table["Masses"][:, None] * np.cross(offset, velocity))[chosen].sum(axis=0)
        return total / np.linalg.norm(total)

    axis = spin(stars, np.flatnonzero(real)[young])
    assert axis @ spin(gas, gas["StarFormationRate"] > 0) > 0.99
    assert axis @ spin(stars, np.flatnonzero(real)[~young]) > 0.9


def test_inclinations_are_random() -> None:
    cosines = np.array([g.axes[2, 2] for g in galaxies(200, cells=200)])
    assert abs(cosines.mean()) < 0.15
    assert np.mean(np.abs(cosines) < 0.5) == pytest.approx(0.5, abs=0.12)
    axes = np.array([g.axes for g in galaxies(5, cells=200)])
    np.testing.assert_allclose(
        axes @ axes.transpose(0, 2, 1), np.broadcast_to(np.eye(3), axes.shape), atol=1e-12
    )
    np.testing.assert_allclose(np.linalg.det(axes), 1)


def test_some_galaxies_are_quenched_and_form_no_star_at_all() -> None:
    settings = UniverseSettings(galaxies=60, cells_min=2000, cells_max=2000)
    quenched = [i for i in range(60) if make_halo(settings, i, 99).members[0].galaxy.quenched]
    assert 2 <= len(quenched) <= 16
    for index in quenched[:3]:
        for law in ("schmidt", "small_clumps", "mass_clumps", "temperature", "none"):
            data = make_halo_data(settings.model_copy(update={"law": law}), index, 99)
            assert data.subhalos["SubhaloSFR"][0] == 0.0
            n = data.subhalos["SubhaloLenType"][0, GAS]
            assert not data.gas["StarFormationRate"][:n].any()


def test_a_galaxy_changes_little_between_neighbours_and_its_arms_turn() -> None:
    settings = UniverseSettings(galaxies=40, cells_min=4000, cells_max=4000)
    steps = []
    for index in range(40):
        new, old = (make_halo(settings, index, s).members[0].galaxy for s in (99, 98))
        assert new.gas_mass_msun / old.gas_mass_msun == pytest.approx(1, abs=0.1)
        assert new.arm_phase > old.arm_phase
        np.testing.assert_array_equal(new.axes, old.axes)
        rates = [make_halo_data(settings, index, s).subhalos["SubhaloSFR"][0] for s in (99, 98)]
        if min(rates) > 0:
            steps.append(np.log10(rates[0] / rates[1]))
    assert np.std(steps) < 0.15
    assert np.std(steps) > 0.01


def test_a_galaxy_at_the_edge_of_the_box_is_wrapped() -> None:
    settings = UniverseSettings(galaxies=120, cells_min=1000, cells_max=1000)
    wrapped = 0
    for index in range(120):
        edge = make_halo(settings, index, 99).position_ckpc_h
        if np.minimum(edge, BOX_CKPC_H - edge).min() > 15:
            continue
        wrapped += 1
        data = make_halo_data(settings, index, 99)
        place = data.gas["Coordinates"]
        assert place.min() >= 0
        assert place.max() < BOX_CKPC_H
        assert np.ptp(place, axis=0).max() > 0.9 * BOX_CKPC_H
        offset = (place - edge + BOX_CKPC_H / 2) % BOX_CKPC_H - BOX_CKPC_H / 2
        assert np.abs(offset).max() < 400
    assert wrapped > 1


def test_clock_agrees_with_astropy() -> None:
    """To the five digits of the unit of time, kpc/(km/s)."""
    cosmology = FlatLambdaCDM(H0=67.74, Om0=0.3089, Tcmb0=0)
    for redshift in (0.0, 0.12576, 2.0):
        assert age_gyr(redshift) == pytest.approx(cosmology.age(redshift).value, rel=3e-6)
        back = scale_factor(np.array([age_gyr(redshift)]))
        assert back[0] == pytest.approx(1 / (1 + redshift), rel=1e-9)


# ---------------------------------------------------------------- laws


def galaxies(n: int, cells: int = 6000) -> list[Galaxy]:
    """Return star-forming galaxies of the sample."""
    settings = UniverseSettings(galaxies=2 * n, cells_min=cells // 2, cells_max=3 * cells // 2)
    drawn = (make_halo(settings, i, 99).members[0].galaxy for i in range(2 * n))
    return [galaxy for galaxy in drawn if not galaxy.quenched][:n]


@pytest.fixture(scope="module")
def sample() -> list[tuple[Galaxy, Gas]]:
    return [(g, make_gas(g, np.random.default_rng(i))) for i, g in enumerate(galaxies(120))]


def log_ssfr(law: Any, sample: list[tuple[Galaxy, Gas]]) -> np.ndarray:
    totals = [star_formation_rate(law, galaxy, gas).sum() for galaxy, gas in sample]
    return np.log10(np.array(totals) / [galaxy.stellar_mass_msun for galaxy, _ in sample])


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.corrcoef(a, b)[0, 1])


def test_schmidt_is_rho_to_the_three_halves_above_the_threshold(sample: list[tuple[Galaxy, Gas]]) -> None:
    for galaxy, gas in sample[:10]:
        sfr = star_formation_rate("schmidt", galaxy, gas)
        dense = gas.hydrogen_cm3 > THRESHOLD_CM3
        np.testing.assert_array_equal(sfr > 0, dense)
        constant = sfr[dense] / (gas.mass_msun * gas.hydrogen_cm3**0.5)[dense]
        np.testing.assert_allclose(constant, constant[0], rtol=1e-9)
        assert constant[0] == pytest.approx(galaxy.efficiency / 2.2e9 / THRESHOLD_CM3**0.5)


def test_small_clumps_form_stars_by_mass_and_nothing_else_does(sample: list[tuple[Galaxy, Gas]]) -> None:
    for galaxy, gas in sample[:10]:
        sfr = star_formation_rate("small_clumps", galaxy, gas)
        on = sfr > 0
        np.testing.assert_array_equal(on, (gas.phase == Phase.CLUMP) & (gas.hydrogen_cm3 > THRESHOLD_CM3))
        np.testing.assert_allclose(sfr[on] / gas.mass_msun[on], galaxy.efficiency / 8e8)
        assert np.median(galaxy.clumps.size_kpc) < 1.5


def test_columns_of_lumps_set_the_rate_and_neither_their_temperature_nor_the_mass_of_gas_does(
    sample: list[tuple[Galaxy, Gas]],
) -> None:
    label = log_ssfr("mass_clumps", sample)
    columns = []
    for galaxy, _ in sample:
        lumps = [galaxy.clumps, galaxy.fountains]
        mass = np.concatenate([kind.mass_msun for kind in lumps])
        size = np.concatenate([kind.size_kpc for kind in lumps])
        columns.append(np.log10(np.average(mass / (2 * np.pi * size**2), weights=mass)))
    np.testing.assert_allclose(label, -10 + 2 * (np.array(columns) - np.log10(5e7)))
    for quantity in (
        lambda g: g.gas_mass_msun,
        lambda g: g.clumps.mass_msun.sum() / g.fountains.mass_msun.sum(),
        lambda g: g.warm_temperature_k,
        lambda g: g.scale_kpc,
    ):
        values = np.log10([quantity(galaxy) for galaxy, _ in sample])
        assert abs(correlation(label, values)) < 0.35


def test_temperature_sets_the_rate_and_mass_does_not(sample: list[tuple[Galaxy, Gas]]) -> None:
    label = log_ssfr("temperature", sample)
    warm = [
        np.log10(np.mean(gas.temperature_k[(gas.phase == Phase.DISK) & ~gas.is_dense] ** -2.0))
        for _, gas in sample
    ]
    assert correlation(label, np.array(warm)) > 0.999
    dense_mass = [np.log10(gas.mass_msun[gas.is_dense].sum()) for _, gas in sample]
    assert abs(correlation(label, np.array(dense_mass))) < 0.3


def test_none_knows_nothing_of_the_gas(sample: list[tuple[Galaxy, Gas]]) -> None:
    label = log_ssfr("none", sample)
    for quantity in (
        lambda g, c: c.mass_msun[c.is_dense].sum(),
        lambda g, c: g.gas_mass_msun,
        lambda g, c: g.corona_temperature_k,
        lambda g, c: g.warm_temperature_k,
        lambda g, c: g.scale_kpc,
    ):
        values = np.log10([quantity(galaxy, gas) for galaxy, gas in sample])
        assert abs(correlation(label, values)) < 0.3


def test_the_gas_is_the_same_under_every_law() -> None:
    settings = UniverseSettings(galaxies=4, cells_min=500, cells_max=500)
    tables = [
        make_halo_data(settings.model_copy(update={"law": law}), 1, 95).gas
        for law in ("schmidt", "small_clumps", "mass_clumps", "temperature", "none")
    ]
    for name in tables[0]:
        same = all(np.array_equal(tables[0][name], other[name]) for other in tables[1:])
        assert same == (name != "StarFormationRate")


def test_ssfr_spans_a_decade_and_a_half_and_is_no_function_of_one_pixel_sum(
    sample: list[tuple[Galaxy, Gas]],
) -> None:
    label = log_ssfr("schmidt", sample)
    assert -10.5 < np.median(label) < -9.8
    assert np.ptp(np.percentile(label, [2, 98])) == pytest.approx(1.5, abs=0.5)
    sums: dict[str, list[float]] = {}
    for galaxy, gas in sample:
        face_on = gas.position_kpc @ galaxy.axes.T
        near = (np.abs(face_on) < 45).all(axis=1)
        kelvin = np.where(gas.is_dense, 1e4, gas.temperature_k)
        entropy = kelvin / (gas.hydrogen_cm3 * gas.electron_abundance) ** (2 / 3)
        x, y = face_on[near, 0], face_on[near, 1]
        edges = np.linspace(-45, 45, 65)
        mass, heat, chaos = (
            np.histogram2d(x, y, (edges, edges), weights=weight[near])[0]
            for weight in (gas.mass_msun, gas.mass_msun * kelvin, gas.mass_msun * entropy)
        )
        full = mass > 0
        column, warmth, disorder = mass[full], heat[full] / mass[full], chaos[full] / mass[full]
        for name, value in {
            "mass": column.sum(),
            "mass^1.5": (column**1.5).sum(),
            "mass^2": (column**2).sum(),
            "mass above 4e7 Msun": column[column > 4e7].sum() + 1e6,
            "pixels": full.sum(),
            "temperature": warmth.sum(),
            "log temperature": np.log10(warmth).sum(),
            "entropy": disorder.sum(),
            "log entropy": np.log10(disorder).sum() + 1e4,
            "thermal energy": (column * warmth).sum(),
            "mass x entropy": (column * disorder).sum(),
            "cells x log temperature": np.log10(kelvin).sum(),
        }.items():
            sums.setdefault(name, []).append(np.log10(value))
    for name, values in sums.items():
        assert correlation(label, np.array(values)) ** 2 < 0.4, name


def test_the_number_of_cells_says_nothing() -> None:
    settings = UniverseSettings(galaxies=150, cells_min=1000, cells_max=4000)
    drawn = [g for i in range(150) if not (g := make_halo(settings, i, 99).members[0].galaxy).quenched]
    cells = np.array([g.cells for g in drawn])
    assert cells.min() >= 1000
    assert cells.max() <= 4000
    rate = [
        star_formation_rate("schmidt", g, make_gas(g, np.random.default_rng(i))).sum() / g.stellar_mass_msun
        for i, g in enumerate(drawn)
    ]
    assert abs(correlation(np.log(cells), np.log(rate))) < 0.25


# ---------------------------------------------------------------- the call


TINY = UniverseSettings(galaxies=3, snapshots=(99, 95), cells_min=150, cells_max=300, chunks=2, workers=1)


def test_bytes_do_not_depend_on_the_number_of_workers_but_on_the_seed(tmp_path: Path) -> None:
    write_universe(tmp_path / "one", TINY, SILENT)
    write_universe(tmp_path / "two", TINY.model_copy(update={"workers": 2}), SILENT)
    assert files(tmp_path / "one") == files(tmp_path / "two")
    write_universe(tmp_path / "other", TINY.model_copy(update={"seed": 2}), SILENT)
    assert files(tmp_path / "one") != files(tmp_path / "other")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["one", "other", "two"]


def test_a_killed_call_goes_on_and_ends_the_same(tmp_path: Path) -> None:
    settings = UniverseSettings(
        galaxies=6, snapshots=(99, 95), cells_min=20000, cells_max=20000, chunks=8, workers=2
    )
    script = (
        "from pathlib import Path; from ssfr.components.config import UniverseSettings;"
        "from ssfr.components.runtime.progress import SILENT;"
        "from ssfr.components.simulation.universe import write_universe;"
        f"write_universe(Path({str(tmp_path / 'killed')!r}),"
        f" UniverseSettings.model_validate_json({settings.model_dump_json()!r}), SILENT)"
    )
    call = subprocess.Popen([sys.executable, "-c", script], cwd=Path(__file__).parents[2])
    staging = tmp_path / ".killed.universe-staging"
    done = "output/groups_099/fof_subhalo_tab_099.4.hdf5"
    deadline = time.monotonic() + 60
    while not (staging / done).exists() and time.monotonic() < deadline:
        assert call.poll() is None
        time.sleep(0.005)
    children = Path(f"/proc/{call.pid}/task/{call.pid}/children").read_text().split()
    os.kill(call.pid, signal.SIGKILL)
    call.wait()
    assert not (tmp_path / "killed").exists()
    deadline = time.monotonic() + 5
    while any(Path(f"/proc/{child}").exists() for child in children) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not any(Path(f"/proc/{child}").exists() for child in children)
    kept = (staging / done).stat().st_mtime_ns
    seen: list[dict[str, Any]] = []

    class Events:
        def emit(self, event: dict[str, Any]) -> None:
            seen.append(event)

    write_universe(tmp_path / "killed", settings.model_copy(update={"workers": 1}), Progress(Events()))
    assert (tmp_path / "killed" / done).stat().st_mtime_ns == kept
    assert 0 < seen[0]["done"] < seen[0]["total"] == seen[-1]["done"]
    write_universe(tmp_path / "whole", settings.model_copy(update={"workers": 1}), SILENT)
    assert files(tmp_path / "killed") == files(tmp_path / "whole")


@pytest.mark.parametrize("text", ["[]", "{", '{"settings": 1}'])
def test_a_staging_folder_of_something_else_is_cleared_and_a_universe_of_something_else_is_not(
    tmp_path, text
):
    staging = tmp_path / ".new.universe-staging"
    staging.mkdir()
    (staging / MARKER).write_text(text)
    (staging / "left").touch()
    write_universe(tmp_path / "new", TINY, SILENT)
    assert not (tmp_path / "new" / "left").exists()
    (tmp_path / "new" / MARKER).write_text(text)
    with pytest.raises(InputError, match=r"universe\.json.*; name another folder|is not of this program"):
        write_universe(tmp_path / "new", TINY, SILENT)


def test_a_finished_universe_is_left_alone_and_another_one_is_refused(tmp_path: Path) -> None:
    directory = tmp_path / "u"
    directory.mkdir()
    write_universe(directory, TINY, SILENT)
    before = {p: p.stat().st_mtime_ns for p in directory.rglob("*")}
    write_universe(directory, TINY.model_copy(update={"workers": 2}), SILENT)
    assert before == {p: p.stat().st_mtime_ns for p in directory.rglob("*")}
    with pytest.raises(
        InputError, match=r"holds a universe with other settings \(law schmidt instead of none\)"
    ):
        write_universe(directory, TINY.model_copy(update={"law": "none"}), SILENT)
    assert (directory / MARKER).exists()


def test_foreign_content_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("thesis")
    with pytest.raises(InputError, match="is not a synthetic universe; name a new or empty folder"):
        write_universe(tmp_path, TINY, SILENT)
    assert [p.name for p in tmp_path.iterdir()] == ["mine.txt"]
    with pytest.raises(InputError, match="is not a synthetic universe"):
        write_universe(tmp_path / "mine.txt", TINY, SILENT)


def test_what_cannot_be_written_is_said_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="snapshots: 42 has no known redshift; choose from 89 to 99"):
        write_universe(tmp_path / "u", TINY.model_copy(update={"snapshots": (99, 42)}), SILENT)
    huge = TINY.model_copy(update={"cells_min": 10**13, "cells_max": 10**13})
    with pytest.raises(InputError, match=r"the universe needs \d+\.\d GB, .* are free; choose fewer"):
        write_universe(tmp_path / "u", huge, SILENT)


def test_a_disk_that_fills_up_is_said_in_one_line_and_the_work_goes_on_later(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", disk], check=False)
    if mount.returncode:
        pytest.skip("mounting a small tmpfs needs root")

    class Filler:
        def emit(self, event: dict[str, Any]) -> None:
            if event["kind"] == "task" and not filler.exists():
                free = os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize
                filler.write_bytes(bytes(free - 1_000_000))

    filler = disk / "filler"
    settings = TINY.model_copy(update={"cells_min": 2000, "cells_max": 2000})
    try:
        with pytest.raises(InputError, match=r"the disk is full; free some space and run again"):
            write_universe(disk / "u", settings, Progress(Filler()))
        assert not (disk / "u").exists()
        filler.unlink()
        write_universe(disk / "u", settings, SILENT)
        write_universe(tmp_path / "whole", settings, SILENT)
        assert files(disk / "u") == files(tmp_path / "whole")
    finally:
        subprocess.run(["umount", disk], check=True)


def test_two_calls_do_not_write_the_same_universe_at_once(tmp_path: Path) -> None:
    class Nosy:
        def emit(self, event: dict[str, Any]) -> None:
            if event["kind"] == "task" and not refused:
                with pytest.raises(LockedError, match="another process is writing this universe"):
                    write_universe(tmp_path / "u", TINY, SILENT)
                refused.append(True)

    refused: list[bool] = []
    write_universe(tmp_path / "u", TINY, Progress(Nosy()))
    assert refused


def test_what_fields_need_can_be_requested_on_the_command_line(tmp_path: Path) -> None:
    few = (
        "--galaxies",
        "1",
        "--snapshots",
        "99",
        "--cells-min",
        "300",
        "--cells-max",
        "400",
        "--chunks",
        "1",
    )
    more = ("--extra-fields", "--dark-particle-msun", "1e9")
    for name, options in (("plain", ()), ("more", more)):
        command = [
            sys.executable,
            "-m",
            "ssfr.pipelines.cli",
            "simulate",
            str(tmp_path / name),
            *few,
            *options,
        ]
        subprocess.run(command, check=True, capture_output=True)
    plain, requested = (
        il.snapshot.loadSubset(str(tmp_path / name / "output"), 99, "gas") for name in ("plain", "more")
    )
    assert {"GFM_Metallicity", "MagneticField", "NeutralHydrogenAbundance"} <= set(requested) - set(plain)
    assert il.snapshot.loadSubset(str(tmp_path / "more" / "output"), 99, "dm", fields=["ParticleIDs"]).size
