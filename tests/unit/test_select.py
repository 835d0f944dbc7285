"""The sample and its funnel, against cuts written out in plain numpy and in a plain loop."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import tng_files as tng
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from ssfr.components.catalog import select
from ssfr.components.config import CatalogSettings, LabelSettings, SimulationSettings, parse_settings
from ssfr.components.errors import InputError
from ssfr.components.labels.registry import label_of
from ssfr.components.runtime.progress import SILENT, Progress
from ssfr.components.simulation import Source, open_source

H = tng.HEADER["HubbleParam"]


class Said:
    """Keeps what the step says."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []

    def emit(self, event: dict[str, Any]) -> None:
        self.events.append(event)

    def texts(self, kind: str) -> list[str]:
        return [event["text"] for event in self.events if event["kind"] == kind]


def opened(root: Path) -> Source:
    return open_source(str(root), SimulationSettings())


def run(root: Path, output: Path, progress: Progress = SILENT, **catalog: Any) -> dict[str, Any]:
    output.mkdir(exist_ok=True)
    return select.run(output, opened(root), parse_settings({"catalog": catalog}, "test"), progress)


def sample(output: Path) -> pd.DataFrame:
    return pd.read_parquet(output / "sample.parquet")


# --- the real catalogue


def real_columns(folder: Path) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray], float]:
    """Read the catalogue chunk by chunk with h5py alone."""
    chunks = sorted((folder / "output/groups_099").iterdir(), key=lambda path: int(path.name.split(".")[1]))
    subhalos: dict[str, list[np.ndarray]] = {}
    groups: dict[str, list[np.ndarray]] = {}
    for path in chunks:
        with h5py.File(path) as file:
            h = float(file["Header"].attrs["HubbleParam"])
            for name, columns in (("Subhalo", subhalos), ("Group", groups)):
                for field in file[name]:
                    columns.setdefault(field, []).append(file[name][field][()])
    whole = [{name: np.concatenate(parts) for name, parts in part.items()} for part in (subhalos, groups)]
    return whole[0], whole[1], h


@pytest.mark.real_data
@pytest.mark.parametrize("little_h", ["applied", "ignored"])
def test_funnel_of_the_real_catalogue_equals_plain_numpy(
    shared_data: Path, tmp_path: Path, little_h: str
) -> None:
    figures = run(shared_data / "tng100-1", tmp_path, missing_halos="drop", little_h=little_h)

    sub, group, h = real_columns(shared_data / "tng100-1")
    # each chunk holds whole halos, one after the other, with GroupNsubs subhalos each
    halo_row = np.repeat(np.arange(len(group["GroupNsubs"])), group["GroupNsubs"])
    assert len(halo_row) == len(sub["SubhaloMass"])
    solar = 1e10 / h if little_h == "applied" else 1e10
    stars = sub["SubhaloMassType"][:, 4].astype(float) * solar
    kept = (stars > 5e9) & (stars < 1e12)
    funnel = {"subhalos": len(kept), "halo known": len(kept), "stellar mass": int(kept.sum())}
    kept &= sub["SubhaloMass"].astype(float) * solar < 2e12
    funnel["total mass"] = int(kept.sum())
    kept &= sub["SubhaloFlag"]
    funnel["flag"] = int(kept.sum())
    kept &= group["GroupMass"][halo_row].astype(float) * solar < 5e12
    funnel["halo mass"] = int(kept.sum())

    assert figures["funnel"] == funnel
    assert figures["galaxies"] == funnel["halo mass"] == {"applied": 75, "ignored": 98}[little_h]
    rows = sample(tmp_path)
    np.testing.assert_array_equal(rows["subhalo_id"], np.flatnonzero(kept))
    np.testing.assert_array_equal(rows["halo_id"], halo_row[kept])
    np.testing.assert_allclose(
        rows["stellar_mass_msun"], sub["SubhaloMassType"][kept, 4] * (1e10 / h), rtol=1e-6
    )
    np.testing.assert_allclose(
        rows["halo_mass_msun"], group["GroupMass"][halo_row[kept]] * (1e10 / h), rtol=1e-6
    )
    np.testing.assert_allclose(rows["ssfr_stellar_per_yr"], sub["SubhaloSFR"][kept] / stars[kept], rtol=1e-6)
    np.testing.assert_array_equal(rows["gas_cells"], sub["SubhaloLenType"][kept, 0])


