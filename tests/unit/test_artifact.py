"""Artifacts: whole or absent, found again, and never read damaged."""

import json
import signal
import subprocess
import sys
import textwrap

import pytest

from ssfr.components.errors import DamagedArtifactError, InputError
from ssfr.components.storage import artifact


def write(text):
    def work(folder):
        (folder / "sub").mkdir(exist_ok=True)
        (folder / "sub" / "x.txt").write_text(text)
        return {"n": 1}

    return work


def made(workdir, name="catalog", inputs=None, settings=None, work=None, code="c0de", **more):
    inputs = {label: artifact.Origin(digest) for label, digest in (inputs or {}).items()}
    return artifact.run_step(name, workdir, inputs, settings or {}, work or write("a"), code=code, **more)


def test_a_step_is_done_once(tmp_path):
    calls = []

    def work(folder):
        calls.append(folder)
        return write("a")(folder)

    first = made(tmp_path, inputs={"data": "f"}, settings={"k": 1}, work=work)
    second = made(tmp_path, inputs={"data": "f"}, settings={"k": 1}, work=work)
    assert first == second
    assert len(calls) == 1
    assert artifact.verify(first)["figures"] == {"n": 1}


@pytest.mark.parametrize(
    "change", [{"settings": {"k": 2}}, {"inputs": {"data": "g"}}, {"code": "edit"}, {"name": "projection"}]
)
def test_a_change_makes_a_new_artifact(tmp_path, change):
    base = {"inputs": {"data": "f"}, "settings": {"k": 1}}
    assert made(tmp_path, **base) != made(tmp_path, **(base | change))


def test_who_made_what_a_step_reads_is_recorded_but_changes_nothing(tmp_path):
    folders = [
        artifact.run_step(
            "catalog", tmp_path / by, {"up": artifact.Origin("digest", by)}, {}, write("a"), code="c0de"
        )
        for by in ("one", "two")
    ]
    assert folders[0].name == folders[1].name
    inputs = [artifact.verify(folder)["inputs"]["up"] for folder in folders]
    assert inputs == [{"digest": "digest", "artifact": by} for by in ("one", "two")]


def test_an_artifact_whose_word_no_longer_holds_is_made_again(tmp_path):
    outside = tmp_path / "outside"
    calls = []

    def work(folder):
        outside.touch()
        calls.append(folder)
        return write("a")(folder)

    def run():
        return made(tmp_path, "deployment", work=work, still_true=lambda _: outside.exists())

    assert run() == run()
    assert len(calls) == 1
    outside.unlink()
    run()
    assert len(calls) == 2


def test_an_artifact_is_never_seen_half_removed(tmp_path, monkeypatch):
    folder = made(tmp_path, "deployment", work=write("a"))

    def stopped(path):
        assert path != folder
        raise KeyboardInterrupt

    monkeypatch.setattr(artifact.shutil, "rmtree", stopped)
    with pytest.raises(KeyboardInterrupt):
        made(tmp_path, "deployment", work=write("a"), still_true=lambda _: False)
    monkeypatch.undo()
    assert not folder.exists()
    assert made(tmp_path, "deployment", work=write("b")) == folder
    assert made(tmp_path, "deployment", work=write("c"), still_true=lambda _: False) == folder
    assert (folder / "sub" / "x.txt").read_text() == "c"
    assert not list((tmp_path / artifact.STAGING).glob("*.removed"))


@pytest.mark.parametrize("damage", ["flip", "truncate", "remove"])
def test_a_damaged_artifact_is_refused_with_the_files_name(tmp_path, damage):
    folder = made(tmp_path, work=write("some bytes"))
    path = folder / "sub" / "x.txt"
    if damage == "flip":
        path.write_text("some bytez")
    elif damage == "truncate":
        path.write_text("some")
    else:
        path.unlink()
    with pytest.raises(DamagedArtifactError, match=r"sub/x\.txt: .*run again"):
        artifact.verify(folder)
    artifact.verify(folder, only=lambda name: name != "sub/x.txt")
    with pytest.raises(DamagedArtifactError):
        made(tmp_path, work=write("some bytes"))


