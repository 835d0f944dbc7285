"""What a step is done again for: settings that can change its result, what it reads, and its own code."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from ssfr.components.config import Settings, parse_settings
from ssfr.components.config.models import Vgg16Settings
from ssfr.components.steps import code
from ssfr.components.steps.code import code_digest, modules_of
from ssfr.pipelines.connections import EVERY_STEP

BY_STEP = {step.step: step for step in EVERY_STEP}
COMPONENTS = Path(code.__file__).parents[1]


def settings_of(step: str, **changes: object) -> dict[str, object]:
    nested: dict[str, object] = {}
    for dotted, value in changes.items():
        *above, last = dotted.split("__")
        section = nested
        for name in above:
            section = section.setdefault(name, {})  # type: ignore[assignment]
        section[last] = value
    return BY_STEP[step].result_settings(parse_settings(nested, "test"))


@pytest.mark.parametrize(
    ("step", "change"),
    [
        ("projection_shard", {"projection__max_rejected": 0.5}),
        ("projection", {"projection__max_rejected": 0.5}),
        ("projection_shard", {"projection__workers": 7}),
        ("projection_shard", {"simulation__max_declared_gb": 1.0}),
        ("ingest", {"preprocessing__images__max_rejected": 0.5}),
        ("training", {"training__workers": 2}),
        ("training", {"training__checkpoint_every": 1}),
        ("training", {"evaluation__audit_case": "composite"}),
        ("training", {"projection__pixels": 128}),  # which its maps show
        ("training", {"training__vgg16__features": "float32"}),  # of a model that is not trained
        (
            "projection_shard",
            {"catalog__label_aperture": "two_half_mass_radii"},
        ),  # only what gas_of makes of it
        ("projection", {"projection__min_young_stars": 7}),
        ("evaluation", {"preprocessing__label__floor": -12.0}),  # which its table of galaxies shows
        ("deployment", {"serving__port": 1}),
        ("deployment", {"deployment__servers": ["127.0.0.1:1"]}),
        ("verification", {"deployment__keep_versions": 7}),
    ],
)
def test_what_can_not_change_a_result_is_in_no_key(step: str, change: dict[str, object]) -> None:
    assert settings_of(step, **change) == settings_of(step)


@pytest.mark.parametrize(
    ("step", "change"),
    [
        ("projection_shard", {"projection__pixels": 128}),
        ("projection_shard", {"catalog__little_h": "ignored"}),
        ("training", {"training__epochs": 1}),
        ("training", {"training__compact__dense": 7}),
        ("training", {"evaluation__interval": 0.9}),
        ("deployment", {"seed": 7}),
        ("deployment", {"preprocessing__split__test": 0.11}),
        ("deployment", {"deployment__keep_versions": 7}),
        ("verification", {"deployment__servers": ["127.0.0.1:1"]}),
        ("evaluation", {"evaluation__audit_case": "composite"}),
        ("preprocessing", {"preprocessing__images__max_pixels": 100}),
        ("report", {"catalog__stellar_mass_min_msun": 1e9}),
    ],
)
def test_what_can_change_a_result_is_in_the_key(step: str, change: dict[str, object]) -> None:
    assert settings_of(step, **change) != settings_of(step)


def test_the_units_that_a_step_writes_are_declared_for_its_key() -> None:
    assert BY_STEP["catalog"].units()["sample.parquet"]["stellar_mass_msun"] == "Msun"
    assert BY_STEP["training"].units() == {}


def test_where_published_weights_lie_is_in_no_key_but_whether_they_are_used() -> None:
    keys = [
        Vgg16Settings(weights=weights).result_settings() for weights in ("imagenet", "/a/file.h5", "random")
    ]
    assert keys[0] == keys[1] != keys[2]


def test_every_section_says_all_of_its_settings_or_which_can_change_a_result() -> None:
    assert "workers" not in Settings().projection.result_settings()
    assert Settings().serving.result_settings() == {} == Settings().cluster.result_settings()
    assert Settings().preprocessing.result_settings()["images"]["table"] == "labels.csv"


@pytest.fixture
def edit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Return what changes a module in a copy of the components, and gives a step's digest with it."""
    copy = tmp_path / "components"
    shutil.copytree(COMPONENTS, copy, ignore=shutil.ignore_patterns("__pycache__"))

    def digest(step: str, module: str = "", old: str = "", new: str = "") -> str:
        if module:
            path = copy / module
            text = path.read_text()
            assert old in text
            path.write_text(text.replace(old, new, 1))
        with monkeypatch.context() as patch:
            patch.setattr(code, "_FOLDER", copy)
            code_digest.cache_clear()
            code._module.cache_clear()
            try:
                return code_digest(BY_STEP[step].code)
            finally:
                code_digest.cache_clear()
                code._module.cache_clear()

    return digest