@pytest.mark.real_data
def test_numbers_of_the_whole_catalogue_would_lead_to_wrong_halos_and_do_not(
    shared_data: Path, tmp_path: Path
) -> None:
    """12,748 subhalos have a SubhaloGrNr inside the partial catalogue, all of them of another halo."""
    run(shared_data / "tng100-1", tmp_path, missing_halos="drop")
    sub, group, _ = real_columns(shared_data / "tng100-1")
    inside = sub["SubhaloGrNr"] < len(group["GroupMass"])
    assert inside.sum() == 12748
    by_number = group["GroupPos"][sub["SubhaloGrNr"][inside]]
    apart = np.abs(by_number - sub["SubhaloPos"][inside]).max(axis=1)
    assert (apart > 1000).mean() > 0.99  # ckpc/h: they are elsewhere in the box
    assert not np.isin(sample(tmp_path)["subhalo_id"], np.flatnonzero(inside)).any()


@pytest.mark.real_data
def test_partial_catalogue_is_refused_with_a_count(shared_data: Path, tmp_path: Path) -> None:
    message = (
        r"snapshot 99: the halo of 35495 of 35495 subhalos does not lead to their group "
        r"\(22747 past the last of 118, 12748 to another one\).*catalog\.missing_halos: drop"
    )
    with pytest.raises(InputError, match=message):
        run(shared_data / "tng100-1", tmp_path)
    assert not list(tmp_path.iterdir())


# --- a catalogue by hand


@pytest.fixture
def universe(tmp_path: Path) -> Path:
    """Subhalo 0 stays; 1 has too few stars, 2 too many; 3 is too massive; 4 flagged; 5 in a big halo."""
    stars = np.array([2, 0.2, 200, 2, 2, 2], "f4")
    tng.write_universe(
        tmp_path / "universe",
        members=(2, 3, 1),
        tree_rows=[0, -1, -1, -1, -1, -1],
        subhalo={
            "SubhaloMassType": np.stack([stars * (kind == 4) for kind in range(6)], axis=1).astype("f4"),
            "SubhaloMass": np.array([10, 10, 10, 300, 10, 10], "f4"),
            "SubhaloFlag": np.array([1, 1, 1, 1, 0, 1], bool),
            "SubhaloSFR": np.array([4, 1, 1, 1, 1, 1], "f4"),
            "SubhaloSFRinRad": np.array([3, 1, 1, 1, 1, 1], "f4"),
            "SubhaloMassInRadType": np.full((6, 6), 1.5, "f4"),
            "SubhaloMassInRad": np.full(6, 6, "f4"),
        },
        group={"GroupMass": np.array([20, 20, 600], "f4")},
    )
    columns = {"RootDescendantID": [700], "SnapNum": np.array([99], "i2"), "SubfindID": np.array([0], "i4")}
    tng.write_trees(tmp_path / "universe", columns, (0, 1))
    return tmp_path / "universe"


def test_each_cut_removes_the_one_it_is_for(universe: Path, tmp_path: Path) -> None:
    figures = run(universe, tmp_path / "out")
    expected = [6, 6, 4, 3, 2, 1]
    assert figures["funnel"] == dict(zip(select.CUTS, expected, strict=True))
    assert sample(tmp_path / "out")["subhalo_id"].tolist() == [0]


