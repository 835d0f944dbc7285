"""The cluster that the tests are given: where things are on it, and the commands that reach it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ssfr.components.config import load_settings
from ssfr.components.storage.opening import open_store
from ssfr.components.storage.store import Store

_NAMESPACE = "ssfr"


@dataclass(frozen=True)
class Cluster:
    """Where things are, seen from here."""

    place: str
    """``s3://bucket/prefix`` of these tests alone."""
    repository: str
    """That the cluster's servers follow."""
    here: Path
    pods: Path

    def store(self, name: str) -> Store:
        """Open what is below `place`."""
        return open_store(f"{self.place}/{name}", load_settings(self.here, {}).storage)


def ssfr(*arguments: object, timeout_s: float = 300.0) -> str:
    """Run the command line; return what it prints."""
    command = [sys.executable, "-m", "ssfr.pipelines.cli", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=timeout_s)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def kubectl(*arguments: str) -> str:
    """Return what kubectl prints of the servers' namespace."""
    command = ["kubectl", "--namespace", _NAMESPACE, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@contextmanager
def service() -> Iterator[str]:
    """Yield an address on this machine behind which is the cluster's Service."""
    command = ["kubectl", "--namespace", _NAMESPACE, "port-forward", "service/ssfr-serving", ":8500"]
    forward = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert forward.stdout is not None
        # Forwarding from 127.0.0.1:40961 -> 8500
        yield forward.stdout.readline().split()[2]
    finally:
        forward.terminate()
        forward.wait()
