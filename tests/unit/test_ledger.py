"""What a run leaves behind: notes of its steps, and the manifest of the last task."""

import json

import pytest
from stored_artifacts import FILES, write_artifact

from components.config import Settings, parse_settings
from components.manifest.record import run, summary
from components.shards import Shard
from components.storage import ledger
from components.storage.ledger import ended, mark_of, note, noted, run_name, write_record
from components.storage.store import open_store

SETTINGS = parse_settings({"cases": [{"name": "composite"}, {"name": "mass", "channels": ["mass"]}]}, "test")
ASKED = {"workdir": "w", "data": "d", "origin": "o", "repository": "r"}
STEP = {"artifact": "catalog/0123", "bytes": 1_500_000, "seconds": 2.5, "started": "2026-01-01T00:00:00Z"}
GIVEN = SETTINGS.model_dump_json()
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
        note(store, "one", shard.label, key)
    record = run(store, "one", SETTINGS, GIVEN, ASKED, FAILED)
    assert list(record["steps"]) == ["catalog", "projection/099 1 of 2", "projection/095"]


def test_a_run_that_did_everything_is_found_by_the_next_one_with_the_same_data_settings_and_repository(
    store, tmp_path
):
    first, last = (published(store, tmp_path, key) for key in ("catalog/0123", "deployment/4567"))
    note(store, "one", "catalog", first)
    mark = mark_of(first, GIVEN, ASKED["repository"])
    run(store, "one", SETTINGS, GIVEN, ASKED, SUCCEEDED)
    assert ended(store, mark) is None  # it was never deployed
    note(store, "one", "deployment", last)
    run(store, "one", SETTINGS, GIVEN, ASKED, FAILED)
    assert ended(store, mark) is None
    run(store, "one", SETTINGS, GIVEN, ASKED, SUCCEEDED)
    assert ended(store, mark) == "one"
    assert ended(store, mark_of(first, '{"seed": 2}', ASKED["repository"])) is None
    assert ended(store, mark_of(first, GIVEN, "s3://other/models")) is None
    assert ended(store, mark_of("catalog/89ab", GIVEN, ASKED["repository"])) is None


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