def test_row_of_the_sample_holds_what_the_catalogue_says(universe: Path, tmp_path: Path) -> None:
    run(universe, tmp_path / "out")
    row = sample(tmp_path / "out").iloc[0].to_dict()
    assert row == pytest.approx(
        {
            "snapshot": 99,
            "subhalo_id": 0,
            "halo_id": 0,
            "tree_id": 700,
            "in_tree": True,
            "redshift": 0.0485,
            "stellar_mass_msun": 2e10 / H,
            "total_mass_msun": 10e10 / H,
            "halo_mass_msun": 20e10 / H,
            "sfr_msun_per_yr": 4,
            "ssfr_stellar_per_yr": 4 / (2e10 / H),
            "ssfr_total_per_yr": 4 / (10e10 / H),
            "label_stellar_mass_msun": 2e10 / H,
            "gas_fraction": 0.0,
            "gas_cells": 5,
            "halo_gas_cells": 5 + 0 + tng.UNBOUND,
            "star_particles": 3,
        }
    )


def test_columns_have_the_promised_types(universe: Path, tmp_path: Path) -> None:
    run(universe, tmp_path / "out")
    types = sample(tmp_path / "out").dtypes.astype(str).to_dict()
    assert types.pop("snapshot") == "int32"
    assert types.pop("in_tree") == "bool"
    whole = {"subhalo_id", "halo_id", "tree_id", "gas_cells", "halo_gas_cells", "star_particles"}
    assert types == {name: "int64" if name in whole else "float64" for name in types}


def test_ignoring_h_changes_cuts_and_ssfr_but_not_the_masses(universe: Path, tmp_path: Path) -> None:
    run(universe, tmp_path / "applied")
    run(universe, tmp_path / "ignored", little_h="ignored")
    applied, ignored = sample(tmp_path / "applied"), sample(tmp_path / "ignored")
    np.testing.assert_allclose(ignored["ssfr_stellar_per_yr"], applied["ssfr_stellar_per_yr"] / H)
    np.testing.assert_allclose(ignored["ssfr_total_per_yr"], applied["ssfr_total_per_yr"] / H)
    np.testing.assert_array_equal(ignored["stellar_mass_msun"], applied["stellar_mass_msun"])
    assert ignored["label_stellar_mass_msun"].tolist() == pytest.approx([2e10] * len(ignored))
    # 2 in code units is 2.95e10 Msun with h, 2e10 without
    edge = {"stellar_mass_min_msun": 2.5e10}
    assert run(universe, tmp_path / "edge", **edge)["galaxies"] == 1
    with pytest.raises(InputError, match="stellar mass"):
        run(universe, tmp_path / "edge", little_h="ignored", **edge)


def test_aperture_of_the_label_takes_sfr_and_masses_together(universe: Path, tmp_path: Path) -> None:
    run(universe, tmp_path / "out", label_aperture="two_half_mass_radii")
    row = sample(tmp_path / "out").iloc[0]
    assert row["sfr_msun_per_yr"] == 3
    assert row["ssfr_stellar_per_yr"] == pytest.approx(3 / (1.5e10 / H))
    assert row["ssfr_total_per_yr"] == pytest.approx(3 / (6e10 / H))
    assert row["stellar_mass_msun"] == pytest.approx(2e10 / H)
    assert row["label_stellar_mass_msun"] == pytest.approx(1.5e10 / H)
    mass = label_of(LabelSettings(quantity="log10_stellar_mass")).values(sample(tmp_path / "out"))
    assert mass.tolist() == pytest.approx([1.5e10 / H])


def test_flagged_subhalos_can_be_kept_also_without_the_field(universe: Path, tmp_path: Path) -> None:
    for chunk in range(3):
        with tng.changed(tng.catalogue_file(universe, chunk)) as file:
            del file["Subhalo/SubhaloFlag"]
    assert run(universe, tmp_path / "out", keep_flagged=True)["galaxies"] == 2
    with pytest.raises(InputError, match=r"tab_099\.0\.hdf5: no field SubhaloFlag in Subhalo"):
        run(universe, tmp_path / "out")


def test_subhalos_in_no_tree_are_each_their_own_group(tmp_path: Path) -> None:
    for snapshot in (99, 98):
        tng.write_universe(tmp_path / "universe", snapshot=snapshot)
    figures = run(tmp_path / "universe", tmp_path / "out")
    rows = sample(tmp_path / "out")
    assert figures["galaxies"] == figures["in_no_tree"] == len(rows) == 12
    assert rows["tree_id"].is_unique
    assert (rows["tree_id"] < 0).all()


