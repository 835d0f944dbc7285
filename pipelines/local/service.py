"""A server of a repository of models, in a process of its own, for as long as a block runs."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from typing import IO

from ssfr.components.errors import InputError
from ssfr.components.runtime.extras import require_extras

COMMAND = (sys.executable, "-P", "-m", "ssfr.pipelines.cli")
"""The command line, whatever folders stand in the working directory."""


@contextmanager
def served(repository: Path) -> Iterator[str]:
    """Serve the models of a repository on a free port of this machine.

    Parameters
    ----------
    repository
        Folder of models, such as ``models`` in the folder of a run.

    Yields
    ------
    str
        Address of the server, "HOST:PORT".

    Raises
    ------
    InputError
        The server did not start; the message holds its own words.
    """
    require_extras("serve")
    command = [*COMMAND, "serve", str(repository), "--port", "0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as server:
        try:
            assert server.stderr is not None
            yield _address(server.stderr)
        finally:
            server.terminate()


def _address(log: IO[str]) -> str:
    """Wait until the server writes its address; what it writes later is read and dropped."""
    lines = []
    for line in log:
        if line.startswith("serving ") and " at " in line:
            Thread(target=log.read, daemon=True).start()
            return line.rsplit(" at ", 1)[1].strip()
        lines.append(line.strip())
    raise InputError(lines[-1].removeprefix("ssfr: ") if lines else "the server did not start")
