"""Settings: typed, bounded, and clear about what is wrong."""

import re
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from ssfr.components.config import Settings, load_settings, parse_settings
from ssfr.components.errors import InputError
from ssfr.pipelines.options import parse_overrides, preset_path

PRESETS = ("demo", "recommended", "thesis", "images")


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_loads(name):
    settings = load_settings(preset_path(name))
    assert parse_settings(settings.model_dump(mode="json"), "again") == settings


def test_recommended_preset_is_the_defaults_but_for_its_cases():
    recommended = load_settings(preset_path("recommended")).model_dump()
    defaults = Settings().model_dump()
    assert recommended.pop("cases") != defaults.pop("cases")
    assert recommended["evaluation"].pop("audit_case") == "composite"
    assert defaults["evaluation"].pop("audit_case") is None
    assert recommended == defaults


def test_recommended_scales_leave_no_gap():
    """What high-pass filters, bands and the widest blur keep adds up to the whole map."""
    cases = load_settings(preset_path("recommended")).cases
    assert [case.name for case in cases[:4]] == ["composite", "entropy", "mass", "temperature"]
    parts = [case.filter for case in cases[4:8]]
    assert [part.kind for part in parts] == ["high_pass", "band", "band", "gaussian"]
    assert {case.filter.unit for case in cases[4:]} == {"kpc"}
    ends = [part.sigmas[-1] for part in parts[:-1]]
    assert ends == [part.sigmas[0] for part in parts[1:]] == [1, 3, 10]


def test_thesis_preset_has_the_ten_image_sets():
    composite = ("entropy", "mass", "temperature")
    cases = load_settings(preset_path("thesis")).cases
    assert {(case.name, case.channels, case.filter.kind, case.filter.sigmas) for case in cases} == {
        ("composite", composite, "none", ()),
        *((field, (field,), "none", ()) for field in composite),
        *((f"blur{px}", composite, "gaussian", (px,)) for px in (3, 5, 10)),
        *((f"structures{px}", composite, "high_pass", (px,)) for px in (3, 5, 10)),
    }
    assert {case.filter.unit for case in cases} == {"px"}


def test_thesis_preset_keeps_the_faults():
    thesis = load_settings(preset_path("thesis"))
    assert thesis.catalog.little_h == "ignored"
    assert thesis.projection.binning == "thesis"
    assert thesis.projection.depth is None
    assert thesis.preprocessing.label.mass == "total"
    assert thesis.preprocessing.split.method == "random"
    assert thesis.training.learning_rate == 1.0
    assert len(thesis.catalog.snapshots) == 11
    assert thesis.training.seeds == 1
    assert thesis.training.milestones == (500, 1000, 1500)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ({"trainig": {}}, "unknown setting 'trainig' (did you mean 'training'?)"),
        ({"training": {"epoch": 3}}, "unknown setting 'training.epoch' (did you mean 'epochs'?)"),
        (
            {"deployment": {"servers": ["nohost"]}},
            "'nohost': expected HOST:PORT with a port up to 65535, for example 127.0.0.1:8500",
        ),
        ({"training": {"epochs": 0}}, "training.epochs: input should be greater than or equal to 1, found 0"),
        ({"cases": [{"name": "a"}, {"name": "a"}]}, "the name 'a' is used twice"),
        ({"cases": [{"name": "../a"}]}, "cases.0.name"),
        ({"cases": [{"name": "a", "filter": {"kinds": "x"}}]}, "(did you mean 'kind'?)"),
        ({"training": {"model": "vgg16"}}, "use loss: mse"),
        ({"preprocessing": {"stretch_negative": "even"}}, "needs pixel_type: uint8"),
        ({"preprocessing": {"split": {"test": 0.9, "validation": 0.2}}}, "leave nothing to train on"),
        ({"preprocessing": {"split": {"method": "column"}}}, "needs `column`"),
        ({"cases": [{"name": "m", "channels": ["massa"]}]}, "did you mean 'mass'?"),
        (
            {"cases": [{"name": "m", "filter": {"kind": "gausian"}}]},
            "cases.0.filter.kind: no choice 'gausian' (did you mean 'gaussian'?)",
        ),
        (
            {"cases": [{"name": "m", "filter": {"kind": "wavelet"}}]},
            "no choice 'wavelet' (known: band, gaussian, high_pass, none)",
        ),
        (
            {"cases": [{"name": "m", "filter": {"kind": "structures"}}]},
            "no choice 'structures' (known: band, gaussian, high_pass, none)",
        ),
        (
            {"cases": [{"name": "m", "filter": {"kind": "gaussian", "sigma": 0.5}}]},
            "cases: 'm': filter.sigma 0.5 px is 0.5 px; expected 1 px to the map's 256 px",
        ),
        (
            {"cases": [{"name": "m", "filter": {"kind": "high_pass", "sigma": 0.3, "unit": "kpc"}}]},
            "cases: 'm': filter.sigma 0.3 kpc is 0.853 px; expected 1 px to the map's 256 px",
        ),
        (
            {"cases": [{"name": "m", "filter": {"kind": "gaussian", "sigma": 91, "unit": "kpc"}}]},
            "is 259 px; expected 1 px to the map's 256 px",
        ),
        (
            {"cases": [{"name": "m", "filter": {"kind": "band", "sigma": 3, "sigma_max": 300}}]},
            "filter.sigma_max 300 px is 300 px; expected 1 px to the map's 256 px",
        ),
        (
            {"cases": [{"name": "m", "filter": {"kind": "band", "sigma": 5, "sigma_max": 5}}]},
            "a band needs sigma below sigma_max, found sigma 5, sigma_max 5",
        ),
        (
            {"cases": [{"name": "m", "filter": {"kind": "band", "sigma": 5}}]},
            "kind: band needs sigma_max, the wider of its two Gaussians",
        ),
        (
            {"cases": [{"name": "m", "filter": {"kind": "gaussian", "sigma_max": 5}}]},
            "sigma_max belongs to kind: band, not to kind: gaussian",
        ),
        (
            {
                "projection": {"width_unit": "ckpc/h"},
                "cases": [{"name": "m", "filter": {"kind": "gaussian", "unit": "kpc"}}],
            },
            "filter.unit: kpc needs pixels of one physical size",
        ),
        (
            {"projection": {"binning": "tesis", "deposition": "point"}},
            "projection.binning: no choice 'tesis' (did you mean 'thesis'?)",
        ),
        ({"cases": [{"name": "baseline_x"}]}, "are the baselines'"),
        (
            {"training": {"model": "vgg16", "loss": "mse"}, "projection": {"pixels": 64}},
            "256 pixels a side and 1 or 3 channels, not 64 and 3",
        ),
        ({"projection": {"width": float("inf")}}, "projection.width: input should be a finite number"),
        ({"preprocessing": {"normalisation": "fixed"}}, "only 'training' is possible"),
    ],
)
def test_a_wrong_setting_is_one_line_that_names_it(data, expected):
    with pytest.raises(InputError) as raised:
        parse_settings(data, "my.yaml")
    message = str(raised.value)
    assert message.startswith("my.yaml: ")
    assert expected in message
    assert "\n" not in message