def test_sample_is_sorted_by_snapshot_from_the_latest_then_by_subhalo(tmp_path: Path) -> None:
    for snapshot in (97, 99, 98):
        tng.write_universe(tmp_path / "universe", snapshot=snapshot)
    run(tmp_path / "universe", tmp_path / "out", snapshots=(97, 99))
    rows = sample(tmp_path / "out")
    assert list(zip(rows["snapshot"], rows["subhalo_id"], strict=True)) == [
        (snapshot, subhalo) for snapshot in (99, 97) for subhalo in range(6)
    ]


def test_tree_id_of_a_galaxy_does_not_depend_on_the_other_snapshots(tmp_path: Path) -> None:
    for snapshot in (99, 98):
        tng.write_universe(tmp_path / "universe", snapshot=snapshot)
    run(tmp_path / "universe", tmp_path / "both")
    run(tmp_path / "universe", tmp_path / "one", snapshots=(98,))
    both = sample(tmp_path / "both").query("snapshot == 98")
    np.testing.assert_array_equal(both["tree_id"], sample(tmp_path / "one")["tree_id"])


# --- the funnel is stored and said


def test_funnel_is_written_stored_in_the_sample_and_said(tmp_path: Path) -> None:
    for snapshot in (99, 98):
        tng.write_universe(tmp_path / "universe", snapshot=snapshot)
    said = Said()
    figures = run(tmp_path / "universe", tmp_path / "out", Progress(said), stellar_mass_min_msun=1e9)
    table = pd.read_csv(tmp_path / "out/funnel.csv", dtype={"snapshot": str})
    assert list(table.columns) == ["snapshot", "cut", "remaining"]
    assert table["snapshot"].unique().tolist() == ["99", "98", "all"]
    by_cut = table.pivot_table(index="cut", columns="snapshot", values="remaining")
    np.testing.assert_array_equal(by_cut["all"], by_cut["99"] + by_cut["98"])
    assert by_cut["all"].to_dict() == figures["funnel"]
    stored = json.loads(pq.read_schema(tmp_path / "out/sample.parquet").metadata[b"funnel"])
    assert stored == table.to_dict("records")
    lines = said.texts("say")[0].splitlines()
    assert len({len(line) for line in lines[1:]}) == 1
    assert lines[1].split() == ["snapshot", *" ".join(select.CUTS).split()]
    assert lines[-1].split() == ["all", "12", "12", "12", "12", "12", "12"]


def test_figures_give_number_and_ssfr_of_each_snapshot(tmp_path: Path) -> None:
    tng.write_universe(tmp_path / "universe")
    figures = run(tmp_path / "universe", tmp_path / "out")
    ssfr = sample(tmp_path / "out")["ssfr_stellar_per_yr"]
    assert figures["zero_sfr"] == 1
    found = figures["snapshots"]["99"]
    assert found["galaxies"] == 6
    for statistic in ("mean", "min", "max"):
        assert found[f"ssfr_stellar_per_yr_{statistic}"] == pytest.approx(getattr(ssfr, statistic)())
    json.dumps(figures, allow_nan=False)


def test_snapshot_without_galaxies_is_said_and_the_others_go_on(tmp_path: Path) -> None:
    tng.write_universe(tmp_path / "universe", snapshot=99)
    tng.write_universe(tmp_path / "universe", snapshot=98, members=(), gas=(), stars=())
    tng.write_universe(tmp_path / "universe", snapshot=97, group={"GroupMass": np.full(3, 1e4, "f4")})
    said = Said()
    figures = run(tmp_path / "universe", tmp_path / "out", Progress(said))
    assert figures["galaxies"] == 6
    assert figures["snapshots"]["98"]["galaxies"] == figures["snapshots"]["97"]["galaxies"] == 0
    assert said.texts("warn") == [
        "snapshot 98: no galaxy is left after the cuts",
        "snapshot 97: no galaxy is left after the cuts",
    ]
    json.dumps(figures, allow_nan=False)


