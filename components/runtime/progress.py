"""Say what long work is doing: bars on a terminal, plain lines in a log, events in a file."""

from __future__ import annotations

import errno
import json
import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, Protocol


class Sink(Protocol):
    """Receives events: "kind" is task, start, say, warn, error or done."""

    def emit(self, event: dict[str, Any]) -> None:
        """Take one event; must be cheap."""


_ERROR = json.dumps({"kind": "error"}).rstrip("}")
"""How the line of an error begins in a file of events."""


class Progress:
    """What a step is given to report with."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink

    def say(self, text: str) -> None:
        """Tell the user something worth a line."""
        self._sink.emit({"kind": "say", "text": text})

    def warn(self, text: str) -> None:
        """Tell the user something that may change the result."""
        self._sink.emit({"kind": "warn", "text": text})

    def error(self, text: str) -> None:
        """Report why the work ends."""
        self._sink.emit({"kind": "error", "text": text})

    def start(self, label: str) -> None:
        """Report that a step begins."""
        self._sink.emit({"kind": "start", "label": label, "text": f"{label}: starts"})

    def done(self, label: str, location: str) -> None:
        """Report that an artifact is complete, and where it is."""
        self._sink.emit({"kind": "done", "label": label, "text": f"{label}: done", "location": location})

    @contextmanager
    def task(self, label: str, total: float, unit: str, done: float = 0) -> Iterator[Task]:
        """Report on work of `total` in `unit`; `done` is from an earlier, killed run."""
        task = Task(self._sink, label, total, unit, done)
        yield task
        task.finish()


class Task:
    """One stretch of countable work."""

    _every_s = 0.5

    def __init__(self, sink: Sink, label: str, total: float, unit: str, done: float) -> None:
        self._sink = sink
        self._label, self._total, self._unit = label, total, unit
        self._done = self._from = done
        self._started = time.monotonic()
        self._last = 0.0
        self._lock = threading.Lock()
        self._figures: dict[str, float] = {}
        self._emit()

    def advance(self, amount: float = 1, **figures: float) -> None:
        """Count `amount` more as done, from any thread; `figures` (a loss, say) are shown beside."""
        with self._lock:
            self._done += amount
            self._figures = figures or self._figures
            if time.monotonic() - self._last >= self._every_s:
                self._emit()

    def finish(self) -> None:
        """Report the end."""
        self._emit(finished=True)

    def _emit(self, finished: bool = False) -> None:
        self._last = time.monotonic()
        seconds = self._last - self._started
        rate = (self._done - self._from) / seconds if seconds > 0 else 0.0
        self._sink.emit(
            {
                "kind": "task",
                "label": self._label,
                "done": self._done,
                "total": self._total,
                "unit": self._unit,
                "rate": rate,
                "left_s": (self._total - self._done) / rate if rate > 0 else None,
                "figures": self._figures,
                "finished": finished,
            }
        )


class Silent:
    """Takes every event and shows none."""

    def emit(self, event: dict[str, Any]) -> None:
        """Show nothing."""


class LogLines:
    """Plain lines: a task at its start, its end, and every `every_s` seconds between."""

    def __init__(self, stream: IO[str] | None = None, every_s: float = 10.0) -> None:
        self._stream = stream or sys.stderr
        self._every_s = every_s
        self._shown: dict[str, float] = {}

    def emit(self, event: dict[str, Any]) -> None:
        """Print the event if it is worth a line now."""
        if event["kind"] == "task":
            label = event["label"]
            now = time.monotonic()
            if not event["finished"] and now - self._shown.get(label, -1e9) < self._every_s:
                return
            self._shown[label] = now
        with suppress(BrokenPipeError):  # of `| head`: nobody reads any more, and the work goes on
            self._stream.write(describe(event) + "\n")
            self._stream.flush()


class EventFile:
    """One JSON line an event, appended to a file that another process follows."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._broken = False

    def emit(self, event: dict[str, Any]) -> None:
        """Append the event in one write; on a full disk it goes to standard error instead."""
        line = ("\n" if self._broken else "") + json.dumps(event) + "\n"
        try:
            descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
            try:
                self._broken = os.write(descriptor, line.encode()) < len(line.encode())
            finally:
                os.close(descriptor)
        except OSError as error:
            if not disk_is_full(error):
                raise
            self._broken = True
        if self._broken:
            print(describe(event), file=sys.stderr, flush=True)


def has_error(path: Path) -> bool:
    """Whether a file of events tells of an error."""
    try:
        lines = path.read_text().splitlines()
    except FileNotFoundError:
        return False
    return any(line.startswith(_ERROR) for line in lines)


def disk_is_full(error: OSError) -> bool:
    """Tell whether an error means that the disk is full; HDF5 says so in words only."""
    return error.errno == errno.ENOSPC or os.strerror(errno.ENOSPC) in str(error)


def describe(event: dict[str, Any]) -> str:
    """Return an event as one line of text."""
    if event["kind"] != "task":
        prefix = {"warn": "warning: ", "error": "error: "}.get(event["kind"], "")
        return prefix + str(event["text"])
    parts = [f"{event['label']}: {event['done']:g}/{event['total']:g} {event['unit']}"]
    parts += [f"{name} {value:.4g}" for name, value in event["figures"].items()]
    if event["rate"]:
        parts.append(f"{event['rate']:.3g} {event['unit']}/s")
    if event["left_s"] and not event["finished"]:
        parts.append(f"{event['left_s']:.0f} s left")
    return ", ".join(parts)


SILENT = Progress(Silent())
