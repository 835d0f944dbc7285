"""What is in the images, and what is not."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from daemon import Docker

ROOT = Path(__file__).resolve().parents[2]
MEGABYTE = 1_000_000
BOTH = ("data", "train")
_LARGEST = {"data": 700, "train": 3000}
"""[MB]"""
_BUILD_TOOLS = ("gcc", "cc", "g++", "ld", "as", "make", "cmake", "ninja", "pip", "pip3", "uv")


@pytest.fixture(params=BOTH)
def image(images: Any, request: pytest.FixtureRequest) -> str:
    name: str = getattr(images, request.param)
    return name


def described(docker: Docker, image: str) -> Any:
    return json.loads(docker.call("image", "inspect", image))[0]


@pytest.mark.parametrize("target", BOTH)
def test_images_are_as_small_as_was_promised(docker: Docker, images: Any, target: str) -> None:
    size = described(docker, getattr(images, target))["Size"] / MEGABYTE

    print(f"{target}: {size:.0f} MB")
    assert size < _LARGEST[target]


def test_labels_tell_the_version_and_the_revision(docker: Docker, images: Any, image: str) -> None:
    labels = described(docker, image)["Config"]["Labels"]

    commit = subprocess.check_output(["git", "rev-parse", "HEAD"], cwd=ROOT, text=True).strip()
    assert labels["org.opencontainers.image.version"] == images.version
    assert labels["org.opencontainers.image.revision"].removesuffix("-dirty") == commit


def test_the_user_has_a_fixed_number_and_is_not_root(docker: Docker, image: str) -> None:
    assert described(docker, image)["Config"]["User"] == "10001:10001"
    assert docker.run(image, "id", "--user").strip() == "10001"


def test_nothing_that_compiles_or_installs_is_in_an_image(docker: Docker, image: str) -> None:
    search = "; ".join(f"command -v {tool} || true" for tool in _BUILD_TOOLS)

    assert docker.run(image, "sh", "-c", search) == ""
    assert "No module named pip" in docker.run(image, "sh", "-c", "python -m pip 2>&1 || true")


def test_no_layer_tells_how_packages_were_reached(docker: Docker, image: str) -> None:
    told = docker.call("image", "history", "--no-trunc", image) + str(described(docker, image)["Config"])

    assert docker.run(image, "sh", "-c", "ls -d /etc/pip.conf /etc/uv ~/.config 2> /dev/null || true") == ""
    assert not any(word in told for word in ("index-url", "INDEX_URL", "PIP_", "UV_", "://"))


def test_nothing_but_the_temporary_folder_is_written(docker: Docker, image: str) -> None:
    program = "from matplotlib import pyplot; pyplot.figure().savefig('/tmp/figure.png')"

    docker.run(image, "python", "-W", "error", "-c", program)
    assert docker.run(image, "sh", "-c", "touch /opt/ssfr/mark 2>&1 || true").endswith("file system\n")


def test_the_command_line_and_the_kernel_and_kubeflows_executor_start(docker: Docker, image: str) -> None:
    program = "import ssfr.components.projection._kernel, kfp.dsl.executor_main"

    assert "simulate" in docker.run(image, "ssfr", "--help")
    docker.run(image, "python", "-c", program)


def test_tensorflow_is_in_one_image_only(docker: Docker, images: Any) -> None:
    program = "import importlib.util as util; print(util.find_spec('tensorflow') is not None)"

    found = {name: docker.run(getattr(images, name), "python", "-c", program).strip() for name in BOTH}
    assert found == {"data": "False", "train": "True"}


def test_nothing_that_lies_about_is_sent_to_the_daemon() -> None:
    """What is not named is ignored: neither secrets nor gigabytes of runs are in the build's context."""
    lines = (ROOT / ".dockerignore").read_text().splitlines()

    rules = [line for line in lines if line and not line.startswith("#")]
    assert rules[0] == "*"
