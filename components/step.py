"""What every step of the pipeline does around its work: settings, progress, resume, publication."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components.config import Settings, parse_settings
from components.errors import InputError
from components.processes import die_with, owner_on_this_machine
from components.progress import EventFile, Progress, disk_is_full, has_error
from components.storage.artifact import run_step

IMAGE = "ssfr/train:0.1.0"
"""The container image of the steps on a cluster."""

EVERY_SECTION = tuple(Settings.model_fields)

LOCK = ".lock"
EVENTS = "events.jsonl"


@dataclass(frozen=True)
class Step:
    """A step that is being done in a run's folder."""

    name: str
    workdir: Path
    settings: Settings
    progress: Progress

    def do(
        self,
        work: Callable[[Path], Mapping[str, Any]],
        *,
        inputs: Mapping[str, Path | str],
        sections: tuple[str, ...],
        extra: Mapping[str, Any] | None = None,
        room: str | None = None,
        still_true: Callable[[Path], bool] | None = None,
        label: str | None = None,
    ) -> str:
        """Do the step's work, or find it done; return the artifact's folder.

        Parameters
        ----------
        work
            Writes into the folder it is given; returns the step's figures.
        inputs
            Artifact folders, or fingerprints of foreign data.
        sections
            The settings that the step depends on, as dotted names: only a change in these makes it new.
            `EVERY_SECTION` for all.
        extra
            Anything else that the result depends on.
        room, still_true
            As `components.storage.artifact.run_step`.
        label
            What the user knows this work by; by default the step's name.
        """
        settings = {name: _section(self.settings, name) for name in sections} | dict(extra or {})
        label = label or self.name

        def begin(folder: Path) -> Mapping[str, Any]:
            self.progress.start(label)
            return work(folder)

        folder = run_step(self.name, self.workdir, inputs, settings, begin, room=room, still_true=still_true)
        self.progress.done(label, folder)
        return str(folder)


@contextmanager
def open_step(name: str, workdir: str, settings: str) -> Iterator[Step]:
    """Enter a step: its progress goes to the run's event file, and it ends when the run's owner ends.

    An error of the user's is put among the events as one line before it is raised; after it no other step
    of the run begins.
    """
    folder = Path(workdir)
    if has_error(folder / EVENTS):
        raise InputError(f"{name}: not begun, since the run has failed")
    progress = Progress(EventFile(folder / EVENTS))
    owner = owner_on_this_machine(folder / LOCK)
    if owner is not None:
        die_with(owner)
    try:
        yield Step(name, folder, parse_settings_json(settings), progress)
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
