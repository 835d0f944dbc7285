"""Another label is a line of settings: complete runs to a served prediction with the label's name."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import small_demo
from PIL import Image

pytestmark = pytest.mark.slow
SSFR = [sys.executable, "-m", "ssfr.pipelines.cli"]


def run(data: Path | str, workdir: Path, **changes) -> str:
    options = small_demo.overrides(**changes)
    ran = subprocess.run(
        [*SSFR, "run", "demo", "--data", data, "--workdir", workdir, *options],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


def results(workdir: Path) -> tuple[pd.DataFrame, dict, dict]:
    """Return galaxies, what the deployment says, and what the served version says of itself."""
    (galaxies,) = (workdir / "preprocessing").glob("*/galaxies.parquet")
    (deployed,) = (workdir / "deployment").glob("*/deployment.json")
    (version,) = (workdir / "models").glob("*/1/assets.extra/ssfr.json")
    return pd.read_parquet(galaxies), json.loads(deployed.read_text()), json.loads(version.read_text())


def test_the_sfr_of_a_simulation(tmp_path):
    universe = tmp_path / "universe"
    subprocess.run([*SSFR, "simulate", universe, *small_demo.SIMULATE], check=True, capture_output=True)
    run(
        universe,
        tmp_path / "work",
        preprocessing__label={"quantity": "log10_sfr"},
        cases=[{"name": "mass", "channels": ["mass"]}],
    )
    galaxies, deployed, version = results(tmp_path / "work")
    forming = galaxies[galaxies["sfr_msun_per_yr"] > 1e-4]
    np.testing.assert_allclose(forming["label"], np.log10(forming["sfr_msun_per_yr"]))
    assert galaxies.loc[galaxies["sfr_msun_per_yr"] == 0, "label"].eq(-4).all()
    assert list(version["outputs"]) == ["log10_sfr", "lower", "sfr", "upper"]
    assert version["outputs"]["sfr"] == "Msun yr^-1"
    assert deployed["example"]["served"] == pytest.approx(deployed["example"]["offline"], abs=1e-4)
    report = (tmp_path / "work" / "report.html").read_text()
    assert "predicts its SFR?" in report
    assert "log10(SFR / Msun yr^-1)" in report


def test_a_column_of_the_table_of_an_image_catalogue(tmp_path):
    folder, generator = tmp_path / "catalogue", np.random.default_rng(0)
    (folder / "images").mkdir(parents=True)
    metallicity = generator.uniform(-1.0, 0.5, 60)
    for number, value in enumerate(metallicity):
        pixels = generator.normal(100 + 60 * value, 5, (32, 32, 3)).clip(0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / "images" / f"{number}.png")
    table = {
        "filename": [f"{number}.png" for number in range(60)],
        "sfr_msun_per_yr": 1.0,
        "stellar_mass_msun": 1e10,
        "metallicity": metallicity,
    }
    pd.DataFrame(table).to_csv(folder / "labels.csv", index=False)
    run(
        f"images:{folder}",
        tmp_path / "work",
        projection__pixels=32,
        preprocessing__pixel_type="uint8",
        preprocessing__label={"quantity": "column", "column": "metallicity", "column_is_log10": True},
        cases=[{"name": "colours", "channels": ["red", "green", "blue"]}],
    )
    galaxies, deployed, version = results(tmp_path / "work")
    order = galaxies["file"].str.removesuffix(".png").astype(int)
    np.testing.assert_allclose(galaxies["label"], metallicity[order])
    assert list(version["outputs"]) == ["log10_metallicity", "lower", "metallicity", "upper"]
    assert deployed["example"]["true"] in set(metallicity)
    assert deployed["example"]["served"] == pytest.approx(deployed["example"]["offline"], abs=1e-4)