def test_same_call_again_writes_the_same_bytes(universe: Path, tmp_path: Path) -> None:
    run(universe, tmp_path / "out")
    before = [(tmp_path / "out" / name).read_bytes() for name in ("sample.parquet", "funnel.csv")]
    run(universe, tmp_path / "out")
    assert [(tmp_path / "out" / name).read_bytes() for name in ("sample.parquet", "funnel.csv")] == before


# --- what is wrong is named


@pytest.mark.parametrize(
    ("catalog", "message"),
    [
        ({"stellar_mass_min_msun": 9e11}, r"'stellar mass' \(catalog\.stellar_mass_min_msun = 9.*the last 6"),
        ({"total_mass_max_msun": 1e9}, r"'total mass' \(catalog\.total_mass_max_msun = 1.*the last 4"),
        ({"halo_mass_max_msun": 1e9}, r"'halo mass' \(catalog\.halo_mass_max_msun = 1.*the last 2"),
    ],
)
def test_cuts_that_leave_nothing_name_the_one_that_removed_the_last(
    universe: Path, tmp_path: Path, catalog: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=rf"no galaxy is left: the cut {message}"):
        run(universe, tmp_path / "out", **catalog)
    assert not list((tmp_path / "out").iterdir())


def test_catalogue_without_any_subhalo_is_an_error(tmp_path: Path) -> None:
    tng.write_universe(tmp_path / "universe", members=(), gas=(), stars=())
    with pytest.raises(InputError, match=r"no galaxy is left: the catalogue has no subhalos"):
        run(tmp_path / "universe", tmp_path / "out")


def test_snapshot_that_is_not_there_names_those_that_are(universe: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"catalog\.snapshots: 98, 50 not in the data, which have 99"):
        run(universe, tmp_path / "out", snapshots=(50, 98, 99))


@pytest.mark.parametrize("value", [np.nan, np.inf, -1.0])
@pytest.mark.parametrize(
    ("field", "name"),
    [
        ("SubhaloSFR", "subhalo star_formation_rate"),
        ("SubhaloMass", "subhalo mass"),
        ("SubhaloMassType", "subhalo stellar_mass"),
        ("GroupMass", "halo mass"),
    ],
)
def test_impossible_value_in_the_catalogue_is_counted_and_refused(
    universe: Path, tmp_path: Path, field: str, name: str, value: float
) -> None:
    group, rows = ("Group", 3) if field == "GroupMass" else ("Subhalo", 6)
    with tng.changed(tng.catalogue_file(universe, 1)) as file:
        file[f"{group}/{field}"][0] = value
    message = rf"snapshot 99: {name} is negative or not finite in 1 of {rows} rows, the first is {rows // 3}"
    with pytest.raises(InputError, match=message):
        run(universe, tmp_path / "out")


def test_field_of_another_shape_is_refused(tmp_path: Path) -> None:
    tng.write_universe(tmp_path / "universe", subhalo={"SubhaloMassType": np.ones(6, "f4")})
    with pytest.raises(InputError, match=r"Subhalo/SubhaloMassType has shape \(6,\), expected 6 columns"):
        run(tmp_path / "universe", tmp_path / "out")


def test_galaxy_without_mass_in_the_aperture_of_its_label_is_refused(universe: Path, tmp_path: Path) -> None:
    with tng.changed(tng.catalogue_file(universe, 0)) as file:
        file["Subhalo/SubhaloMassInRadType"][0] = 0
    with pytest.raises(
        InputError, match=r"1 selected subhalos have no mass in the aperture .*the first is 0"
    ):
        run(universe, tmp_path / "out", label_aperture="two_half_mass_radii")


# --- part of a catalogue


