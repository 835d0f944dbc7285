"""What every step of the pipeline does around its work: settings, progress, resume, publication."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ssfr.components.config import Settings, parse_settings
from ssfr.components.config.cluster import ImageSettings
from ssfr.components.errors import InputError
from ssfr.components.runtime.processes import die_with, owner_on_this_machine
from ssfr.components.runtime.progress import EventFile, LogLines, Progress, disk_is_full, has_error
from ssfr.components.steps.checks import check_files
from ssfr.components.steps.code import code_digest, every_code_digest
from ssfr.components.steps.connections import Connections, declared
from ssfr.components.storage.artifact import Origin, read_json, sha256_json, verify, write_json
from ssfr.components.storage.ledger import ended, note, run_name
from ssfr.components.storage.location import Bucket, parse_location
from ssfr.components.storage.upload import find
from ssfr.components.storage.workdir import Workdir, open_workdir

IMAGE = ImageSettings().train
"""The container image of the steps, where `ssfr compile` names no other."""

LOCK = ".lock"
EVENTS = "events.jsonl"


@dataclass(frozen=True)
class InputData:
    """Data that no step made: a folder of this machine's, or an uploaded one."""

    location: str
    """A later step with this location finds the very same data, whatever was uploaded meanwhile."""
    files: Mapping[str, Mapping[str, Any]] | None
    """Digest and size [bytes] of each uploaded file, by name; None: data of this machine's."""
    _bring: Callable[[Collection[str]], str]

    @property
    def fingerprint(self) -> str | None:
        """Digest of uploaded data; None: of a folder, its reader says which files matter."""
        return None if self.files is None else sha256_json(self.files)

    def folder(self, without: Callable[[str], bool] = lambda name: False) -> str:
        """Return where the data are on this machine; uploaded ones are copied here if they were not yet.

        Parameters
        ----------
        without
            Which files the work does not read, though they count: these need not be copied.
        """
        return self._bring({name for name in self.files or () if not without(name)})

    def part(self, wanted: Callable[[str], bool]) -> InputData:
        """Return the data of which, where they are uploaded ones, only some files count and are copied."""
        if self.files is None:
            return self
        return replace(self, files={name: of for name, of in self.files.items() if wanted(name)})


