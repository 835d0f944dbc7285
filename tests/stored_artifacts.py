"""Artifacts to store, and progress to look at, for the tests of both stores."""

from __future__ import annotations

import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from components.progress import Progress
from components.storage import artifact
from components.storage.artifact import MANIFEST
from components.storage.store import Store

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


class Said(Progress):
    """Keeps the lines that it is told."""

    def __init__(self) -> None:
        super().__init__(self)
        self.lines: list[str] = []

    def emit(self, event: dict[str, Any]) -> None:
        if event["kind"] in ("say", "warn"):
            self.lines.append(event["text"])
