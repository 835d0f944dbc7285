"""What every step of the pipeline does around its work: settings, progress, resume, publication."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from ssfr.components.config import Settings, parse_settings
from ssfr.components.config.cluster import ImageSettings
from ssfr.components.errors import InputError
from ssfr.components.runtime.processes import die_with, owner_on_this_machine
from ssfr.components.runtime.progress import EventFile, LogLines, Progress, disk_is_full, has_error
from ssfr.components.storage.artifact import Origin, read_json, sha256_json, write_json
from ssfr.components.storage.ledger import ended, note, run_name
from ssfr.components.storage.location import Bucket, parse_location
from ssfr.components.storage.upload import find
from ssfr.components.storage.workdir import Workdir, open_workdir

IMAGE = ImageSettings().train
"""The container image of the steps, where `ssfr compile` names no other."""

EVERY_SECTION = tuple(name for name in Settings.model_fields if name not in ("storage", "cluster"))
"""Of the settings that a result can depend on: where it is made and kept is none of these."""

LOCK = ".lock"
EVENTS = "events.jsonl"


@dataclass(frozen=True)
class Data:
    """Data that no step made: a folder of this machine's, or an uploaded one."""

    location: str
    """A later step that is told this finds the very same data, whatever was uploaded meanwhile."""
    files: Mapping[str, Mapping[str, Any]] | None
    """Digest and size [bytes] of each uploaded file, by name; None: data of this machine's."""
    _bring: Callable[[Collection[str]], str]

    @property
    def fingerprint(self) -> str | None:
        """Digest of uploaded data; None: ask those who know which files of a folder matter."""
        return None if self.files is None else sha256_json(self.files)

    def folder(self, without: Callable[[str], bool] = lambda name: False) -> str:
        """Return where the data are on this machine; uploaded ones are copied here if they were not yet.

        Parameters
        ----------
        without
            Which files the work does not read, though they count: these need not be copied.
        """
        return self._bring({name for name in self.files or () if not without(name)})

    def part(self, wanted: Callable[[str], bool]) -> Data:
        """Return the data of which, where they are uploaded ones, only some files count and are copied."""
        if self.files is None:
            return self
        return replace(self, files={name: of for name, of in self.files.items() if wanted(name)})


