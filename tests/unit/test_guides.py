"""The guides to a cluster: their commands are ones that there are, and what they name is there."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from kustomize import compose

from ssfr.components.config import load_settings
from ssfr.pipelines.cli.app import app
from ssfr.pipelines.options import parse_overrides, preset_path

ROOT = Path(__file__).resolve().parents[2]
GUIDES = ("cluster.md", "operations.md")
each_guide = pytest.mark.parametrize("guide", GUIDES)


def blocks(guide: str, language: str = "") -> list[str]:
    text = (ROOT / "docs" / guide).read_text()
    fenced = re.findall(r"^ *```(\w*)\n(.*?)^ *```$", text, re.MULTILINE | re.DOTALL)
    return [block for name, block in fenced if name == language]


def commands(guide: str) -> Iterator[list[str]]:
    for block in blocks(guide):
        for line in re.sub(r"\\\n", " ", block).splitlines():
            if words := shlex.split(line, comments=True):
                yield words


@each_guide
def test_the_commands_of_ssfr_are_spelt_as_they_are_defined(guide: str) -> None:
    known: Any = typer.main.get_command(app)
    called = [words[1:] for words in commands(guide) if words[0] == "ssfr"]
    assert called
    for name, *arguments in called:
        stated = arguments[: arguments.index(">")] if ">" in arguments else arguments
        stated = ["2" if word == "VERSION" else word for word in stated]
        given = known.commands[name].make_context(name, stated).params
        load_settings(preset_path("demo"), parse_overrides(given.get("overrides")))


@each_guide
def test_the_folders_that_are_applied_can_be_composed(guide: str) -> None:
    for words in commands(guide):
        if words[:2] == ["kubectl", "apply"] and "github.com" not in words[-1]:
            path = ROOT / words[-1]
            assert compose(path) if words[-2] == "-k" else path.is_file(), words


def test_what_is_shown_as_yaml_is_yaml() -> None:
    shown = [one for text in blocks("cluster.md", "yaml") for one in yaml.safe_load_all(text)]
    assert {"Kustomization", "GRPCRoute", "VirtualService"} <= {
        one["kind"] for one in shown if isinstance(one, dict)
    }


def test_the_settings_for_here_are_settings(tmp_path: Path) -> None:
    (text,) = re.findall(r"<<'END'\n(.*?)END\n", (ROOT / "docs" / "cluster.md").read_text(), re.DOTALL)
    (tmp_path / "here.yaml").write_text(text)
    assert load_settings(tmp_path / "here.yaml").storage.endpoint


@each_guide
def test_links_lead_somewhere(guide: str) -> None:
    for target in re.findall(r"\]\(([^)#]+)", (ROOT / "docs" / guide).read_text()):
        assert (ROOT / "docs" / target).exists(), target
