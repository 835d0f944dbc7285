"""Processes that end with their owner, and folders with one owner at a time."""

from __future__ import annotations

import fcntl
import json
import math
import os
import select
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

from ssfr.components.errors import InputError, LockedError

_LOOK_S = 1.0
"""[s] between two looks at whether a process is still there."""
_TICK_S = 0.02
"""[s] by which the kernel dates the start of a process too early."""


def die_with(pid: int) -> None:
    """Kill this process as soon as process `pid`, not necessarily its parent, is gone.

    For what would survive a killed owner and go on writing. The kernel's parent-death signal is not
    enough: between a runner of Kubeflow and its component stands a shell, and between a pool and its
    workers a server that forks them, which lives as long as they do.
    """
    wait = _waits_for(pid)

    def follow() -> None:
        wait()
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=follow, daemon=True, name="die-with-owner").start()


def _waits_for(pid: int) -> Callable[[], object]:
    """Return a function that waits until a process is gone."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return lambda: None
    except (AttributeError, OSError):  # not on this system, or forbidden
        return partial(_look_until_gone, pid)
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return poll.poll


def _look_until_gone(pid: int) -> None:
    with suppress(ProcessLookupError):
        while True:
            with suppress(PermissionError):  # it is there, and another user's
                os.kill(pid, 0)
            time.sleep(_LOOK_S)


def _started_s() -> float:
    """Return when this process was started [s since the machine was]; infinity where not available."""
    try:
        fields = Path("/proc/self/stat").read_text().rsplit(")", 1)[1].split()
    except OSError:
        return math.inf
    return int(fields[19]) / os.sysconf("SC_CLK_TCK")


@contextmanager
def locked(path: Path, what: str, wait_s: float = 0.0) -> Iterator[None]:
    """Hold an exclusive lock whose file names its owner; the kernel frees it when the owner dies.

    Parameters
    ----------
    path
        The lock file; it stays when the lock is released.
    what
        What is locked, for the message.
    wait_s
        [s] to wait for another owner to end.

    Raises
    ------
    LockedError
        Another live process has it; the message says which.
    InputError
        The file can't be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        opened = path.open("a+")
    except OSError as error:
        raise InputError(f"{what}: can't write {path.name} there: {error.strerror}") from None
    with opened as stream:
        deadline = time.monotonic() + wait_s
        while True:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    owner = lock_owner(path)
                    raise LockedError(
                        f"{what} is in use by process {owner['pid']} on {owner['host']}; "
                        "wait for it, stop it, or choose another folder"
                    ) from None
                time.sleep(0.05)
        stream.truncate(0)
        since = time.clock_gettime(time.CLOCK_BOOTTIME)
        stream.write(json.dumps({"pid": os.getpid(), "host": socket.gethostname(), "since": since}))
        stream.flush()
        try:
            yield
        finally:
            stream.truncate(0)


def owner_on_this_machine(path: Path) -> int | None:
    """Return the process on this machine that started this one under a lock, None if there is none.

    The file outlives its owner, whose number another process may have by now: only a process that still holds
    the lock counts. An owner that ends by itself empties the file.

    Raises
    ------
    LockedError
        The owner was killed: whatever it had just started is not to go on without it, nor under another.
    """
    killed = LockedError(f"{path}: its owner was killed; run the same command again, or remove this file")
    try:
        with path.open() as stream:
            fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return None
    except BlockingIOError:
        owner = lock_owner(path)
        pid, since = owner["pid"], owner.get("since")
        if owner["host"] != socket.gethostname() or not isinstance(pid, int):
            return None
        if pid != os.getpid() and isinstance(since, float) and _started_s() + _TICK_S < since:
            raise killed from None
        return pid
    if lock_owner(path)["host"] == socket.gethostname():
        raise killed
    return None


def lock_owner(path: Path) -> dict[str, object]:
    """Return the owner in a lock file, {"pid": int, "host": str}; "?" for both if half-written."""
    try:
        owner: dict[str, object] = json.loads(path.read_text())
    except (OSError, json.JSONDecodeError):
        return {"pid": "?", "host": "?"}
    return owner
