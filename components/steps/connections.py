"""What a step reads and writes, what its result depends on, and its code: declared as data, in one place.

From a declaration come the checks at the step's door, the key under which its artifact is found again,
docs/data.md and the README of its folder.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from fnmatch import fnmatch
from typing import Any, Literal

from ssfr.components.config import Settings
from ssfr.components.config.section import Section

Kind = Literal["parquet", "csv", "hdf5", "json", "npz", "html", "text", "png", "binary"]


@dataclass(frozen=True)
class Entry:
    """A column of a table, a dataset or an attribute (``@name``) of HDF5, or a key of JSON.

    Attributes
    ----------
    name
        With ``*`` for several.
    dtype
        NumPy's name, or "text"; of JSON "object", "array", "text", "number" or "bool".
    meaning
        In a line.
    unit
        Of the values; "" where they have none.
    frame
        Physical or comoving, with or without h; "" where that does not apply.
    shape
        Symbols of the axes of a dataset, for readers.
    optional
        It may be absent.
    """

    name: str
    dtype: str
    meaning: str
    unit: str = ""
    frame: str = ""
    shape: str = ""
    optional: bool = False


@dataclass(frozen=True)
class File:
    """Files of an artifact that are alike.

    Attributes
    ----------
    pattern
        Of their names, as ``maps-*.h5``.
    kind
        How they are read.
    meaning
        In a line.
    entries
        What is in each.
    optional
        There may be none.
    counts
        Whether a step that reads them is done again when their bytes change; False where the step says
        by itself which part of them counts.
    """

    pattern: str
    kind: Kind
    meaning: str
    entries: tuple[Entry, ...] = ()
    optional: bool = False
    counts: bool = True

    def with_only(self, *names: str) -> File:
        """Return the file with those of its entries alone that a step reads.

        Raises
        ------
        ValueError
            It has no such entry.
        """
        entries = {entry.name: entry for entry in self.entries}
        if unknown := set(names) - set(entries):
            raise ValueError(f"{self.pattern}: no entry {', '.join(sorted(unknown))}")
        return replace(self, entries=tuple(entries[name] for name in names))

    def where(self, **changes: Any) -> File:
        """Return the file as it is for one step, as `optional` or not counted."""
        return replace(self, **changes)


@dataclass(frozen=True)
class Connections:
    """A step.

    Attributes
    ----------
    step
        Its name: the folder of its artifacts.
    about
        What it does, for readers: a paragraph.
    code
        Its function, as ``ssfr.components.catalog.component:catalog``: what it imports is its code.
    settings
        Sections and settings that its result depends on, as dotted names.
    reads
        Label of an input -> its files; a label that ends in ``*`` stands for any number of inputs.
    writes
        Files of its artifact, beside manifest.json.
    data
        What it reads of data that no step made; "" for none.
    besides
        What its result depends on besides, in words.
    partly
        Settings of which only a part counts, as `besides` says.
    """

    step: str
    about: str
    code: str
    settings: tuple[str, ...] = ()
    reads: Mapping[str, tuple[File, ...]] = field(default_factory=dict)
    writes: tuple[File, ...] = ()
    data: str = ""
    besides: tuple[str, ...] = ()
    partly: tuple[str, ...] = ()

    def files_of(self, label: str) -> tuple[File, ...]:
        """Return what the step reads of an input.

        Raises
        ------
        ValueError
            It declares no such input.
        """
        for pattern, files in self.reads.items():
            if fnmatch(label, pattern):
                return files
        raise ValueError(f"{self.step}: declares no input {label}")

    def result_settings(self, settings: Settings) -> dict[str, Any]:
        """Return the settings that the result depends on: dotted name -> value, as JSON has it."""
        return {name: _result_setting(settings, name) for name in self.settings}

    def units(self) -> dict[str, dict[str, str]]:
        """Return the units that are written with tables and datasets: pattern of the file -> name -> unit."""
        units = {
            file.pattern: {one.name: one.unit for one in file.entries if one.unit} for file in self.writes
        }
        return {pattern: of for pattern, of in units.items() if of}


def declared(name: str, files: Iterable[File]) -> File | None:
    """Return the declaration of a file, None if there is none."""
    return next((one for one in files if fnmatch(name, one.pattern)), None)


def _result_setting(settings: Settings, name: str) -> Any:
    *above, last = name.split(".")
    section: Section = settings
    for part in above:
        section = getattr(section, part)
    value = getattr(section, last)
    if isinstance(value, Section):
        return value.result_settings()
    return section.model_dump(mode="json", include={last})[last]