def cut_out(root: Path, first_halo: int, lost: int | None = None) -> None:
    """Keep chunks of a catalogue from `first_halo` on, renumbered as chunks but not as halos."""
    halos, members = 5, 2
    kept = range(first_halo, halos)
    position = np.random.default_rng(5).uniform(0, 35000, (halos, members, 3)).astype("f4")
    group_position = position[kept, 0].copy()
    if lost is not None:
        group_position[lost] += 1
    n = len(kept)
    tng.write_universe(
        root,
        members=(members,) * n,
        gas=[1] * n * members,
        stars=[1] * n * members,
        chunks=n,
        subhalo={
            "SubhaloGrNr": np.repeat(kept, members).astype("i4"),
            "SubhaloPos": position[kept].reshape(-1, 3),
        },
        group={"GroupFirstSub": np.array(kept, "i4") * members, "GroupPos": group_position},
    )


def test_halos_of_a_partial_catalogue_are_found_by_position(tmp_path: Path) -> None:
    cut_out(tmp_path / "universe", first_halo=2)
    run(tmp_path / "universe", tmp_path / "out", missing_halos="drop")
    assert sample(tmp_path / "out")["halo_id"].tolist() == [0, 0, 1, 1, 2, 2]
    with pytest.raises(InputError, match=r"the halo of 6 of 6 .*\(4 past the last of 3, 2 to another one\)"):
        run(tmp_path / "universe", tmp_path / "out")


def test_subhalos_whose_halo_is_nowhere_are_dropped_and_counted(tmp_path: Path) -> None:
    cut_out(tmp_path / "universe", first_halo=2, lost=1)
    said = Said()
    figures = run(tmp_path / "universe", tmp_path / "out", Progress(said), missing_halos="drop")
    assert (figures["funnel"]["subhalos"], figures["funnel"]["halo known"]) == (6, 4)
    assert sample(tmp_path / "out")["subhalo_id"].tolist() == [0, 1, 4, 5]
    assert said.texts("warn") == ["snapshot 99: 2 subhalos dropped, their halo is not in the catalogue"]


# --- any catalogue

FINITE = st.floats(0, 1e4, width=32)


@hypothesis_settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_selection_equals_a_plain_loop(tmp_path: Path, data: st.DataObject) -> None:
    members = tuple(data.draw(st.lists(st.integers(1, 4), min_size=1, max_size=4)))
    n = sum(members)

    def draw(element: st.SearchStrategy, size: int) -> list:
        return data.draw(st.lists(element, min_size=size, max_size=size))

    stars, total, halo = draw(FINITE, n), draw(FINITE, n), draw(FINITE, len(members))
    flags = draw(st.booleans(), n)
    little_h = data.draw(st.sampled_from(["applied", "ignored"]))
    keep_flagged = data.draw(st.booleans())
    mass_type = np.zeros((n, 6), "f4")
    mass_type[:, 4] = stars
    tng.write_universe(
        tmp_path,
        members=members,
        gas=[0] * n,
        stars=[0] * n,
        chunks=data.draw(st.integers(1, 3)),
        subhalo={
            "SubhaloMassType": mass_type,
            # what a mass of zero means for the label has its own test
            "SubhaloMass": np.maximum(np.array(total, "f4"), 1e-3),
            "SubhaloFlag": np.array(flags),
            "SubhaloSFR": np.ones(n, "f4"),
        },
        group={"GroupMass": np.array(halo, "f4")},
    )
    found, funnel = select.select(
        opened(tmp_path), 99, CatalogSettings(little_h=little_h, keep_flagged=keep_flagged)
    )
    h = H if little_h == "applied" else 1.0
    expected = []
    for subhalo, group in enumerate(np.repeat(np.arange(len(members)), members)):
        if not 0.5 * h < stars[subhalo] < 100 * h:
            continue
        if total[subhalo] < 200 * h and (flags[subhalo] or keep_flagged) and halo[group] < 500 * h:
            expected.append(subhalo)
    assert (found["subhalo_id"].tolist() if len(found) else []) == expected
    assert funnel["halo mass"] == len(expected)
    assert list(funnel.values()) == sorted(funnel.values(), reverse=True)
