"""A store in a local folder, and which keys, locations and manifests any store takes."""

from __future__ import annotations

import json
import os
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stored_artifacts import (
    FILES,
    check_listing_of_documents,
    check_replacing_of_a_document,
    contents,
    publish_together,
    write_artifact,
)

from ssfr.components.config.storage import StorageSettings
from ssfr.components.errors import DamagedArtifactError, InputError
from ssfr.components.storage.location import Bucket, check_key, parse_location
from ssfr.components.storage.manifest import MANIFEST, files_of
from ssfr.components.storage.opening import open_store
from ssfr.components.storage.store import ChangedDocumentError, Store
from ssfr.components.storage.workdir import StoreWorkdir

HOUR = 3600.0
words = st.from_regex(r"\A[A-Za-z0-9_][A-Za-z0-9._=+-]{0,10}\Z").filter(lambda word: word != MANIFEST)
keys = st.lists(words, min_size=1, max_size=5).map("/".join)
nasty = st.text(st.sampled_from("a/.\\:@ \0\n~$%é-"), max_size=20)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(str(tmp_path / "store"))


def test_an_artifact_comes_back_as_it_was(store: Store, tmp_path: Path) -> None:
    assert not store.exists("training/1")
    assert store.publish(write_artifact(tmp_path), "training/1")
    assert store.exists("training/1")
    store.fetch("training/1", tmp_path / "back")
    assert contents(tmp_path / "back") == FILES
    assert store.manifest("training/1") == json.loads((tmp_path / "back" / MANIFEST).read_text())
    assert store.manifest("training/2") is None


def test_only_the_files_that_are_wanted_come_back_if_so_asked(store: Store, tmp_path: Path) -> None:
    store.publish(write_artifact(tmp_path), "training/1")
    store.fetch("training/1", tmp_path / "some", ["empty", "absent"])
    workdir = StoreWorkdir("store", store, tmp_path / "mirror")
    some = workdir.fetch("training/1", ["empty"])
    for folder in (tmp_path / "some", some):
        assert {path.name for path in folder.iterdir()} == {"empty", MANIFEST}
    assert workdir.fetch("training/1", ["empty"]) == some != workdir.fetch("training/1", ["report.html"])
    whole = workdir.fetch("training/1")
    assert contents(whole) == FILES
    assert workdir.fetch("training/1", ["empty"]) == whole


def test_the_first_publisher_wins(store: Store, tmp_path: Path) -> None:
    assert store.publish(write_artifact(tmp_path, {"x": b"first"}), "training/1")
    assert not store.publish(write_artifact(tmp_path, {"x": b"second"}), "training/1")
    store.fetch("training/1", tmp_path / "back")
    assert contents(tmp_path / "back") == {"x": b"first"}


def test_of_publishers_at_the_same_time_one_wins(store: Store, tmp_path: Path) -> None:
    bodies = {"x": b"a" * 100_000}, {"x": b"b" * 100_000}
    for round_ in range(20):
        folders = [write_artifact(tmp_path, body) for body in bodies]
        won = publish_together([store, store], folders, f"training/{round_}")
        assert sorted(won) == [False, True]
        store.fetch(f"training/{round_}", tmp_path / f"back{round_}")
        assert contents(tmp_path / f"back{round_}") == bodies[0 if won[0] else 1]


def test_what_is_not_whole_is_not_published(store: Store, tmp_path: Path) -> None:
    folder = write_artifact(tmp_path)
    (folder / "report.html").write_bytes(b"<q>")
    with pytest.raises(DamagedArtifactError, match=r"report\.html: damaged"):
        store.publish(folder, "training/1")
    (folder / MANIFEST).unlink()
    with pytest.raises(InputError, match=r"no complete artifact"):
        store.publish(folder, "training/1")
    assert not store.exists("training/1")
    assert store.artifacts() == []


def test_damage_in_the_store_is_noticed_and_nothing_appears(store: Store, tmp_path: Path) -> None:
    store.publish(write_artifact(tmp_path), "training/1")
    (tmp_path / "store/training/1/report.html").write_bytes(b"<q>")
    with pytest.raises(DamagedArtifactError, match=r"report\.html: damaged"):
        store.fetch("training/1", tmp_path / "back")
    assert not (tmp_path / "back").exists()
    assert not list(tmp_path.glob(".back*"))


def test_what_is_there_is_not_overwritten(store: Store, tmp_path: Path) -> None:
    store.publish(write_artifact(tmp_path), "training/1")
    (tmp_path / "back").mkdir()
    (tmp_path / "back" / "mine").touch()
    with pytest.raises(InputError, match=r"back: exists already; remove it, or"):
        store.fetch("training/1", tmp_path / "back")
    assert [path.name for path in (tmp_path / "back").iterdir()] == ["mine"]


