"""The commands that put data into storage and remove what is old."""

import os
import shutil
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ssfr.components.config.storage import StorageSettings
from ssfr.components.errors import InputError
from ssfr.components.runtime.progress import SILENT, Progress
from ssfr.components.simulation import MARKER
from ssfr.components.storage.artifact import publish, read_json, write_json
from ssfr.components.storage.ledger import note
from ssfr.components.storage.opening import open_store
from ssfr.components.storage.upload import find, upload
from ssfr.pipelines.cli.app import app

DAY_S = 24 * 3600.0
STORAGE = StorageSettings()


def ssfr(*arguments):
    done = CliRunner().invoke(app, list(map(str, arguments)))
    if done.exception is not None:
        raise done.exception
    return done.stdout


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
    step, _, digest = key.rpartition("/")
    publish(staging, root / key, {"step": step, "key": digest})
    age(root / key, days)


def age(path, days):
    then = time.time() - days * DAY_S
    os.utime(path / "manifest.json" if path.is_dir() else path, (then, then))


def uploaded(folder, location, days):
    """Upload one version for each number of days that it is old."""
    for number, old in enumerate(days, 1):
        (folder / "labels.csv").write_text(f"{number}")
        ssfr("upload", folder, location)
        age(location / str(number), old)


class Meanwhile(Progress):
    """Does something, once, when it is told of an event of a kind."""

    def __init__(self, kind, act):
        super().__init__(self)
        self.kind, self.act = kind, act

    def emit(self, event):
        if event["kind"] == self.kind and self.act is not None:
            act, self.act = self.act, None
            act()


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


@pytest.mark.parametrize("at", ["say", "task"], ids=["while it digests", "while it copies"])
@pytest.mark.parametrize("same", [False, True])
def test_who_uploads_more_slowly_than_somebody_else_is_told_and_does_not_become_the_newest(
    pictures, tmp_path, at, same
):
    location, others = str(tmp_path / "store" / "pictures"), tmp_path / "others"
    shutil.copytree(pictures, others)
    if not same:
        (others / "labels.csv").write_text("filename,ssfr\none.png,1e-10\n")
    progress = Meanwhile(at, lambda: upload(others, location, STORAGE, SILENT))
    if same:
        assert upload(pictures, location, STORAGE, progress) == (f"{location}/1", False)
    else:
        said = f"^{location}: version 1 was stored meanwhile; look, and upload again$"
        with pytest.raises(InputError, match=said):
            upload(pictures, location, STORAGE, progress)
    assert [path.name for path in Path(location).iterdir()] == ["1"]
    assert (Path(location) / "1" / "labels.csv").read_text() == (others / "labels.csv").read_text()


def test_data_that_nobody_uploaded_are_not_found(tmp_path):
    with pytest.raises(InputError, match=f"nothing was uploaded there; ssfr upload DIR {tmp_path}/absent$"):
        find(f"{tmp_path}/absent", STORAGE, SILENT)


def test_a_generation_that_is_gone_is_not_asked_for_by_uploading(pictures, tmp_path):
    ssfr("upload", pictures, tmp_path / "pictures")
    expected = rf"version 3 is not there \(any more\); name {tmp_path}/pictures for the newest, or start"
    with pytest.raises(InputError, match=expected):
        find(f"{tmp_path}/pictures/3", STORAGE, SILENT)


def test_only_what_data_in_s3_are_called_is_told_beside_the_place(pictures, tmp_path):
    location = tmp_path / "pictures"
    assert ssfr("upload", pictures, location) == f"{location}/1: stored\n"


def test_a_place_that_only_lacks_its_scheme_is_not_taken_for_a_folder(pictures, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        InputError, match=r"^bucket/data/pictures: expected s3://.*; a folder begins with / or"
    ):
        ssfr("upload", pictures, "bucket/data/pictures")
    assert not (tmp_path / "bucket").exists()


def test_a_label_that_there_is_not_is_refused(tmp_path):
    with pytest.raises(InputError, match="--label stabel: expected stable or canary"):
        ssfr(
            "model-sync", "--repository", tmp_path, "--folder", tmp_path / "f", "--label", "stabel", "--once"
        )


