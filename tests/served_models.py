"""Model repositories to follow, a model-sync in a process of its own, and a watcher of what it shows."""

from __future__ import annotations

import random
import subprocess
import sys
import threading
import time
import uuid
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml
from google.protobuf import text_format
from tensorflow_serving.config.model_server_config_pb2 import ModelConfig, ModelServerConfig

from ssfr.components.config.storage import StorageSettings
from ssfr.components.errors import InputError
from ssfr.components.serving.repository.folder import ModelFolder, verify_version, version_of
from ssfr.components.serving.repository.remote import RemoteRepository
from ssfr.components.serving.repository.sync import CONFIG
from ssfr.components.storage.artifact import publish

_ROOT = Path(__file__).resolve().parents[1]
_SYNC = "import typer; from ssfr.pipelines.kubeflow.operate import model_sync; typer.run(model_sync)"


def write_version(parent: Path, digest: str = "d", files: dict[str, bytes] | None = None) -> Path:
    """Write a version folder as an export does; what it holds is no program that TensorFlow would load."""
    staging = parent / f"staging-{uuid.uuid4().hex}"
    bodies = {"saved_model.pb": b"program", "variables/data": digest.encode(), **(files or {})}
    for name, body in bodies.items():
        (staging / name).parent.mkdir(parents=True, exist_ok=True)
        (staging / name).write_bytes(body)
    final = parent / uuid.uuid4().hex
    publish(staging, final, {"model_digest": digest})
    return final


def label(repository: RemoteRepository, **labels: int) -> None:
    """Move labels as a roll-out does."""
    before = repository.read()
    line = {"version": max(labels.values()), "promoted": "stable" in labels}
    repository.write(before, before.champion.noted({**before.champion.labels, **labels}, line))


def server_config(root: Path) -> ModelConfig | None:
    """Return the one model of models.config as TF Serving would read it."""
    parsed = text_format.Parse((root / CONFIG).read_text(), ModelServerConfig())
    models = list(parsed.model_config_list.config)
    assert len(models) <= 1
    return models[0] if models else None


def served(root: Path) -> tuple[list[int], dict[str, int]]:
    """Return the versions and the labels in models.config."""
    model = server_config(root)
    if model is None:
        return [], {}
    return list(model.model_version_policy.specific.versions), dict(model.version_labels)


def model_sync(
    location: str, root: Path, storage: StorageSettings, *options: str, **serving: Any
) -> subprocess.Popen[str]:
    """Start a model-sync, as a container does."""
    root.mkdir(parents=True, exist_ok=True)
    settings = root.with_name(f"{root.name}.yaml")
    data = {
        "storage": storage.model_dump(mode="json"),
        "serving": {"sync_s": 0.1, "retire_s": 1.0, **serving},
        "deployment": {"name": "toy", "keep_versions": 1},
    }
    settings.write_text(yaml.safe_dump(data))
    command = [sys.executable, "-c", _SYNC, "--repository", location, "--folder", str(root)]
    command += ["--settings", str(settings), *options]
    return subprocess.Popen(command, cwd=_ROOT, stderr=subprocess.PIPE, text=True)


def begun(process: subprocess.Popen[str]) -> None:
    """Wait for the first line of a model-sync, and let the others go."""
    stream = process.stderr
    assert stream is not None
    assert stream.readline(), "it ended before it began"
    threading.Thread(target=lambda: [None for _ in stream], daemon=True).start()


