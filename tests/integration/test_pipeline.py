"""The whole way, through the real command line: run, kill anywhere, run again, and the same result."""

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from fnmatch import fnmatch
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image

from ssfr.components.steps.checks import check_file, check_files, contents
from ssfr.components.steps.connections import declared
from ssfr.pipelines.connections import EVERY_STEP, OF_A_RUN, OF_EVERY_ARTIFACT

SSFR = [sys.executable, "-m", "ssfr.pipelines.cli"]
STEPS = ("catalog", "projection", "preprocessing", "training", "evaluation", "report", "deployment")
SMALL = {
    "projection": {"pixels": 64, "workers": 2},
    "preprocessing": {"split": {"validation": 0.2, "test": 0.2, "promotion": 0.2}},
    "training": {
        "epochs": 4,
        "batch": 8,
        "checkpoint_every": 1,
        "compact": {"input_pixels": 32, "widths": [8, 16], "dense": 8},
    },
    "evaluation": {"bootstrap": 100},
    "deployment": {"require_beats_baselines": False},
}


def ssfr(*arguments, check=True):
    result = subprocess.run([*SSFR, *map(str, arguments)], capture_output=True, text=True, check=False)
    if check:
        assert result.returncode == 0, result.stdout + result.stderr
    return result


@pytest.fixture(scope="module")
def universe(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data") / "universe"
    ssfr(
        "simulate", folder, "--galaxies", 40, "--snapshots", "99,95", "--cells-min", 1500, "--cells-max", 3000
    )
    return folder


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    path = tmp_path_factory.mktemp("settings") / "small.yaml"
    path.write_text(yaml.safe_dump(SMALL))
    return path


@pytest.fixture(scope="module")
def finished(universe, settings, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("finished") / "run"
    result = ssfr("run", settings, "--data", universe, "--workdir", workdir)
    return workdir, result


def only(workdir, step):
    (folder,) = (workdir / step).iterdir()
    return folder


def test_a_run_ends_with_a_prediction_over_grpc_that_equals_the_offline_one(finished):
    workdir, result = finished
    deployed = json.loads((only(workdir, "deployment") / "deployment.json").read_text())
    assert deployed["max_difference_dex"] < 1e-4
    predictions = pd.read_parquet(only(workdir, "evaluation") / "predictions.parquet")
    example = deployed["example"]
    row = predictions[
        (predictions["galaxy"] == example["galaxy"]) & (predictions["case"] == "composite")
    ].iloc[0]
    assert row["split"] == "test"
    assert example["served"] == pytest.approx(row["predicted"], abs=1e-4)
    assert example["galaxy"] in result.stdout
    assert (workdir / "report.html").read_text().startswith("<!doctype html>")
    assert "about" in result.stderr  # the estimate, before the work


def test_what_a_run_writes_is_what_is_declared(finished):
    workdir, _ = finished
    steps = {step.step: (*step.writes, OF_EVERY_ARTIFACT) for step in EVERY_STEP}
    artifacts = {path.parent: steps[path.relative_to(workdir).parts[0]] for path in manifests(workdir)}
    assert {folder.relative_to(workdir).parts[0] for folder in artifacts} == {*STEPS, "projection_shard"}
    for folder, files in artifacts.items():
        check_files(folder, files)
        for path in (path for path in folder.rglob("*") if path.is_file()):
            file = declared(path.relative_to(folder).as_posix(), files)
            assert file is not None, path
            check_file(path, file)
            undeclared = [name for name in contents(path, file) if not is_declared(name, file)]
            assert not (file.entries and undeclared), (path, undeclared)
    beside = {path for path in workdir.rglob("*") if path.is_file()}
    beside -= {path for folder in artifacts for path in folder.rglob("*")}
    assert [path for path in beside if declared(path.relative_to(workdir).as_posix(), OF_A_RUN) is None] == []


def manifests(workdir):
    """Return the manifest of each artifact of a run's folder."""
    return [path for step in EVERY_STEP for path in (workdir / step.step).rglob("manifest.json")]


def is_declared(name, file):
    return any(fnmatch(name, entry.name) for entry in file.entries)


def test_no_tree_is_on_both_sides_of_the_split(finished):
    galaxies = pd.read_parquet(only(finished[0], "preprocessing") / "galaxies.parquet")
    assert galaxies.groupby("tree_id")["split"].nunique().max() == 1
    assert set(galaxies["split"]) == {"train", "validation", "test", "promotion"}


def test_the_manifest_says_how_to_run_it_again(finished):
    manifest = json.loads((finished[0] / "manifest.json").read_text())
    drawn = {"projection/099", "projection/095"}
    assert set(manifest["steps"]) == {*STEPS} - {"training"} | {"training/composite"} | drawn
    assert manifest["settings"]["training"]["epochs"] == 4
    assert manifest["origin"].endswith("data: universe")
    assert manifest["synthetic"] is True
    assert "data: universe, a SYNTHETIC universe" in (finished[0] / "report.html").read_text()
    assert manifest["versions"]["keras"]


def test_a_second_run_finds_everything_done(finished, universe, settings):
    workdir, _ = finished
    before = {path: path.stat().st_mtime_ns for path in workdir.glob("*/*/manifest.json")}
    ssfr("run", settings, "--data", universe, "--workdir", workdir)
    assert {path: path.stat().st_mtime_ns for path in workdir.glob("*/*/manifest.json")} == before


@pytest.mark.slow
def test_the_audit_trains_its_own_networks_alone_and_limits_of_what_may_fail_redo_nothing(
    finished, universe, settings, tmp_path
):
    workdir = tmp_path / "run"
    subprocess.run(["cp", "-r", finished[0], workdir], check=True)
    before = {path.relative_to(workdir).parent for path in workdir.glob("*/**/manifest.json")}
    audit = ("--set", "evaluation.audit_case=composite", "--set", "training.checkpoint_every=2")
    limits = ("--set", "projection.max_rejected=0.5", "--set", "simulation.max_declared_gb=32")
    ssfr("run", settings, "--data", universe, "--workdir", workdir, "--until", "training", *audit, *limits)
    after = {path.relative_to(workdir).parent for path in workdir.glob("*/**/manifest.json")}
    assert sorted(path.parts[0] for path in after - before) == ["preprocessing", "training_audit"]
    audited, trained = only(workdir, "training_audit"), only(workdir, "training")
    assert sorted(path.name for path in (audited / "audit").iterdir()) == ["halo", "random", "tree"]
    for path in (path.relative_to(trained) for path in trained.rglob("*.npz")):
        assert (audited / path).read_bytes() == (trained / path).read_bytes()


@pytest.mark.slow
def test_until_stops_after_a_step(universe, settings, tmp_path):
    workdir = tmp_path / "run[/b] of [new]"
    result = ssfr("run", settings, "--data", universe, "--workdir", workdir, "--until", "projection")
    assert str(only(workdir, "projection")) in result.stdout
    assert not (workdir / "preprocessing").exists()
    assert not (workdir / "manifest.json").exists()


def test_of_a_new_snapshot_its_own_maps_alone_are_drawn(universe, settings, tmp_path):
    earlier, workdir = tmp_path / "earlier", tmp_path / "run"
    shutil.copytree(universe, earlier, ignore=shutil.ignore_patterns("*_095*"))
    ssfr("run", settings, "--data", earlier, "--workdir", workdir, "--until", "projection")
    before = {path: path.stat().st_mtime_ns for path in workdir.glob("projection_shard/*/*/*")}
    assert {path.parts[-3] for path in before} == {"099-0"}
    ssfr("run", settings, "--data", universe, "--workdir", workdir, "--until", "projection")
    after = {path: path.stat().st_mtime_ns for path in workdir.glob("projection_shard/*/*/*")}
    assert {path.parts[-3] for path in after} == {"099-0", "095-0"}
    assert after.items() > before.items()
    assert len(list((workdir / "projection").iterdir())) == 2


def test_a_run_that_stops_early_leaves_the_manifest_of_the_whole_one(finished, universe, settings):
    workdir, _ = finished
    before = (workdir / "manifest.json").read_text()
    ssfr("run", settings, "--data", universe, "--workdir", workdir, "--until", "catalog")
    assert (workdir / "manifest.json").read_text() == before
    assert set(json.loads((workdir / "manifest-catalog.json").read_text())["steps"]) == {"catalog"}


def in_the_middle_of(step, events):
    """Tell whether the events say that `step` is under way."""
    try:
        text = events.read_text()
    except FileNotFoundError:  # each run begins with a new one
        return False
    lines = [json.loads(line) for line in text.splitlines() if line.endswith("}")]
    starts = [
        i for i, event in enumerate(lines) if event["kind"] == "start" and event["label"].startswith(step)
    ]
    if not starts:
        return False
    if any(event["kind"] == "done" and event["label"].startswith(step) for event in lines):
        raise AssertionError(f"{step} ended before it could be killed")
    after = lines[starts[-1] :]
    if step == "deployment":
        return any(event["kind"] == "say" and "exporting" in event["text"] for event in after)
    # The quick ones would be over before their first count was seen.
    return step in ("catalog", "preprocessing", "report") or any(event["kind"] == "task" for event in after)


def processes_of(mark):
    """Command lines of whoever was started with this mark in the environment, which workers inherit."""
    found = []
    for environment in Path("/proc").glob("[0-9]*/environ"):
        try:
            if mark.encode() in environment.read_bytes():
                found.append((environment.parent / "cmdline").read_text().replace("\0", " ")[:300])
        except OSError:
            continue
    return found


@pytest.mark.slow
def test_killed_in_every_step_it_ends_the_same(finished, universe, settings, tmp_path):
    workdir = tmp_path / "run"
    command = [*SSFR, "run", str(settings), "--data", str(universe), "--workdir", str(workdir)]
    mark = f"KILLED_RUN={tmp_path}"
    environment = os.environ | dict([mark.split("=")])
    for step in (*STEPS[:5], "deployment", "report"):  # the order in which Kubeflow's runner does them
        with (tmp_path / "log").open("w") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
        while not in_the_middle_of(step, workdir / "events.jsonl"):
            assert process.poll() is None, (tmp_path / "log").read_text()
            time.sleep(0.005)
        assert len(processes_of(mark)) > 1
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        deadline = time.monotonic() + 30
        while processes_of(mark) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert processes_of(mark) == [], step
        assert not (workdir / step).exists()
        assert any(path.is_dir() for path in (workdir / ".staging").glob(f"{step}*"))
    ssfr(*command[3:])
    whole = finished[0]
    for step, name in (
        ("catalog", "sample.parquet"),
        ("preprocessing", "galaxies.parquet"),
        ("training", "weights.npz"),
        ("evaluation", "predictions.parquet"),
    ):
        mine, theirs = only(workdir, step) / name, only(whole, step) / name
        if name.endswith(".parquet"):
            pd.testing.assert_frame_equal(pd.read_parquet(mine), pd.read_parquet(theirs), check_exact=True)
        else:
            with np.load(mine) as a, np.load(theirs) as b:
                assert a.files == b.files
                assert all(np.array_equal(a[key], b[key]) for key in a.files)


@pytest.fixture
def prepared(finished, tmp_path):
    """Return a function: the folder of a run that is yet to train."""

    def copy(name):
        workdir = tmp_path / name
        subprocess.run(["cp", "-r", finished[0], workdir], check=True)
        for step in STEPS[3:]:
            shutil.rmtree(workdir / step, ignore_errors=True)
        (workdir / "events.jsonl").unlink()
        return workdir

    return copy


TWO_CASES = ["--until", "training", "--set", "training.threads=1", "--set"]
TWO_CASES.append("cases=[{name: composite}, {name: mass, channels: [mass]}]")


@pytest.mark.slow
def test_two_cases_at_the_same_time_end_as_one_after_the_other(prepared, universe, settings):
    weights, spans = {}, {}
    for workers in (1, 2):
        workdir = prepared(str(workers))
        more = [*TWO_CASES, "--set", f"training.workers={workers}"]
        ssfr("run", settings, "--data", universe, "--workdir", workdir, *more)
        weights[workers] = {}
        for folder in (workdir / "training").iterdir():
            case = json.loads((folder / "model.json").read_text())["case"]
            with np.load(folder / "weights.npz") as arrays:
                weights[workers][case] = {key: arrays[key] for key in arrays.files}
        events = [json.loads(line) for line in (workdir / "events.jsonl").read_text().splitlines()]
        spans[workers] = [event["kind"] for event in events if event.get("label", "").startswith("training/")]
    assert spans[1] == ["start", "done", "start", "done"]
    assert spans[2] == ["start", "start", "done", "done"]
    assert set(weights[1]) == {"composite", "mass"}
    for case, arrays in weights[1].items():
        for key, array in arrays.items():
            np.testing.assert_array_equal(weights[2][case][key], array)


def test_an_interrupted_run_ends_at_once_with_all_that_it_started(prepared, universe, settings, tmp_path):
    workdir = prepared("run")
    more = [*TWO_CASES, "--set", "training.workers=2", "--set", "training.epochs=2000"]
    command = [*SSFR, "run", str(settings), "--data", str(universe), "--workdir", str(workdir), *more]
    mark = f"INTERRUPTED_RUN={tmp_path}"
    environment = os.environ | dict([mark.split("=")])
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=environment, start_new_session=True)
    while not in_the_middle_of("training", workdir / "events.jsonl"):
        assert process.poll() is None, (tmp_path / "log").read_text()
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(10) == 130
    assert "the same command goes on where it stopped" in (tmp_path / "log").read_text()
    deadline = time.monotonic() + 30
    while processes_of(mark) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert processes_of(mark) == []


def test_two_runs_in_one_folder_are_refused(universe, settings, tmp_path):
    command = [*SSFR, "run", str(settings), "--data", str(universe), "--workdir", str(tmp_path)]
    first = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while not (tmp_path / "events.jsonl").exists():
            assert first.poll() is None
            time.sleep(0.02)
        second = ssfr(*command[3:], check=False)
    finally:
        first.kill()
        first.wait()
    assert second.returncode == 2
    assert f"in use by process {first.pid}" in second.stderr


def test_a_damaged_artifact_ends_in_one_line(finished, universe, settings, tmp_path):
    workdir = tmp_path / "run"
    subprocess.run(["cp", "-r", finished[0], workdir], check=True)
    maps = sorted(only(workdir, "projection").glob("maps-*.h5"))[0]
    data = bytearray(maps.read_bytes())
    data[len(data) // 2] ^= 1
    maps.write_bytes(data)
    result = ssfr("run", settings, "--data", universe, "--workdir", workdir, check=False)
    assert result.returncode == 2
    assert result.stderr.strip().splitlines()[-1].startswith("ssfr: ")
    assert maps.name in result.stderr
    assert "SHA-256" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.slow
def test_a_disk_that_fills_up_ends_in_one_line_and_the_run_goes_on_when_there_is_space(
    universe, settings, tmp_path
):
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=12m", "tmpfs", disk], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("a full disk needs the right to mount a tmpfs")
    workdir, filler = disk / "run", disk / "filler"
    command = ["run", settings, "--data", universe, "--workdir", workdir, "--until", "preprocessing"]
    try:
        process = subprocess.Popen(
            [*SSFR, *map(str, command)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        while not in_the_middle_of("projection", workdir / "events.jsonl"):
            assert process.poll() is None
            time.sleep(0.005)
        try:
            with filler.open("wb", buffering=0) as stream:
                while True:
                    stream.write(bytes(4096))
        except OSError as error:
            assert error.errno == errno.ENOSPC
        _, said = process.communicate(timeout=120)
        assert process.returncode == 2, said
        assert "no space left on the disk" in said.strip().splitlines()[-1]
        assert "Traceback" not in said
        assert not (workdir / "projection").exists()
        filler.unlink()
        ssfr(*command)
        assert len(list(only(workdir, "projection").glob("maps-*.h5"))) == 2
    finally:
        subprocess.run(["umount", "-l", disk], check=True)


@pytest.mark.slow
def test_a_lost_repository_is_filled_again(finished, universe, settings, tmp_path):
    workdir = tmp_path / "run"
    subprocess.run(["cp", "-r", finished[0], workdir], check=True)
    command = ("run", settings, "--data", universe, "--workdir", workdir)
    ssfr(*command)
    subprocess.run(["rm", "-r", workdir / "models"], check=True)
    ssfr(*command)
    assert (workdir / "models" / "ssfr" / "1" / "saved_model.pb").exists()


@pytest.mark.slow
def test_another_case_does_not_train_the_first_again(finished, universe, settings, tmp_path):
    workdir = tmp_path / "run"
    subprocess.run(["cp", "-r", finished[0], workdir], check=True)
    cases = "[{name: composite}, {name: mass, channels: [mass]}]"
    ssfr(
        "run",
        settings,
        "--data",
        universe,
        "--workdir",
        workdir,
        "--until",
        "training",
        "--set",
        f"cases={cases}",
    )
    assert len(list((workdir / "training").iterdir())) == 2


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("run", "tesis", "--data", ".", "--workdir", "x"), "did you mean 'thesis'"),
        (("run", "demo", "--data", "/nowhere", "--workdir", "x"), "no such folder"),
        (("run", "demo", "--data", "s4:x", "--workdir", "x"), "unknown kind of data"),
        (
            ("run", "demo", "--data", ".", "--workdir", "x", "--until", "projektion"),
            "did you mean 'projection'",
        ),
        (
            ("run", "demo", "--data", ".", "--workdir", "x", "--set", "training.epoch=3"),
            "did you mean 'epochs'",
        ),
        (("simulate", "x", "--snapshots", "99;95"), "--snapshots 99;95"),
        (("simulate", "x", "--galaxies", "0"), "--galaxies"),
        (("simulate", "/dev/null/x"), "/dev/null/x"),
        (("run", "demo", "--data", ".", "--workdir", "/dev/null"), "--workdir /dev/null"),
        (("predict", "absent.png", "--server", "127.0.0.1:1"), "absent.png"),
    ],
)
def test_bad_arguments_end_in_one_line(tmp_path, arguments, expected):
    result = subprocess.run([*SSFR, *arguments], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert result.returncode == 2
    assert expected in result.stderr
    assert "Traceback" not in result.stderr
    assert not (tmp_path / "x").exists()


def test_what_libraries_say_while_they_are_loaded_does_not_stand_before_an_answer(tmp_path):
    np.save(tmp_path / "map.npy", np.zeros((3, 8, 8), np.float32))
    command = [*SSFR, "predict", "map.npy", "--server", "127.0.0.1:1", "--set", "serving.retries=0"]
    result = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert result.returncode == 2
    (line,) = result.stderr.splitlines()
    assert line.startswith("ssfr: 127.0.0.1:1: no server answers there")


@pytest.mark.slow
def test_an_image_catalogue_goes_the_whole_way(tmp_path):
    rng = np.random.default_rng(3)
    folder = tmp_path / "catalogue"
    (folder / "images").mkdir(parents=True)
    rows = []
    yy, xx = np.mgrid[-1:1:64j, -1:1:64j]
    for i in range(60):
        size = rng.uniform(0.1, 0.6)
        disc = np.exp(-np.hypot(xx, yy) / size)
        colour = rng.uniform(0.2, 1.0, 3)
        pixels = (255 * disc[..., None] * colour).astype(np.uint8)
        Image.fromarray(pixels).save(folder / "images" / f"g{i}.png")
        rows.append({"filename": f"g{i}.png", "stellar_mass_msun": 1e10, "sfr_msun_per_yr": colour[2] * size})
    rows[7]["sfr_msun_per_yr"] = 0.0
    pd.DataFrame(rows).to_csv(folder / "labels.csv", index=False)
    path = tmp_path / "images.yaml"
    path.write_text(
        yaml.safe_dump(SMALL | {"cases": [{"name": "colour", "channels": ["red", "green", "blue"]}]})
    )
    workdir = tmp_path / "run"
    ssfr("run", path, "--data", f"images:{folder}", "--workdir", workdir)
    deployed = json.loads((only(workdir, "deployment") / "deployment.json").read_text())
    assert deployed["max_difference_dex"] < 1e-4
    galaxies = pd.read_parquet(only(workdir, "preprocessing") / "galaxies.parquet")
    assert galaxies["zero_sfr"].sum() == 1


def test_absent_imagenet_weights_are_refused_before_the_first_step(universe, tmp_path):
    workdir = tmp_path / "run"
    absent = f"training.vgg16.weights={tmp_path / 'absent.h5'}"
    ended = ssfr("run", "thesis", "--data", universe, "--workdir", workdir, "--set", absent, check=False)
    assert ended.returncode == 2
    assert "absent.h5" in ended.stderr and "Traceback" not in ended.stderr
    assert not (workdir / "catalog").exists()


def test_faults_prints_every_row_of_the_table():
    printed = ssfr("faults", "thesis").stdout
    assert all(f"│ {number} " in printed for number in range(1, 21))
