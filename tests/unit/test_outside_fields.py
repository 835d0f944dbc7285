"""Fields of other packages: found by entry point, drawn by the pipeline's own processes, refused when bad."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
import yaml
from extending_page import module

from ssfr.components.config import Settings, UniverseSettings, parse_settings
from ssfr.components.errors import InputError
from ssfr.components.projection.draw import draw_galaxy
from ssfr.components.projection.fields import View, field_named, finding, outside_versions
from ssfr.components.projection.map_files import map_identity
from ssfr.components.runtime.progress import SILENT
from ssfr.components.simulation import Header, open_source
from ssfr.components.simulation.universe import write_universe

SPEED = module("speeds")
HEADER = Header(
    99, h=0.7, redshift=0.0, scale_factor=1.0, omega_matter=0.3, omega_lambda=0.7, box_ckpc_h=35000.0
)
CELLS = {"mass": np.ones(3, np.float32), "velocity": np.diag([3.0, 4.0, 5.0]).astype(np.float32)}


def install(site: Path, package: str, code: str, name: str = "speed") -> Path:
    """Put a package into a folder as an installer would: a module, and its metadata."""
    info = site / f"{package}-1.0.dist-info"
    info.mkdir(parents=True)
    (site / f"{package}.py").write_text(code)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[ssfr.fields]\n{name} = {package}:FIELD\n")
    return site


@pytest.fixture
def site(tmp_path, monkeypatch):
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    finding._offered.cache_clear()
    yield folder
    finding._offered.cache_clear()
    for path in folder.glob("*.py"):
        sys.modules.pop(path.stem, None)


def test_a_field_of_another_package_is_found_by_its_name(site):
    install(site, "speeds", SPEED)
    np.testing.assert_allclose(field_named("speed").compute(CELLS, View(HEADER)), [3, 4, 5])
    assert len(SPEED.splitlines()) <= 10


def test_its_maps_are_drawn_again_when_its_code_changes(site):
    install(site, "speeds", SPEED)
    before = outside_versions(("mass", "speed"))
    assert before["speed"].startswith("package speeds 1.0 ") and list(before) == ["speed"]
    (site / "speeds.py").write_text(SPEED + "# another\n")
    assert outside_versions(("mass", "speed")) != before


def test_maps_of_another_version_of_its_package_are_other_maps(site):
    install(site, "speeds", SPEED)
    settings = parse_settings(
        {"projection": {"fields": ["speed"]}, "cases": [{"name": "speed", "channels": ["speed"]}]}, "test"
    )
    before = map_identity(settings)
    assert [field.version for field in before.fields if field.name == "mass"] == [""]
    metadata = site / "speeds-1.0.dist-info" / "METADATA"
    metadata.write_text(metadata.read_text().replace("Version: 1.0", "Version: 1.1"))
    [line] = before.differences(map_identity(settings))
    assert line.startswith("version of speed: package speeds 1.0 ") and "package speeds 1.1 " in line


def test_its_maps_are_drawn_again_when_a_module_of_its_package_changes(site):
    install(site, "speeds", "")
    (site / "speeds.py").unlink()
    package = site / "speeds"
    package.mkdir()
    partial = SPEED.replace("import numpy", "import functools\nimport numpy")
    (package / "__init__.py").write_text(partial.replace("speed, needs", "functools.partial(speed), needs"))
    (package / "norms.py").write_text("ORDER = 2\n")
    before = outside_versions(["speed"])
    (package / "norms.py").write_text("ORDER = 1\n")
    changed = outside_versions(["speed"])
    assert changed != before
    (package / "__init__.py").write_text(SPEED)
    assert outside_versions(["speed"]) not in (before, changed)


@pytest.mark.parametrize(
    ("code", "problem"),
    [
        (SPEED.replace(", axis=0", ""), r"returned shape \(\), expected \(3,\): a number a cell"),
        (SPEED.replace('"velocity"]', '"speed"]'), r"failed: KeyError: 'speed'"),
        (SPEED.replace("return np.linalg.norm", "return str"), "failed: TypeError: "),
        ("import nowhere_to_be_found", r"speeds:FIELD can't be imported: ModuleNotFoundError: "),
        ("FIELD = 7", r"speeds:FIELD is 7, expected ssfr\.Field with the name 'speed'"),
        (SPEED.replace('Field("speed"', 'Field("fast"'), r"expected ssfr\.Field with the name 'speed'"),
        (
            SPEED.replace("needs=", "reduction='median', needs="),
            r"reduction 'median' of 'gas', expected one of",
        ),
    ],
)
def test_a_bad_field_of_another_package_ends_in_one_line(site, code, problem):
    install(site, "speeds", code)
    with pytest.raises(InputError, match=rf"^package speeds 1\.0: field 'speed'.*{problem}") as error:
        field_named("speed").compute(CELLS, View(HEADER))
    assert "\n" not in str(error.value)


def test_a_name_that_is_taken_is_refused(site):
    install(site, "thieves", SPEED, name="temperature")
    with pytest.raises(InputError, match=r"^package thieves 1\.0: field 'temperature' carries the name"):
        field_named("temperature")
    install(site, "ones", SPEED)
    install(site, "others", SPEED)
    with pytest.raises(InputError, match=r"field 'speed' is offered by package \w+ 1\.0 and by package"):
        field_named("speed")


def test_a_field_that_nobody_offers_is_refused_with_the_nearest_name(site):
    install(site, "speeds", SPEED)
    with pytest.raises(InputError, match=r"no field 'speeed' \(did you mean 'speed'\?\)"):
        field_named("speeed")


@pytest.mark.slow
def test_the_pipeline_draws_it_in_processes_of_its_own(tmp_path, site):
    install(site, "speeds", SPEED)
    recipe = UniverseSettings(galaxies=3, snapshots=(99,), cells_min=300, cells_max=400, chunks=1, workers=1)
    write_universe(tmp_path / "universe", recipe, SILENT)
    settings = {
        "projection": {"fields": ["speed", "temperature"], "pixels": 16},
        "cases": [{"name": "speed", "channels": ["speed"]}],
    }
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(settings))
    command = [sys.executable, "-m", "ssfr.pipelines.cli", "run", "study.yaml", "--data", "universe"]
    ran = subprocess.run(
        [*command, "--workdir", "work", "--until", "projection"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(site)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    [path] = (tmp_path / "work/projection").glob("*/maps-099-000.h5")
    with h5py.File(path) as file:
        drawn, subhalo = file["maps"][0, 0], int(file["subhalo_id"][0])
    source = open_source(str(tmp_path / "universe"), Settings().simulation)
    halo = int(source.subhalos(99, ["halo"])["halo"][subhalo])
    expected = draw_galaxy(source, 99, subhalo, halo, parse_settings(settings, "test")).maps[0]
    np.testing.assert_array_equal(drawn, expected)
    assert 10 < np.nanmedian(drawn) < 2000
