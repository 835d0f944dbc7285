"""Model-sync: keeps a local folder, which a server reads, as a model repository in a store describes it.

The server never sees a partial version: a version appears, and disappears, by one rename, and is named in
``models.config`` (TF Serving's, as text) only while it is complete. After a kill at any
moment the next start removes what was begun and goes on. What can't be read or is damaged is reported, and
what is served stays.
"""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from ssfr.components.config import ServingSettings, Settings
from ssfr.components.errors import InputError
from ssfr.components.runtime.processes import locked
from ssfr.components.runtime.progress import Progress
from ssfr.components.serving.repository.folder import (
    CHAMPION,
    STABLE,
    TRIAL,
    Champion,
    ModelFolder,
    verify_version,
)
from ssfr.components.serving.repository.remote import RemoteRepository, remove_leftovers
from ssfr.components.storage.artifact import atomic_file, remove_whole, write_json

CONFIG = "models.config"
STATE = "sync.json"
_LOCK_WAIT_S = 10.0


class ModelSync:
    """Brings one model of a repository into a folder, again and again; no other process writes there.

    Parameters
    ----------
    repository
        Where the model comes from.
    root
        The folder: ``<model>/<version>/`` and ``<model>/champion.json`` for our server, ``models.config`` for
        TF Serving, and ``sync.json``: what the last look found, for probes.
    keep
        So many of the newest versions are kept beside the labelled ones.
    settings
        ``retire_s``.
    progress
        Reports what changed.
    label
        None: every labelled version is served. ``stable``: that one alone, and what is on trial to follow
        it. Another, as ``canary`` in a Deployment of its own: that one alone, also to requests for
        ``stable``; the stable one while no version has the label.
    """

    def __init__(
        self,
        repository: RemoteRepository,
        root: Path,
        keep: int,
        settings: ServingSettings,
        progress: Progress,
        label: str | None = None,
    ) -> None:
        self._repository, self._keep, self._label = repository, keep, label
        self._retire_s, self._progress = settings.retire_s, progress
        self._root = root.resolve()
        self._folder = ModelFolder(self._root, repository.name)
        self._complete: set[int] = set()
        """Versions that this process found complete."""
        self._inherited: set[int] = set()
        """Of these, those from before this process, which may be another repository's."""
        self._served_at: dict[int, float] = {}
        """[s] when a version was last wanted by the server."""
        self._written: Champion | None = None
        self.serves = False
        """Whether the last look left something for the server."""

    def begin(self) -> None:
        """Remove what a killed process left, and check again what the server may have loaded."""
        self._folder.path.mkdir(parents=True, exist_ok=True)
        for folder in (self._root, self._folder.path):
            remove_leftovers(folder)
        text = (self._root / CONFIG).read_text() if (self._root / CONFIG).exists() else ""
        for version in map(int, re.findall(r"versions: (\d+)", text)):
            with suppress(InputError):
                verify_version(self._folder.version_path(version))
                self._complete.add(version)
                self._inherited.add(version)
                self._served_at[version] = time.monotonic()
        self.serves = bool(self._served_at)

    def look(self) -> list[str]:
        """Make the folder as the repository describes it, as far as possible, and return the problems.

        Raises
        ------
        InputError
            The repository can't be read; nothing was changed.
        """
        problems: list[str] = []
        labels_read = self._repository.read()
        champion = labels_read.champion
        there = self._repository.versions(problems.append)
        before = self._labels_before()
        wanted = self._chosen(champion.labels)
        if before and not wanted and labels_read.document is None:
            problems.append(f"{self._repository}: no version is labelled any more; what is served stays")
            wanted = before
        spare = there[-self._keep :] if self._label is None else there[-1:] if not wanted else []
        for version in dict.fromkeys([*wanted.values(), *reversed(spare)]):
            self._bring(version, problems)
        labels = {label: self._here(version, before.get(label)) for label, version in wanted.items()}
        served = self._served(
            labels.values() if wanted else [one for one in spare if one in self._complete][-1:]
        )
        self._write(Champion(labels, champion.history), served, problems)
        if there:
            self._remove(set(self._folder.versions()) - {*wanted.values(), *spare, *served})
        self.serves = bool(served)
        return problems

    def _labels_before(self) -> Mapping[str, int]:
        try:
            return self._folder.champion().labels
        except InputError:
            return {}

    def _chosen(self, labels: Mapping[str, int]) -> Mapping[str, int]:
        if self._label is None:
            return labels
        if self._label == STABLE:
            return {label: version for label, version in labels.items() if label in (STABLE, TRIAL)}
        version = labels.get(self._label, labels.get(STABLE))
        return {} if version is None else {STABLE: version, self._label: version}

    def _bring(self, version: int, problems: list[str]) -> None:
        if version in self._complete and self._folder.version_path(version).is_dir():
            if version not in self._inherited:
                return
        else:
            self._complete.discard(version)
        try:
            self._repository.bring(self._folder, version)
        except InputError as error:
            problems.append(str(error))
        else:
            self._complete.add(version)
            self._inherited.discard(version)
            self._progress.say(f"{self._folder.name} version {version} is here")

    def _here(self, version: int, before: int | None) -> int:
        """Return where a label is: at its version, or where it was if that could not be brought.

        With neither here it names its version all the same, so that no other is taken for it.
        """
        return before if version not in self._complete and before in self._complete else version

    def _served(self, versions: Iterable[int]) -> list[int]:
        """Return the versions to load: of these the complete ones, and those that were wanted just now.

        TF Serving moves a label only to a version that is loaded already, at a later look at its
        configuration: until then the one before must stay.
        """
        now = time.monotonic()
        self._served_at |= dict.fromkeys(versions, now)
        self._served_at = {
            version: at
            for version, at in self._served_at.items()
            if now - at <= self._retire_s and version in self._complete
        }
        return sorted(self._served_at)

    def _write(self, champion: Champion, served: list[int], problems: list[str]) -> None:
        labels = {label: version for label, version in sorted(champion.labels.items()) if version in served}
        if champion != self._written:
            write_json(self._folder.path / CHAMPION, champion.document)
        config = self._root / CONFIG
        text = server_config(self._folder.name, self._folder.path, served, labels)
        if not config.exists() or config.read_text() != text:
            with atomic_file(config) as part:
                part.write_text(text)
            placed = ", ".join(f"{label} is version {version}" for label, version in labels.items())
            loaded = f"to be loaded: {', '.join(map(str, served))}" if served else "no version to serve yet"
            self._progress.say(f"{self._folder.name}: {placed or 'nothing is labelled'}; {loaded}")
        self._written = champion
        state = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "repository": str(self._repository),
            "labels": labels,
            "served": served,
            "problems": problems,
        }
        write_json(self._root / STATE, state)

    def _remove(self, versions: Iterable[int]) -> None:
        for version in sorted(versions):
            self._complete.discard(version)
            remove_whole(self._folder.version_path(version), self._folder.path / f".removed-{version}")
            self._progress.say(f"{self._folder.name} version {version} is gone")


