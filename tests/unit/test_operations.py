"""The page for operators: its table is that of the settings."""

from __future__ import annotations

from operator_table import DOCUMENT, SECTIONS, table, written


def test_the_table_names_every_setting_with_its_default_and_meaning() -> None:
    assert written(DOCUMENT.read_text()) == table(), "write it anew: python tests/operator_table.py"


def test_every_section_is_in_the_table() -> None:
    lines = table().splitlines()[2:]
    assert {line.split("`")[1].split(".")[0] for line in lines} == SECTIONS.keys()
    for section, model in SECTIONS.items():
        for name in model.model_fields:
            assert any(line.startswith((f"| `{section}.{name}`", f"| `{section}.{name}.")) for line in lines)
