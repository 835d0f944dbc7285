"""The commands that put data into storage and remove what is old."""

import os
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest
from typer.testing import CliRunner

from components.config.storage import StorageSettings
from components.errors import InputError
from components.progress import SILENT
from components.simulation import MARKER
from components.storage.artifact import publish, read_json
from components.storage.store import open_store
from components.storage.upload import find, upload
from pipelines.cli import app

DAY_S = 24 * 3600.0
STORAGE = StorageSettings()


def ssfr(*arguments):
    done = CliRunner().invoke(app, list(map(str, arguments)))
    if done.exception is not None:
        raise done.exception
    return done.output


@pytest.fixture
def pictures(tmp_path):
    folder = tmp_path / "pictures"
    (folder / "images").mkdir(parents=True)
    (folder / "images" / "one.png").write_bytes(b"a picture")
    (folder / "labels.csv").write_text("filename,ssfr\n")
    (folder / ".hidden").write_text("mine")
    return folder


def artifact(root, key, days):
    staging = root / "staging"
    staging.mkdir(parents=True)
    (staging / "data").write_text(key)
    publish(staging, root / key, {"key": key})
    age(root / key, days)


def age(folder, days):
    then = time.time() - days * DAY_S
    os.utime(folder / "manifest.json", (then, then))


def test_data_are_stored_once_with_their_digests_and_are_left_as_they_are(pictures, tmp_path):
    before = sorted(path.name for path in pictures.rglob("*"))
    location = tmp_path / "store" / "pictures"
    assert f"{location}/1: stored" in ssfr("upload", pictures, location)
    assert f"{location}/1: is there already" in ssfr("upload", pictures, location)
    assert sorted(path.name for path in pictures.rglob("*")) == before
    assert [path.name for path in location.iterdir()] == ["1"]
    assert set(read_json(location / "1" / "manifest.json")["files"]) == {"images/one.png", "labels.csv"}
    assert (location / "1" / "images" / "one.png").read_bytes() == b"a picture"


def test_changed_data_are_the_next_generation_and_those_before_stay(pictures, tmp_path):
    location = tmp_path / "store" / "pictures"
    ssfr("upload", pictures, location)
    found = {1: find(str(location), STORAGE, SILENT)[1]}
    labels = {1: "filename,ssfr\n", 2: "filename,ssfr\none.png,1e-10\n", 3: "filename,ssfr\n"}
    for number in (2, 3):
        (pictures / "labels.csv").write_text(labels[number])
        assert f"{location}/{number}: stored" in ssfr("upload", pictures, location)
        found[number] = find(str(location), STORAGE, SILENT)[1]
    assert found == {number: f"pictures/{number}" for number in labels}
    for number, text in labels.items():
        fixed = find(f"{location}/{number}", STORAGE, SILENT)
        assert fixed == (str(tmp_path / "store"), f"pictures/{number}")
        assert (location / str(number) / "labels.csv").read_text() == text


def test_of_two_who_upload_at_the_same_time_each_gets_a_number(pictures, tmp_path):
    location, folders = tmp_path / "store" / "pictures", [pictures, tmp_path / "others"]
    shutil.copytree(pictures, folders[1])
    (folders[1] / "labels.csv").write_text("filename,ssfr\none.png,1e-10\n")
    together = Barrier(2)

    def store(folder):
        together.wait()
        return upload(folder, str(location), STORAGE, SILENT)

    with ThreadPoolExecutor(2) as pool:
        stored = list(pool.map(store, folders))
    assert {where for where, _ in stored} == {f"{location}/1", f"{location}/2"}
    for folder, (where, new) in zip(folders, stored, strict=True):
        assert new
        assert (Path(where) / "labels.csv").read_text() == (folder / "labels.csv").read_text()


@pytest.mark.parametrize("name", ["absent", "absent/1", "pictures/2"])
def test_data_that_nobody_uploaded_are_not_found(pictures, tmp_path, name):
    ssfr("upload", pictures, tmp_path / "pictures")
    expected = f"nothing was uploaded there; ssfr upload DIR {tmp_path}/{name.partition('/')[0]}$"
    with pytest.raises(InputError, match=expected):
        find(f"{tmp_path}/{name}", STORAGE, SILENT)


@pytest.mark.parametrize(
    ("name", "said"), [("2", "a number is a generation's"), ("catalog", "a step's name")]
)
def test_names_that_mean_something_else_are_refused(pictures, tmp_path, name, said):
    with pytest.raises(InputError, match=said):
        ssfr("upload", pictures, tmp_path / "store" / name)


