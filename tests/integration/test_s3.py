"""A store in S3, on a real server: whole or absent, whatever happens to publishers and the network."""

from __future__ import annotations

import io
import json
import re
import socket
import subprocess
import sys
import textwrap
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import botocore.auth
import pytest
from faulty_proxy import Fault, FaultyProxy, Plan, faulty_proxy, random_faults
from s3_server import ACCESS_KEY, READER_ACCESS_KEY, READER_SECRET_KEY, SECRET_KEY, Place, S3Server
from stored_artifacts import (
    FILES,
    Said,
    check_listing_of_documents,
    check_replacing_of_a_document,
    contents,
    publish_together,
    random_bytes,
    write_artifact,
)

from ssfr.components.errors import DamagedArtifactError, InputError
from ssfr.components.runtime.progress import SILENT
from ssfr.components.storage.location import Bucket
from ssfr.components.storage.manifest import MANIFEST
from ssfr.components.storage.opening import open_store
from ssfr.components.storage.s3_client import S3Client, S3Error
from ssfr.components.storage.store import ChangedDocumentError, Document, Store

ROOT = Path(__file__).resolve().parents[2]
PART = 5 << 20
BIG = {**FILES, "maps.h5": random_bytes(2 * PART + 12_345)}


@pytest.fixture
def proxy(s3: S3Server) -> Iterator[FaultyProxy]:
    with faulty_proxy(s3.port) as running:
        yield running


def one_line(caught: pytest.ExceptionInfo[InputError]) -> str:
    text = str(caught.value)
    assert "\n" not in text
    assert SECRET_KEY not in text
    assert READER_SECRET_KEY not in text
    return text


def test_an_artifact_comes_back_as_it_was(place: Place, tmp_path: Path) -> None:
    store = place.store()
    assert not store.exists("training/1")
    assert store.publish(write_artifact(tmp_path, BIG), "training/1")
    assert store.exists("training/1")
    store.fetch("training/1", tmp_path / "back")
    assert contents(tmp_path / "back") == BIG
    assert store.manifest("training/1") == json.loads((tmp_path / "back" / MANIFEST).read_text())
    assert store.manifest("training/2") is None
    assert sorted(name for name in place.names() if not name.startswith(".")) == [f"training/1/{MANIFEST}"]


def test_the_first_publisher_wins(place: Place, tmp_path: Path) -> None:
    assert place.store().publish(write_artifact(tmp_path, {"x": b"first"}), "training/1")
    assert not place.store().publish(write_artifact(tmp_path, {"x": b"second"}), "training/1")
    place.store().fetch("training/1", tmp_path / "back")
    assert contents(tmp_path / "back") == {"x": b"first"}


def test_of_publishers_at_the_same_time_the_artifact_is_of_one(place: Place, tmp_path: Path) -> None:
    bodies: list[dict[str, bytes]] = [{"x": b"a" * 50_000, "y": b"a"}, {"x": b"b" * 50_000, "y": b"b"}]
    folders = [write_artifact(tmp_path, body) for body in bodies]
    stores = [place.store(), place.store()]
    for round_ in range(8):
        key = f"training/{round_}"
        won = publish_together(stores, folders, key)
        stores[0].fetch(key, tmp_path / f"back{round_}")
        fetched = contents(tmp_path / f"back{round_}")
        # Swift looks whether the object exists before it takes the body: both may win here, not on AWS.
        assert fetched in [body for body, winner in zip(bodies, won, strict=True) if winner]


def test_the_loser_of_a_race_leaves_nothing_visible(place: Place, tmp_path: Path, proxy: FaultyProxy) -> None:
    """The second publishes everything while the first is about to write its manifest."""
    first, second = (write_artifact(tmp_path, {"x": name}) for name in (b"first", b"second"))

    def plan(request: bytes) -> None:
        if request.startswith(b"PUT") and MANIFEST.encode() in request.split(b"\r\n")[0]:
            assert place.store().publish(second, "training/1")

    proxy.plan = plan
    assert not place.store(proxy.endpoint).publish(first, "training/1")
    place.store().fetch("training/1", tmp_path / "back")
    assert contents(tmp_path / "back") == {"x": b"second"}
    assert len(place.data()) == 2
    time.sleep(1.1)  # the server rounds times up to seconds
    place.store(orphan_age_h=1e-9).clean(keep=1, older_than_s=0)
    assert len(place.data()) == 1
    place.store().fetch("training/1", tmp_path / "again")


