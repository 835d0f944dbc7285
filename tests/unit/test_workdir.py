"""Copies of a store's artifacts on a machine that several tasks share."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from stored_artifacts import FILES, contents, write_artifact

from ssfr.components.config.storage import StorageSettings
from ssfr.components.errors import InputError
from ssfr.components.runtime.progress import SILENT
from ssfr.components.storage.folder import FolderStore
from ssfr.components.storage.workdir import StoreWorkdir


class Awaited(FolderStore):
    """A store that begins to copy when all who want a copy have asked for it."""

    def __init__(self, root, readers):
        super().__init__(root, StorageSettings(), SILENT)
        self._together = threading.Barrier(readers)

    def fetch(self, key, folder, only=None):
        self._together.wait(30)
        super().fetch(key, folder, only)


@pytest.mark.parametrize("only", [None, ["report.html"]])
def test_tasks_that_want_the_same_artifact_at_the_same_time_all_get_it(tmp_path, only):
    store = Awaited(tmp_path / "store", 2)
    store.publish(write_artifact(tmp_path), "training/0123")
    workdir = StoreWorkdir("s3://bucket/runs", store, tmp_path / "mirror")
    with ThreadPoolExecutor(2) as pool:
        folders = list(pool.map(lambda _: workdir.fetch("training/0123", only), range(2)))
    assert folders[0] == folders[1]
    if only is None:
        assert contents(folders[0]) == FILES
    else:
        assert (folders[0] / "report.html").read_bytes() == FILES["report.html"]


def test_what_is_nowhere_is_still_said(tmp_path):
    workdir = StoreWorkdir("s3://bucket/runs", Awaited(tmp_path / "store", 1), tmp_path / "mirror")
    with pytest.raises(InputError, match="no artifact 'training/0123'"):
        workdir.fetch("training/0123")
