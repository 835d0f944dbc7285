"""The commands that put data into storage and remove what is old."""

import os
import time

import pytest
from typer.testing import CliRunner

from components.errors import InputError
from components.storage.artifact import publish, read_json
from components.storage.store import open_store
from pipelines.cli import app

DAY_S = 24 * 3600.0


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
    then = time.time() - days * DAY_S
    os.utime(root / key / "manifest.json", (then, then))


def test_data_are_stored_once_with_their_digests_and_are_left_as_they_are(pictures, tmp_path):
    before = sorted(path.name for path in pictures.rglob("*"))
    location = tmp_path / "store" / "pictures"
    assert "stored" in ssfr("upload", pictures, location)
    assert "is there already" in ssfr("upload", pictures, location)
    assert sorted(path.name for path in pictures.rglob("*")) == before
    assert set(read_json(location / "manifest.json")["files"]) == {"images/one.png", "labels.csv"}
    assert (location / "images" / "one.png").read_bytes() == b"a picture"


def test_other_data_do_not_take_the_place_of_those_that_are_there(pictures, tmp_path):
    location = tmp_path / "store" / "pictures"
    ssfr("upload", pictures, location)
    (pictures / "labels.csv").write_text("filename,ssfr\none.png,1e-10\n")
    with pytest.raises(InputError, match="other data are there already; choose another name"):
        ssfr("upload", pictures, location)
    assert (location / "labels.csv").read_text() == "filename,ssfr\n"


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
    assert "training/50\ntraining/60\n2 artifacts would go" in said
    assert len(open_store(str(tmp_path)).keys()) == 5
    assert "2 artifacts are gone" in ssfr("clean", tmp_path, "--keep", 2, "--older-than", 30)
    assert open_store(str(tmp_path)).keys() == ["catalog/99", "training/1", "training/40"]


def test_models_and_data_below_the_workdir_are_never_cleaned(tmp_path):
    keys = ["data/universe", "models/ssfr/1", "models/ssfr/2", "ssfr/1", "ssfr/2"]
    for key in keys:
        artifact(tmp_path, key, 99)
    assert "0 artifacts are gone" in ssfr("clean", tmp_path, "--keep", 1, "--older-than", 0)
    assert open_store(str(tmp_path)).keys() == keys