def test_a_folder_in_the_way_and_one_inside_an_artifact_are_refused(store: Store, tmp_path: Path) -> None:
    folder = write_artifact(tmp_path)
    (tmp_path / "store/training/1/foreign").mkdir(parents=True)
    with pytest.raises(InputError, match=r"training/1: is in the way"):
        store.publish(folder, "training/1")
    store.publish(folder, "training/2")
    with pytest.raises(InputError, match=r"training/2: is an artifact, and can't hold another"):
        store.publish(folder, "training/2/x")


def test_an_absent_artifact_is_an_error_only_to_who_fetches_it(store: Store, tmp_path: Path) -> None:
    store.remove("training/1")
    with pytest.raises(InputError, match=r"no artifact 'training/1'; publish it first"):
        store.fetch("training/1", tmp_path / "back")


def test_artifacts_are_listed_with_time_and_size(store: Store, tmp_path: Path) -> None:
    before = time.time() - 1
    for key in ("training/1", "training/2", "training2/1"):
        store.publish(write_artifact(tmp_path), key)
    listed = store.artifacts("training")
    assert [one.key for one in listed] == store.keys("training") == ["training/1", "training/2"]
    assert {one.bytes for one in listed} == {sum(map(len, FILES.values()))}
    assert all(before < one.time < time.time() + 1 for one in listed)
    assert [one.key for one in store.artifacts()] == ["training/1", "training/2", "training2/1"]


def test_a_damaged_manifest_is_among_the_keys_and_named_by_who_reads_it(store: Store, tmp_path: Path) -> None:
    store.publish(write_artifact(tmp_path), "training/1")
    (tmp_path / "store/training/1" / MANIFEST).write_text("{")
    assert store.keys() == ["training/1"]
    for read in (store.artifacts, lambda: store.manifest("training/1")):
        with pytest.raises(InputError, match=r"manifest\.json: not a manifest of ours"):
            read()


def test_cleaning_goes_by_age_and_count_and_spares_the_champion(store: Store, tmp_path: Path) -> None:
    for age in range(6):
        store.publish(write_artifact(tmp_path), f"models/{age}")
        os.utime(tmp_path / f"store/models/{age}" / MANIFEST, (time.time() - age * HOUR,) * 2)
    store.publish(write_artifact(tmp_path), "other/1")
    assert store.clean("models", keep=1, older_than_s=2.5 * HOUR, never={"models/4"}) == [
        "models/3",
        "models/5",
    ]
    assert store.clean(keep=2, older_than_s=0, never={"models/4"}) == ["models/2"]
    assert [one.key for one in store.artifacts()] == ["models/0", "models/1", "models/4", "other/1"]


def test_what_a_killed_publisher_left_goes_when_it_is_old(tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "store"), StorageSettings(orphan_age_h=1))
    young, old = (tmp_path / f"store/training/.1.{name}.part" for name in ("young", "old"))
    for left in (young, old):
        left.mkdir(parents=True)
        (left / "x").touch()
    for path in (old, old / "x"):
        os.utime(path, (time.time() - 2 * HOUR,) * 2)
    assert store.artifacts() == []
    store.clean(keep=1, older_than_s=0)
    assert young.exists()
    assert not old.exists()


def test_documents_are_listed_and_removed(store: Store) -> None:
    check_listing_of_documents(store)


def test_a_document_that_goes_while_they_are_listed_is_none(store: Store, tmp_path: Path) -> None:
    store.write_document("runs/1.json", {}, None)
    (tmp_path / "store/runs/gone.json").symlink_to("nowhere")
    assert list(store.documents("runs")) == ["runs/1.json"]


def test_a_document_is_replaced_only_by_who_read_it(store: Store) -> None:
    check_replacing_of_a_document(store)