def test_a_universe_is_not_uploaded_without_the_file_that_says_so(pictures, tmp_path):
    (tmp_path / MARKER).write_text("{}")
    with pytest.raises(InputError, match=f"upload {tmp_path}, which says that these galaxies are synthetic"):
        ssfr("upload", pictures, tmp_path / "store" / "pictures")


def test_old_generations_go_when_they_are_asked_for_and_nothing_else_does(pictures, tmp_path):
    location = tmp_path / "store" / "pictures"
    for number in range(4):
        (pictures / "labels.csv").write_text(f"{number}")
        ssfr("upload", pictures, location)
    for number, days in ((1, 60), (2, 50), (3, 40), (4, 35)):
        age(location / str(number), days)
    options = ("--generations", "--keep", 2, "--older-than", 30)
    assert "pictures/2\npictures/1\n2 generations would go" in ssfr("clean", location, *options, "--dry-run")
    assert "2 generations are gone; the newest 2 of a kind stay" in ssfr("clean", location, *options)
    assert open_store(str(tmp_path / "store")).keys() == ["pictures/3", "pictures/4"]
    (pictures / "labels.csv").write_text("new")
    assert "pictures/5: stored" in ssfr("upload", pictures, location)
    artifact(tmp_path, "store/models/1", 99)
    with pytest.raises(InputError, match="holds models/1, which ssfr upload did not make"):
        ssfr("clean", tmp_path / "store" / "models", "--generations")
    with pytest.raises(InputError, match="nothing was uploaded there"):
        ssfr("clean", tmp_path / "store" / "absent", "--generations")


@pytest.mark.parametrize("what", ["absent", "empty", "artifact"])
def test_a_folder_that_holds_no_data_is_refused(tmp_path, what):
    folder = tmp_path / what
    if what != "absent":
        folder.mkdir()
    if what == "artifact":
        (folder / "manifest.json").write_text("{}")
    with pytest.raises(InputError, match="an artifact of a run" if what == "artifact" else "no file in it"):
        ssfr("upload", folder, tmp_path / "store" / "it")


def test_old_artifacts_go_and_the_newest_of_each_step_stay(tmp_path):
    for days in (1, 40, 50, 60):
        artifact(tmp_path, f"training/{days}", days)
    artifact(tmp_path, "catalog/99", 99)
    said = ssfr("clean", tmp_path, "--keep", 2, "--older-than", 30, "--dry-run")
    assert "training/50\ntraining/60\n2 artifacts and records would go" in said
    assert len(open_store(str(tmp_path)).keys()) == 5
    assert "2 artifacts and records are gone" in ssfr("clean", tmp_path, "--keep", 2, "--older-than", 30)
    assert open_store(str(tmp_path)).keys() == ["catalog/99", "training/1", "training/40"]


def test_models_and_data_below_the_workdir_are_never_cleaned(tmp_path):
    keys = ["data/universe", "models/ssfr/1", "models/ssfr/2", "ssfr/1", "ssfr/2"]
    for key in keys:
        artifact(tmp_path, key, 99)
    assert "0 artifacts and records are gone" in ssfr("clean", tmp_path, "--keep", 1, "--older-than", 0)
    assert open_store(str(tmp_path)).keys() == keys


def test_records_of_old_runs_go_with_their_artifacts(tmp_path):
    store = open_store(str(tmp_path))
    records = ("runs/{}/run.json", "runs/{}/steps/training/mass.json", "ended/{}.json")
    for run, days in {"old": 60, "older": 70, "touched": 80, "new": 1}.items():
        for name in records:
            path = tmp_path / name.format(run)
            store.write_document(name.format(run), {}, None)
            then = time.time() - days * DAY_S
            os.utime(path, (then, then))
    os.utime(tmp_path / "runs" / "touched" / "steps" / "training" / "mass.json")
    others = {"runs/catalogue.json", "runs/other/workdir/runs/old/run.json"}
    for name in others:
        store.write_document(name, {}, None)
        os.utime(tmp_path / name, (0, 0))
    options = ("--keep", 1, "--older-than", 30)
    expected = (
        "ended/old.json\nended/older.json\nended/touched.json\nruns/old\nruns/older\n5 artifacts and records"
    )
    assert f"{expected} would go" in ssfr("clean", tmp_path, *options, "--dry-run")
    assert len(store.documents("runs")) == 8 + len(others)
    assert f"{expected} are gone" in ssfr("clean", tmp_path, *options)
    kept = {name.format(run) for run in ("touched", "new") for name in records[:2]}
    assert set(store.documents("runs")) == kept | others
    assert set(store.documents("ended")) == {"ended/new.json"}