@pytest.mark.parametrize("location", ["s3://bucket", "s3://bucket/", "stored", "s3://bucket/3"])
def test_data_without_a_name_are_refused(pictures, location):
    work = [
        lambda: ssfr("upload", pictures, location),
        lambda: ssfr("clean", location, "--data-versions"),
        lambda: find(location, STORAGE, SILENT),
    ]
    for one in work if location != "s3://bucket/3" else work[2:]:
        with pytest.raises(InputError, match=r": (the name is missing; )?expected s3://bucket/prefix/NAME"):
            one()


def test_a_password_in_the_name_of_data_is_not_repeated(pictures):
    with pytest.raises(InputError, match="credentials belong in the environment") as caught:
        ssfr("upload", pictures, "s3://key:Sesame@bucket/catalog")
    assert "Sesame" not in str(caught.value)


@pytest.mark.parametrize(("name", "said"), [("2", "a number is a version's"), ("catalog", "a step's name")])
def test_names_that_mean_something_else_are_refused(pictures, tmp_path, name, said):
    with pytest.raises(InputError, match=said):
        ssfr("upload", pictures, tmp_path / "store" / name)


@pytest.mark.parametrize("way", [".", "link", None])
def test_a_universe_is_not_uploaded_without_the_file_that_says_so(pictures, tmp_path, monkeypatch, way):
    (tmp_path / MARKER).write_text("{}")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "link").symlink_to(pictures)
    monkeypatch.chdir(pictures if way == "." else tmp_path / "elsewhere")
    with pytest.raises(InputError, match=f"upload {tmp_path}, which says that these galaxies are synthetic"):
        ssfr("upload", way or pictures, tmp_path / "store" / "pictures")


def test_old_generations_go_when_they_are_asked_for_and_nothing_else_does(pictures, tmp_path):
    location = tmp_path / "store" / "pictures"
    uploaded(pictures, location, (60, 50, 40, 35))
    options = ("--data-versions", "--keep", 2, "--older-than", 30)
    assert "pictures/2\npictures/1\n2 versions would go" in ssfr("clean", location, *options, "--dry-run")
    assert "2 versions are gone; the newest 2 of a kind stay" in ssfr("clean", location, *options)
    assert open_store(str(tmp_path / "store")).keys() == ["pictures/3", "pictures/4"]
    (pictures / "labels.csv").write_text("new")
    assert "pictures/5: stored" in ssfr("upload", pictures, location)


def test_the_highest_numbers_stay_whatever_their_age(pictures, tmp_path):
    location = tmp_path / "store" / "pictures"
    uploaded(pictures, location, [40] * 9 + [50])
    assert "9 versions are gone" in ssfr("clean", location, "--data-versions", "--keep", 1)
    assert open_store(str(tmp_path / "store")).keys() == ["pictures/10"]
    (pictures / "labels.csv").write_text("new")
    assert "pictures/11: stored" in ssfr("upload", pictures, location)


def test_only_generations_of_the_named_data_are_taken_for_such(pictures, tmp_path):
    store = tmp_path / "store"
    artifact(store, "models/1", 99)
    uploaded(pictures, store / "data" / "pictures", (99, 98))
    places = {"models": "models/1", "data": "data/pictures/1", "data/pictures/1": "1"}
    for place, held in places.items():
        others = rf"{place}: holds {held}, no version of it; uploaded data need a name of their own"
        with pytest.raises(InputError, match=others):
            ssfr("clean", store / place, "--data-versions", "--keep", 1, "--older-than", 0)
    for place in ("models", "data"):
        with pytest.raises(InputError, match="no version of it"):
            ssfr("upload", pictures, store / place)
    assert len(open_store(str(store)).keys()) == 3


def test_what_a_killed_first_upload_left_is_removed(tmp_path):
    left = tmp_path / "store" / "pictures" / ".1.gone.part"
    left.mkdir(parents=True)
    os.utime(left, (0, 0))
    assert "0 versions would go" in ssfr("clean", left.parent, "--data-versions", "--dry-run")
    assert left.exists()
    assert "0 versions are gone" in ssfr("clean", left.parent, "--data-versions")
    assert not left.exists()


