"""The model repository on disk: <root>/<model>/<version>/ as TF Serving reads it, and champion.json."""

from __future__ import annotations

import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components.errors import DamagedArtifactError, InputError
from components.processes import locked
from components.storage.artifact import MANIFEST, read_json, remove_whole, verify, write_json

CHAMPION = "champion.json"
STABLE = "stable"
CANARY = "canary"

_NAME = re.compile(r"(?![0-9]+\Z)[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")
_VERSION = re.compile(r"0|[1-9][0-9]{0,18}")
_LARGEST_VERSION = 2**63 - 1


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

    @property
    def version(self) -> int | None:
        """The champion's version, None if no model was ever promoted."""
        return self.labels.get(STABLE)


class ModelFolder:
    """One model of a repository.

    Parameters
    ----------
    root
        The repository.
    name
        Of the model: letters, digits, ``_``, ``-`` and ``.``; not digits alone, as a version is named.
    """

    def __init__(self, root: Path, name: str) -> None:
        if not _NAME.fullmatch(name):
            raise InputError(
                f"model name '{name}': expected letters, digits, _ - . with a letter among them, and no path"
            )
        self.root = root
        self.name = name
        self.path = root / name

    def versions(self, warn: Callable[[str], None] = lambda _: None) -> list[int]:
        """Return the versions on disk, ascending; `warn` is told of folders that are none."""
        found = []
        for entry in sorted(self.path.iterdir()) if self.path.is_dir() else []:
            if entry.name.startswith(".") or not entry.is_dir():
                continue
            if _VERSION.fullmatch(entry.name) and int(entry.name) <= _LARGEST_VERSION:
                found.append(int(entry.name))
            else:
                warn(f"{entry}: ignored, a version is a folder named with a whole number")
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
        data = read_json(path)
        try:
            labels = {str(label): int(version) for label, version in data["labels"].items()}
            return Champion(labels, tuple(dict(entry) for entry in data["history"]))
        except (AttributeError, KeyError, TypeError, ValueError):
            raise InputError(
                f"{path}: expected labels (label -> version) and history; restore it or deploy again"
            ) from None

    def find(self, model_digest: str) -> int | None:
        """Return the newest whole version that holds the model with this digest, or None."""
        for version in reversed(self.versions()):
            try:
                manifest = verify_version(self.version_path(version))
            except InputError:
                continue
            if manifest.get("model_digest") == model_digest:
                return version
        return None

    def says(self, model_digest: str, version: int, label: str, champion: int | None) -> bool:
        """Whether the labels are still what an earlier deployment of a model told, and it is still there."""
        now = self.champion()
        told = now.labels.get(label) == version and now.version == champion
        return told and self.find(model_digest) == version

    def adopt(self, folder: Path) -> int:
        """Move a finished version folder into the repository in one step, and return its number.

        The number is one more than any that was ever used. `folder` must be on the same file system
        (see `scratch`).
        """
        self.path.mkdir(parents=True, exist_ok=True)
        used = [*self.versions(), *(int(entry["version"]) for entry in self.champion().history)]
        version = max(used, default=0) + 1
        folder.rename(self.version_path(version))
        return version

    def decide(self, version: int, promoted: bool, entry: Mapping[str, Any]) -> Champion:
        """Write champion.json: `version` becomes the champion, or the canary beside it.

        Parameters
        ----------
        version
            On disk.
        promoted
            True: it is labelled stable, and a canary label that it had is dropped. Nothing else takes the
            label stable away, not even that its version is gone from the disk: a canary never inherits it.
        entry
            Reason and figures, kept in the history.
        """
        before = self.champion()
        labels = {
            label: number
            for label, number in before.labels.items()
            if label == STABLE or (number != version and self.version_path(number).is_dir())
        }
        if promoted:
            labels.pop(CANARY, None)
        labels[STABLE if promoted else CANARY] = version
        line = {
            "version": version,
            "promoted": promoted,
            "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            **entry,
        }
        after = Champion(labels, (*before.history, line))
        write_json(
            self.path / CHAMPION,
            {"format": 1, "champion": after.version, "labels": labels, "history": list(after.history)},
        )
        return after

    def prune(self, keep: int) -> list[int]:
        """Remove all but the newest `keep` versions, never a labelled one; return those removed."""
        labelled = set(self.champion().labels.values())
        removed = [version for version in self.versions()[:-keep] if version not in labelled]
        for version in removed:
            remove_whole(self.version_path(version), self.path / f".removed-{version}")
        return removed


@contextmanager
def scratch(root: Path) -> Iterator[Path]:
    """Give a hidden folder in a repository to build a version in, for one process at a time.

    What an earlier, killed process left there is removed.

    Raises
    ------
    LockedError
        Another process is deploying into this repository.
    InputError
        It can't be written.
    """
    with locked(root / ".lock", f"the model repository {root}"):
        for leftover in [*root.glob(".staging-*"), *root.glob("*/.removed-*")]:
            shutil.rmtree(leftover)
        with tempfile.TemporaryDirectory(prefix=".staging-", dir=root) as folder:
            yield Path(folder)


def model_names(root: Path) -> list[str]:
    """Return the models of a repository, sorted.

    Raises
    ------
    InputError
        There is no such folder, or it is a model's version and not a repository.
    """
    if not root.is_dir():
        raise InputError(f"{root}: no such model repository; deploy a model first (ssfr run)")
    if (root / "saved_model.pb").exists() or any(child.name.isdigit() for child in root.iterdir()):
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
        There is no manifest, or a file more than it lists.
    DamagedArtifactError
        A file is absent or altered.
    """
    if not (directory / MANIFEST).is_file():
        raise InputError(f"{directory}: no {MANIFEST}; only models that ssfr exported are loaded")
    found = set()
    for path in directory.rglob("*"):
        if path.is_symlink():
            raise DamagedArtifactError(f"{path}: a link in a model's folder; deploy the model again")
        if path.is_file():
            found.add(str(path.relative_to(directory)))
    manifest = read_json(directory / MANIFEST)
    try:
        listed = set(manifest["files"])
        extra = sorted(found - listed - {MANIFEST})
        if extra or not listed <= found:
            name = extra[0] if extra else min(listed - found)
            what = "not listed in" if extra else "absent, but listed in"
            raise DamagedArtifactError(f"{directory / name}: {what} {MANIFEST}; deploy the model again")
        return verify(directory)
    except (AttributeError, KeyError, TypeError):
        raise DamagedArtifactError(
            f"{directory / MANIFEST}: not a manifest of ours; deploy the model again"
        ) from None
