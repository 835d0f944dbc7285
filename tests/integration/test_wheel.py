"""The wheel holds one package, and does everything outside a checkout, whatever folders lie around it."""

from __future__ import annotations

import json
import subprocess
import zipfile
from pathlib import Path

import pytest
from installed import build_wheel, install
from small_demo import overrides

_SIMULATE = ("--galaxies", "20", "--snapshots", "99,95", "--cells-min", "1500", "--cells-max", "3000")
_CASES = [{"name": "mass", "channels": ["mass"]}]
_EXAMPLES = Path(__file__).parents[1] / "public_examples.py"
_OF_EXTRAS = ("tensorflow", "keras", "scikit-learn", "tensorflow-serving-api", "grpcio-health-checking")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_wheel(tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def programs(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of an environment with the wheel and all its libraries."""
    return install(wheel, tmp_path_factory.mktemp("installed"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working directory of a project that has folders of the same names as ours."""
    folder = tmp_path_factory.mktemp("elsewhere")
    for name in ("components", "pipelines", "ssfr"):
        (folder / name).mkdir()
        (folder / name / "__init__.py").write_text("raise ImportError('of another project')\n")
    return folder


@pytest.fixture(scope="module")
def demo(programs: Path, folder: Path) -> str:
    """What `ssfr run demo` printed; its universe is there already, a small one."""
    simulated = _run(folder, programs / "ssfr", "simulate", "run/demo/universe", *_SIMULATE)
    assert simulated.returncode == 0, simulated.stderr
    ran = _run(folder, programs / "ssfr", "run", "demo", *overrides(cases=_CASES))
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def _run(folder: Path, *command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, check=False, cwd=folder, capture_output=True, text=True)


def test_wheel_installs_one_name(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    assert {name.split("/")[0] for name in names} == {"ssfr", "ssfr-0.1.0.dist-info"}
    installed = {
        "ssfr/py.typed",
        "ssfr/pipelines/presets/demo.yaml",
        "ssfr/components/report/report.html",
        "ssfr/components/projection/_kernel.abi3.so",
    }
    assert installed <= set(names)


def test_import_takes_no_time_and_no_libraries(programs: Path, folder: Path) -> None:
    code = """
import json, sys, time
before, start = set(sys.modules), time.process_time()
import ssfr
seconds = time.process_time() - start
for name in ssfr.__all__:
    getattr(ssfr, name)
print(json.dumps([seconds, sorted({name.split(".")[0] for name in set(sys.modules) - before})]))
"""
    answer = _run(folder, programs / "python", "-P", "-c", code)
    assert answer.returncode == 0, answer.stderr
    seconds, modules = json.loads(answer.stdout)
    assert seconds < 1.0
    assert not {"tensorflow", "keras", "matplotlib", "kfp"} & set(modules)


@pytest.mark.slow
def test_demo_ends_with_a_served_prediction(demo: str, folder: Path) -> None:
    assert "The simulation says" in demo
    assert "0.0e+00 dex from what was served" in demo
    assert (folder / "run" / "demo" / "report.html").is_file()


@pytest.mark.slow
@pytest.mark.usefixtures("demo")
def test_every_example_of_the_public_functions_runs(programs: Path, folder: Path) -> None:
    ran = _run(folder, programs / "python", "-P", _EXAMPLES)
    assert ran.returncode == 0, ran.stdout + ran.stderr


@pytest.mark.slow
def test_absent_extra_is_one_line_before_work_begins(wheel: Path, folder: Path, tmp_path: Path) -> None:
    ssfr = install(wheel, tmp_path / "base", without=_OF_EXTRAS) / "ssfr"
    refused = _run(folder, ssfr, "run", "demo", "--workdir", tmp_path / "run")
    assert refused.returncode == 2
    assert refused.stderr == "ssfr: keras, tensorflow: not installed; pip install 'ssfr[train,serve]'\n"
    assert not (tmp_path / "run").exists()
    command = (
        "simulate",
        tmp_path / "universe",
        "--galaxies",
        "2",
        "--cells-min",
        "200",
        "--cells-max",
        "400",
    )
    assert _run(folder, ssfr, *command).returncode == 0
    data = ("--data", tmp_path / "universe", "--until", "projection", "--set", "projection.pixels=128")
    drawn = _run(folder, ssfr, "run", "demo", *data, "--workdir", tmp_path / "run")
    assert drawn.returncode == 0, drawn.stderr