def test_no_increment_of_many_writers_is_lost(store: Store) -> None:
    store.write_document("count.json", 0, None)

    def increment() -> None:
        for _ in range(10):
            while True:
                document = store.read_document("count.json")
                assert document is not None
                try:
                    store.write_document("count.json", document.data + 1, document.version)
                    break
                except ChangedDocumentError:
                    continue

    threads = [threading.Thread(target=increment) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    document = store.read_document("count.json")
    assert document is not None
    assert document.data == 40


def test_documents_are_small_json(store: Store, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"expected a name that ends in \.json"):
        store.write_document("champion", {}, None)
    with pytest.raises(InputError, match=r"at most 1048576 are small"):
        store.write_document("champion.json", "x" * (1 << 20), None)
    (tmp_path / "store").mkdir()
    (tmp_path / "store/champion.json").write_text("{")
    with pytest.raises(InputError, match=r"champion\.json: not valid JSON"):
        store.read_document("champion.json")


@pytest.mark.parametrize(
    "name", ["../x", "/x", "a/../../x", "a//x", "./x", "a/", "", "a\\x", "a\nx", MANIFEST]
)
def test_a_manifest_can_not_lead_out_of_its_folder(store: Store, tmp_path: Path, name: str) -> None:
    store.publish(write_artifact(tmp_path, {"x": b""}), "training/1")
    path = tmp_path / "store/training/1" / MANIFEST
    manifest = json.loads(path.read_text())
    manifest["files"][name] = manifest["files"]["x"]
    path.write_text(json.dumps(manifest))
    with pytest.raises(
        InputError, match=r"manifest\.json: names .* can't be a file in the artifact's folder"
    ):
        store.fetch("training/1", tmp_path / "back")
    assert not (tmp_path / "back").exists()


def test_a_link_out_of_an_artifact_is_not_followed(store: Store, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"<p>")
    folder = write_artifact(tmp_path)
    (folder / "report.html").unlink()
    (folder / "report.html").symlink_to(tmp_path / "secret")
    with pytest.raises(InputError, match=r"which lies outside the folder"):
        store.publish(folder, "training/1")


@pytest.mark.parametrize(
    "manifest",
    [
        "",
        "[]",
        "{}",
        '{"files": []}',
        '{"files": {"x": 1}}',
        '{"files": {"x": {"sha256": "0", "bytes": 1}}}',
        '{"files": {"x": {"sha256": 0, "bytes": 1}}}',
        f'{{"files": {{"x": {{"sha256": "{"0" * 64}", "bytes": -1}}}}}}',
        f'{{"files": {{"x": {{"sha256": "{"0" * 64}", "bytes": true}}}}}}',
        json.dumps({"files": {name: {"sha256": "0" * 64, "bytes": 1} for name in ("x", "x/y")}}),
        "[" * 100_000,
    ],
)
def test_what_is_no_manifest_is_one_line(manifest: str) -> None:
    with pytest.raises(InputError) as caught:
        files_of(manifest.encode(), "place")
    assert str(caught.value).startswith("place: ")
    assert "\n" not in str(caught.value)


@given(keys)
def test_a_key_of_words_is_taken(key: str) -> None:
    assert check_key(key) == key


@given(nasty | st.text() | keys.flatmap(lambda key: nasty.map(lambda end: key + end)))
def test_no_key_leads_out_of_the_store(key: str) -> None:
    root = Path("/store/root")
    try:
        check_key(key)
    except InputError as error:
        assert "\n" not in str(error)
        return
    path = Path(os.path.normpath(root / key))
    assert path.is_relative_to(root)
    assert path != root
    assert path.relative_to(root).as_posix() == key
    assert not any(word.startswith(".") for word in key.split("/"))


@given(st.text() | nasty | nasty.map("s3://".__add__) | nasty.map("s3://bucket/".__add__))
def test_every_location_is_understood_or_refused_in_one_line(location: str) -> None:
    try:
        place = parse_location(location)
    except InputError as error:
        assert "\n" not in str(error)
        return
    if isinstance(place, Bucket):
        assert str(place) == location.rstrip("/")
    else:
        assert str(place) == str(Path(location))


@given(st.from_regex(r"\A[a-z0-9][a-z0-9-]{1,61}[a-z0-9]\Z"), keys)
def test_a_place_in_s3_is_read(bucket: str, prefix: str) -> None:
    assert parse_location(f"s3://{bucket}/{prefix}") == Bucket(bucket, prefix)
    assert parse_location(f"s3://{bucket}/{prefix}/") == Bucket(bucket, prefix)
    assert parse_location(f"s3://{bucket}") == parse_location(f"s3://{bucket}/") == Bucket(bucket, "")


@pytest.mark.parametrize(
    ("location", "told"),
    [
        ("", "expected the path of a folder"),
        ("a\nb", "expected the path of a folder"),
        ("s3:/x", "expected the path of a folder, or s3://bucket/prefix"),
        ("S3://bucket/x", "expected the path of a folder, or s3://bucket/prefix"),
        ("gs://bucket/x", "expected the path of a folder, or s3://bucket/prefix"),
        ("s3://", "names no bucket"),
        ("s3:///x", "names no bucket"),
        ("s3://Bucket/x", "can't be a bucket's name"),
        ("s3://a..b/x", "can't be a bucket's name"),
        ("s3://bucket/../x", "can't be a key"),
        ("s3://bucket//x", "can't be a key"),
    ],
)
def test_a_bad_location_is_told_with_the_way_out(location: str, told: str) -> None:
    with pytest.raises(InputError, match=rf"storage location .*{told}"):
        open_store(location)


def test_a_password_in_a_location_is_refused_and_not_repeated() -> None:
    for location in ("s3://key:Sesame@bucket/x", "https://key:Sesame@host/x"):
        with pytest.raises(InputError, match="credentials belong in the environment") as caught:
            open_store(location)
        assert "Sesame" not in str(caught.value)
