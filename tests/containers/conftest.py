"""Images and an S3 server for the tests of the containers; `make test-containers` runs them."""

from __future__ import annotations

import os
import shutil
import subprocess
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from daemon import Docker, docker_daemon
from s3_server import ACCESS_KEY, SECRET_KEY, S3Server, s3_server

ROOT = Path(__file__).resolve().parents[2]
ASKED_FOR = "SSFR_TEST_CONTAINERS"
_BASE = "ssfr/debian-base:bookworm"


@dataclass(frozen=True)
class Images:
    """Names of what was built."""

    data: str
    train: str
    version: str


@pytest.fixture(scope="session")
def docker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Docker]:
    """A client with a running daemon."""
    if os.environ.get(ASKED_FOR) != "1":
        pytest.skip("builds and runs images: make test-containers")
    with docker_daemon(tmp_path_factory.mktemp("docker")) as client:
        yield client


@pytest.fixture(scope="session")
def images(docker: Docker) -> Images:
    """The images of this checkout, built as `make images` does; on Debian's packages where we may."""
    environment = {"DOCKER_BUILD_FLAGS": "--network=host --quiet", **os.environ}
    if "BASE_IMAGE" not in environment and shutil.which("debootstrap") and os.geteuid() == 0:
        if not docker.call("image", "ls", "--quiet", _BASE):
            subprocess.run([ROOT / "docker" / "debian-base", _BASE], env=environment, check=True)
        environment["BASE_IMAGE"] = _BASE
    subprocess.run([ROOT / "docker" / "build", "data", "train"], env=environment, check=True)
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    return Images(f"ssfr/data:{version}", f"ssfr/train:{version}", version)


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """A real S3 server on this machine's loopback address, with its keys in the environment."""
    with pytest.MonkeyPatch.context() as patch, s3_server(tmp_path_factory.mktemp("s3")) as server:
        patch.setenv("AWS_ACCESS_KEY_ID", ACCESS_KEY)
        patch.setenv("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
        yield server
