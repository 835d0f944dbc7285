"""Shows what the steps report: bars on a terminal, plain lines elsewhere."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

from ssfr.components.errors import InputError
from ssfr.components.runtime.progress import LogLines, Sink, describe


class TerminalBars:
    """A bar a task, and lines above the bars for what is said."""

    def __init__(self, console: Console) -> None:
        self._bars = Bars(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[unit]}"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[figures]}", style="cyan"),
            console=console,
        )
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> TerminalBars:
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    def emit(self, event: dict[str, Any]) -> None:
        """Show one event."""
        if event["kind"] != "task":
            style = {"warn": "yellow", "error": "red"}.get(event["kind"])
            self._bars.console.print(describe(event), style=style, markup=False, highlight=False)
            return
        label = event["label"]
        figures = " ".join(f"{name} {value:.4g}" for name, value in event["figures"].items())
        if label not in self._tasks:
            self._tasks[label] = self._bars.add_task(label, total=event["total"], unit="", figures="")
        self._bars.update(
            self._tasks[label],
            completed=event["done"],
            total=event["total"],
            unit=event["unit"],
            figures=figures,
        )


@contextmanager
def display(console: Console) -> Iterator[Sink]:
    """Give the sink that suits where the output goes."""
    if console.is_terminal:
        with TerminalBars(console) as bars:
            yield bars
    else:
        yield LogLines(console.file)


@dataclass
class RunEvents:
    """The errors and artifacts that a run's events reported."""

    path: Path
    errors: list[str] = field(default_factory=list)
    artifacts: dict[str, Path] = field(default_factory=dict)

    def wait_for(self, label: str, timeout_s: float = 10.0) -> Path:
        """Return the folder of an artifact that is done; its event may still be on its way.

        Raises
        ------
        InputError
            It does not come.
        """
        deadline = time.monotonic() + timeout_s
        while label not in self.artifacts and time.monotonic() < deadline:
            time.sleep(0.05)
        if label not in self.artifacts:
            raise InputError(
                f"{self.path}: does not say that {label} ended; is the disk full? run the same command again"
            )
        return self.artifacts[label]


@contextmanager
def following(path: Path, sink: Sink) -> Iterator[RunEvents]:
    """Pass on the events that are appended to a file while the block runs, and keep what matters after."""
    stop = threading.Event()
    reported = RunEvents(path)

    def follow() -> None:
        position = 0
        while True:
            last_look = stop.wait(0.2)
            if path.exists():
                with path.open() as stream:
                    stream.seek(position)
                    for line in iter(stream.readline, ""):
                        if not line.endswith("\n"):
                            break
                        position += len(line.encode())
                        _take(line, reported, sink)
            if last_look:
                return

    thread = threading.Thread(target=follow, daemon=True, name="events")
    thread.start()
    try:
        yield reported
    finally:
        stop.set()
        thread.join()


def _take(line: str, reported: RunEvents, sink: Sink) -> None:
    try:
        event = json.loads(line)
    except json.JSONDecodeError:  # half a line, from when the disk was full
        return
    if event["kind"] == "error":
        reported.errors.append(event["text"])
        return
    if event["kind"] == "done":
        reported.artifacts[event["label"]] = Path(event["location"])
    with suppress(OSError):  # a terminal or a pipe that was closed; the work goes on
        sink.emit(event)