def server_config(name: str, folder: Path, versions: Sequence[int], labels: Mapping[str, int]) -> str:
    """Return a ModelServerConfig of one model, in protocol buffers' text form.

    Parameters
    ----------
    name
        Of the model.
    folder
        With its versions.
    versions
        To be loaded; none: the configuration names no model.
    labels
        label -> version.
    """
    if not versions:
        return "model_config_list {\n}\n"
    lines = [
        f"    name: {_quoted(name)}",
        f"    base_path: {_quoted(str(folder))}",
        '    model_platform: "tensorflow"',
        "    model_version_policy {",
        "      specific {",
        *(f"        versions: {version}" for version in versions),
        "      }",
        "    }",
        *(
            f"    version_labels {{ key: {_quoted(label)} value: {version} }}"
            for label, version in labels.items()
        ),
    ]
    return "\n".join(["model_config_list {", "  config {", *lines, "  }", "}", ""])


def sync(
    location: str,
    root: Path,
    settings: Settings,
    progress: Progress,
    *,
    once: bool = False,
    label: str | None = None,
    stop: threading.Event | None = None,
) -> None:
    """Keep a folder as a repository describes it: once, or every ``serving.sync_s`` seconds until `stop`.

    Parameters
    ----------
    location
        Of the repository.
    root
        The folder, for one model-sync at a time.
    settings
        storage, serving, deployment.name and deployment.keep_versions.
    progress
        Reports what changed, and each problem once.
    once
        For an init container: return after one look that leaves something to serve, or a repository that is
        still empty.
    label
        As `ModelSync`.
    stop
        Ends it.

    Raises
    ------
    InputError
        A bad location, the folder can't be written or is another model-sync's; with `once` also what kept
        it from having anything to serve.
    """
    stop = stop or threading.Event()
    repository = RemoteRepository(location, settings.deployment.name, settings.storage, progress)
    with locked(root / ".sync.lock", f"{root}: model-sync", _LOCK_WAIT_S):
        model = ModelSync(
            repository, root, settings.deployment.keep_versions, settings.serving, progress, label
        )
        progress.say(f"{repository} -> {root}")
        model.begin()
        warned: set[str] = set()
        while not stop.is_set():
            try:
                problems = model.look()
            except (InputError, OSError) as error:
                problems = [str(error)]
            for problem in problems:
                if problem not in warned:
                    progress.warn(f"{problem}; what is served stays")
            warned = set(problems)
            if once:
                if problems and not model.serves:
                    raise InputError(problems[0])
                return
            stop.wait(settings.serving.sync_s)


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
