"""A Docker daemon for the tests: the machine's, or one that is started here and ends with the tests."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

LOCKED_UP = (
    "--network=host",
    "--read-only",
    "--tmpfs=/tmp",
    "--cap-drop=ALL",
    "--security-opt=no-new-privileges",
)
"""As a pod of ours, but for the network: the tests' servers are on the machine's loopback address."""
_START_WAIT_S = 60.0


@dataclass(frozen=True)
class Docker:
    """A client whose daemon runs."""

    client: str

    def call(self, *arguments: str) -> str:
        """Return what a command of the client prints."""
        done = subprocess.run([self.client, *arguments], capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"docker {' '.join(arguments)}: {done.stderr}"
        return done.stdout

    def run(self, image: str, *command: str, options: Sequence[str] = ()) -> str:
        """Return what a command prints in a container that is locked up."""
        return self.call("run", "--rm", *LOCKED_UP, *options, image, *command)

    @contextmanager
    def running(self, image: str, *command: str, options: Sequence[str] = ()) -> Iterator[None]:
        """Run a command in such a container beside the tests."""
        name = self.call("run", "--detach", *LOCKED_UP, *options, image, *command).strip()
        try:
            yield
        finally:
            self.call("stop", name)
            subprocess.run([self.client, "logs", name], check=True)  # shown if a test fails
            self.call("rm", name)


@contextmanager
def docker_daemon(folder: Path) -> Iterator[Docker]:
    """Find a running daemon, or run one whose socket, log and process number are in `folder`.

    Ours has no network of its own, so that it changes nothing of the machine's; its images are where the
    machine's daemon would keep them.
    """
    docker = Docker(os.environ.get("DOCKER", "docker"))
    if _answers(docker):
        yield docker
        return
    if shutil.which("dockerd") is None or os.geteuid() != 0:
        raise RuntimeError("no Docker daemon answers; start one, or be root with dockerd installed")
    host = f"unix://{folder}/docker.sock"
    command = ["dockerd", f"--host={host}", f"--pidfile={folder}/pid", f"--exec-root={folder}/exec"]
    command += ["--bridge=none", "--iptables=false", "--ip6tables=false"]
    with (folder / "log").open("w") as log:
        daemon = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("DOCKER_HOST", host)
            deadline = time.monotonic() + _START_WAIT_S
            while not _answers(docker):
                if daemon.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"dockerd did not start: {(folder / 'log').read_text()[-2000:]}")
                time.sleep(0.2)
            yield docker
    finally:
        daemon.terminate()
        daemon.wait(_START_WAIT_S)
        # It leaves its network's name mounted, and pytest could not remove the folder later.
        subprocess.run(["umount", f"{folder}/exec/netns/default"], capture_output=True, check=False)


def _answers(docker: Docker) -> bool:
    return subprocess.run([docker.client, "info"], capture_output=True, check=False).returncode == 0
