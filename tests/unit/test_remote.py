"""The model repository in a store: numbers, labels, and deployments at the same time."""

from __future__ import annotations

import json
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from served_models import label, write_version
from stored_artifacts import Said

from ssfr.components.errors import DamagedArtifactError, InputError
from ssfr.components.serving.repository.folder import CHAMPION, ModelFolder, verify_version
from ssfr.components.serving.repository.remote import RemoteRepository
from ssfr.components.storage.artifact import publish
from ssfr.components.storage.manifest import MANIFEST
from ssfr.components.storage.store import ChangedDocumentError


@pytest.fixture
def repository(tmp_path: Path) -> RemoteRepository:
    return RemoteRepository(str(tmp_path / "models"), "ssfr")


def add(repository: RemoteRepository, tmp_path: Path, digest: str = "d") -> int:
    return repository.publish(write_version(tmp_path, digest))


def test_versions_count_up_and_are_read_as_a_folder_of_models(
    repository: RemoteRepository, tmp_path: Path
) -> None:
    assert repository.versions() == []
    assert [add(repository, tmp_path) for _ in range(3)] == [1, 2, 3]
    repository.decide(repository.read(), 2, True, {"reason": "first"})
    folder = ModelFolder(tmp_path / "models", "ssfr")
    assert folder.versions() == repository.versions() == [1, 2, 3]
    assert folder.champion() == repository.read().champion
    assert folder.champion().labels == {"stable": 2}


def test_a_number_is_not_used_twice_even_if_its_version_is_gone(
    repository: RemoteRepository, tmp_path: Path
) -> None:
    labels = repository.read()
    for promoted in (True, False, False):
        labels = repository.decide(labels, add(repository, tmp_path), promoted, {})
    assert repository.prune(1) == [2]
    (tmp_path / "models/ssfr/3" / MANIFEST).unlink()
    assert add(repository, tmp_path) == 4


def test_of_deployments_at_the_same_time_each_has_a_number_of_its_own_or_an_error(
    repository: RemoteRepository, tmp_path: Path
) -> None:
    folders = [write_version(tmp_path, f"model{number}") for number in range(4)]
    together = threading.Barrier(len(folders))

    def deploy(folder: Path) -> int | str:
        together.wait()
        try:
            return repository.publish(folder)
        except InputError as error:
            return str(error)

    with ThreadPoolExecutor(len(folders)) as pool:
        outcomes = list(pool.map(deploy, folders))
    numbers = [one for one in outcomes if isinstance(one, int)]
    assert sorted(numbers) == repository.versions() == list(range(1, len(numbers) + 1))
    for error in (one for one in outcomes if isinstance(one, str)):
        assert "another deployment published version" in error
        assert "then run this one again" in error


def test_of_decisions_on_the_same_labels_one_wins(repository: RemoteRepository, tmp_path: Path) -> None:
    add(repository, tmp_path), add(repository, tmp_path)
    before = repository.read()
    repository.decide(before, 1, True, {})
    with pytest.raises(ChangedDocumentError, match="another deployment or roll-out changed the labels"):
        repository.decide(before, 2, True, {})
    assert repository.read().champion.labels == {"stable": 1}
    repository.decide(repository.read(), 2, True, {})
    assert repository.read().champion.labels == {"stable": 2}


def test_a_labelled_version_is_never_pruned(repository: RemoteRepository, tmp_path: Path) -> None:
    for _ in range(5):
        add(repository, tmp_path)
    label(repository, stable=1, canary=3)
    assert repository.prune(1) == [2, 4]
    assert repository.versions() == [1, 3, 5]


def test_the_champion_before_is_not_pruned_so_that_there_is_something_to_go_back_to(
    repository: RemoteRepository, tmp_path: Path
) -> None:
    labels = repository.read()
    for promoted in (True, False, False, False, True):
        labels = repository.decide(labels, add(repository, tmp_path), promoted, {})
    assert repository.prune(2) == [2, 3]
    assert labels.champion.previous(repository.versions()) == 1


def test_a_champion_that_is_gone_keeps_its_name(repository: RemoteRepository, tmp_path: Path) -> None:
    labels = repository.decide(repository.read(), add(repository, tmp_path), True, {})
    shutil.rmtree(tmp_path / "models/ssfr/1")
    labels = repository.decide(labels, add(repository, tmp_path), False, {})
    assert labels.champion.labels == {"stable": 1, "canary": 2}
    labels = repository.decide(labels, add(repository, tmp_path), True, {})
    assert labels.champion.labels == {"stable": 3}


def test_a_promoted_canary_loses_that_label(repository: RemoteRepository, tmp_path: Path) -> None:
    labels = repository.read()
    for promoted, reason in ((True, "first"), (False, "worse")):
        labels = repository.decide(labels, add(repository, tmp_path), promoted, {"reason": reason})
    assert labels.champion.labels == {"stable": 1, "canary": 2}
    labels = repository.decide(labels, 2, True, {"reason": "better"})
    assert labels.champion.labels == {"stable": 2}
    history = [(line["version"], line["reason"]) for line in repository.read().champion.history]
    assert history == [(1, "first"), (2, "worse"), (2, "better")]


def test_the_champion_file_says_it_in_plain_words(repository: RemoteRepository, tmp_path: Path) -> None:
    repository.decide(repository.read(), add(repository, tmp_path), True, {"reason": "first"})
    data = json.loads((tmp_path / "models/ssfr" / CHAMPION).read_text())
    assert (data["champion"], data["labels"]) == (1, {"stable": 1})


