"""Real TNG50-4 gas, from HDF5 to maps: the star-forming clumps of a subbox, which has no catalogue."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
import pandas as pd
import pytest
from illustris_python import snapshot as particles
from scipy.sparse.csgraph import connected_components
from scipy.spatial import KDTree

from ssfr.components.config import parse_settings
from ssfr.components.projection import project
from ssfr.components.runtime.progress import Progress
from ssfr.components.simulation import open_source

pytestmark = pytest.mark.real_data

SUBBOX_SNAPSHOT = 2332
SNAPSHOT = 99
LINKING_CKPC_H = 20.0
AROUND_CKPC_H = 100.0
"""Cells within this distance of a clump's densest cell are taken to be its galaxy's."""

GAS_FIELDS = [
    *("Coordinates", "Velocities", "Masses", "Density"),
    *("InternalEnergy", "ElectronAbundance", "StarFormationRate"),
]
STAR_FIELDS = ["Coordinates", "Velocities", "Masses", "GFM_StellarFormationTime"]


class Clumps(NamedTuple):
    """Star-forming clumps as galaxies of a TNG directory."""

    directory: Path
    galaxies: pd.DataFrame
    gas: list[dict[str, Any]]


class RunEvents:
    def __init__(self) -> None:
        self.lines: list[str] = []

    def emit(self, event: dict[str, Any]) -> None:
        if "text" in event:
            self.lines.append(event["text"])


def find_clumps(gas: dict[str, Any]) -> list[int]:
    """Return the densest cell of each friends-of-friends group of star-forming cells, largest first."""
    forming = np.flatnonzero(gas["StarFormationRate"] > 0)
    links = KDTree(gas["Coordinates"][forming]).sparse_distance_matrix(
        KDTree(gas["Coordinates"][forming]), LINKING_CKPC_H
    )
    count, label = connected_components(links, directed=False)
    groups = sorted((forming[label == group] for group in range(count)), key=len, reverse=True)
    return [int(group[np.argmax(gas["Density"][group])]) for group in groups]


def near(coordinates: np.ndarray, centre: np.ndarray) -> np.ndarray:
    return np.linalg.norm(coordinates - centre, axis=1) < AROUND_CKPC_H


def write_clumps(subbox: Path, directory: Path) -> Clumps:
    """Write every clump of the subbox as a subhalo, and a halo, of its own."""
    base = str(subbox / "output")
    gas = particles.loadSubset(base, SUBBOX_SNAPSHOT, "gas", GAS_FIELDS)
    stars = particles.loadSubset(base, SUBBOX_SNAPSHOT, "stars", STAR_FIELDS)
    with h5py.File(particles.snapPath(base, SUBBOX_SNAPSHOT)) as file:
        header = {
            name: file["Header"].attrs[name]
            for name in ("HubbleParam", "Redshift", "Time", "Omega0", "OmegaLambda", "BoxSize")
        }
    centres = gas["Coordinates"][find_clumps(gas)]
    of_clump = {
        0: [{f: gas[f][near(gas["Coordinates"], centre)] for f in GAS_FIELDS} for centre in centres],
        4: [{f: stars[f][near(stars["Coordinates"], centre)] for f in STAR_FIELDS} for centre in centres],
    }
    count = len(centres)
    lengths = np.zeros((count, 6), np.int64)
    for kind, clumps in of_clump.items():
        lengths[:, kind] = [len(clump["Masses"]) for clump in clumps]
    starts = np.cumsum(lengths, axis=0) - lengths
    with create(directory / f"output/snapdir_{SNAPSHOT:03d}/snap_{SNAPSHOT:03d}.0.hdf5") as file:
        file.create_group("Header").attrs.update(
            header,
            NumFilesPerSnapshot=1,
            NumPart_ThisFile=lengths.sum(axis=0).astype("i4"),
            NumPart_Total=lengths.sum(axis=0).astype("u4"),
            NumPart_Total_HighWord=np.zeros(6, "u4"),
            MassTable=np.zeros(6),
        )
        for kind, clumps in of_clump.items():
            for field in clumps[0]:
                file[f"PartType{kind}/{field}"] = np.concatenate([clump[field] for clump in clumps])
    with create(directory / f"output/groups_{SNAPSHOT:03d}/fof_subhalo_tab_{SNAPSHOT:03d}.0.hdf5") as file:
        file.create_group("Header").attrs.update(
            header,
            NumFiles=1,
            Ngroups_Total=count,
            Ngroups_ThisFile=count,
            Nsubgroups_Total=count,
            Nsubgroups_ThisFile=count,
        )
        file["Group/GroupLenType"] = file["Subhalo/SubhaloLenType"] = lengths.astype("i4")
        file["Subhalo/SubhaloPos"] = centres.astype("f4")
    with create(directory / f"postprocessing/offsets/offsets_{SNAPSHOT:03d}.hdf5") as file:
        file["FileOffsets/Group"] = file["FileOffsets/Subhalo"] = np.zeros(1, np.int64)
        file["FileOffsets/SnapByType"] = np.zeros((1, 6), np.int64)
        file["Group/SnapByType"] = file["Subhalo/SnapByType"] = starts
    galaxies = pd.DataFrame(
        {"snapshot": np.int32(SNAPSHOT), "subhalo_id": np.arange(count), "halo_id": np.arange(count)}
    )
    return Clumps(directory, galaxies, of_clump[0])


def create(path: Path) -> h5py.File:
    path.parent.mkdir(parents=True)
    return h5py.File(path, "w")


@pytest.fixture(scope="module")
def clumps(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Clumps:
    subbox = shared_data / "tng50-4-subbox0"
    if not subbox.is_dir():
        pytest.skip(f"needs real gas of a TNG50-4 subbox, which is not at {subbox}")
    directory = tmp_path_factory.mktemp("clumps")
    found = write_clumps(subbox, directory)
    found.galaxies.to_parquet(directory / "sample.parquet")
    return found


def draw(clumps: Clumps, output: Path, **projection: Any) -> tuple[dict[str, Any], np.ndarray, list[str]]:
    """Run the step on the clumps; return its figures, the maps, and what it said."""
    projection = {"pixels": 64, "workers": 1, **projection}
    settings = parse_settings({"projection": projection}, "test")
    heard, source = RunEvents(), open_source(str(clumps.directory), parse_settings({}, "test").simulation)
    output.mkdir()
    figures = project.run(output, source, clumps.directory, settings, Progress(heard))
    with h5py.File(output / "maps-099-000.h5") as file:
        return figures, file["maps"][()], heard.lines


def test_there_are_at_least_three_star_forming_clumps(clumps: Clumps) -> None:
    assert len(clumps.galaxies) >= 3
    assert all(len(gas["Masses"]) > 50 for gas in clumps.gas)


@pytest.mark.parametrize("star_forming_gas", ["raw", "fixed_1e4K"])
def test_temperatures_of_real_gas_are_those_of_gas(
    clumps: Clumps, tmp_path: Path, star_forming_gas: str
) -> None:
    figures, maps, _ = draw(clumps, tmp_path / "maps", star_forming_gas=star_forming_gas)
    assert figures["drawn"] == len(clumps.galaxies) and figures["bad_cells"] == 0
    entropy, mass, temperature = maps.transpose(1, 0, 2, 3)
    drawn = mass > 0
    assert (drawn.sum(axis=(1, 2)) > 20).all()
    np.testing.assert_array_equal(np.isfinite(temperature), drawn)
    assert (temperature[drawn] > 1e2).all() and (temperature[drawn] < 10**8.5).all()
    assert (entropy[drawn] > 0).all()


@pytest.mark.parametrize(
    ("deposition", "binning"), [("smoothed", "exact"), ("point", "exact"), ("point", "thesis")]
)
def test_mass_of_real_gas_is_conserved(clumps: Clumps, tmp_path: Path, deposition: str, binning: str) -> None:
    width = {"width": 2 * AROUND_CKPC_H, "width_unit": "ckpc/h", "depth": None}
    _, maps, _ = draw(clumps, tmp_path / "maps", deposition=deposition, binning=binning, **width)
    lost = pd.read_csv(tmp_path / "maps/projection.csv")["lost_mass"]
    assert (lost > 0).all() == (deposition == "smoothed")
    for drawn, beyond, gas in zip(maps[:, 1].astype(float), lost, clumps.gas, strict=True):
        # every cell is within half a width of the centre, whichever way the clump is turned
        expected = gas["Masses"].astype(float).sum() * 1e10 / 0.6774
        assert drawn.sum() + beyond == pytest.approx(expected, rel=1e-5)


def test_without_young_stars_the_axis_is_that_of_the_gas_and_it_is_said(
    clumps: Clumps, tmp_path: Path
) -> None:
    figures, _, said = draw(clumps, tmp_path / "maps")
    assert figures["axis"] == {"gas": len(clumps.galaxies)}
    assert set(pd.read_csv(tmp_path / "maps/projection.csv")["axis"]) == {"gas"}
    assert any("of their gas, for they have fewer than 20 young stars" in line for line in said)


@pytest.mark.parametrize(("deposition", "close"), [("point", 1e-6), ("smoothed", 2e-3)])
def test_the_two_backends_agree_on_real_gas(
    clumps: Clumps, tmp_path: Path, deposition: str, close: float
) -> None:
    projection = {"deposition": deposition, "pixels": 24}
    _, native, _ = draw(clumps, tmp_path / "native", **projection)
    _, reference, _ = draw(clumps, tmp_path / "reference", **projection, backend="reference")
    np.testing.assert_allclose(native, reference, rtol=close)
