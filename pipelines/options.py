"""What several commands take: a preset, and changes to its settings."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml

from ssfr.components.errors import InputError, nearest

Preset = Annotated[str, typer.Argument(help="demo, recommended, thesis, images, or a YAML file of your own")]
Overrides = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="a setting, e.g. training.epochs=5")
]


def preset_path(name: str) -> Path:
    """Return the file of a preset by name, or the path itself when it is a YAML file.

    Raises
    ------
    InputError
        Neither; the message names the nearest preset.
    """
    if name.endswith((".yaml", ".yml")):
        return Path(name)
    folder = Path(str(resources.files("ssfr.pipelines") / "presets"))
    path = folder / f"{name}.yaml"
    if not path.exists():
        known = [preset.stem for preset in folder.glob("*.yaml")]
        raise InputError(f"{name}: neither a preset nor a .yaml file{nearest(name, known)}")
    return path


def origin(preset: str, location: str, images: bool) -> str:
    """Return the name of the data, for the report, from where they are."""
    *above, name = location.rstrip("/").split("/")
    if name.isdecimal() and above:  # a version of uploaded data
        name = f"{above[-1]}/{name}"
    return f"{preset} preset; data: {'image catalogue ' if images else ''}{name}"


def parse_overrides(overrides: list[str] | None) -> dict[str, Any]:
    """Read ``KEY=VALUE`` with values as YAML.

    Raises
    ------
    InputError
        No equals sign, or a value that is not YAML.
    """
    parsed = {}
    for item in overrides or []:
        key, equals, value = item.partition("=")
        if not equals:
            raise InputError(f"--set {item}: expected KEY=VALUE, like training.epochs=5")
        try:
            parsed[key] = yaml.safe_load(value)
        except yaml.YAMLError:
            raise InputError(f"--set {item}: the value is not valid YAML") from None
    return parsed