def lose_the_answer(pattern: str) -> Plan:
    """The first request that fits is answered in vain: the server has done it, the client does not know."""
    lost: list[bytes] = []

    def plan(request: bytes) -> Fault | None:
        if re.match(pattern.encode(), request) and not lost:
            lost.append(request)
            return Fault("reset", "answer", 0)
        return None

    return plan


@pytest.mark.parametrize("pattern", [rf"PUT \S*/{MANIFEST}", r"POST \S*uploadId=", r"POST \S*uploads", "PUT"])
def test_a_publisher_whose_answer_was_lost_still_wins(
    place: Place, proxy: FaultyProxy, tmp_path: Path, pattern: str
) -> None:
    proxy.plan = lose_the_answer(pattern)
    assert place.store(proxy.endpoint).publish(write_artifact(tmp_path, BIG), "training/1")
    assert proxy.injected == {"reset in the answer": 1}
    place.store().fetch("training/1", tmp_path / "back")
    assert contents(tmp_path / "back") == BIG


def test_a_document_whose_answer_was_lost_is_written_once(place: Place, proxy: FaultyProxy) -> None:
    proxy.plan = lose_the_answer(r"PUT \S*/champion\.json")
    version = place.store(proxy.endpoint).write_document("champion.json", {"version": 1}, None)
    assert proxy.injected == {"reset in the answer": 1}
    document = place.store().read_document("champion.json")
    assert document is not None
    assert (document.data, document.version) == ({"version": 1}, version)


PUBLISHER = """
    import sys
    from pathlib import Path
    from ssfr.components.config.storage import StorageSettings
    from ssfr.components.storage.opening import open_store

    location, settings, folder, key = sys.argv[1:]
    store = open_store(location, StorageSettings.model_validate_json(settings))
    store.exists(key)
    print("begins", flush=True)
    store.publish(Path(folder), key)
    print("ends", flush=True)
"""


def publisher(place: Place, folder: Path, key: str) -> subprocess.Popen[str]:
    """Start a process that publishes, and return it when it begins to."""
    command = [sys.executable, "-c", textwrap.dedent(PUBLISHER), f"s3://{place.bucket}/runs"]
    command += [place.settings().model_dump_json(), str(folder), key]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout
    assert process.stdout.readline() == "begins\n"
    return process


