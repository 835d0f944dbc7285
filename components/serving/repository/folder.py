"""The model repository on disk, as servers read it: <root>/<model>/<version>/, and champion.json."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ssfr.components.errors import DamagedArtifactError, InputError
from ssfr.components.storage.artifact import read_json, verify
from ssfr.components.storage.manifest import MANIFEST

CHAMPION = "champion.json"
STABLE = "stable"
CANARY = "canary"
TRIAL = "trial"
"""Of a version that must answer as expected before it becomes stable."""
SAVED_MODEL = "saved_model.pb"
DESCRIPTION = "assets.extra/ssfr.json"
"""What a version takes and predicts, and what it answered when it was exported."""
WARMUP = "assets.extra/tf_serving_warmup_requests"
"""Requests that are run when a version is loaded, in TF Serving's format."""
_WAY_OUT = "deploy the model again"
_RESTORE = "restore it or deploy again"

_NAME = re.compile(r"(?![0-9]+\Z)[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")
_VERSION = re.compile(r"0|[1-9][0-9]{0,18}")
_LARGEST_VERSION = 2**63 - 1
_LONGEST_REASON = 500
"""Characters; a document must stay small."""
_LONGEST_HISTORY = 500
"""Lines; every one of them is read and written with each change."""


@dataclass(frozen=True)
class Champion:
    """Contents of champion.json.

    Attributes
    ----------
    labels
        "stable" (the champion) and "canary" (the last challenger that was not promoted) -> version.
    history
        What was decided on each version, oldest first.
    """

    labels: Mapping[str, int]
    history: tuple[Mapping[str, Any], ...] = ()

    @classmethod
    def parse(cls, data: Any, origin: str) -> Champion:
        """Read what `document` gave.

        Raises
        ------
        InputError
            It is not what we write; the message names `origin`.
        """
        try:
            labels = {str(label): int(version) for label, version in data["labels"].items()}
            history = tuple({**entry, "version": int(entry["version"])} for entry in data["history"])
        except (AttributeError, KeyError, TypeError, ValueError, OverflowError):
            raise InputError(
                f"{origin}: expected labels (label -> version) and history; {_RESTORE}"
            ) from None
        return cls(labels, history)

    @property
    def version(self) -> int | None:
        """The champion's version, None if no model was ever promoted."""
        return self.labels.get(STABLE)

    def previous(self, there: Collection[int]) -> int | None:
        """Return the champion before the present one that is still there, None if there is none.

        Rolling back twice goes back two, and a version whose promotion was undone does not count.
        """
        line: list[int] = []
        for entry in self.history:
            version = entry["version"]
            if not entry.get("promoted"):
                if line and line[-1] == version:
                    line.pop()
                continue
            if entry.get("rolled_back") and version in line:
                del line[line.index(version) :]
            line.append(version)
        if line and line[-1] == self.version:
            line.pop()
        earlier = [version for version in line if version in there and version != self.version]
        return earlier[-1] if earlier else None

    @property
    def document(self) -> dict[str, Any]:
        """As it is written."""
        return {
            "format": 1,
            "champion": self.version,
            "labels": dict(self.labels),
            "history": list(self.history),
        }

    @property
    def used(self) -> set[int]:
        """The versions that are labelled, or were ever decided on."""
        return {*self.labels.values(), *(entry["version"] for entry in self.history)}

    def decided(
        self, version: int, promoted: bool, entry: Mapping[str, Any], there: Collection[int]
    ) -> Champion:
        """Return what follows when `version` becomes the champion, or the canary beside it.

        Parameters
        ----------
        version
            In the repository.
        promoted
            True: it is labelled stable and nothing else, and there is no canary any more. Nothing else takes
            the label stable away, not even that its version is gone: a canary never inherits it.
        entry
            Reason and figures, kept in the history.
        there
            The versions in the repository.
        """
        labels = {
            label: number
            for label, number in self.labels.items()
            if label == STABLE or (number != version and number in there)
        }
        if promoted:
            labels.pop(CANARY, None)
        labels[STABLE if promoted else CANARY] = version
        return self.noted(labels, {"version": version, "promoted": promoted, **entry})

    def noted(self, labels: Mapping[str, int], entry: Mapping[str, Any]) -> Champion:
        """Return what follows with these labels and one more line of history, which is given the time."""
        line = {"time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), **entry}
        line |= {"reason": str(line["reason"])[:_LONGEST_REASON]} if "reason" in line else {}
        return Champion(labels, (*self.history, line)[-_LONGEST_HISTORY:])


class ModelFolder:
    """One model of a repository; `ssfr.components.serving.repository.remote` writes it.

    Parameters
    ----------
    root
        The repository.
    name
        Of the model: letters, digits, ``_``, ``-`` and ``.``; not digits alone, as a version is named.
    """

    def __init__(self, root: Path, name: str) -> None:
        check_name(name)
        self.root = root
        self.name = name
        self.path = root / name

    def versions(self, warn: Callable[[str], None] = lambda _: None) -> list[int]:
        """Return the versions on disk, ascending; `warn` receives a line on each folder that is none."""
        found = []
        for entry in sorted(self.path.iterdir()) if self.path.is_dir() else []:
            if entry.name.startswith(".") or not entry.is_dir():
                continue
            version = version_of(entry.name)
            if version is not None:
                found.append(version)
            else:
                warn(f"{entry}: ignored, a version is a folder named with an integer")
        return sorted(found)

    def version_path(self, version: int) -> Path:
        """Return the folder of a version."""
        return self.path / str(version)

    def champion(self) -> Champion:
        """Read champion.json; without one, nothing is labelled.

        Raises
        ------
        InputError
            It is not what we write.
        """
        path = self.path / CHAMPION
        if not path.exists():
            return Champion({})
        return Champion.parse(read_json(path, _RESTORE), str(path))


def check_name(name: str) -> str:
    """Return the name of a model.

    Raises
    ------
    InputError
        It can't be one.
    """
    if not _NAME.fullmatch(name):
        raise InputError(
            f"model name '{name}': expected letters, digits, _ - . with a letter among them, and no path"
        )
    return name


def version_of(word: str) -> int | None:
    """Return the version that a folder or a key names; None: not an integer that TF Serving takes."""
    return int(word) if _VERSION.fullmatch(word) and int(word) <= _LARGEST_VERSION else None


def model_names(root: Path) -> list[str]:
    """Return the models of a repository, sorted.

    Raises
    ------
    InputError
        There is no such folder, or it is a run's or a model's and not a repository.
    """
    if not root.is_dir():
        raise InputError(f"{root}: no such model repository; deploy a model first (ssfr run)")
    if (root / MANIFEST).is_file() and (root / "models").is_dir():
        raise InputError(f"{root}: the folder of a run; its models are in {root / 'models'}")
    if (root / SAVED_MODEL).exists() or any(child.name.isdigit() for child in root.iterdir()):
        raise InputError(
            f"{root}: this is one model; expected the folder above it, with one folder for each model"
        )
    return sorted(entry.name for entry in root.iterdir() if entry.is_dir() and _NAME.fullmatch(entry.name))


def verify_version(directory: Path) -> dict[str, Any]:
    """Check that a version holds exactly the files that were exported, and return its manifest.

    A SavedModel is a program: it is loaded only if every file in its folder is listed in the manifest
    with its digest, none is missing, and none is a link.

    Raises
    ------
    InputError
        There is no manifest, or it names a file outside.
    DamagedArtifactError
        A file is absent or altered, or there is one more, or a link; or the manifest is not one of ours.
    """
    if not (directory / MANIFEST).is_file():
        raise InputError(f"{directory}: no {MANIFEST}; only models that ssfr exported are loaded")
    found = set()
    for path in directory.rglob("*"):
        if path.is_symlink():
            raise DamagedArtifactError(f"{path}: a link in a model's folder; {_WAY_OUT}")
        if path.is_file():
            found.add(str(path.relative_to(directory)))
    manifest = verify(directory, _WAY_OUT)
    extra = sorted(found - set(manifest["files"]) - {MANIFEST})
    if extra:
        raise DamagedArtifactError(f"{directory / extra[0]}: not listed in {MANIFEST}; {_WAY_OUT}")
    return manifest
