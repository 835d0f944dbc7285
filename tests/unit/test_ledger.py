"""What a run leaves behind: notes of its steps, and the manifest of the last task."""

import json
import os

import pytest
from stored_artifacts import FILES, write_artifact

from ssfr.components.catalog.connections import CATALOG
from ssfr.components.config import Settings, parse_settings
from ssfr.components.errors import InputError
from ssfr.components.manifest.record import run, summary
from ssfr.components.runtime.progress import SILENT
from ssfr.components.shards import Shard
from ssfr.components.steps.code import every_code_digest
from ssfr.components.steps.step import OpenStep
from ssfr.components.storage import ledger
from ssfr.components.storage.ledger import ended, forget, note, noted, run_name, write_ended, write_record
from ssfr.components.storage.opening import open_store
from ssfr.components.storage.store import DOCUMENT_BYTES
from ssfr.components.storage.workdir import open_workdir

SETTINGS = parse_settings({"cases": [{"name": "composite"}, {"name": "mass", "channels": ["mass"]}]}, "test")
ASKED = {"workdir": "w", "data": "d", "origin": "o", "repository": "r"}
STEP = {"artifact": "catalog/0123", "bytes": 1_500_000, "seconds": 2.5, "started": "2026-01-01T00:00:00Z"}
GIVEN, CODE = SETTINGS.model_dump_json(), "c0de"
SUCCEEDED = {"job": "42", "state": "SUCCEEDED", "error": ""}
FAILED = {"job": "42", "state": "FAILED", "error": "Task training failed."}


@pytest.fixture
def store(tmp_path):
    return open_store(str(tmp_path / "store"))


def published(store, tmp_path, key):
    store.publish(write_artifact(tmp_path / "made"), key)
    return key


def test_steps_are_noted_under_their_run(store, tmp_path):
    key = published(store, tmp_path, "training/0123")
    note(store, "first", "training/mass", key)
    assert noted(store, "second", ["training/mass"]) == {}
    found = noted(store, "first", ["training/composite", "training/mass"])
    assert list(found) == ["training/mass"]
    entry = found["training/mass"]
    assert (entry["artifact"], entry["files"]) == (key, len(FILES))
    assert entry["bytes"] == sum(map(len, FILES.values()))


def test_a_task_that_is_tried_again_notes_again(store, tmp_path):
    for key in ("training/0123", "training/4567"):
        note(store, "first", "training/mass", published(store, tmp_path, key))
    assert noted(store, "first", ["training/mass"])["training/mass"]["artifact"] == "training/4567"


def test_runs_that_share_an_artifact_tell_their_own_of_it(store, tmp_path):
    key = published(store, tmp_path, "catalog/0123")
    for run_of, data in (("first", "data/1"), ("second", "data/3")):
        note(store, run_of, "catalog", key, {"data": data})
    told = [noted(store, run_of, ["catalog"])["catalog"] for run_of in ("first", "second")]
    assert [entry["data"] for entry in told] == ["data/1", "data/3"]
    assert {entry["artifact"] for entry in told} == {key}


def test_a_label_may_be_in_words(store, tmp_path):
    labels = [Shard(99, number, 4).label for number in range(4)]
    note(store, "first", labels[1], published(store, tmp_path, "projection_shard/099-1/0123"))
    assert list(noted(store, "first", labels)) == ["projection/099 2 of 4"]


def test_what_was_removed_meanwhile_is_not_noted(store):
    note(store, "first", "catalog", "catalog/gone")
    assert noted(store, "first", ["catalog"]) == {}


def test_a_run_is_called_as_its_pods_are_told_and_else_after_its_settings(monkeypatch):
    monkeypatch.setenv(ledger.RUN, "ssfr-demo-x7k2p")
    assert run_name("{}") == "ssfr-demo-x7k2p"
    monkeypatch.setenv(ledger.RUN, "")
    assert run_name("{}") == run_name("{}") != run_name('{"seed": 2}')
    assert run_name("{}").startswith("settings-")