class Watcher:
    """Looks at a model's folder without pause; what is visible there and not whole is kept in `partial`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._whole: set[tuple[int, ...]] = set()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self.partial: list[str] = []
        self.seen: Counter[int] = Counter()
        """Version -> how often it appeared anew, whole."""

    def __enter__(self) -> Watcher:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def look(self) -> None:
        """Check every version that is there now."""
        for path in self._folder.iterdir() if self._folder.is_dir() else ():
            version = version_of(path.name)
            if (
                version is None
                or (identity := _identity(path)) is None
                or (version, *identity) in self._whole
            ):
                continue
            try:
                verify_version(path)
            except (InputError, OSError) as error:
                # One that was removed meanwhile was renamed before a file of it went.
                if _identity(path) == identity:
                    self.partial.append(str(error))
            else:
                self._whole.add((version, *identity))
                self.seen[version] += 1

    def _watch(self) -> None:
        while not self._stop.wait(0.001):
            self.look()


def _identity(path: Path) -> tuple[int, int] | None:
    with suppress(FileNotFoundError):
        status = path.stat()
        return status.st_ino, status.st_mtime_ns
    return None


def kill_rounds(
    rounds: int, repository: RemoteRepository, root: Path, storage: StorageSettings, seed: int = 0
) -> tuple[Counter[str], list[str]]:
    """Kill a model-sync at random moments of its work; the repository must have versions 1 to 3.

    Version 1 or 2 is labelled, whichever is not here, so that in each round it is to be brought and the other
    removed.

    Returns
    -------
    Counter
        rounds; in how many the work was "not begun", "cut" or "ended" when the process was killed; versions
        that "appeared" whole.
    list of str
        Each version that was visible and not whole, and all that models.config named and was not there.
    """
    rng, tally, wrong = random.Random(seed), Counter[str](), []
    options: dict[str, Any] = {"sync_s": 0.05, "retire_s": 0.0}
    label(repository, stable=1)
    seconds = _seconds_of_work(repository, root, storage, options)
    target, ended = 2, True
    with Watcher(root / repository.name) as watcher:
        for _ in range(rounds):
            if ended:
                target = 3 - target
                label(repository, stable=target)
            process = model_sync(repository.location, root, storage, **options)
            begun(process)
            time.sleep(rng.uniform(0, 1.5 * seconds))
            process.kill()
            process.wait()
            watcher.look()
            wrong += _named_but_absent(root, repository.name)
            there, leftovers = _there(repository, root)
            ended = _is_done(repository, root, target)
            tally["ended" if ended else "cut" if leftovers or target in there else "not begun"] += 1
    assert model_sync(repository.location, root, storage, "--once", **options).wait() == 0
    last = ModelFolder(root, repository.name)
    if served(root)[1] != {"stable": target} or [path for path in last.path.glob(".*") if path.is_dir()]:
        wrong.append(f"after the last round: {served(root)}, {sorted(last.path.iterdir())}")
    tally["rounds"], tally["appeared"] = rounds, sum(watcher.seen.values())
    return tally, watcher.partial + wrong


def _seconds_of_work(
    repository: RemoteRepository, root: Path, storage: StorageSettings, options: dict[str, Any]
) -> float:
    """Return how long a look takes that brings one version and removes another [s]."""
    assert model_sync(repository.location, root, storage, "--once", **options).wait() == 0
    label(repository, stable=2)
    process = model_sync(repository.location, root, storage, **options)
    begun(process)
    started = time.monotonic()
    while not _is_done(repository, root, 2):
        assert process.poll() is None
        time.sleep(0.005)
    seconds = time.monotonic() - started
    process.kill()
    process.wait()
    return seconds


def _is_done(repository: RemoteRepository, root: Path, target: int) -> bool:
    """Whether `target` is there and served, the version before it gone, and nothing left of the work."""
    there, leftovers = _there(repository, root)
    return not leftovers and served(root)[1] == {"stable": target} and there == sorted({target, 3})


def _there(repository: RemoteRepository, root: Path) -> tuple[list[int], list[Path]]:
    """Return the versions that a server would see, and what else lies beside them."""
    folder = ModelFolder(root, repository.name)
    return folder.versions(), [path for path in folder.path.iterdir() if path.name.startswith(".")]


def _named_but_absent(root: Path, name: str) -> list[str]:
    versions, labels = served(root)
    there = ModelFolder(root, name).versions()
    return [f"{CONFIG} names {one}" for one in {*versions, *labels.values()} - set(there)]