def test_a_repository_that_can_not_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"file/ssfr/champion\.json: can't be read: Not a directory"):
        RemoteRepository(str(tmp_path / "file"), "ssfr").publish(write_version(tmp_path))


def test_what_is_no_version_is_ignored_with_a_warning(repository: RemoteRepository, tmp_path: Path) -> None:
    add(repository, tmp_path)
    for word in ("latest", "007", "1.5"):
        write_version(tmp_path).rename(tmp_path / "models/ssfr" / word)
    warnings: list[str] = []
    assert repository.versions(warnings.append) == [1]
    assert sorted(warning.split("/")[-1].split(":")[0] for warning in warnings) == ["007", "1.5", "latest"]
    assert add(repository, tmp_path) == 2


def test_half_a_version_is_none(repository: RemoteRepository, tmp_path: Path) -> None:
    (tmp_path / "models/ssfr/1/variables").mkdir(parents=True)
    (tmp_path / "models/ssfr/1/saved_model.pb").touch()
    assert repository.versions() == []
    with pytest.raises(InputError, match="1: no complete artifact"):
        repository.pull(tmp_path / "local", repository.read(), [1])


def test_what_is_no_model_is_not_published(repository: RemoteRepository, tmp_path: Path) -> None:
    (tmp_path / "staging").mkdir()
    publish(tmp_path / "staging", tmp_path / "empty", {})
    with pytest.raises(DamagedArtifactError, match=r"no saved_model\.pb in its manifest\.json"):
        repository.publish(tmp_path / "empty")
    folder = write_version(tmp_path)
    (folder / "saved_model.pb").write_bytes(b"pr0gram")
    with pytest.raises(DamagedArtifactError, match=r"saved_model\.pb: damaged"):
        repository.publish(folder)
    assert repository.versions() == []


def test_a_model_is_found_by_its_digest_and_a_damaged_manifest_is_reported(tmp_path: Path) -> None:
    said = Said()
    repository = RemoteRepository(str(tmp_path / "models"), "ssfr", progress=said)
    add(repository, tmp_path, "one"), add(repository, tmp_path, "two")
    assert repository.find("one") == 1
    assert repository.find("three") is None
    (tmp_path / "models/ssfr/2" / MANIFEST).write_text("{")
    assert repository.find("one") == 1
    assert repository.find("two") is None
    assert "2/manifest.json: not a manifest of ours" in said.lines[0]


def test_labels_and_versions_are_pulled_to_be_served(repository: RemoteRepository, tmp_path: Path) -> None:
    for _ in range(3):
        add(repository, tmp_path)
    label(repository, stable=1, canary=3)
    folder = repository.pull(tmp_path / "local", repository.read())
    assert folder.versions() == [1, 3]
    assert folder.champion() == repository.read().champion
    repository.pull(tmp_path / "local", repository.read(), [2])
    assert folder.versions() == [1, 2, 3]


def test_a_version_that_is_damaged_here_is_brought_again(
    repository: RemoteRepository, tmp_path: Path
) -> None:
    label(repository, stable=add(repository, tmp_path))
    folder = repository.pull(tmp_path / "local", repository.read())
    for damage in ("saved_model.pb", MANIFEST):
        (folder.version_path(1) / damage).write_bytes(b"{")
        repository.pull(tmp_path / "local", repository.read())
        verify_version(folder.version_path(1))
    assert sorted(path.name for path in folder.path.iterdir()) == ["1", CHAMPION]


def test_a_version_that_is_damaged_there_does_not_appear(
    repository: RemoteRepository, tmp_path: Path
) -> None:
    add(repository, tmp_path)
    (tmp_path / "models/ssfr/1/saved_model.pb").write_bytes(b"pr0gram")
    with pytest.raises(DamagedArtifactError, match=r"ssfr/1/saved_model\.pb: damaged"):
        repository.pull(tmp_path / "local", repository.read(), [1])
    assert ModelFolder(tmp_path / "local", "ssfr").versions() == []


@pytest.mark.parametrize("content", ["{", "[]", '{"labels": {"stable": "x"}, "history": []}', "{}"])
def test_a_damaged_champion_file_is_named(repository: RemoteRepository, tmp_path: Path, content: str) -> None:
    add(repository, tmp_path)
    (tmp_path / "models/ssfr" / CHAMPION).write_text(content)
    with pytest.raises(InputError, match=r"champion\.json: .*; restore it") as caught:
        repository.read()
    assert "\n" not in str(caught.value)


def test_the_history_does_not_grow_without_end(repository: RemoteRepository, tmp_path: Path) -> None:
    labels = repository.read()
    champion = labels.champion
    for version in range(1, 700):
        champion = champion.noted({"stable": version}, {"version": version, "promoted": True})
    repository.write(labels, champion)
    written = json.loads((tmp_path / "models/ssfr" / CHAMPION).read_text())
    assert [line["version"] for line in written["history"]] == list(range(200, 700))
    assert add(repository, tmp_path) == 700


def test_a_bad_name_or_location_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"model name '\.\./x'"):
        RemoteRepository(str(tmp_path), "../x")
    with pytest.raises(InputError, match="storage location"):
        RemoteRepository("gs://bucket/x", "ssfr")