CLIENT = ("serving/client/client.py", "\nclass ", "\n# a comment\nNEW = 1\n\n\nclass ")


def test_a_change_of_the_serving_client_is_none_of_the_catalogue_but_of_the_deployment(edit) -> None:
    before = {step: edit(step) for step in ("catalog", "training", "evaluation", "deployment")}
    edit("catalog", *CLIENT)
    after = {step: edit(step) for step in before}
    assert {step for step in before if before[step] != after[step]} == {"deployment"}


def test_comments_docstrings_and_layout_change_nothing(edit) -> None:
    before = edit("catalog")
    assert edit("catalog", "catalog/select.py", "from __future__", "# why\n\n\nfrom __future__") == before
    assert edit("catalog", "catalog/select.py", '"""', '"""Other words. ') == before
    assert edit("catalog", "catalog/select.py", "\ndef run(", "\nODD = 1\n\n\ndef run(") != before


@pytest.mark.parametrize(
    ("module", "old", "new"),
    [
        ("config/data.py", "galaxies drawn at the same time", "galaxies that are drawn at a time"),
        ("simulation/hdf5_safety.py", "from __future__", '"""Words."""\nfrom __future__'),
        ("units.py", "the factor UE/UM of", "UE/UM of"),
        ("storage/s3.py", "\nclass ", "\nODD = 1\n\n\nclass "),
        ("config/storage.py", "0.5", "0.6"),
        ("config/cluster.py", "50.0", "60.0"),
        ("runtime/progress.py", "10.0", "20.0"),
        ("steps/step.py", "removed just now", "was removed"),
    ],
)
def test_neither_words_nor_what_carries_results_draw_maps_again(edit, module, old, new) -> None:
    before = edit("projection_shard")
    assert edit("projection_shard", module, old, new) == before


@pytest.mark.parametrize(
    ("module", "old", "new"),
    [
        ("config/data.py", "2, ge=1, description=", "3, ge=1, description="),
        ("units.py", "GAMMA = 5.0 / 3.0", "GAMMA = 1.4"),
        ("units.py", "code_mass * CODE_MASS_MSUN / h", "code_mass * CODE_MASS_MSUN * h"),
    ],
)
def test_another_default_or_formula_draws_maps_again(edit, module, old, new) -> None:
    before = edit("projection_shard")
    assert edit("projection_shard", module, old, new) != before


def test_ingestion_and_preparation_have_code_of_their_own_though_they_share_a_folder(edit) -> None:
    before = {step: edit(step) for step in ("ingest", "preprocessing")}
    edit("ingest", "preprocessing/ingest.py", "\ndef run(", "\nODD = 1\n\n\ndef run(")
    assert edit("ingest") != before["ingest"]
    assert edit("preprocessing") == before["preprocessing"]


def test_what_is_imported_late_or_read_beside_a_module_counts(edit) -> None:
    before = {step: edit(step) for step in ("projection_shard", "report")}
    edit("report", "report/report.html", "<", "< ")
    edit("report", "projection/backends/reference.py", "\ndef ", "\nODD = 1\n\n\ndef ")
    assert edit("report") != before["report"]
    assert edit("projection_shard") != before["projection_shard"]


def test_a_models_network_counts_where_it_is_built_though_it_is_named_in_a_text(edit) -> None:
    before = {step: edit(step) for step in ("catalog", "training", "evaluation")}
    edit("catalog", "models/compact.py", "\nclass ", "\nODD = 1\n\n\nclass ")
    after = {step: edit(step) for step in before}
    assert {step for step in before if before[step] != after[step]} == {"training", "evaluation"}


def test_the_kernel_is_code_of_the_maps_alone() -> None:
    kernel = "ssfr.components.projection._kernel"
    with_it = {name for name, step in BY_STEP.items() if kernel in modules_of(step.code)}
    assert with_it == {"projection_shard", "projection"}


def test_a_function_that_is_not_there_is_an_error() -> None:
    with pytest.raises(ValueError, match="no such function"):
        code_digest("ssfr.components.catalog.component:catalogue")
