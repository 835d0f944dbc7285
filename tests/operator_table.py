"""The table of settings in docs/operations.md, made from the settings themselves.

``python tests/operator_table.py`` writes it anew; a test sees that it was done.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from ssfr.components.config import DeploymentSettings, ServingSettings
from ssfr.components.config.cluster import ClusterSettings
from ssfr.components.config.storage import StorageSettings

DOCUMENT = Path(__file__).resolve().parents[1] / "docs" / "operations.md"
SECTIONS: dict[str, type[BaseModel]] = {
    "storage": StorageSettings,
    "serving": ServingSettings,
    "deployment": DeploymentSettings,
    "cluster": ClusterSettings,
}
_HEAD = "| setting | default | meaning |\n|---|---|---|\n"
_BEGIN, _END = "<!-- settings: begin -->\n", "<!-- settings: end -->"


def table() -> str:
    """Return a row a setting, in the order of the sections."""
    return _HEAD + "".join(
        f"| `{name}` | {default} | {meaning} |\n"
        for section, model in SECTIONS.items()
        for name, default, meaning in _rows(section, model())
    )


def written(document: str) -> str:
    """Return the table that stands in a document."""
    return document.partition(_BEGIN)[2].partition(_END)[0]


def _rows(prefix: str, section: BaseModel) -> Iterator[tuple[str, str, str]]:
    for name, field in type(section).model_fields.items():
        value = getattr(section, name)
        if isinstance(value, BaseModel) and _all_alike(value):
            yield from _shared_rows(f"{prefix}.{name}", value)
        elif isinstance(value, BaseModel):
            yield from _rows(f"{prefix}.{name}", value)
        else:
            yield f"{prefix}.{name}", _told(value), _cell(field.description or "")


def _all_alike(section: BaseModel) -> bool:
    """Tell whether a section is one and the same section several times, as the pods of the steps are."""
    parts = [getattr(section, name) for name in type(section).model_fields]
    return (
        all(isinstance(part, BaseModel) for part in parts)
        and len({tuple(type(part).model_fields) for part in parts}) == 1
    )


def _shared_rows(prefix: str, section: BaseModel) -> Iterator[tuple[str, str, str]]:
    """Return a row for what its parts have in common, with the value of most of them first."""
    parts = {name: getattr(section, name) for name in type(section).model_fields}
    first = next(iter(parts.values()))
    for name, field in type(first).model_fields.items():
        values = {part: _told(getattr(value, name)) for part, value in parts.items()}
        usual = max(values.values(), key=list(values.values()).count)
        others = [f"{part} {value}" for part, value in values.items() if value != usual]
        yield f"{prefix}.STEP.{name}", "; ".join([usual, *others]), _cell(field.description or "")


def _told(value: Any) -> str:
    """Return a default as it would be written in YAML."""
    if isinstance(value, tuple):
        value = [item.model_dump(mode="json") if isinstance(item, BaseModel) else item for item in value]
    return f"`{_cell(value if isinstance(value, str) else json.dumps(value))}`"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    before = DOCUMENT.read_text()
    DOCUMENT.write_text(before.replace(_BEGIN + written(before), _BEGIN + table()))