def test_readers_never_see_half_of_what_killed_publishers_wrote(place: Place, tmp_path: Path) -> None:
    files = {f"maps-{number}.h5": random_bytes(PART // 3, number) for number in range(4)} | BIG
    folder = write_artifact(tmp_path, files)
    whole = publisher(place, folder, "training/whole")
    started = time.monotonic()
    assert whole.wait() == 0
    seconds = time.monotonic() - started
    outcomes, store = [], place.store()
    for kill in range(6):
        key, back = f"training/{kill}", tmp_path / f"back{kill}"
        process = publisher(place, folder, key)
        deadline = time.monotonic() + seconds * (kill + 0.5) / 8
        while time.monotonic() < deadline:
            assert_whole_or_absent(store, key, tmp_path / f"early{uuid.uuid4().hex}", files)
        process.kill()
        process.wait()
        outcomes.append(assert_whole_or_absent(store, key, back, files))
    assert False in outcomes, "every publisher ended before it was killed"
    listed = place.store().artifacts()
    assert len(listed) == outcomes.count(True) + 1
    time.sleep(1.1)  # the server rounds times up to seconds
    place.store(orphan_age_h=1e-9).clean(keep=100, older_than_s=0)
    assert len(place.data()) == len(files) * len(listed)
    assert not place.client.list_multipart_uploads(Bucket=place.bucket).get("Uploads")


def assert_whole_or_absent(store: Store, key: str, back: Path, files: dict[str, bytes]) -> bool:
    try:
        store.fetch(key, back)
    except InputError as error:
        assert re.search(r"no artifact|has data but no manifest\.json", str(error))
        assert not back.exists()
        return False
    assert contents(back) == files
    return True


def test_faults_in_both_directions_lose_nothing(place: Place, proxy: FaultyProxy, tmp_path: Path) -> None:
    said = Said()
    proxy.stall_s = 5
    proxy.plan = random_faults(seed=1, share=0.3)
    store = place.store(proxy.endpoint, said, attempts=12, read_timeout_s=0.7, connect_timeout_s=0.7)
    for number in range(2):
        files = {**BIG, "number": bytes([number])}
        assert store.publish(write_artifact(tmp_path, files), f"training/{number}")
        store.fetch(f"training/{number}", tmp_path / f"back{number}")
        assert contents(tmp_path / f"back{number}") == files
    assert sum(proxy.injected.values()) > 10
    assert {name.split()[0] for name in proxy.injected} == {"reset", "stall", "truncate", "unavailable"}
    assert {name.split()[-1] for name in proxy.injected} == {"request", "answer"}
    assert said.lines
    assert all(line.startswith(f"s3://{place.bucket}/runs: ") for line in said.lines)


def test_a_server_that_ends_inside_of_its_go_ahead_is_given_up(place: Place) -> None:
    def serve(listening: socket.socket) -> None:
        with suppress(OSError):
            while True:
                connection, _ = listening.accept()
                with connection:
                    connection.recv(65536)
                    connection.sendall(b"HTTP/1.1 100 Continue\r\n")

    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=serve, args=(listening,), daemon=True).start()
        settings = place.settings(f"http://127.0.0.1:{listening.getsockname()[1]}", attempts=2)
        client = S3Client(Bucket(place.bucket, ""), settings, SILENT)
        failed: list[str] = []

        def put() -> None:
            with pytest.raises(InputError, match="2 attempts") as error:
                client.put_object(Bucket=place.bucket, Key="a", Body=io.BytesIO(b"a"))
            failed.append(str(error.value))

        putting = threading.Thread(target=put, daemon=True)  # botocore by itself would never end
        putting.start()
        putting.join(30)
        assert len(failed) == 1
        listening.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize("kind", ["reset", "stall", "truncate", "unavailable"])
def test_a_server_that_only_fails_is_given_up(place: Place, proxy: FaultyProxy, kind: str) -> None:
    said = Said()
    proxy.plan = lambda _: Fault(kind, "request", 0)
    store = place.store(proxy.endpoint, said, attempts=3, read_timeout_s=0.2)
    with pytest.raises(
        S3Error, match=r"3 attempts; is http://\S+ up, and is storage\.endpoint right"
    ) as caught:
        store.exists("training/1")
    one_line(caught)
    assert sum(proxy.injected.values()) == 6, "each attempt is two tries of boto3's"
    assert len([line for line in said.lines if re.search(r"attempt [23] of 3 in \d\.\d s", line)]) == 2


def test_a_missing_part_of_the_answer_is_no_shorter_file(
    place: Place, proxy: FaultyProxy, tmp_path: Path
) -> None:
    place.store().publish(write_artifact(tmp_path, BIG), "training/1")
    proxy.plan = lambda request: Fault("truncate", "answer", 70_000) if b".h5" in request else None
    with pytest.raises(S3Error, match=r"reading .*maps"):
        place.store(proxy.endpoint, attempts=2).fetch("training/1", tmp_path / "back")
    assert not (tmp_path / "back").exists()
    assert not list(tmp_path.glob(".back*"))


@pytest.mark.parametrize("at_least", [1, 60_000], ids=["file", "part"])
def test_a_byte_altered_on_its_way_to_the_server_is_sent_again(
    place: Place, proxy: FaultyProxy, tmp_path: Path, at_least: int
) -> None:
    """Neither TCP nor the client can see it: the server compares the SHA-256 that was signed."""
    altered: list[bytes] = []

    def plan(request: bytes) -> Fault | None:
        head, end, _ = request.partition(b"\r\n\r\n")
        size = re.search(rb"content-length: (\d+)", head.lower())
        if head.startswith(b"PUT ") and size and int(size[1]) >= at_least and not altered:
            altered.append(request)
            return Fault("alter", "request", len(head + end) + int(size[1]) - 1)  # the last byte of the body
        return None

    proxy.plan = plan
    said = Said()
    assert place.store(proxy.endpoint, said).publish(write_artifact(tmp_path, BIG), "training/1")
    assert proxy.injected == {"alter in the request": 1}
    assert len(said.lines) == 1
    place.store().fetch("training/1", tmp_path / "back")
    assert contents(tmp_path / "back") == BIG


def no_bucket(place: Place, patch: pytest.MonkeyPatch) -> Store:
    return open_store("s3://no-such-bucket/runs", place.settings())


def wrong_secret(place: Place, patch: pytest.MonkeyPatch) -> Store:
    patch.setenv("AWS_SECRET_ACCESS_KEY", READER_SECRET_KEY)
    return place.store()


def no_permission(place: Place, patch: pytest.MonkeyPatch) -> Store:
    patch.setenv("AWS_ACCESS_KEY_ID", READER_ACCESS_KEY)
    patch.setenv("AWS_SECRET_ACCESS_KEY", READER_SECRET_KEY)
    return place.store()


def no_credentials(place: Place, patch: pytest.MonkeyPatch) -> Store:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        patch.delenv(name)
    patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    patch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
    return place.store()


def endpoint_down(place: Place, patch: pytest.MonkeyPatch) -> Store:
    return place.store("http://127.0.0.1:9", attempts=2)


def clock_wrong(place: Place, patch: pytest.MonkeyPatch) -> Store:
    now = botocore.auth.get_current_datetime

    def wrong(*args: Any, **kwargs: Any) -> Any:
        return now(*args, **kwargs).replace(year=2020)

    patch.setattr(botocore.auth, "get_current_datetime", wrong)
    return place.store(attempts=2)


@pytest.mark.parametrize(
    ("opened", "told"),
    [
        (no_bucket, "no such bucket; create it, or correct the location"),
        (wrong_secret, r"does not accept the credentials \(SignatureDoesNotMatch\); set AWS_ACCESS_KEY_ID"),
        (no_permission, "no permission for that with these credentials; ask the bucket's owner"),
        (no_credentials, "no credentials found; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or"),
        (endpoint_down, r"EndpointConnectionError, 2 attempts; is http://127\.0\.0\.1:9 up"),
        (clock_wrong, "says that this machine's clock is wrong; set it"),
    ],
)
def test_what_is_wrong_is_one_line_with_the_way_out(
    place: Place,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    opened: Callable[[Place, pytest.MonkeyPatch], Store],
    told: str,
) -> None:
    folder = write_artifact(tmp_path, {"x": b"x"})
    store = opened(place, monkeypatch)
    work: list[Callable[[], object]] = [
        lambda: store.publish(folder, "training/1"),
        lambda: store.fetch("training/1", tmp_path / "back"),
        lambda: store.exists("training/1"),
        lambda: store.artifacts("training"),
        lambda: store.remove("training/1"),
        lambda: store.clean(keep=1, older_than_s=0),
        lambda: store.read_document("champion.json"),
        lambda: store.write_document("champion.json", {}, None),
    ]
    for one in work:
        with pytest.raises(S3Error, match=told) as caught:
            one()
        assert one_line(caught).startswith("s3://")
    assert not (tmp_path / "back").exists()


def test_what_can_not_pass_is_not_asked_again(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    said = Said()
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", READER_SECRET_KEY)
    with pytest.raises(S3Error):
        place.store(progress=said).exists("training/1")
    with pytest.raises(S3Error):
        open_store("s3://no-such-bucket", place.settings(), said).exists("training/1")
    assert said.lines == []


def test_credentials_from_a_mounted_secret(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    with pytest.raises(InputError, match="expected files accesskey and secretkey"):
        place.store(secret_folder=str(tmp_path))
    (tmp_path / "accesskey").write_text(ACCESS_KEY + "\n")
    (tmp_path / "secretkey").write_text(SECRET_KEY + "\n")
    assert not place.store(secret_folder=str(tmp_path)).exists("training/1")


def test_a_redirect_is_not_followed(place: Place, proxy: FaultyProxy, tmp_path: Path) -> None:
    with faulty_proxy(1) as elsewhere:
        visits: list[int] = []

        async def visited(_: Any, writer: Any) -> None:
            visits.append(1)
            writer.close()

        elsewhere.serve = visited  # type: ignore[method-assign]
        proxy.redirect = elsewhere.endpoint
        proxy.plan = lambda _: Fault("redirect", "request", 0)
        with pytest.raises(S3Error, match="redirects, which is not followed") as caught:
            place.store(proxy.endpoint).exists("training/1")
        one_line(caught)
        assert not visits


def test_when_one_part_fails_for_good_the_others_wait_no_longer(
    place: Place, proxy: FaultyProxy, tmp_path: Path
) -> None:
    def plan(request: bytes) -> Fault | None:
        part = re.match(rb"PUT \S*partNumber=(\d)", request)
        if not part:
            return None
        if part[1] == b"3":  # last, when the others wait already
            return Fault("redirect" if "stall in the request" in proxy.injected else "stall", "request", 0)
        return Fault("unavailable", "request", 0)

    proxy.plan, proxy.redirect, proxy.stall_s = plan, proxy.endpoint, 4.0
    said = Said()
    store = place.store(proxy.endpoint, said, attempts=9, backoff_s=600.0, backoff_max_s=600.0)
    started = time.monotonic()
    with pytest.raises(S3Error, match="redirects, which is not followed"):
        store.publish(write_artifact(tmp_path, BIG), "training/1")
    assert time.monotonic() - started < 15
    assert len([line for line in said.lines if "attempt 2 of 9" in line]) == 2
    assert not store.exists("training/1")


def test_plain_http_and_passwords_in_the_endpoint_are_refused(place: Place) -> None:
    with pytest.raises(InputError, match=r"set storage\.allow_http: true"):
        place.store(allow_http=False)
    with pytest.raises(InputError, match="holds credentials") as caught:
        place.store("http://key:Sesame@127.0.0.1:9")
    assert "Sesame" not in str(caught.value)


def test_half_an_artifact_is_told_apart_from_none(place: Place, tmp_path: Path) -> None:
    store = place.store()
    with pytest.raises(InputError, match="no artifact 'training/1'; publish it first"):
        store.fetch("training/1", tmp_path / "back")
    store.publish(write_artifact(tmp_path), "training/1")
    place.client.delete_object(Bucket=place.bucket, Key=f"runs/training/1/{MANIFEST}")
    with pytest.raises(InputError, match=r"'training/1' has data but no manifest\.json"):
        store.fetch("training/1", tmp_path / "back")
    assert not store.exists("training/1")
    assert store.artifacts() == []


@pytest.mark.parametrize("name", ["../outside", "/outside", "a/../../outside"])
def test_a_manifest_can_not_lead_out_of_its_folder(place: Place, tmp_path: Path, name: str) -> None:
    place.store().publish(write_artifact(tmp_path, {"x": b"x"}), "training/1")
    edit_manifest(place, lambda files: files.update({name: files["x"]}))
    with pytest.raises(InputError, match="can't be a file in the artifact's folder"):
        place.store().fetch("training/1", tmp_path / "deep" / "back")
    assert not list(tmp_path.rglob("outside"))


@pytest.mark.parametrize(
    "lie",
    [{"sha256": "0" * 64}, {"bytes": 1}, {"bytes": 10**9}, {"bytes": 0}],
    ids=["digest", "shorter", "longer", "empty"],
)
def test_a_manifest_that_lies_is_noticed(place: Place, tmp_path: Path, lie: dict[str, Any]) -> None:
    place.store().publish(write_artifact(tmp_path, {"x": b"123"}), "training/1")
    edit_manifest(place, lambda files: files["x"].update(lie))
    with pytest.raises(DamagedArtifactError):
        place.store().fetch("training/1", tmp_path / "back")
    assert not (tmp_path / "back").exists()


def edit_manifest(place: Place, change: Callable[[dict[str, Any]], object]) -> None:
    where = {"Bucket": place.bucket, "Key": f"runs/training/1/{MANIFEST}"}
    stored = place.client.get_object(**where)
    manifest = json.loads(stored["Body"].read())
    change(manifest["files"])
    place.client.put_object(**where, Body=json.dumps(manifest), Metadata=stored["Metadata"])


def test_an_object_too_large_for_a_manifest_is_not_read(place: Place) -> None:
    where = {"Bucket": place.bucket, "Key": f"runs/training/1/{MANIFEST}"}
    place.client.put_object(**where, Body=bytes((64 << 20) + 1))
    with pytest.raises(InputError, match="more bytes than requested"):
        place.store().exists("training/1")


def test_damage_on_the_server_is_noticed(place: Place, tmp_path: Path) -> None:
    place.store().publish(write_artifact(tmp_path, {"x": b"123"}), "training/1")
    (name,) = place.data()
    place.client.put_object(Bucket=place.bucket, Key=f"runs/{name}", Body=b"124")
    with pytest.raises(DamagedArtifactError, match="training/1: x: damaged"):
        place.store().fetch("training/1", tmp_path / "back")
    place.client.delete_object(Bucket=place.bucket, Key=f"runs/{name}")
    with pytest.raises(DamagedArtifactError, match=r"absent, or not of the size in manifest\.json"):
        place.store().fetch("training/1", tmp_path / "back")


def test_a_file_that_changed_since_its_manifest_is_not_published(place: Place, tmp_path: Path) -> None:
    folder = write_artifact(tmp_path, BIG)
    (folder / "maps.h5").write_bytes(random_bytes(len(BIG["maps.h5"]), seed=1))
    with pytest.raises(DamagedArtifactError, match=r"maps\.h5: damaged"):
        place.store().publish(folder, "training/1")
    assert not place.store().exists("training/1")
    assert not place.client.list_multipart_uploads(Bucket=place.bucket).get("Uploads")


def test_documents_are_listed_and_removed(place: Place) -> None:
    check_listing_of_documents(place.store())


def test_a_document_is_replaced_only_by_who_read_it(place: Place) -> None:
    check_replacing_of_a_document(place.store())


def test_of_writers_at_the_same_time_one_wins_even_if_they_write_the_same(
    place: Place, proxy: FaultyProxy
) -> None:
    """The second writes while the first is about to: both had read the same."""
    version = place.store().write_document("count.json", 1, None)

    def plan(request: bytes) -> None:
        if request.startswith(b"PUT") and b"count.json/2" in request.split(b"\r\n")[0]:
            place.store().write_document("count.json", 2, version)

    proxy.plan = plan
    with pytest.raises(ChangedDocumentError):
        place.store(proxy.endpoint).write_document("count.json", 2, version)
    assert place.store().read_document("count.json") == Document(2, "2")


def test_what_a_document_said_before_stays_until_it_is_old(place: Place) -> None:
    def numbers() -> list[int]:
        return sorted(int(name.rpartition("/")[2]) for name in place.names() if "count.json" in name)

    for count in range(1, 26):
        place.client.put_object(Bucket=place.bucket, Key=f"runs/count.json/{count}", Body=b"0")
    place.store().write_document("count.json", 26, "25")
    assert numbers() == list(range(1, 27))
    time.sleep(1.1)  # the server rounds times up to seconds
    store = place.store(orphan_age_h=1e-9)
    store.write_document("count.json", 27, "26")
    assert numbers() == list(range(8, 28))
    assert store.read_document("count.json") == Document(27, "27")
    with pytest.raises(ChangedDocumentError):  # its number is free again, but it is no longer the next
        store.write_document("count.json", 0, "4")


def test_what_lies_beside_the_numbers_of_a_document_is_none_of_them(place: Place) -> None:
    place.store().write_document("champion.json", {}, None)
    for word in ("latest", "٣", "-1", "1/2"):
        place.client.put_object(Bucket=place.bucket, Key=f"runs/champion.json/{word}", Body=b"{")
    assert place.store().read_document("champion.json") == Document({}, "1")
    place.client.put_object(Bucket=place.bucket, Key="runs/others/of.json/٣", Body=b"{")
    assert place.store().documents("others") == {}
    place.client.put_object(Bucket=place.bucket, Key="runs/champion.json/2", Body=b"{")
    with pytest.raises(InputError, match=r"champion\.json/2: not valid JSON"):
        place.store().read_document("champion.json")


def test_artifacts_are_listed_cleaned_and_removed(place: Place, tmp_path: Path) -> None:
    store = place.store()
    folder = write_artifact(tmp_path)
    before = time.time() - 2
    for number in range(4):
        store.publish(folder, f"models/{number}")
        time.sleep(0.01)
    store.publish(folder, "models2/1")
    listed = store.artifacts("models")
    assert [one.key for one in listed] == [f"models/{number}" for number in range(4)]
    assert store.keys("models") == [one.key for one in listed]
    assert {one.bytes for one in listed} == {sum(map(len, FILES.values()))}
    assert all(before < one.time < time.time() + 2 for one in listed)
    assert store.clean("models", keep=0, older_than_s=3600) == []
    assert set(store.clean("models", keep=0, older_than_s=-10, never={"models/1"})) == {
        "models/0",
        "models/2",
        "models/3",
    }
    assert [one.key for one in store.artifacts()] == ["models/1", "models2/1"]
    store.remove("models/1")
    store.remove("models/1")
    assert {name.split("/")[1] for name in place.data()} == {"models2"}


MEMORY = """
    import sys
    from pathlib import Path
    from ssfr.components.config.storage import StorageSettings
    from ssfr.components.storage.opening import open_store

    def kb(field):
        lines = Path("/proc/self/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith(field)).split()[1])

    location, settings, small, big, back = sys.argv[1:]
    store = open_store(location, StorageSettings.model_validate_json(settings))
    store.publish(Path(small), "small")
    store.fetch("small", Path(back + "-small"))
    Path("/proc/self/clear_refs").write_text("5")
    before = kb("VmRSS")
    store.publish(Path(big), "big")
    store.fetch("big", Path(back))
    print((kb("VmHWM") - before) * 1024)
"""


def test_a_large_file_needs_no_more_memory_than_a_few_parts(place: Place, tmp_path: Path) -> None:
    files = {"maps.h5": random_bytes(64 << 20)}
    folders = [write_artifact(tmp_path, FILES), write_artifact(tmp_path, files)]
    command = [sys.executable, "-c", textwrap.dedent(MEMORY), f"s3://{place.bucket}/runs"]
    command += [place.settings(connections=2).model_dump_json(), *map(str, folders), str(tmp_path / "back")]
    extra = int(subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True).stdout)
    assert extra < 8 * PART
    assert contents(tmp_path / "back") == files


def test_uploads_of_several_threads_do_not_meet(place: Place, tmp_path: Path) -> None:
    store = place.store()
    folders = [write_artifact(tmp_path, {"x": bytes([number]) * 1000}) for number in range(6)]
    threads = [
        threading.Thread(target=store.publish, args=(folder, f"training/{number}"))
        for number, folder in enumerate(folders)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number in range(6):
        store.fetch(f"training/{number}", tmp_path / f"back{number}")
        assert contents(tmp_path / f"back{number}") == {"x": bytes([number]) * 1000}
