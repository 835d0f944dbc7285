"""Reading a TNG directory: what is on disk comes back, and what is wrong is named."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import tng_files as tng
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ssfr.components.config import SimulationSettings
from ssfr.components.errors import InputError
from ssfr.components.simulation import Source, is_of_cells, is_of_simulation, is_of_snapshot, open_source

LIMITS = SimulationSettings()


def opened(root: Path, **limits: Any) -> Source:
    return open_source(str(root), SimulationSettings(**limits))


@pytest.fixture
def universe(tmp_path: Path) -> Path:
    tng.write_universe(tmp_path)
    return tmp_path


# --- what is on disk comes back


@pytest.mark.parametrize("chunks", [1, 2, 3, 5])
def test_every_object_gets_its_own_cells_whatever_the_number_of_chunks(tmp_path: Path, chunks: int) -> None:
    truth = tng.write_universe(tmp_path, chunks=chunks)
    source = opened(tmp_path)
    for of, read_lengths, starts in (
        ("subhalo", truth["subhalos"]["SubhaloLenType"], truth["subhalo_start"]),
        ("halo", truth["groups"]["GroupLenType"], truth["halo_start"]),
    ):
        for number in range(len(starts)):
            for kind, read in ((tng.GAS, source.gas), (tng.STARS, source.stars)):
                found = read(99, of, number, ["Masses", "Coordinates"])
                begin, count = starts[number, kind], read_lengths[number, kind]
                assert found["count"] == count
                for name in ("Masses", "Coordinates"):
                    expected = truth["cells"][kind][name][begin : begin + count]
                    np.testing.assert_array_equal(found[name], expected)


@pytest.mark.parametrize("chunks", [1, 2, 5])
@pytest.mark.parametrize("fields", [["SubhaloMass"], ["SubhaloMass", "SubhaloLenType", "SubhaloFlag"]])
def test_catalogue_fields_come_whole_in_order_and_type(
    tmp_path: Path, chunks: int, fields: list[str]
) -> None:
    truth = tng.write_universe(tmp_path, chunks=chunks)["subhalos"]
    found = opened(tmp_path).subhalos(99, fields)
    assert list(found) == fields
    for name in fields:
        np.testing.assert_array_equal(found[name], truth[name])
        assert found[name].dtype == truth[name].dtype


def test_one_particle_field_comes_in_a_dict_and_in_the_type_of_the_file(universe: Path) -> None:
    gas = opened(universe).gas(99, "subhalo", 0, ["Coordinates"])
    assert sorted(gas) == ["Coordinates", "count"]
    assert gas["Coordinates"].dtype == np.float64
    assert opened(universe).gas(99, "subhalo", 0, ["Masses"])["Masses"].dtype == np.float32


def test_subhalo_without_gas_gives_a_count_of_zero_and_empty_arrays(universe: Path) -> None:
    gas = opened(universe).gas(99, "subhalo", 1, ["Coordinates", "Masses"])
    assert gas["count"] == 0
    assert gas["Coordinates"].shape == (0, 3)
    assert gas["Masses"].shape == (0,)


def test_stars_bring_formation_time_and_wind(universe: Path) -> None:
    stars = opened(universe).stars(99, "subhalo", 3, ["GFM_StellarFormationTime"])
    assert stars["count"] == 6
    assert (stars["GFM_StellarFormationTime"] < 0).any()


def test_catalogue_without_subhalos_gives_empty_arrays(tmp_path: Path) -> None:
    tng.write_universe(tmp_path, members=(), gas=(), stars=(), chunks=2)
    assert len(opened(tmp_path).subhalos(99, ["SubhaloMass"])["SubhaloMass"]) == 0


def test_header_values_come_from_the_file(universe: Path) -> None:
    header = opened(universe).header(99)
    assert (header.h, header.redshift, header.scale_factor) == (0.6774, 0.0485, 1 / 1.0485)
    assert (header.omega_matter, header.omega_lambda, header.box_ckpc_h) == (0.3089, 0.6911, 35000.0)
    assert header.snapshot == 99


def test_snapshots_are_found_latest_first(tmp_path: Path) -> None:
    for snapshot in (89, 99, 91):
        tng.write_universe(tmp_path, snapshot=snapshot)
    assert opened(tmp_path).snapshots() == [99, 91, 89]


def test_the_output_folder_itself_is_a_location_also_relative(
    universe: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = opened(universe).gas(99, "subhalo", 2, ["Masses"])["Masses"]
    monkeypatch.chdir(universe / "output")
    np.testing.assert_array_equal(opened(Path()).gas(99, "subhalo", 2, ["Masses"])["Masses"], whole)


def test_the_number_of_threads_in_the_environment_forks_nothing(
    universe: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "4")
    monkeypatch.setattr(os, "fork", lambda: pytest.fail("forked"))
    assert len(opened(universe).subhalos(99, ["SubhaloMass"])["SubhaloMass"]) == 6


def test_fingerprint_changes_with_a_file_and_not_without(universe: Path, tmp_path: Path) -> None:
    before = opened(universe).fingerprint()
    assert opened(universe).fingerprint() == before
    os.utime(tng.cell_file(universe, 1), ns=(1, 1))
    assert opened(universe).fingerprint() != before


def test_the_fingerprint_of_a_snapshot_is_of_its_own_files(tmp_path: Path) -> None:
    tng.write_universe(tmp_path, snapshot=99)
    before, whole = opened(tmp_path).fingerprint(99), opened(tmp_path).fingerprint()
    tng.write_universe(tmp_path, snapshot=98)
    tng.write_trees(tmp_path, TREES, (0, 6))
    assert opened(tmp_path).fingerprint(99) == before != opened(tmp_path).fingerprint(98)
    assert opened(tmp_path).fingerprint() != whole
    for file in (tng.catalogue_file(tmp_path, 0), tng.cell_file(tmp_path, 0), tng.offset_file(tmp_path)):
        earlier = opened(tmp_path).fingerprint(99)
        os.utime(file, ns=(1, 1))
        assert opened(tmp_path).fingerprint(99) != earlier


@pytest.mark.parametrize("above", ["", "output/", "tng/output/"])
def test_files_are_told_apart_by_snapshot_wherever_they_lie(above: str) -> None:
    assert is_of_snapshot(99, f"{above}groups_099/fof_subhalo_tab_099.0.hdf5")
    assert is_of_snapshot(99, f"{above}snapdir_099/snap_099.3.hdf5")
    assert is_of_snapshot(99, "postprocessing/offsets/offsets_099.hdf5")
    assert not is_of_snapshot(99, f"{above}snapdir_098/snap_098.3.hdf5")
    assert not is_of_snapshot(99, "postprocessing/trees/SubLink/tree_extended.0.hdf5")
    assert not is_of_snapshot(99, "universe.json")


def test_names_tell_the_files_that_the_fingerprint_is_of_and_among_them_the_cells(tmp_path: Path) -> None:
    tng.write_universe(tmp_path)
    tng.write_trees(tmp_path, TREES, (0, 6))
    for other in ("README", "output/groups_099/notes.txt", "postprocessing/trees/list.hdf5"):
        (tmp_path / other).touch()
    files = [path for path in sorted(tmp_path.rglob("*")) if path.is_file()]
    for path in files:
        before, name = opened(tmp_path).fingerprint(), path.relative_to(tmp_path).as_posix()
        os.utime(path, ns=(1, 1))
        assert (opened(tmp_path).fingerprint() != before) == is_of_simulation(name)
        assert is_of_cells(name) == path.name.startswith("snap_")


# --- merger trees

TREES = {
    # two trees: 70 <- 71 (snapshot 98) <- 72 (97), and 90 <- 91; one that ends at snapshot 98
    "RootDescendantID": np.array([70, 70, 70, 90, 90, 200], np.int64),
    "SnapNum": np.array([99, 98, 97, 99, 98, 98], np.int16),
    "SubfindID": np.array([4, 1, 0, 0, 3, 5], np.int32),
}


@pytest.mark.parametrize("edges", [(0, 6), (0, 3, 6), (0, 3, 5, 6)])
def test_roots_are_those_of_the_trees_and_minus_one_outside(tmp_path: Path, edges: tuple[int, ...]) -> None:
    tng.write_universe(tmp_path, snapshot=99, tree_rows=[3, -1, -1, -1, 0, -1])
    tng.write_universe(tmp_path, snapshot=98, tree_rows=[-1, 1, -1, 4, -1, 5])
    tng.write_trees(tmp_path, TREES, edges)
    source = opened(tmp_path)
    assert source.tree_roots(99).tolist() == [90, -1, -1, -1, 70, -1]
    assert source.tree_roots(98).tolist() == [-1, 70, -1, 90, -1, 200]
    assert source.tree_roots(98, np.array([5, 0, 1])).tolist() == [200, -1, 70]


def test_roots_of_many_scattered_subhalos_equal_a_look_at_each(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    n_rows, n_subhalos = 200_000, 3000
    rows = np.where(rng.random(n_subhalos) < 0.1, -1, rng.permutation(n_rows)[:n_subhalos])
    columns = {
        "RootDescendantID": rng.integers(0, 2**40, n_rows),
        "SnapNum": np.full(n_rows, 98, np.int16),
        "SubfindID": np.full(n_rows, -1, np.int32),
    }
    found = rows >= 0
    columns["SnapNum"][rows[found]] = 99
    columns["SubfindID"][rows[found]] = np.flatnonzero(found)
    ones = np.ones(n_subhalos, int)
    tng.write_universe(tmp_path, members=(n_subhalos,), gas=ones, stars=ones, chunks=1, tree_rows=rows)
    tng.write_trees(tmp_path, columns, (0, 60_000, 60_001, n_rows))
    expected = np.where(found, columns["RootDescendantID"][rows], -1)
    np.testing.assert_array_equal(opened(tmp_path).tree_roots(99), expected)


def test_without_trees_every_subhalo_is_in_none(universe: Path) -> None:
    assert opened(universe).tree_roots(99).tolist() == [-1] * 6


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([99, -1, -1, -1, -1, -1], r"offsets_099\.hdf5: Subhalo/SubLink/RowNum: row 99 is past the 6 rows"),
        ([0, -1, -1, -1, 3, -1], r"RowNum: rows lead to other subhalos in tree_extended\.0\.hdf5"),
        ([0, -1, -1], r"offsets_099\.hdf5: Subhalo/SubLink/RowNum is int64 \(3,\), expected .* \(6,\)"),
        (None, r"offsets_099\.hdf5: no group Subhalo/SubLink"),
    ],
)
def test_tree_offsets_that_do_not_fit_are_refused(tmp_path: Path, rows: Any, message: str) -> None:
    tng.write_universe(tmp_path, tree_rows=rows)
    tng.write_trees(tmp_path, TREES, (0, 6))
    with pytest.raises(InputError, match=message):
        opened(tmp_path).tree_roots(99)


def test_missing_tree_file_is_named(tmp_path: Path) -> None:
    tng.write_universe(tmp_path, tree_rows=[-1] * 6)
    tng.write_trees(tmp_path, TREES, (0, 3, 6))
    tng.tree_file(tmp_path, 0).unlink()
    with pytest.raises(InputError, match=r"tree_extended\.0\.hdf5: missing"):
        opened(tmp_path).tree_roots(99)


# --- what is wrong is named: files


def test_location_without_data_says_what_was_expected(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"neither groups_NNN/ nor snapdir_NNN/ .* expected a TNG directory"):
        opened(tmp_path)
    with pytest.raises(InputError, match="no such directory"):
        opened(tmp_path / "absent")
    with pytest.raises(InputError, match="api:TNG50-1"):
        open_source("api:TNG50-1", LIMITS)


@pytest.mark.parametrize("chunk", [0, 1, 2])
def test_missing_catalogue_chunk_is_named(universe: Path, chunk: int) -> None:
    tng.catalogue_file(universe, chunk).unlink()
    with pytest.raises(InputError, match=rf"groups_099/fof_subhalo_tab_099\.{chunk}\.hdf5: no such file"):
        opened(universe).subhalos(99, ["SubhaloMass"])


@pytest.mark.parametrize("chunk", [0, 1, 2])
def test_missing_cell_chunk_is_named_even_where_another_galaxy_is_asked(universe: Path, chunk: int) -> None:
    tng.cell_file(universe, chunk).unlink()
    with pytest.raises(InputError, match=rf"snapdir_099/snap_099\.{chunk}\.hdf5: (missing|no such file)"):
        opened(universe).gas(99, "subhalo", 0, ["Masses"])


def test_catalogue_of_the_old_format_is_refused(universe: Path) -> None:
    shutil.copy(tng.catalogue_file(universe, 0), universe / "output/groups_099/groups_099.0.hdf5")
    with pytest.raises(InputError, match=r"old format; expected fof_subhalo_tab_099\.0\.hdf5"):
        opened(universe).subhalos(99, ["SubhaloMass"])


@pytest.mark.parametrize("share", [0.0, 0.02, 0.5, 0.99])
def test_truncated_chunk_is_named(universe: Path, share: float) -> None:
    def truncate(path: Path) -> None:
        content = path.read_bytes()
        path.write_bytes(content[: int(share * len(content))])

    truncate(tng.cell_file(universe, 1))
    with pytest.raises(InputError, match=r"snap_099\.1\.hdf5: truncated, damaged or not HDF5"):
        opened(universe).gas(99, "subhalo", 2, ["Masses"])
    truncate(tng.catalogue_file(universe, 1))
    with pytest.raises(InputError, match=r"fof_subhalo_tab_099\.1\.hdf5: truncated, damaged or not HDF5"):
        opened(universe).subhalos(99, ["SubhaloMass"])


def test_data_that_cannot_be_unpacked_are_named_with_their_file(universe: Path) -> None:
    path = tng.catalogue_file(universe, 2)
    with tng.changed(path) as file:
        values = file["Subhalo/SubhaloMass"][()]
        del file["Subhalo/SubhaloMass"]
        packed = file.create_dataset("Subhalo/SubhaloMass", data=values, chunks=True, compression="gzip")
        place = packed.id.get_chunk_info(0)
    content = bytearray(path.read_bytes())
    content[place.byte_offset : place.byte_offset + place.size] = b"\xff" * place.size
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"fof_subhalo_tab_099\.2\.hdf5: truncated, damaged"):
        opened(universe).subhalos(99, ["SubhaloMass"])


def test_something_else_than_a_file_is_refused_and_never_waited_for(universe: Path) -> None:
    path = tng.catalogue_file(universe, 1)
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(InputError, match=r"fof_subhalo_tab_099\.1\.hdf5: not a regular file"):
        opened(universe).subhalos(99, ["SubhaloMass"])


# --- what is wrong is named: fields


@pytest.mark.parametrize("chunk", [0, 1, 2])
def test_catalogue_field_absent_from_a_chunk_names_the_nearest(universe: Path, chunk: int) -> None:
    with tng.changed(tng.catalogue_file(universe, chunk)) as file:
        del file["Subhalo/SubhaloMass"]
    message = rf"tab_099\.{chunk}\.hdf5: no field SubhaloMass in Subhalo \(did you mean 'SubhaloMassType'\?\)"
    with pytest.raises(InputError, match=message):
        opened(universe).subhalos(99, ["SubhaloMass"])


def test_cell_field_absent_names_the_nearest(universe: Path) -> None:
    message = r"snap_099\.0\.hdf5: no field Velocity in PartType0 \(did you mean 'Velocities'\?\)"
    with pytest.raises(InputError, match=message):
        opened(universe).gas(99, "subhalo", 0, ["Velocity"])


def test_group_absent_from_every_chunk_is_named(universe: Path) -> None:
    for chunk in range(3):
        with tng.changed(tng.cell_file(universe, chunk)) as file:
            del file["PartType4"]
    with pytest.raises(InputError, match=r"snapdir_099: no chunk has PartType4, Header counts some"):
        opened(universe).stars(99, "subhalo", 0, ["Masses"])


@pytest.mark.parametrize("change", ["group", "field"])
def test_first_chunk_without_objects_must_still_have_the_group_and_its_fields(
    tmp_path: Path, change: str
) -> None:
    tng.write_universe(tmp_path, members=(3,), gas=[1] * 3, stars=[1] * 3, chunks=2)
    assert len(opened(tmp_path).subhalos(99, ["SubhaloMass"])["SubhaloMass"]) == 3
    with tng.changed(tng.catalogue_file(tmp_path, 0)) as file:
        del file["Subhalo"]
        if change == "field":
            file["Subhalo/SubhaloSFR"] = np.empty(0, "f4")
    message = "no group Subhalo" if change == "group" else "no field SubhaloMass in Subhalo"
    with pytest.raises(InputError, match=rf"tab_099\.0\.hdf5: {message}"):
        opened(tmp_path).subhalos(99, ["SubhaloMass"])


def test_only_the_fields_asked_for_must_be_sound(universe: Path) -> None:
    with tng.changed(tng.catalogue_file(universe, 1)) as file:
        tng.replace(file, "Subhalo/SubhaloSFR", [1.0])
    assert len(opened(universe).subhalos(99, ["SubhaloMass"])["SubhaloMass"]) == 6


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([1.0, 2.0, 3.0, 4.0], r"SubhaloMass has shape \(4,\), Header says 1 rows"),
        ([[1.0, 2.0]], r"SubhaloMass is float64 \(2,\), in an earlier chunk float32 \(\)"),
        (["a"], r"SubhaloMass holds .*, expected an array of numbers"),
    ],
)
def test_chunk_that_differs_from_its_header_or_from_the_others_is_refused(
    universe: Path, values: Any, message: str
) -> None:
    with tng.changed(tng.catalogue_file(universe, 1)) as file:
        tng.replace(file, "Subhalo/SubhaloMass", np.array(values, object if values == ["a"] else None))
    with pytest.raises(InputError, match=rf"fof_subhalo_tab_099\.1\.hdf5: Subhalo/{message}"):
        opened(universe).subhalos(99, ["SubhaloMass"])


def test_header_that_counts_more_subhalos_than_the_chunks_hold_is_refused(universe: Path) -> None:
    # illustris_python would fill the rest with zeros
    with tng.changed(tng.catalogue_file(universe, 0)) as file:
        file["Header"].attrs["Nsubgroups_Total"] = 8
    with pytest.raises(InputError, match=r"Header says 8 rows of Subhalo, the chunks hold 6"):
        opened(universe).subhalos(99, ["SubhaloMass"])


@pytest.mark.parametrize("name", ["Redshift", "HubbleParam", "BoxSize"])
def test_header_without_a_value_is_refused(universe: Path, name: str) -> None:
    with tng.changed(tng.cell_file(universe, 0)) as file:
        del file["Header"].attrs[name]
    with pytest.raises(InputError, match=rf"snap_099\.0\.hdf5: no attribute {name} in Header"):
        opened(universe).header(99)


@pytest.mark.parametrize("value", [0.0, -1.0, np.nan, "big"])
def test_header_with_an_impossible_value_is_refused(universe: Path, value: Any) -> None:
    with tng.changed(tng.cell_file(universe, 0)) as file:
        file["Header"].attrs["BoxSize"] = value
    with pytest.raises(InputError, match=r"snap_099\.0\.hdf5: Header/BoxSize is .*, expected"):
        opened(universe).header(99)


# --- what is wrong is named: offsets


def test_number_past_the_catalogue_is_refused(universe: Path) -> None:
    for number in (-1, 6):
        with pytest.raises(InputError, match=rf"subhalo {number} of snapshot 99: the catalogue has 0 to 5"):
            opened(universe).gas(99, "subhalo", number, ["Masses"])


def test_missing_offsets_file_is_named(universe: Path) -> None:
    tng.offset_file(universe).unlink()
    with pytest.raises(
        InputError, match=r"postprocessing/offsets/offsets_099\.hdf5: missing; cells and trees"
    ):
        opened(universe).gas(99, "subhalo", 0, ["Masses"])


def test_offsets_of_another_simulation_are_refused(universe: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    tng.write_universe(other, members=(1, 1), gas=(3, 3), stars=(1, 1), chunks=3)
    shutil.copy(tng.offset_file(other), tng.offset_file(universe))
    with pytest.raises(InputError, match=r"Subhalo/SnapByType is int64 \(2, 6\), expected .* \(6, 6\)"):
        opened(universe).gas(99, "subhalo", 0, ["Masses"])


def test_offsets_past_the_last_cell_are_refused(universe: Path) -> None:
    with tng.changed(tng.offset_file(universe)) as file:
        file["Subhalo/SnapByType"][2, 0] = 1000
    message = (
        r"offsets_099\.hdf5: Subhalo/SnapByType puts subhalo 2 at PartType0 1000 to 1007, the snapshot has"
    )
    with pytest.raises(InputError, match=message):
        opened(universe).gas(99, "subhalo", 2, ["Masses"])


def test_chunk_offsets_that_go_back_or_fit_no_chunk_are_refused(universe: Path) -> None:
    with tng.changed(tng.offset_file(universe)) as file:
        right = file["FileOffsets/SnapByType"][()]
        file["FileOffsets/SnapByType"][1, 0] += 1
    with pytest.raises(
        InputError, match=r"snap_099\.\d\.hdf5: Header/NumPart_ThisFile is .* not of one snapshot"
    ):
        opened(universe).gas(99, "halo", 0, ["Masses"])
    with tng.changed(tng.offset_file(universe)) as file:
        file["FileOffsets/SnapByType"][...] = right[::-1]
    with pytest.raises(InputError, match=r"FileOffsets/SnapByType: does not run from 0 up to"):
        opened(universe).gas(99, "halo", 0, ["Masses"])


def test_catalogue_offsets_that_fit_no_chunk_are_refused(universe: Path) -> None:
    with tng.changed(tng.offset_file(universe)) as file:
        file["FileOffsets/Subhalo"][1] += 1
    with pytest.raises(
        InputError, match=r"tab_099\.0\.hdf5: Subhalo/SubhaloLenType has shape \(2, 6\), FileOff"
    ):
        opened(universe).gas(99, "subhalo", 0, ["Masses"])


def test_unsigned_offsets_which_would_wrap_round_are_refused(universe: Path) -> None:
    with tng.changed(tng.offset_file(universe)) as file:
        tng.replace(file, "FileOffsets/SnapByType", file["FileOffsets/SnapByType"][()].astype("u8"))
    with pytest.raises(
        InputError, match=r"FileOffsets/SnapByType is uint64 \(3, 6\), expected signed integers"
    ):
        opened(universe).gas(99, "subhalo", 0, ["Masses"])


# --- hostile files


def test_external_link_is_refused_and_never_opened(universe: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside.hdf5"
    with h5py.File(outside, "w") as file:
        file["secret"] = np.ones(1, "f4")
    with tng.changed(tng.catalogue_file(universe, 1)) as file:
        del file["Subhalo/SubhaloMass"]
        file["Subhalo/SubhaloMass"] = h5py.ExternalLink(str(outside), "secret")
    with pytest.raises(
        InputError, match=r"tab_099\.1\.hdf5: Subhalo/SubhaloMass is an external link to .*refused"
    ):
        opened(universe).subhalos(99, ["SubhaloMass"])
    with tng.changed(tng.cell_file(universe, 0)) as file:
        del file["PartType0"]
        file["PartType0"] = h5py.ExternalLink(str(outside), "/")
    with pytest.raises(InputError, match=r"snap_099\.0\.hdf5: PartType0 is an external link to .*refused"):
        opened(universe).gas(99, "subhalo", 0, ["Masses"])


def test_virtual_dataset_is_refused(universe: Path, tmp_path: Path) -> None:
    layout = h5py.VirtualLayout(shape=(1,), dtype="f4")
    layout[:] = h5py.VirtualSource(tmp_path / "outside.hdf5", "secret", shape=(1,))
    with tng.changed(tng.catalogue_file(universe, 1)) as file:
        del file["Subhalo/SubhaloMass"]
        file.create_virtual_dataset("Subhalo/SubhaloMass", layout)
    with pytest.raises(
        InputError, match=r"SubhaloMass is a virtual dataset, which leads to other files; refused"
    ):
        opened(universe).subhalos(99, ["SubhaloMass"])


def test_data_kept_in_another_file_are_refused(universe: Path) -> None:
    with tng.changed(tng.catalogue_file(universe, 1)) as file:
        del file["Subhalo/SubhaloMass"]
        file.create_dataset("Subhalo/SubhaloMass", (1,), "f4", external=[("/etc/hostname", 0, 4)])
    with pytest.raises(InputError, match=r"SubhaloMass keeps its data in another file .*refused"):
        opened(universe).subhalos(99, ["SubhaloMass"])


@pytest.mark.parametrize("packing", [{}, {"chunks": (1 << 20,), "compression": "gzip"}])
def test_field_that_declares_far_more_than_the_file_holds_is_refused(
    universe: Path, packing: dict[str, Any]
) -> None:
    rows = 10**12
    for chunk, here in ((0, rows - 4), (1, 1), (2, 3)):
        with tng.changed(tng.catalogue_file(universe, chunk)) as file:
            file["Header"].attrs["Nsubgroups_Total"] = rows
            file["Header"].attrs["Nsubgroups_ThisFile"] = here
            if chunk == 0:
                del file["Subhalo/SubhaloMass"]
                file.create_dataset("Subhalo/SubhaloMass", (here,), "f4", **packing or {"chunks": (1 << 20,)})
    with pytest.raises(
        InputError, match=r"SubhaloMass declares 4e\+03 GB, the file holds 0 GB of it; refused"
    ):
        opened(universe).subhalos(99, ["SubhaloMass"])


def test_more_than_the_set_limit_is_refused_before_it_is_read(universe: Path) -> None:
    source = opened(universe, max_declared_gb=1e-8)
    with pytest.raises(
        InputError, match=r"SubhaloMass declare .* more than simulation\.max_declared_gb = 1e-08"
    ):
        source.subhalos(99, ["SubhaloMass"])
    with pytest.raises(InputError, match=r"Coordinates declare .* more than simulation\.max_declared_gb"):
        source.gas(99, "subhalo", 0, ["Coordinates"])


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_random_damage_ends_in_an_input_error_or_in_arrays_of_the_right_shape(
    universe: Path, data: st.DataObject
) -> None:
    victim = data.draw(
        st.sampled_from(
            [tng.catalogue_file(universe, 1), tng.cell_file(universe, 0), tng.offset_file(universe)]
        )
    )
    whole = victim.read_bytes()
    damaged = bytearray(whole)
    for _ in range(data.draw(st.integers(1, 20))):
        damaged[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    try:
        victim.write_bytes(damaged)
        source = opened(universe)
        try:
            assert source.subhalos(99, ["SubhaloMassType"])["SubhaloMassType"].shape == (6, 6)
            gas = source.gas(99, "subhalo", 0, ["Coordinates"])
            assert gas["Coordinates"].shape == (gas["count"], 3)
        except InputError as error:
            assert "\n" not in str(error)
    finally:
        victim.write_bytes(whole)


# --- real data


@pytest.mark.real_data
def test_real_cells_without_a_catalogue_have_a_header_and_say_what_is_missing(shared_data: Path) -> None:
    source = opened(shared_data / "tng50-4-subbox0")
    assert source.snapshots() == [2332]
    assert source.header(2332).box_ckpc_h == 35000.0
    for ask in (
        lambda: source.subhalos(2332, ["SubhaloMass"]),
        lambda: source.gas(2332, "subhalo", 0, ["Masses"]),
    ):
        with pytest.raises(InputError, match="groups_2332: no group catalogue of snapshot 2332"):
            ask()


@pytest.mark.real_data
def test_real_catalogue_without_cells_says_what_is_missing(shared_data: Path) -> None:
    source = opened(shared_data / "tng100-1")
    assert source.header(99).h == 0.6774
    assert len(source.subhalos(99, ["SubhaloFlag"])["SubhaloFlag"]) == 35495
    with pytest.raises(InputError, match="snapdir_099: no cells of snapshot 99"):
        source.gas(99, "subhalo", 0, ["Masses"])


@pytest.mark.real_data
def test_trimmed_camels_files_say_which_header_value_is_missing(shared_data: Path, tmp_path: Path) -> None:
    folder = tmp_path / "output/snapdir_090"
    folder.mkdir(parents=True)
    shutil.copy(next((shared_data / "camels_cv0").glob("camels_snap.*.hdf5")), folder / "snap_090.0.hdf5")
    with pytest.raises(InputError, match=r"snap_090\.0\.hdf5: no attribute Redshift in Header"):
        opened(tmp_path).header(90)


@pytest.mark.parametrize("path", ["/way/out", "/PartType0/Density"])
def test_soft_link_is_refused_wherever_it_leads(universe: Path, tmp_path: Path, path: str) -> None:
    outside = tmp_path / "outside.hdf5"
    with h5py.File(outside, "w") as file:
        file["group/out"] = np.ones(10, "f4")
    with tng.changed(tng.cell_file(universe, 0)) as file:
        file["way"] = h5py.ExternalLink(str(outside), "group")
        del file["PartType0/Masses"]
        file["PartType0/Masses"] = h5py.SoftLink(path)
    with pytest.raises(InputError, match=r"PartType0/Masses is a soft link to /.*; refused"):
        opened(universe).gas(99, "subhalo", 0, ["Masses"])
    with tng.changed(tng.cell_file(universe, 0)) as file:
        file.move("PartType0", "elsewhere")
        file["PartType0"] = h5py.SoftLink("/way")
    with pytest.raises(InputError, match=r"PartType0 is a soft link to /way; refused"):
        opened(universe).gas(99, "subhalo", 0, ["Masses"])
