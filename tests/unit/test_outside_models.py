"""A model is one module: of another package, it trains, predicts and is served; no step asks which it is."""

import sys
from pathlib import Path

import numpy as np
import pytest
from extending_page import module
from training_samples import discs, write_prepared

from ssfr.components.config import Settings, TrainingSettings, parse_settings
from ssfr.components.deployment.export import Example, export
from ssfr.components.errors import InputError
from ssfr.components.models.folder import read_description
from ssfr.components.models.predictor import Predictor
from ssfr.components.runtime.progress import SILENT
from ssfr.components.serving.server.servable import Servable
from ssfr.components.steps.code import TRAINED_IN, every_code_digest
from ssfr.components.training.plan import outside_code
from ssfr.components.training.train import run
from ssfr.pipelines.local.estimate import estimate

ROOT = Path(__file__).parents[2]
FLUXES = module("fluxes")


def install(site: Path, code: str = FLUXES) -> None:
    """Put a package of one module into a folder, as an installer would."""
    info = site / "fluxes-1.0.dist-info"
    info.mkdir(parents=True)
    (site / "fluxes.py").write_text(code)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: fluxes\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[ssfr.models]\nfluxes = fluxes:FluxesSettings\n")


@pytest.fixture
def site(tmp_path, monkeypatch):
    folder = tmp_path / "site"
    monkeypatch.syspath_prepend(str(folder))
    yield folder
    sys.modules.pop("fluxes", None)


def test_a_model_of_another_package_trains_and_is_served(site, tmp_path):
    install(site)
    maps, label = discs(60, 32, seed=1)
    folders = write_prepared(tmp_path, maps, label)
    training = {"model": "fluxes", "models": {"fluxes": {"width": 5}}, "epochs": 3, "seeds": 1}
    chosen = parse_settings({"training": training, "projection": {"pixels": 32}}, "test")
    assert Settings.model_validate_json(chosen.model_dump_json()) == chosen  # as a step receives them
    (tmp_path / "model").mkdir()
    run(tmp_path / "model", *folders, "composite", chosen, SILENT)
    description = read_description(tmp_path / "model")
    assert description["parameters"] == {"trainable": 3 * 5 + 5 + 5 * 2 + 2, "frozen": 0}
    predictor = Predictor.load(tmp_path / "model")
    export(tmp_path / "model", tmp_path / "1", "ssfr", Example.of(maps[:2], predictor.spec))
    served = Servable.load(tmp_path / "1", "ssfr", 1).signature("predict_maps")({"maps": maps[:4]})
    np.testing.assert_allclose(served["log10_ssfr"], predictor.predict_maps(maps[:4]).predicted, atol=1e-5)
    assert np.ptp(served["log10_ssfr"]) > 0


def test_its_networks_are_trained_again_when_its_code_changes(site):
    install(site)
    chosen = TrainingSettings(model="fluxes")
    before = outside_code(chosen)
    (site / "fluxes.py").write_text(FLUXES + "# another\n")
    assert before != outside_code(chosen) is not None
    assert outside_code(TrainingSettings()) is None


def test_its_networks_are_trained_again_when_a_module_changes_that_it_imports(site):
    install(site, "import flux_layers\n" + FLUXES)
    (site / "fluxes-1.0.dist-info/RECORD").write_text("fluxes.py,,\nflux_layers.py,,\n")
    helper = site / "flux_layers.py"
    helper.write_text("WIDTH = 1\n")
    chosen = TrainingSettings(model="fluxes")
    before, before_any = outside_code(chosen), every_code_digest()
    helper.write_text("WIDTH = 2\n")
    assert outside_code(chosen) != before
    assert every_code_digest() != before_any  # the mark of a run that ended
    sys.modules.pop("flux_layers", None)


def test_a_run_is_no_more_done_where_another_keras_is_installed(site, monkeypatch):
    before = every_code_digest()
    info = site / "keras-99.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: keras\nVersion: 99.0\n")
    assert (other := every_code_digest()) != before
    monkeypatch.setenv(TRAINED_IN, "ssfr-train:2")
    assert every_code_digest() != other


def test_the_estimate_is_the_models_own(site, tmp_path):
    install(site)
    import pandas as pd

    pd.DataFrame({"gas_cells": [1000] * 10}).to_parquet(tmp_path / "sample.parquet")
    chosen = Settings(training=TrainingSettings(model="fluxes"))
    assert estimate(tmp_path, chosen).feature_bytes == 10 * 4 * 256**2 * 3


@pytest.mark.parametrize(
    ("code", "training", "problem"),
    [
        (FLUXES, {"model": "fluxis"}, r"training\.model: no model 'fluxis' \(did you mean 'fluxes'\?\)"),
        (FLUXES, {"models": {"fluxes": {"widht": 5}}}, r"training\.models: fluxes\.widht: extra inputs"),
        (
            FLUXES,
            {"models": {"flux": {}}},
            r"no installed package has a model 'flux' \(did you mean 'fluxes'",
        ),
        (
            "import nowhere_to_be_found",
            {"model": "fluxes"},
            r"fluxes:FluxesSettings can't be imported: No module",
        ),
        ("FluxesSettings = 7", {"model": "fluxes"}, r"fluxes:FluxesSettings is no subclass of ModelSettings"),
    ],
)
def test_a_bad_model_of_another_package_ends_in_one_line(site, code, training, problem):
    install(site, code)
    with pytest.raises(InputError, match=problem) as error:
        parse_settings({"training": training}, "test")
    assert "\n" not in str(error.value)


def test_images_that_do_not_fit_are_refused_when_settings_are_read(site):
    install(site)
    case = {"name": "four", "channels": ["entropy", "mass", "temperature", "mass"]}
    with pytest.raises(InputError, match=r"training\.models\.fluxes: 1 to 3 channels, not 4"):
        parse_settings({"training": {"model": "fluxes"}, "cases": [case]}, "test")


def test_no_step_asks_which_model_it_is():
    modules = [
        path for folder in ("components", "pipelines", "ssfr") for path in (ROOT / folder).rglob("*.py")
    ]
    asking = [
        f"{path.relative_to(ROOT)}: {line.strip()}"
        for path in modules
        for line in path.read_text().splitlines()
        if any(f'{sign} "{name}"' in line for name in ("compact", "vgg16") for sign in ("==", "!=", "in"))
    ]
    assert len(modules) > 100
    assert asking == []
