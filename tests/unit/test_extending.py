"""docs/extending.md is true: the tests that it names exist, and nothing takes more than two files."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from map_samples import physical_maps, sample_table, write_sample

from ssfr.components.config import load_settings
from ssfr.components.identity.labels import LABEL
from ssfr.components.imagesets.reader import MapReader, load_spec
from ssfr.components.imagesets.transform import physical_channels
from ssfr.components.labels.registry import LABELS, Label
from ssfr.components.preprocessing import prepare
from ssfr.components.runtime.progress import SILENT

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "extending.md").read_text()
ROWS = [tuple(line.strip("| ").split(" | ")) for line in PAGE.splitlines() if line.startswith("| [")]


def test_the_page_has_a_row_for_each_kind_of_extension() -> None:
    assert [re.findall(r"\(#([a-z-]+)\)", row[0])[0] for row in ROWS] == [
        "a-field",
        "a-case",
        "a-model",
        "a-label",
        "an-orientation",
    ]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_tests_that_the_page_names_exist(row: tuple[str, ...]) -> None:
    [path] = re.findall(r"\]\(\.\./(tests/[\w/]+\.py)\)", row[-1])
    [name] = re.findall(r"\[`(test_\w+)`\]", row[-1])
    tree = ast.parse((ROOT / path).read_text())
    assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_no_extension_takes_more_than_two_files(row: tuple[str, ...]) -> None:
    assert 1 <= int(row[1]) <= 2


def test_a_case_is_a_row_of_a_settings_file(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(
        "cases:\n  - {name: arms, channels: [mass], filter: {kind: band, sigma: 2, sigma_max: 4}}\n"
        "  - {name: narrow, channels: [mass], filter: {kind: gaussian, sigma: 2}}\n"
        "  - {name: wide, channels: [mass], filter: {kind: gaussian, sigma: 4}}\n"
    )
    settings = load_settings(file)
    drawn = write_sample(tmp_path / "drawn", sample_table(60), physical_maps(120, 24))
    prepared = tmp_path / "prepared"
    prepared.mkdir()
    prepare.run(prepared, drawn, drawn, settings, SILENT)
    with MapReader(drawn, pd.read_parquet(prepared / "galaxies.parquet")) as reader:
        maps = reader.maps(np.arange(4))
        specs = [load_spec(case, settings.preprocessing, drawn, prepared) for case in settings.cases]
        arms, narrow, wide = (physical_channels(np, maps, spec)[0] for spec in specs)
    np.testing.assert_allclose(arms, narrow - wide, rtol=1e-4, atol=1.0)


def prepared_with(label: str, folder: Path, sample: pd.DataFrame) -> Path:
    """Prepare a sample with a label as a settings file chooses it; return galaxies.parquet."""
    file, prepared = folder / "mine.yaml", folder / "prepared"
    file.write_text(f"preprocessing:\n  label: {label}\n")
    prepared.mkdir()
    drawn = write_sample(folder / "drawn", sample, physical_maps(len(sample), 24))
    prepare.run(prepared, drawn, drawn, load_settings(file), SILENT)
    return prepared / "galaxies.parquet"


def test_another_label_is_a_setting(tmp_path: Path) -> None:
    sample = sample_table(60)
    label = pd.read_parquet(prepared_with("{quantity: log10_sfr, floor: -3}", tmp_path, sample))["label"]
    np.testing.assert_allclose(10**label, np.maximum(sample["sfr_msun_per_yr"], 1e-3))


def test_a_label_is_a_line_of_the_registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    line = Label("log10_halo_mass", "halo mass", "Msun", "no halo", "halo_mass_msun", 8.0, (9.0, 15.0))
    monkeypatch.setitem(LABELS, line.name, line)  # the line; all else is the program's own
    sample = sample_table(60)
    path = prepared_with("{quantity: log10_halo_mass}", tmp_path, sample)
    np.testing.assert_allclose(10 ** pd.read_parquet(path)["label"], sample["halo_mass_msun"])
    stored = json.loads(pq.read_schema(path).metadata[b"PANDAS_ATTRS"])[LABEL]
    assert stored["unit"] == "log10(halo mass / Msun)"
