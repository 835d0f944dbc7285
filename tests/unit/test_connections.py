"""What arrives at a step's door: files, columns and datasets as the step declares to read them."""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ssfr.components.errors import InputError
from ssfr.components.identity.maps import ATTRIBUTE
from ssfr.components.steps.checks import check_files
from ssfr.components.steps.connections import Connections, Entry, File
from ssfr.components.steps.files import MAPS
from ssfr.components.steps.tables import write_table
from ssfr.pipelines.connections import EVERY_STEP

MASSES = File(
    "masses.parquet",
    "parquet",
    "masses of galaxies",
    (Entry("name", "text", "of the galaxy"), Entry("mass", "float64", "of its stars", "Msun", "physical")),
)
TABLE = pd.DataFrame({"name": ["a", "b"], "mass": [1e10, 2e10]})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_table(tmp_path / "masses.parquet", TABLE, MASSES, {"cuts": [1]})
    return tmp_path


def test_a_table_that_is_as_declared_passes_and_reads_as_it_was(folder: Path) -> None:
    check_files(folder, [MASSES])
    pd.testing.assert_frame_equal(pd.read_parquet(folder / "masses.parquet"), TABLE)
    schema = pq.read_schema(folder / "masses.parquet")
    assert schema.field("mass").metadata == {b"unit": b"Msun"}
    assert json.loads(schema.metadata[b"cuts"]) == [1]


def refused(folder: Path, *files: File) -> str:
    with pytest.raises(InputError) as error:
        check_files(folder, files)
    line = str(error.value)
    assert line.isprintable() and line.endswith("; remove the folder and run again")
    return line


def test_a_column_that_is_missing_is_named_with_its_file(folder: Path) -> None:
    write_table(folder / "masses.parquet", TABLE.drop(columns="mass"), MASSES)
    assert "masses.parquet: no column 'mass', expected float64 in Msun;" in refused(folder, MASSES)


def test_a_column_of_another_type_is_named_with_both_types(folder: Path) -> None:
    write_table(folder / "masses.parquet", TABLE.astype({"mass": "float32"}), MASSES)
    assert "masses.parquet: column 'mass' is float32, expected float64;" in refused(folder, MASSES)


@pytest.mark.parametrize(("unit", "said"), [("kg", "in kg"), ("", "without a unit")])
def test_a_column_in_another_unit_is_named_with_both_units(folder: Path, unit: str, said: str) -> None:
    mass = pa.field("mass", pa.float64(), metadata={"unit": unit} if unit else None)
    schema = pa.schema([pa.field("name", pa.large_string()), mass])
    pq.write_table(pa.Table.from_pandas(TABLE, schema), folder / "masses.parquet")
    assert f"masses.parquet: column 'mass' is {said}, expected Msun;" in refused(folder, MASSES)


def test_a_file_that_is_missing_or_is_something_else_is_named(folder: Path) -> None:
    (folder / "masses.parquet").write_bytes(b"none")
    assert "masses.parquet: not a readable parquet file" in refused(folder, MASSES)
    (folder / "masses.parquet").unlink()
    assert "no masses.parquet, masses of galaxies;" in refused(folder, MASSES)
    check_files(folder, [MASSES.where(optional=True)])


def write_maps(path: Path, dtype: str = "f4", **attributes: object) -> None:
    with h5py.File(path, "w") as file:
        file["maps"] = np.zeros((1, 1, 8, 8), dtype)
        file["snapshot"] = file["subhalo_id"] = file["view"] = np.zeros(1, np.int64)
        file.attrs.update({ATTRIBUTE: "{}", **attributes})


def test_a_dataset_or_an_attribute_that_is_not_as_declared_is_named(tmp_path: Path) -> None:
    path = tmp_path / "maps-099-000.h5"
    write_maps(path)
    check_files(tmp_path, [MAPS])
    write_maps(path, "f8")
    assert "dataset 'maps' is float64, expected float32 or uint8;" in refused(tmp_path, MAPS)
    write_maps(path, **{ATTRIBUTE: 1})
    assert f"attribute '{ATTRIBUTE}' is int64, expected text;" in refused(tmp_path, MAPS)
    with h5py.File(path, "a") as file:
        del file["subhalo_id"]
    assert "maps-099-000.h5: no dataset 'subhalo_id', expected int64;" in refused(
        tmp_path, MAPS.with_only("subhalo_id")
    )


def test_a_dataset_in_another_unit_is_named_with_both_units(tmp_path: Path) -> None:
    lengths = File("x.h5", "hdf5", "lengths", (Entry("radius", "float64", "of halos", "kpc"),))
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["radius"] = np.zeros(1)
        file["radius"].attrs["unit"] = "ckpc/h"
    assert "x.h5: dataset 'radius' is in ckpc/h, expected kpc;" in refused(tmp_path, lengths)


def test_a_key_of_json_that_is_not_as_declared_is_named(tmp_path: Path) -> None:
    best = File(
        "x.json", "json", "scores", (Entry("best", "text", "case"), Entry("count", "number", "of it"))
    )
    (tmp_path / "x.json").write_text('{"best": "mass", "count": true}')
    assert "x.json: key 'count' is bool, expected number;" in refused(tmp_path, best)
    (tmp_path / "x.json").write_text('{"count": 1}')
    assert "x.json: no key 'best', expected text;" in refused(tmp_path, best)


def test_a_declaration_that_names_what_is_not_there_is_an_error() -> None:
    with pytest.raises(ValueError, match="no entry weight"):
        MASSES.with_only("mass", "weight")
    with pytest.raises(ValueError, match="declares no input maps"):
        Connections("step", "", "").files_of("maps")


def test_what_a_step_reads_another_step_writes() -> None:
    written = {file.pattern for step in EVERY_STEP for file in step.writes}
    for step in EVERY_STEP:
        for files in step.reads.values():
            assert {file.pattern for file in files} <= written