@pytest.mark.parametrize("text", ["a: [", "- 1\n- 2", "!!python/object/apply:os.system ['true']", "\x00"])
def test_a_file_that_is_no_settings_is_refused(tmp_path, text):
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=r"bad\.yaml: "):
        load_settings(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"absent\.yaml: no such settings file"):
        load_settings(tmp_path / "absent.yaml")


def test_a_folder_and_a_bottomless_file_are_refused(tmp_path):
    with pytest.raises(InputError, match="can't be read"):
        load_settings(tmp_path)
    deep = tmp_path / "deep.yaml"
    deep.write_text("[" * 5000)
    with pytest.raises(InputError, match=r"deep\.yaml: not valid YAML"):
        load_settings(deep)


def test_an_unknown_preset_names_the_nearest():
    with pytest.raises(InputError, match="did you mean 'thesis'"):
        preset_path("tesis")


def test_overrides_come_last(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("training: {epochs: 7}")
    overrides = parse_overrides(["training.epochs=9", "catalog.snapshots=[99, 95]", "projection.depth=null"])
    settings = load_settings(path, overrides)
    assert settings.training.epochs == 9
    assert settings.catalog.snapshots == (99, 95)
    assert settings.projection.depth is None


@pytest.mark.parametrize("text", ["training.epochs", "seed=[1", "seed.deeper=1"])
def test_a_bad_override_is_refused(text):
    with pytest.raises(InputError):
        load_settings(preset_path("demo"), {"seed": 3} | parse_overrides([text]))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("training.epochs=0", "--set training.epochs: training.epochs: input should be"),
        ("training={epoch: 3}", "--set training: unknown setting 'training.epoch'"),
        ("seed=3", "mine.yaml: training.batch: input should be"),
    ],
)
def test_an_error_names_the_file_or_the_option_that_it_is_in(tmp_path, text, said):
    path = tmp_path / "mine.yaml"
    path.write_text("training: {batch: 0}" if "seed" in text else "")
    with pytest.raises(InputError, match=re.escape(said)):
        load_settings(path, parse_overrides([text]))


def test_numbers_of_yaml_may_be_written_as_text():
    assert yaml.safe_load("1e10") == "1e10"  # YAML 1.1: no dot, no number
    assert (
        parse_settings({"catalog": {"stellar_mass_min_msun": "1e10"}}, "x").catalog.stellar_mass_min_msun
        == 1e10
    )


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
        max_leaves=8,
    )
)
def test_any_mapping_is_settings_or_an_input_error(value):
    for data in ({"training": value}, {"cases": value}, {"preprocessing": {"split": value}}):
        try:
            assert isinstance(parse_settings(data, "fuzz"), Settings)
        except InputError as error:
            assert str(error).startswith("fuzz: ")


def test_presets_are_where_the_package_says():
    assert {path.stem for path in Path(preset_path("demo")).parent.glob("*.yaml")} == set(PRESETS)