def test_a_folder_without_manifest_is_not_an_artifact(tmp_path):
    with pytest.raises(InputError, match=r"manifest\.json can't be read: No such file .*; remove its folder"):
        artifact.verify(tmp_path)


_FILE = {"sha256": "0" * 64, "bytes": 1}


@pytest.mark.parametrize(
    "text",
    [
        "[]",
        '"files"',
        "[" * 100_000,
        "{",
        "{}",
        '{"files": []}',
        '{"files": {"a": 1}}',
        "9" * 5000,
        *(json.dumps({"files": {name: _FILE}}) for name in ("a\0b", "\ud800", "x" * 300, "../x", "absent")),
    ],
)
def test_a_manifest_that_is_none_of_ours_is_damage_told_in_one_line(tmp_path, text):
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(DamagedArtifactError, match=r"manifest\.json.*; do this") as refused:
        artifact.verify(tmp_path, "do this")
    assert str(refused.value).isprintable()


@pytest.mark.parametrize(
    ("content", "said"),
    [(None, "Is a directory"), ("9" * 5000, "not valid JSON"), ("[]", "a list"), ("\xff", "not valid JSON")],
)
def test_json_that_can_not_be_read_is_said_with_the_way_out(tmp_path, content, said):
    path = tmp_path / "x.json"
    path.mkdir() if content is None else path.write_bytes(content.encode("latin-1"))
    with pytest.raises(InputError, match=rf"x\.json: .*{said}.*; do this"):
        artifact.read_json(path, "do this")


def test_a_manifest_that_names_files_outside_its_folder_is_refused(tmp_path):
    (tmp_path / "secret").write_text("x")
    folder = tmp_path / "a"
    folder.mkdir()
    entry = {"sha256": artifact.sha256_file(tmp_path / "secret"), "bytes": 1}
    (folder / "manifest.json").write_text(json.dumps({"key": "k", "files": {"../secret": entry}}))
    with pytest.raises(DamagedArtifactError, match=r"'\.\./secret', which can't be a file in the artifact's"):
        artifact.verify(folder)
    (folder / "link").symlink_to(tmp_path / "secret")
    (folder / "manifest.json").write_text(json.dumps({"key": "k", "files": {"link": entry}}))
    with pytest.raises(InputError, match="'link', which lies outside"):
        artifact.verify(folder)


def test_an_atomic_file_is_whole_or_absent(tmp_path):
    target = tmp_path / "x"
    with pytest.raises(ZeroDivisionError), artifact.atomic_file(target) as part:
        part.write_text("half")
        _ = 1 / 0
    assert list(tmp_path.iterdir()) == []
    with artifact.atomic_file(target) as part:
        part.write_text("whole")
    assert target.read_text() == "whole"


def test_work_of_a_killed_process_is_gone_on_with(tmp_path):
    script = textwrap.dedent(
        f"""
        import os, signal, pathlib
        from ssfr.components.storage.artifact import run_step
        def work(folder):
            (folder / "first").write_text("done before the kill")
            os.kill(os.getpid(), signal.SIGKILL)
        run_step("catalog", pathlib.Path({str(tmp_path)!r}), {{}}, {{}}, work, code="c0de")
        """
    )
    process = subprocess.run([sys.executable, "-c", script], check=False)
    assert process.returncode == -signal.SIGKILL
    assert not (tmp_path / "catalog").exists()

    def work(folder):
        assert (folder / "first").read_text() == "done before the kill"
        return {}

    assert (made(tmp_path, work=work) / "first").exists()


def test_json_without_nan(tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        artifact.write_json(tmp_path / "x.json", {"r": float("nan")})
    assert list(tmp_path.iterdir()) == []
