"""The pages that are made of declarations are those in the repository."""

from pathlib import Path

import pytest

from ssfr.pipelines.cli.reference import pages

ROOT = Path(__file__).resolve().parents[2]
PAGES = pages()


@pytest.mark.parametrize("path", PAGES)
def test_a_page_is_what_its_declarations_say(path: str) -> None:
    made = "make it again: python -m ssfr.pipelines.cli.reference"
    assert (ROOT / path).read_text() == PAGES[path], f"{path} is out of date; {made}"


@pytest.mark.parametrize(
    ("setting", "steps"),
    [
        ("projection.max_rejected", "nothing"),
        ("projection.workers", "nothing"),
        ("training.epochs", "`training`, `training_audit`, `report`"),
        (
            "evaluation.audit_case",
            "`evaluation`, `report`, `preprocessing` (partly), `training_audit` (partly)",
        ),
    ],
)
def test_the_table_of_settings_says_what_is_done_again(setting: str, steps: str) -> None:
    assert f"| `{setting}` | {steps} |" in PAGES["docs/settings.md"].splitlines()
