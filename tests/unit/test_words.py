"""Names, docstrings, messages and help texts use plain English and the field's terms."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("ssfr", "components", "pipelines")

WORDS = {
    r"told": "given, reported, requested",
    r"asked|asks|asking": "requested, checked, read",
    r"heard|hears": "reported",
    r"meets?|met": "compared, joined, equal",
    r"rooms?": "folder, key, space: what it is",
    r"luck|lucky": "scatter between seeds, chance",
    r"rivals?": "champion, baseline",
    r"plates?": "figure",
    r"knows?|knew|knowing": "predicts, has, depends on",
    r"knowledge": "prediction, information",
    r"(?:is|are|was|were) known": "what it is known from",
    r"(?:is|are|be|made|found|written|when|if) whole": "complete, done",
    r"set aside": "rejected",
    r"overhang\w*": "outside the field of view",
    r"managers?": "what it does",
    r"dex of (?:1/)?yr\S*": "log10(sSFR / yr^-1)",
    r"(?:at|above|below|off)(?: the)?[ _]floor|floored": "censored, uncensored",
    r"the frame|frame of|(?:physical|comoving) frames?": "field of view",
    r"kind\W+structures|structures? filters?|filters? structures": "high_pass, high-pass filter",
    r"least surely|surer": "interval, share of resamples",
}
"""What is not written -> what is written instead."""

ALLOWED = {
    "context manager": "Python's term",
}
"""Text that holds one of the words in another sense -> why."""

GUIDES = (ROOT / "README.md", *(ROOT / "docs").glob("*.md"), *(ROOT / "components").rglob("*.html"))
TEXTS = sorted(GUIDES)


def spelled(name: str) -> str:
    """Return an identifier as words: KnownAnswer and known_answer as 'known answer'."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).replace("_", " ").strip()


def sayings(source: str) -> Iterator[tuple[int, str]]:
    """Yield the line and the text of every name that is defined, and of every string."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
                yield node.lineno, spelled(name)
            case ast.arg(arg=name):
                yield node.lineno, spelled(name)
            case ast.Name(id=name, ctx=ast.Store()) | ast.Attribute(attr=name, ctx=ast.Store()):
                yield node.lineno, spelled(name)
            case ast.Constant(value=str(text)):
                yield node.lineno, text


def found(text: str) -> list[str]:
    """Return what a text says that it should not, and what to say instead."""
    for phrase in ALLOWED:
        text = re.sub(re.escape(phrase), "", text, flags=re.IGNORECASE)
    text = " ".join(text.split())
    return [
        f"'{match.group()}' ({instead}): ...{text[max(0, match.start() - 40) : match.end() + 20]}"
        for word, instead in WORDS.items()
        for match in re.finditer(rf"\b(?:{word})\b", text, re.IGNORECASE)
    ]


@pytest.mark.parametrize("folder", FOLDERS)
def test_names_docstrings_and_messages_are_plain(folder: str) -> None:
    problems = [
        f"{path.relative_to(ROOT)}:{line}: {problem}"
        for path in sorted((ROOT / folder).rglob("*.py"))
        for line, text in sayings(path.read_text())
        for problem in found(text)
    ]
    assert not problems, "\n".join(problems)


@pytest.mark.parametrize("path", TEXTS, ids=[path.name for path in TEXTS])
def test_guides_and_the_report_are_plain(path: Path) -> None:
    problems = [
        f"{path.relative_to(ROOT)}:{number}: {problem}"
        for number, line in enumerate(path.read_text().splitlines(), 1)
        for problem in found(line)
    ]
    assert not problems, "\n".join(problems)


@pytest.mark.parametrize("phrase", ALLOWED)
def test_what_is_allowed_is_still_written(phrase: str) -> None:
    sources = [path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py")]
    assert any(phrase in path.read_text().lower() for path in (*sources, *TEXTS))


def test_words_are_found_in_names_docstrings_and_messages() -> None:
    source = 'class HeardEvents:\n    """What the network knows."""\n\n    room = "it was told"\n'
    words = [problem.split("'")[1] for _, text in sayings(source) for problem in found(text)]
    assert sorted(words) == ["Heard", "knows", "room", "told"]


@pytest.mark.parametrize(
    "text",
    [
        "no gas cells in the frame",
        spelled("filters_fit_the_frame"),
        "galaxies at the floor",
        spelled("differences_above_floor"),
        "filter: {kind: structures, sigma: 1}",
    ],
)
def test_words_of_maps_labels_and_filters_are_found(text: str) -> None:
    assert len(found(text)) == 1


@pytest.mark.parametrize(
    "text", ["the disk's frame", "labels raised to the floor", "figure_3_5_structures", "small structures"]
)
def test_words_in_another_sense_are_allowed(text: str) -> None:
    assert not found(text)