def test_the_manifest_of_a_failed_run_tells_what_is_whole(store, tmp_path):
    key = published(store, tmp_path, "training/0123")
    note(store, "ssfr-demo-x7k2p", "training/mass", key)
    record = run(store, "ssfr-demo-x7k2p", SETTINGS, GIVEN, ASKED, FAILED)
    assert store.read_document("runs/ssfr-demo-x7k2p/run.json").data == json.loads(json.dumps(record))
    assert (record["state"], record["error"], record["data"]) == ("FAILED", "Task training failed.", "d")
    assert list(record["steps"]) == ["training/mass"]
    assert Settings.model_validate(record["settings"]) == SETTINGS


def test_the_manifest_names_the_shards_that_were_drawn(store, tmp_path):
    figures = {"figures": {"snapshots": {"99": {"galaxies": 300}, "95": {"galaxies": 30}}}}
    note(store, "one", "catalog", published(store, tmp_path, "catalog/0123"), {**figures, "tasks": 2})
    for shard in (Shard(99, 0, 2), Shard(95, 0, 1)):
        key = published(store, tmp_path, f"projection_shard/{shard.snapshot:03d}-{shard.shard}/0123")
        note(store, "one", shard.label, key, STEP | {"artifact": key})
    record = run(store, "one", SETTINGS, GIVEN, ASKED, FAILED)
    assert list(record["steps"]) == ["catalog", "projection/099 1 of 2", "projection/095"]


def test_the_manifest_of_a_run_of_many_shards_is_a_small_document(store, tmp_path):
    key = published(store, tmp_path, "projection_shard/099-0/0123")
    drawn = [Shard(snapshot, shard, 10).label for snapshot in range(99, -1, -1) for shard in range(10)]
    figures = {"snapshots": {str(snapshot): {"galaxies": 2560} for snapshot in range(100)}}
    note(store, "one", "catalog", key, {"figures": figures, "tasks": 10})
    whole = {**STEP, "artifact": key, "settings": SETTINGS.model_dump(mode="json")}
    for label in drawn:
        note(store, "one", label, key, whole)
    note(store, "one", "deployment", published(store, tmp_path, "deployment/0123"))
    record = run(store, "one", SETTINGS, GIVEN, ASKED, SUCCEEDED)
    assert list(record["steps"]) == ["catalog", *drawn, "deployment"]
    assert record["steps"][drawn[-1]] == STEP | {"artifact": key}
    assert store.read_document("runs/one/run.json").data == json.loads(json.dumps(record))


def test_that_a_run_ended_is_known_also_where_its_manifest_can_not_be_written(store, tmp_path):
    first, last = (published(store, tmp_path, key) for key in ("catalog/0123", "deployment/4567"))
    note(store, "one", "catalog", first)
    note(store, "one", "deployment", last)
    with pytest.raises(InputError, match="at most"):
        run(store, "one", SETTINGS, GIVEN, ASKED | {"origin": "o" * DOCUMENT_BYTES}, SUCCEEDED)
    assert ended(store, first, GIVEN, ASKED["repository"], every_code_digest()) == "one"


def test_a_run_that_did_everything_is_found_by_the_next_one_with_the_same_data_settings_and_repository(
    store, tmp_path
):
    first, last = (published(store, tmp_path, key) for key in ("catalog/0123", "deployment/4567"))
    note(store, "one", "catalog", first)
    asked = (GIVEN, ASKED["repository"], every_code_digest())
    run(store, "one", SETTINGS, GIVEN, ASKED, SUCCEEDED)
    assert ended(store, first, *asked) is None  # it was never deployed
    note(store, "one", "deployment", last)
    run(store, "one", SETTINGS, GIVEN, ASKED, FAILED)
    assert ended(store, first, *asked) is None
    run(store, "one", SETTINGS, GIVEN, ASKED, SUCCEEDED)
    assert ended(store, first, *asked) == "one"
    assert ended(store, first, '{"seed": 2}', ASKED["repository"], CODE) is None
    assert ended(store, first, GIVEN, "s3://other/models", CODE) is None
    assert ended(store, "catalog/89ab", *asked) is None


