"""Model-sync, look by look: what a server is shown, and what stays when something is wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from google.protobuf import text_format
from served_models import label, served, server_config, write_version
from stored_artifacts import Said
from tensorflow_serving.config.model_server_config_pb2 import ModelServerConfig

from ssfr.components.config import Settings
from ssfr.components.errors import InputError
from ssfr.components.runtime.processes import locked
from ssfr.components.serving.repository import sync as module
from ssfr.components.serving.repository.folder import CHAMPION, ModelFolder
from ssfr.components.serving.repository.remote import RemoteRepository
from ssfr.components.serving.repository.sync import CONFIG, STATE, ModelSync, sync
from ssfr.components.storage.manifest import MANIFEST


class Follower:
    """A repository in a folder, and a model-sync of it into another."""

    def __init__(self, folder: Path) -> None:
        self.scratch = folder
        self.root, self.said = folder / "served", Said()
        self.repository = RemoteRepository(str(folder / "models"), "ssfr")
        self.here = ModelFolder(self.root, "ssfr")

    def settings(self, **serving: float) -> Settings:
        return Settings.model_validate({"serving": {"retire_s": 0.0, **serving}})

    def begin(self, keep: int = 1, label: str | None = None, **serving: float) -> ModelSync:
        settings = self.settings(**serving).serving
        follower = ModelSync(self.repository, self.root, keep, settings, self.said, label)
        follower.begin()
        return follower

    def once(self, **options: str) -> None:
        sync(str(self.scratch / "models"), self.root, self.settings(), self.said, once=True, **options)

    def add(self, count: int = 1) -> None:
        for _ in range(count):
            self.repository.publish(write_version(self.scratch))

    def damage(self, version: int) -> None:
        path = self.scratch / f"models/ssfr/{version}/saved_model.pb"
        path.write_bytes(b"pr0gram")


@pytest.fixture
def follower(tmp_path: Path) -> Follower:
    return Follower(tmp_path)


def test_labelled_versions_and_the_newest_are_here_and_the_labelled_are_served(follower: Follower) -> None:
    follower.add(5)
    label(follower.repository, stable=1, canary=3)
    assert follower.begin(keep=2).look() == []
    assert follower.here.versions() == [1, 3, 4, 5]
    assert served(follower.root) == ([1, 3], {"stable": 1, "canary": 3})
    assert follower.here.champion().labels == {"stable": 1, "canary": 3}
    model = server_config(follower.root)
    assert model is not None
    assert (model.name, model.base_path) == ("ssfr", str(follower.root / "ssfr"))
    assert model.model_platform == "tensorflow"


def test_the_configuration_is_text_that_tf_serving_reads_whatever_the_folder_is_called(
    tmp_path: Path,
) -> None:
    folder = tmp_path / 'a "quoted" \\ folder, é\n'
    text = module.server_config("ssfr", folder, [2, 10], {"stable": 2, "canary": 10})
    (model,) = text_format.Parse(text, ModelServerConfig()).model_config_list.config
    assert model.base_path == str(folder)
    assert list(model.model_version_policy.specific.versions) == [2, 10]
    assert dict(model.version_labels) == {"stable": 2, "canary": 10}


def test_an_empty_repository_is_no_error_and_is_followed(follower: Follower) -> None:
    looking = follower.begin()
    assert looking.look() == []
    assert not looking.serves
    assert served(follower.root) == ([], {})
    follower.add()
    looking.look()
    assert looking.serves
    assert served(follower.root) == ([1], {})


def test_where_nothing_is_labelled_the_newest_is_served(follower: Follower) -> None:
    follower.add(2)
    looking = follower.begin(keep=2)
    looking.look()
    assert served(follower.root) == ([2], {})
    follower.add()
    looking.look()
    assert served(follower.root) == ([3], {})
    assert follower.here.versions() == [2, 3]


def test_a_version_that_lost_its_label_stays_loaded_for_a_while(follower: Follower) -> None:
    follower.add(3)
    label(follower.repository, stable=1)
    follower.begin(retire_s=60).look()
    label(follower.repository, stable=2)
    patient = follower.begin(retire_s=60)  # also by one that was started since
    patient.look()
    assert served(follower.root) == ([1, 2], {"stable": 2})
    assert follower.here.versions() == [1, 2, 3]
    hasty = follower.begin(retire_s=0)
    hasty.look()
    assert served(follower.root) == ([2], {"stable": 2})
    assert follower.here.versions() == [2, 3]


def test_a_label_stays_where_it_was_if_its_version_is_damaged(follower: Follower) -> None:
    follower.add(3)
    label(follower.repository, stable=1)
    looking = follower.begin()
    looking.look()
    follower.damage(2)
    label(follower.repository, stable=2, canary=3)
    for one in (looking, follower.begin()):
        (problem,) = one.look()
        assert "2/saved_model.pb: damaged" in problem
        assert served(follower.root) == ([1, 3], {"stable": 1, "canary": 3})
        assert follower.here.champion().labels == {"stable": 1, "canary": 3}
        assert follower.here.versions() == [1, 3]


def test_no_other_version_steps_in_for_a_champion_that_can_not_be_brought(follower: Follower) -> None:
    follower.add(2)
    follower.damage(1)
    label(follower.repository, stable=1)
    looking = follower.begin(keep=2)
    assert len(looking.look()) == 1
    assert not looking.serves
    assert served(follower.root) == ([], {})
    assert follower.here.champion().labels == {"stable": 1}, "our server would serve the newest without it"


def test_a_champion_file_that_can_not_be_read_changes_nothing(follower: Follower) -> None:
    follower.add(2)
    label(follower.repository, stable=1)
    looking = follower.begin()
    looking.look()
    before = (follower.root / CONFIG).read_text()
    (follower.scratch / "models/ssfr" / CHAMPION).write_text("{")
    with pytest.raises(InputError, match=r"champion\.json: not valid JSON"):
        looking.look()
    assert (follower.root / CONFIG).read_text() == before
    assert follower.here.versions() == [1, 2]


def test_a_repository_that_was_emptied_takes_nothing_away(follower: Follower) -> None:
    follower.add(2)
    label(follower.repository, stable=1)
    looking = follower.begin()
    looking.look()
    (follower.scratch / "models/ssfr").rename(follower.scratch / "elsewhere")
    (problem,) = looking.look()
    assert "no version is labelled any more" in problem
    assert served(follower.root) == ([1], {"stable": 1})
    assert follower.here.versions() == [1, 2]


def test_labels_that_were_taken_away_are_gone_here_too(follower: Follower) -> None:
    follower.add()
    label(follower.repository, stable=1)
    looking = follower.begin()
    looking.look()
    now = follower.repository.read()
    follower.repository.write(now, now.champion.noted({}, {"version": 1, "promoted": False}))
    assert looking.look() == []
    assert served(follower.root)[1] == {}


def test_a_repository_that_was_lost_and_begun_anew_is_not_taken_for_the_old_one(follower: Follower) -> None:
    follower.add()
    label(follower.repository, stable=1)
    follower.begin().look()
    before = (follower.here.version_path(1) / "manifest.json").read_bytes()
    (follower.scratch / "models/ssfr").rename(follower.scratch / "lost")
    follower.repository.publish(write_version(follower.scratch, "another model"))
    label(follower.repository, stable=1)
    follower.begin().look()
    assert (follower.here.version_path(1) / "manifest.json").read_bytes() != before


def test_what_is_no_version_is_reported(follower: Follower) -> None:
    follower.add()
    write_version(follower.scratch).rename(follower.scratch / "models/ssfr/latest")
    (problem,) = follower.begin().look()
    assert "latest: ignored, a version is an integer" in problem
    assert served(follower.root) == ([1], {})


def test_a_canary_s_own_server_answers_with_it_alone_and_without_one_with_the_stable(
    follower: Follower,
) -> None:
    follower.add(3)
    label(follower.repository, stable=1, canary=2)
    looking = follower.begin(label="canary")
    looking.look()
    assert served(follower.root) == ([2], {"canary": 2, "stable": 2})
    assert follower.here.versions() == [2]
    before = follower.repository.read()
    follower.repository.write(before, before.champion.noted({"stable": 1}, {"version": 1, "promoted": True}))
    looking.look()
    assert served(follower.root) == ([1], {"canary": 1, "stable": 1})


def test_the_stable_server_has_the_stable_version_and_what_is_on_trial(follower: Follower) -> None:
    follower.add(4)
    label(follower.repository, stable=1, canary=2, trial=3)
    follower.begin(label="stable").look()
    assert served(follower.root) == ([1, 3], {"stable": 1, "trial": 3})


def test_what_a_killed_model_sync_left_is_removed(follower: Follower) -> None:
    follower.add()
    for name in (".incoming-1", "..incoming-1.0f.part", ".removed-4"):
        (follower.root / "ssfr" / name / "variables").mkdir(parents=True)
    for path in (follower.root / f".{CONFIG}.77.part", follower.root / f"ssfr/.{CHAMPION}.77.part"):
        path.touch()
    follower.begin().look()
    assert sorted(path.name for path in follower.here.path.iterdir()) == ["1", CHAMPION]
    assert sorted(path.name for path in follower.root.iterdir()) == [CONFIG, "ssfr", STATE]


def test_a_version_that_was_damaged_here_is_brought_again_at_the_next_start(follower: Follower) -> None:
    follower.add()
    follower.begin().look()
    (follower.here.version_path(1) / MANIFEST).unlink()
    assert follower.begin().look() == []
    assert (follower.here.version_path(1) / MANIFEST).exists()


def test_the_state_tells_a_probe_what_the_last_look_found(follower: Follower) -> None:
    follower.add(2)
    follower.damage(2)
    label(follower.repository, stable=1)
    follower.begin().look()
    state = json.loads((follower.root / STATE).read_text())
    assert (state["labels"], state["served"]) == ({"stable": 1}, [1])
    assert "damaged" in state["problems"][0]
    assert state["time"].endswith("Z")


def test_once_ends_with_the_reason_only_if_there_is_nothing_to_serve(follower: Follower) -> None:
    follower.once()
    follower.add()
    follower.damage(1)
    with pytest.raises(InputError, match=r"1/saved_model\.pb: damaged"):
        follower.once()
    follower.add()
    follower.once()
    assert served(follower.root) == ([2], {})
    (follower.scratch / "models/ssfr" / CHAMPION).write_text("{")
    follower.once()
    assert [line for line in follower.said.lines if line.endswith("what is served stays")]


def test_a_folder_has_one_model_sync(follower: Follower, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_LOCK_WAIT_S", 0.1)
    follower.root.mkdir()
    with (
        locked(follower.root / ".sync.lock", "test"),
        pytest.raises(InputError, match="served: model-sync is in use by process"),
    ):
        follower.once()