@dataclass(frozen=True)
class Step:
    """A step that is being done.

    What passes from task to task is a reference: a small file with the artifact's key. The artifact goes
    through our own storage, so that no version of Kubeflow copies it, and a folder, a container and a pod
    do the same.
    """

    name: str
    workdir: Workdir
    settings: Settings
    progress: Progress
    run: str | None
    """Name of the run that steps in pods of their own write down what they made for; None: this machine's."""
    asked: str
    """The settings as they came, JSON."""

    def go_on(self, key: str, repository: str) -> str:
        """Return "yes", or "no" where the last run did all that follows the first step's artifact.

        Only of runs whose steps are in pods of their own; here, steps look for themselves.
        """
        if self.run is None:
            return "yes"
        earlier = ended(self.workdir.store, key, self.asked, repository)
        if earlier is None:
            return "yes"
        self.progress.say(f"nothing new: run {earlier} ended with these data, settings and code")
        return "no"

    def take(self, artifact: Any) -> Path:
        """Return the folder of an artifact that an earlier step made, on this machine.

        Parameters
        ----------
        artifact
            A `kfp.dsl.Artifact`.

        Raises
        ------
        InputError
            It is no reference of ours, or what it refers to is gone.
        """
        return self.workdir.fetch(self._key(artifact))

    def digests(self, artifact: Any, pattern: str = "*") -> dict[str, str]:
        """Return the SHA-256 of an artifact's files by name, as its manifest says, without copying any.

        Parameters
        ----------
        artifact
            A `kfp.dsl.Artifact`.
        pattern
            Of the names, like ``maps-*.h5``.

        Raises
        ------
        InputError
            As `take`.
        """
        files = self._manifest(self._key(artifact))["files"]
        return {name: of["sha256"] for name, of in files.items() if fnmatch(name, pattern)}

    def figures(self, key: str) -> dict[str, Any]:
        """Return the figures of an artifact that `do` made or found.

        Raises
        ------
        InputError
            It was removed meanwhile.
        """
        figures: dict[str, Any] = self._manifest(key)["figures"]
        return figures

    def _key(self, artifact: Any) -> str:
        try:
            return str(read_json(Path(artifact.path))["key"])
        except KeyError:
            raise InputError(f"{self.name}: {artifact.path}: not a reference of ours; run again") from None

    def _manifest(self, key: str) -> dict[str, Any]:
        manifest = self.workdir.store.manifest(key)
        if manifest is None:
            raise InputError(f"{self.workdir.location(key)}: removed just now; run again")
        return manifest

    def bring(self, data: str) -> Data:
        """Find the data that galaxies come from; what is in S3 is copied here only where it is asked for.

        Parameters
        ----------
        data
            What steps are told: a folder of this machine's, or what
            `ssfr.components.storage.upload.find` finds.

        Raises
        ------
        InputError
            Nothing was uploaded there.
        """
        if not isinstance(parse_location(data), Bucket):
            return Data(data, None, lambda _: data)
        above, key = find(data, self.settings.storage, self.progress)
        uploaded = open_workdir(above, self.settings.storage, self.progress)
        manifest = uploaded.store.manifest(key)
        if manifest is None:
            raise InputError(f"{data}: removed just now; run again")
        location = uploaded.location(key)
        self.progress.say(f"data: {location}")
        return Data(location, manifest["files"], lambda only: str(uploaded.fetch(key, only)))

    def do(
        self,
        work: Callable[[Path], Mapping[str, Any]],
        *,
        output: Any = None,
        inputs: Mapping[str, Origin],
        sections: tuple[str, ...],
        extra: Mapping[str, Any] | None = None,
        room: str | None = None,
        still_true: Callable[[Path], bool] | None = None,
        label: str | None = None,
        told: Mapping[str, Any] | None = None,
    ) -> str:
        """Do the step's work, or find it done; return the artifact's key.

        Parameters
        ----------
        work
            Writes into the folder it is given; returns the step's figures.
        output
            The `kfp.dsl.Artifact` that becomes a reference to the result.
        inputs
            Artifacts, or fingerprints of foreign data.
        sections
            The settings that the step depends on, as dotted names: only a change in these makes it new.
            `EVERY_SECTION` for all.
        extra
            Anything else that the result depends on.
        room, still_true
            As `ssfr.components.storage.artifact.run_step`.
        label
            What the user knows this work by; by default the step's name.
        told
            What the manifest of the run says of this step besides.
        """
        settings = {name: _section(self.settings, name) for name in sections} | dict(extra or {})
        label = label or self.name

        def begin(folder: Path) -> Mapping[str, Any]:
            self.progress.start(label)
            return work(folder)

        key = self.workdir.run(self.name, inputs, settings, begin, room=room, still_true=still_true)
        location = self.workdir.location(key)
        if self.run is not None:
            note(self.workdir.store, self.run, label, key, told)
        if output is not None:
            reference = {"key": key, "location": location}
            write_json(Path(output.path), reference)
            output.metadata.update(reference)
        self.progress.done(label, location)
        return key


@contextmanager
def open_step(name: str, workdir: str, settings: str) -> Iterator[Step]:
    """Enter a step of a run whose artifacts are in `workdir`, a folder or ``s3://bucket/prefix``.

    In a folder, its progress goes to the run's event file, and it ends when the run's owner ends. An error
    of the user's is put among the events as one line before it is raised; after it no other step of the
    run begins.
    """
    parsed = parse_settings_json(settings)
    place = parse_location(workdir)
    here = isinstance(place, Path)
    if isinstance(place, Path):
        if has_error(place / EVENTS):
            raise InputError(f"{name}: not begun, since the run has failed")
        progress = Progress(EventFile(place / EVENTS))
        owner = owner_on_this_machine(place / LOCK)
        if owner is not None:
            die_with(owner)
    else:
        progress = Progress(LogLines(sys.stdout))
    try:
        opened = open_workdir(workdir, parsed.storage, progress)
        yield Step(name, opened, parsed, progress, None if here else run_name(settings), settings)
    except InputError as error:
        progress.error(f"{name}: {error}")
        raise
    except OSError as error:
        if not disk_is_full(error):
            raise
        line = f"{name}: {workdir}: no space left on the disk; free some and run the same command again"
        progress.error(line)
        raise InputError(line) from error


def parse_settings_json(text: str) -> Settings:
    """Read settings that travelled through the pipeline as JSON."""
    return parse_settings(json.loads(text), "settings")


def _section(settings: Settings, name: str) -> Any:
    """Return the settings of a section, less those that say only how fast the work is done."""
    value: Any = settings.model_dump(mode="json")
    for part in name.split("."):
        value = value[part]
    return {key: of for key, of in value.items() if key != "workers"} if isinstance(value, dict) else value