def test_a_run_with_earlier_data_goes_on_if_another_ended_with_other_data_since(store, tmp_path):
    workdir = open_workdir(str(tmp_path / "store"), SETTINGS.storage, SILENT)

    def do_all(run_of: str, data: str) -> str:
        """Return what the first step says; then all that follows is done."""
        first = f"catalog/{data}"
        note(store, run_of, "catalog", first)
        note(store, run_of, "deployment", deployed)
        step = OpenStep(CATALOG, "catalog", workdir, SETTINGS, SILENT, run_of, GIVEN)
        said = step.remaining(first, ASKED["repository"])
        run(store, run_of, SETTINGS, GIVEN, ASKED, SUCCEEDED)
        return said

    for made in ("catalog/1", "catalog/2", deployed := "deployment/0123"):
        published(store, tmp_path, made)
    said = [do_all(run_of, data) for run_of, data in (("one", "1"), ("two", "2"), ("three", "1"))]
    assert said == ["yes", "yes", "yes"]
    last = OpenStep(CATALOG, "catalog", workdir, SETTINGS, SILENT, "four", GIVEN)
    assert [last.remaining(f"catalog/{data}", ASKED["repository"]) for data in ("1", "2")] == ["no", "yes"]
    assert len(store.documents("ended")) == 1


def test_what_is_found_again_and_again_is_not_forgotten(store, tmp_path):
    data, repository = "catalog/0123", "models"
    for name in ("used", "unused"):
        write_ended(store, name, data, name, repository, CODE)
    for document in store.documents("ended"):
        os.utime(tmp_path / "store" / document, (1e9, 1e9))
    assert ended(store, data, "used", repository, CODE) == "used"
    assert len(forget(store, keep=0, older_than_s=1e6)) == 1
    assert [ended(store, data, name, repository, CODE) for name in ("used", "unused")] == ["used", None]


@pytest.mark.parametrize("state", [SUCCEEDED, FAILED])
def test_a_run_whose_first_step_left_no_note_is_no_end(store, tmp_path, state):
    note(store, "one", "deployment", published(store, tmp_path, "deployment/0123"))
    assert list(run(store, "one", SETTINGS, GIVEN, ASKED, state)["steps"]) == ["deployment"]
    assert store.documents("ended") == {}


def test_the_page_of_a_run_that_found_nothing_new_says_so(store):
    first = {"steps": {"catalog": STEP}}
    done = run(store, "two", SETTINGS, GIVEN, ASKED, SUCCEEDED)
    assert "there was nothing new to do" in summary(done | first)
    assert "nothing new" not in summary(done | {"steps": {"catalog": STEP, "deployment": STEP}})
    assert "nothing new" not in summary(run(store, "two", SETTINGS, GIVEN, ASKED, FAILED) | first)


def test_the_manifest_may_be_written_again(store):
    write_record(store, "again", {"state": "RUNNING"})
    write_record(store, "again", {"state": "FAILED"})
    assert store.read_document("runs/again/run.json").data == {"state": "FAILED"}


def test_the_page_shows_steps_in_their_order_and_why_it_failed(store):
    record = run(store, "now", SETTINGS, GIVEN, ASKED, FAILED)
    assert "no step has noted an artifact" in summary(record)
    page = summary(record | {"steps": {"catalog": STEP, "report": STEP}})
    assert page.startswith("# now: FAILED\n\nTask training failed.\n")
    assert "| catalog | catalog/0123 | 1.5 | 2.5 | 2026-01-01T00:00:00Z |" in page
    assert page.index("| catalog |") < page.index("| report |")
