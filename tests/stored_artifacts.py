"""Artifacts to store, and progress to look at, for the tests of both stores."""

from __future__ import annotations

import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ssfr.components.runtime.progress import Progress
from ssfr.components.storage import artifact
from ssfr.components.storage.manifest import MANIFEST
from ssfr.components.storage.store import ChangedDocumentError, Store

FILES = {"report.html": b"<p>", "sub/maps 1% é.h5": bytes(range(256)) * 40, "empty": b""}


def random_bytes(count: int, seed: int = 0) -> bytes:
    return np.random.default_rng(seed).bytes(count)


def write_artifact(parent: Path, files: dict[str, bytes] = FILES, name: str = "") -> Path:
    """Publish files as a step does."""
    staging, final = parent / f"staging-{uuid.uuid4().hex}", parent / (name or uuid.uuid4().hex)
    for path, body in files.items():
        (staging / path).parent.mkdir(parents=True, exist_ok=True)
        (staging / path).write_bytes(body)
    artifact.publish(staging, final, {"step": "training", "key": final.name})
    return final


def contents(folder: Path) -> dict[str, bytes]:
    """Every file but the manifest, which is checked."""
    artifact.verify(folder)
    paths = (path for path in folder.rglob("*") if path.is_file() and path.name != MANIFEST)
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def publish_together(stores: list[Store], folders: list[Path], key: str) -> list[bool]:
    """Publish a folder from each store under one key, all at the same time."""
    together = threading.Barrier(len(stores))

    def publish(store: Store, folder: Path) -> bool:
        together.wait()
        return store.publish(folder, key)

    with ThreadPoolExecutor(len(stores)) as pool:
        return list(pool.map(publish, stores, folders))


def check_listing_of_documents(store: Store) -> None:
    """Documents are listed with their times, and removed."""
    begun = time.time()
    names = ["runs/1/run.json", "runs/2/run.json", "runs.json"]
    for name in names:
        store.write_document(name, 2, store.write_document(name, 1, None))
    found = store.documents("runs")
    assert set(found) == set(names[:2])
    assert all(begun - 5 < written < time.time() + 5 for written in found.values())
    store.remove_document(names[0])
    assert store.read_document(names[0]) is None
    assert list(store.documents("runs")) == names[1:2]
    store.remove_document(names[0])


def check_replacing_of_a_document(store: Store) -> None:
    """Who did not read the newest version can't replace it."""
    assert store.read_document("models/champion.json") is None
    first = store.write_document("models/champion.json", {"version": 1}, None)
    with pytest.raises(ChangedDocumentError, match=r"champion\.json: changed by another writer"):
        store.write_document("models/champion.json", {"version": 9}, None)
    second = store.write_document("models/champion.json", {"version": 2}, first)
    for late in (None, first):
        with pytest.raises(ChangedDocumentError):
            store.write_document("models/champion.json", {"version": 9}, late)
    document = store.read_document("models/champion.json")
    assert document is not None
    assert (document.data, document.version) == ({"version": 2}, second)


class Said(Progress):
    """Keeps the lines that it is told."""

    def __init__(self) -> None:
        super().__init__(self)
        self.lines: list[str] = []

    def emit(self, event: dict[str, Any]) -> None:
        if event["kind"] in ("say", "warn"):
            self.lines.append(event["text"])
