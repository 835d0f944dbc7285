"""The model repository on disk: versions, labels, digests, and what is refused."""

import json

import pytest
from served_models import write_version

from ssfr.components.config import DeploymentSettings
from ssfr.components.errors import DamagedArtifactError, InputError
from ssfr.components.serving.repository.folder import ModelFolder, model_names, verify_version
from ssfr.components.serving.repository.remote import RemoteRepository


def add(root, digest="d", name="ssfr"):
    """Put a version with two files into a repository."""
    return RemoteRepository(str(root), name).publish(write_version(root / ".built", digest))


def test_versions_count_up_from_one(tmp_path):
    assert [add(tmp_path), add(tmp_path), add(tmp_path)] == [1, 2, 3]
    assert ModelFolder(tmp_path, "ssfr").versions() == [1, 2, 3]


def test_versions_are_ordered_as_numbers_not_as_words(tmp_path):
    for version in ("9", "10", "100"):
        (tmp_path / "ssfr" / version).mkdir(parents=True)
    assert ModelFolder(tmp_path, "ssfr").versions() == [9, 10, 100]


@pytest.mark.parametrize("odd", ["latest", "3.1", "-1", "007", "٣", "1" * 40])
def test_a_folder_that_is_no_integer_is_ignored_with_a_warning(tmp_path, odd):
    add(tmp_path)
    (tmp_path / "ssfr" / odd).mkdir()
    warnings = []
    assert ModelFolder(tmp_path, "ssfr").versions(warnings.append) == [1]
    assert len(warnings) == 1
    assert odd in warnings[0]


def test_hidden_folders_and_files_are_ignored_silently(tmp_path):
    add(tmp_path)
    (tmp_path / "ssfr" / ".2.part").mkdir()
    (tmp_path / "ssfr" / "7").write_text("a file")
    warnings = []
    assert ModelFolder(tmp_path, "ssfr").versions(warnings.append) == [1]
    assert warnings == []


@pytest.mark.parametrize("content", ["{", "[]", '{"labels": {"stable": "x"}, "history": []}', "{}"])
def test_a_damaged_champion_file_is_named(tmp_path, content):
    add(tmp_path)
    (tmp_path / "ssfr" / "champion.json").write_text(content)
    with pytest.raises(InputError, match=r"champion\.json: .*; restore it or deploy again"):
        ModelFolder(tmp_path, "ssfr").champion()


def test_a_complete_version_passes(tmp_path):
    add(tmp_path, "one")
    assert verify_version(tmp_path / "ssfr" / "1")["model_digest"] == "one"


def test_an_altered_file_is_refused(tmp_path):
    add(tmp_path)
    (tmp_path / "ssfr" / "1" / "saved_model.pb").write_bytes(b"pr0gram")
    with pytest.raises(DamagedArtifactError, match=r"saved_model\.pb: damaged"):
        verify_version(tmp_path / "ssfr" / "1")


def test_a_missing_file_is_refused(tmp_path):
    add(tmp_path)
    (tmp_path / "ssfr" / "1" / "variables" / "data").unlink()
    with pytest.raises(DamagedArtifactError, match="variables/data: absent"):
        verify_version(tmp_path / "ssfr" / "1")


def test_an_added_file_is_refused(tmp_path):
    add(tmp_path)
    (tmp_path / "ssfr" / "1" / "saved_model.cpb").write_bytes(b"another program")
    with pytest.raises(DamagedArtifactError, match=r"saved_model\.cpb: not listed"):
        verify_version(tmp_path / "ssfr" / "1")


def test_a_link_is_refused(tmp_path):
    add(tmp_path)
    data = tmp_path / "ssfr" / "1" / "variables" / "data"
    data.rename(tmp_path / "elsewhere")
    data.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(DamagedArtifactError, match="link"):
        verify_version(tmp_path / "ssfr" / "1")


def test_a_manifest_that_leads_outside_is_refused(tmp_path):
    add(tmp_path)
    (tmp_path / "outside").write_bytes(b"x")
    path = tmp_path / "ssfr" / "1" / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["files"]["../../outside"] = {"sha256": "0", "bytes": 1}
    path.write_text(json.dumps(manifest))
    with pytest.raises(
        DamagedArtifactError, match="can't be a file in the artifact's folder; deploy the model"
    ):
        verify_version(tmp_path / "ssfr" / "1")


@pytest.mark.parametrize("content", ["[]", "{", '{"files": 3}', '{"files": {"saved_model.pb": 1}}', "{}"])
def test_a_manifest_that_is_none_is_refused(tmp_path, content):
    add(tmp_path)
    (tmp_path / "ssfr" / "1" / "manifest.json").write_text(content)
    with pytest.raises(DamagedArtifactError, match=r"manifest\.json: .*; deploy the model again"):
        verify_version(tmp_path / "ssfr" / "1")


def test_a_model_without_a_manifest_is_not_ours(tmp_path):
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "saved_model.pb").write_bytes(b"program")
    with pytest.raises(InputError, match="only models that ssfr exported"):
        verify_version(tmp_path / "1")


@pytest.mark.parametrize("name", ["../ssfr", "a/b", "", ".hidden", "a" * 200, "2024"])
def test_a_model_name_can_not_climb_out(tmp_path, name):
    with pytest.raises(InputError, match="model name"):
        ModelFolder(tmp_path, name)


def test_models_are_listed_by_name(tmp_path):
    add(tmp_path, name="b"), add(tmp_path, name="a")
    assert model_names(tmp_path) == ["a", "b"]


def test_no_repository_and_a_models_own_folder_are_different_errors(tmp_path):
    with pytest.raises(InputError, match="deploy a model first"):
        model_names(tmp_path / "nowhere")
    add(tmp_path)
    with pytest.raises(InputError, match="the folder above it"):
        model_names(tmp_path / "ssfr")
    run = tmp_path / "run"
    (run / "models").mkdir(parents=True)
    (run / "manifest.json").touch()
    with pytest.raises(InputError, match=rf"the folder of a run; its models are in {run}/models"):
        model_names(run)


@pytest.mark.parametrize(
    ("name", "right"), [("2024", False), ("2024-a", True), ("_a", False), ("a" * 64, False)]
)
def test_what_the_deployment_may_be_called(name, right):
    try:
        assert DeploymentSettings(name=name).name == name
    except ValueError:
        assert not right
    else:
        assert right