@pytest.mark.parametrize("what", ["absent", "empty", "artifact"])
def test_a_folder_that_holds_no_data_is_refused(tmp_path, what):
    folder = tmp_path / what
    if what != "absent":
        folder.mkdir()
    if what == "artifact":
        (folder / "manifest.json").write_text("{}")
    with pytest.raises(InputError, match="an artifact of a run" if what == "artifact" else "no file in it"):
        ssfr("upload", folder, tmp_path / "store" / "it")


@pytest.mark.parametrize("options", [[], ["--data-versions"]])
@pytest.mark.parametrize("what", ["runz", "file"])
def test_cleaning_what_is_no_folder_is_refused(tmp_path, what, options):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=rf"{what}: no such folder; expected the --workdir of runs"):
        ssfr("clean", tmp_path / what, *options)


@pytest.mark.parametrize("text", ["[]", '{"steps": []}', '{"steps": {"a": 1}}', '{"steps": {"a": {}}}'])
def test_a_run_whose_record_is_damaged_keeps_everything_until_it_is_removed(tmp_path, text):
    artifact(tmp_path, "training/40", 40)
    artifact(tmp_path, "training/50", 50)
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(InputError, match=r"manifest\.json: .*; remove it: then what its run made may go"):
        ssfr("clean", tmp_path, "--keep", 1, "--older-than", 30)
    assert len(open_store(str(tmp_path)).keys("training")) == 2


def test_old_artifacts_go_and_the_newest_of_each_step_stay(tmp_path):
    for days in (1, 40, 50, 60):
        artifact(tmp_path, f"training/{days}", days)
    artifact(tmp_path, "catalog/99", 99)
    said = ssfr("clean", tmp_path, "--keep", 2, "--older-than", 30, "--dry-run")
    assert "training/50\ntraining/60\n2 artifacts and records would go" in said
    assert len(open_store(str(tmp_path)).keys()) == 5
    assert "2 artifacts and records are gone" in ssfr("clean", tmp_path, "--keep", 2, "--older-than", 30)
    assert open_store(str(tmp_path)).keys() == ["catalog/99", "training/1", "training/40"]


def test_all_that_the_newest_runs_made_or_found_stays(tmp_path):
    store = open_store(str(tmp_path))
    networks = {
        run: [f"training/{run}-{case}" for case in range(5)] for run in ("first", "second", "third", "none")
    }
    for days, keys in zip((90, 80, 70, 99), networks.values(), strict=True):
        for key in keys:
            artifact(tmp_path, key, days)
    artifact(tmp_path, "catalog/1", 95)

    def run(name, keys, days):
        for key in keys:
            note(store, name, key, key)
        for path in (tmp_path / "runs" / name).rglob("*.json"):
            age(path, days)

    run("first", networks["first"], 90)
    run("second", [*networks["first"][:1], *networks["second"]], 80)
    run("third", networks["third"], 70)
    for week in range(3):
        run(f"found-nothing-new-{week}", ["catalog/1"], 60 - week)
    assert "are gone" in ssfr("clean", tmp_path, "--keep", 2, "--older-than", 30)
    kept = {"catalog/1", *networks["first"][:1], *networks["second"], *networks["third"]}
    assert set(store.keys("training")) | {"catalog/1"} == kept
    assert {name.split("/")[1] for name in store.documents("runs")} == {
        "second",
        "third",
        "found-nothing-new-1",
        "found-nothing-new-2",
    }
    assert "0 artifacts and records are gone" in ssfr("clean", tmp_path, "--keep", 2, "--older-than", 30)


def test_all_of_the_last_run_on_this_machine_stays(tmp_path):
    for case in range(5):
        artifact(tmp_path, f"training/{case}", 90)
    made = {case: read_json(tmp_path / "training" / case / "manifest.json") for case in ("1", "2", "3")}
    write_json(tmp_path / "manifest.json", {"steps": made})
    assert "1 artifacts and records are gone" in ssfr("clean", tmp_path, "--keep", 1)
    assert open_store(str(tmp_path / "training")).keys() == ["1", "2", "3", "4"]


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