@dataclass(frozen=True)
class OpenStep:
    """A step that is being done.

    What passes from task to task is a reference: a small file with the artifact's key. The artifact goes
    through our own storage, so that no version of Kubeflow copies it, and a folder, a container and a pod
    do the same.
    """

    connections: Connections
    name: str
    """Folder of its artifacts."""
    workdir: Workdir
    settings: Settings
    progress: Progress
    run: str | None
    """Name of the run that steps in pods of their own write down what they made for; None: this machine's."""
    given: str
    """The settings as they came, JSON."""
    _inputs: dict[str, Origin] = field(default_factory=dict)

    def remaining(self, key: str, repository: str) -> str:
        """Return "yes", or "no" where the last run did all that follows the first step's artifact.

        Only of runs whose steps are in pods of their own; here, steps look for themselves.
        """
        if self.run is None:
            return "yes"
        earlier = ended(self.workdir.store, key, self.given, repository, every_code_digest())
        if earlier is None:
            return "yes"
        self.progress.say(f"nothing new: run {earlier} ended with these data, settings and code")
        return "no"

    def take(self, label: str, artifact: Any) -> Path:
        """Return the folder of an input on this machine, after a check of all that is declared to be read.

        Parameters
        ----------
        label
            Of the input, as the step's connections have it.
        artifact
            A `kfp.dsl.Artifact`: the reference that an earlier step wrote.

        Raises
        ------
        InputError
            It is no reference of ours, or the artifact is gone; a file, column or dataset is absent, or of
            another type or unit.
        DamagedArtifactError
            A file's bytes are not those that were written.
        """
        if label not in self._inputs:
            self.identify(label, artifact)
        files = self.connections.files_of(label)
        folder = self.workdir.fetch(self._key(artifact))
        verify(folder, only=lambda name: declared(name, files) is not None)
        check_files(folder, files)
        return folder

    def take_each(self, label: str, artifacts: Iterable[Any], name: str) -> dict[str, Path]:
        """Return the folders of inputs that are alike, as `take`, by an entry of their metadata."""
        return {one.metadata[name]: self.take(f"{label}/{one.metadata[name]}", one) for one in artifacts}

    def identify(self, label: str, *artifacts: Any) -> None:
        """Make an input, or several as if they were one, part of the step's key, though none is copied yet.

        Raises
        ------
        InputError
            As `take`.
        """
        keys = [self._key(artifact) for artifact in artifacts]
        files = self.connections.files_of(label)
        digests = {
            name: of["sha256"]
            for key in keys
            for name, of in self._manifest(key)["files"].items()
            if (file := declared(name, files)) is not None and file.counts
        }
        self._inputs[label] = Origin(sha256_json(digests), " ".join(keys))

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

    def open_data(self, data: str) -> InputData:
        """Find the data that galaxies come from; what is in S3 is copied here only when its folder is needed.

        Parameters
        ----------
        data
            A folder of this machine's, or what `ssfr.components.storage.upload.find` finds.

        Raises
        ------
        InputError
            Nothing was uploaded there.
        """
        if not isinstance(parse_location(data), Bucket):
            return InputData(data, None, lambda _: data)
        above, key = find(data, self.settings.storage, self.progress)
        uploaded = open_workdir(above, self.settings.storage, self.progress)
        manifest = uploaded.store.manifest(key)
        if manifest is None:
            raise InputError(f"{data}: removed just now; run again")
        location = uploaded.location(key)
        self.progress.say(f"data: {location}")
        return InputData(location, manifest["files"], lambda only: str(uploaded.fetch(key, only)))

    def do(
        self,
        work: Callable[[Path], Mapping[str, Any]],
        *,
        output: Any = None,
        besides: Mapping[str, str] | None = None,
        extra: Mapping[str, Any] | None = None,
        still_true: Callable[[Path], bool] | None = None,
        label: str | None = None,
        noted: Mapping[str, Any] | None = None,
    ) -> str:
        """Do the step's work, or find it done; return the artifact's key.

        The key is a digest of what the step takes, of the settings and the units that its connections
        declare, and of its code.

        Parameters
        ----------
        work
            Writes into the folder it is given; returns the step's figures.
        output
            The `kfp.dsl.Artifact` that becomes a reference to the result.
        besides
            Fingerprints of what no step made, by name: data, or rows of a table.
        extra
            Anything else that the result depends on.
        still_true
            As `ssfr.components.storage.artifact.run_step`.
        label
            What the user calls this work; by default the step's name.
        noted
            What the manifest of the run says of this step besides.
        """
        settings = self.connections.result_settings(self.settings) | dict(extra or {})
        settings["units"] = self.connections.units()
        inputs = self._inputs | {name: Origin(digest) for name, digest in (besides or {}).items()}
        label = label or self.name

        def begin(folder: Path) -> Mapping[str, Any]:
            self.progress.start(label)
            return work(folder)

        code = code_digest(self.connections.code)
        key = self.workdir.run(self.name, inputs, settings, begin, code=code, still_true=still_true)
        location = self.workdir.location(key)
        if self.run is not None:
            note(self.workdir.store, self.run, label, key, noted)
        if output is not None:
            reference = {"key": key, "location": location}
            write_json(Path(output.path), reference)
            output.metadata.update(reference)
        self.progress.done(label, location)
        return key


@contextmanager
def open_step(
    connections: Connections, workdir: str, settings: str, part: str | None = None
) -> Iterator[OpenStep]:
    """Enter a step of a run whose artifacts are in `workdir`, a folder or ``s3://bucket/prefix``.

    With a `part`, its artifacts are in a folder of their own below the step's.

    In a folder, its progress goes to the run's event file, and it ends when the run's owner ends. An error
    of the user's is put among the events as one line before it is raised; after it no other step of the
    run begins.
    """
    name = connections.step if part is None else f"{connections.step}/{part}"
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
        run = None if here else run_name(settings)
        yield OpenStep(connections, name, opened, parsed, progress, run, settings)
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
