"""Writes the pages that are made of declarations: docs/data.md, docs/settings.md, READMEs of the steps.

python -m ssfr.pipelines.cli.reference [FOLDER OF THE REPOSITORY]
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from ssfr.components.config import Settings
from ssfr.components.config.section import Section, can_change_result
from ssfr.components.steps.connections import Connections, File
from ssfr.pipelines.connections import EVERY_STEP, OF_A_RUN, OF_EVERY_ARTIFACT

_MADE = "<!-- made by python -m ssfr.pipelines.cli.reference; change the declarations instead -->"


def pages() -> dict[str, str]:
    """Return the text of each page by its path in the repository."""
    folders = defaultdict(list)
    for step in EVERY_STEP:
        folders[step.code.split(".")[2]].append(step)
    readmes = {f"components/{folder}/README.md": _readme(folder, of) for folder, of in folders.items()}
    return {"docs/data.md": _data(), "docs/settings.md": _settings(), **readmes}


def main(root: Path) -> None:
    """Write every page."""
    for path, text in pages().items():
        (root / path).write_text(text)


def _data() -> str:
    lines = [
        "# The files of a run",
        "",
        _MADE,
        "",
        "A run's folder holds an artifact of each step, `<step>/<key>/`, and beside them what is listed last."
        " The key is a digest of what the step reads, of the settings that its result depends on"
        " ([settings.md](settings.md)) and of its code. At its door each step checks the files that it reads:"
        " columns, datasets, types and units.",
        "",
        "## Steps",
        "",
        *_table(
            ("step", "reads", "writes", "what it does"),
            ((f"`{step.step}`", _reads(step), _names(step.writes), step.about) for step in EVERY_STEP),
        ),
        "",
        f"Every artifact has a `{OF_EVERY_ARTIFACT.pattern}`: {OF_EVERY_ARTIFACT.meaning}.",
        "",
        "## Files of artifacts",
    ]
    for file, writers in _files().items():
        lines += ["", f"### {file.pattern}", ""]
        lines += [
            f"{_sentence(file.meaning)} ({file.kind}). Written by {_names_of(writers)}{_readers(file)}.",
            "",
        ]
        lines += _entries(file)
    lines += ["", "## Files of a run on one machine", ""]
    lines += _table(("file", "kind", "what it is"), ((f"`{f.pattern}`", f.kind, f.meaning) for f in OF_A_RUN))
    return "\n".join(lines).rstrip() + "\n"


def _settings() -> str:
    lines = [
        "# Settings, and what is done again",
        "",
        _MADE,
        "",
        "A setting that is changed makes these steps new. A step after them is done again where the bytes"
        " that it reads have changed, and only there; every other artifact is found. *partly*: where the"
        " change touches what the step itself uses, as its own case. Of the sections of models, that of the"
        " chosen one alone counts. Settings of `serving`, `storage` and `cluster` change no result; another"
        " `cluster.projection_shards` draws snapshots of more than 256 galaxies again, into the same maps.",
        "",
    ]
    rows = []
    for name, field in sorted(_leaves(Settings)):
        steps = [f"`{step.step}`" for step in EVERY_STEP if _covers(step.settings, name)]
        steps += [
            f"`{step.step}` (partly)"
            for step in EVERY_STEP
            if _covers(step.partly, name) and not _covers(step.settings, name)
        ]
        done_again = ", ".join(steps) if can_change_result(field) else "nothing"
        rows.append((f"`{name}`", done_again or "nothing"))
    return "\n".join([*lines, *_table(("setting", "steps that are done again"), rows)]) + "\n"


def _readme(folder: str, steps: Sequence[Connections]) -> str:
    lines = [f"# {folder}", "", _MADE]
    for step in steps:
        lines += ["", f"## `{step.step}`", "", f"{step.about}", ""]
        lines += [f"- Data: {step.data}."] if step.data else []
        lines += [f"- Reads {_reads(step)}."] if step.reads else []
        lines += [f"- Writes {_names(step.writes)}."]
        on = [f"the settings {_names_of(step.settings)}"] if step.settings else []
        on += ["; ".join(step.besides)] if step.besides else []
        lines += [f"- Its result depends on {', and on '.join(on) or 'no setting'}."]
    lines += [
        "",
        "What is in each file: [docs/data.md](../../docs/data.md). `connections.py` declares all of this.",
    ]
    return "\n".join(lines) + "\n"


def _leaves(section: type[Section], above: str = "") -> Iterator[tuple[str, Any]]:
    """Give the dotted name and the field of each setting that can change a result, or might."""
    for name, field in section.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, Section):
            if kind.changes_result:
                yield from _leaves(kind, f"{above}{name}.")
        else:
            yield f"{above}{name}", field


def _covers(declared: Iterable[str], name: str) -> bool:
    return any(name == one or name.startswith(f"{one}.") for one in declared)


def _files() -> dict[File, list[str]]:
    """Return each kind of file, with the steps that write it."""
    found: dict[File, list[str]] = defaultdict(list)
    for step in EVERY_STEP:
        for file in step.writes:
            found[file].append(step.step)
    return found


def _readers(file: File) -> str:
    readers = [
        step.step
        for step in EVERY_STEP
        if any(fnmatch(file.pattern, one.pattern) for files in step.reads.values() for one in files)
    ]
    return f", read by {_names_of(readers)}" if readers else ""


def _entries(file: File) -> list[str]:
    if not file.entries:
        return []
    rows = [
        (
            f"`{entry.name}`" + (" (optional)" if entry.optional else ""),
            entry.dtype.replace("|", " or "),
            entry.unit,
            entry.frame,
            entry.shape,
            entry.meaning,
        )
        for entry in file.entries
    ]
    return _table(("name", "type", "unit", "frame", "shape", "meaning"), rows)


def _table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Return a table in Markdown, without its empty columns."""
    table = [tuple(row) for row in rows]
    shown = [column for column in range(len(titles)) if any(row[column] for row in table)]
    return [
        _row(titles[column] for column in shown),
        _row("---" for _ in shown),
        *(_row(row[column] for column in shown) for row in table),
    ]


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _reads(step: Connections) -> str:
    parts = [f"{label.removesuffix('/*')}: {_names(files)}" for label, files in step.reads.items()]
    return "; ".join([*([step.data] if step.data and not parts else []), *parts])


def _names(files: Iterable[File]) -> str:
    return _names_of(file.pattern for file in files)


def _names_of(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:]


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "."))
