"""Artifacts of a run: written completely or not at all, digested, found again by what made them."""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import json
import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from ssfr.components.errors import DamagedArtifactError, InputError
from ssfr.components.runtime.processes import locked
from ssfr.components.storage.manifest import MANIFEST, REMAKE, files_of, manifest_in, manifest_of, source_of

STAGING = ".staging"
_ORPHAN_WAIT_S = 30.0
"""[s] for a step of a killed run to notice that its owner is gone."""
_CODE_ROOT = Path(__file__).resolve().parents[1]


def sha256_file(path: Path) -> str:
    """Return the SHA-256 of a file, read in pieces."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def sha256_json(data: object) -> str:
    """Return the SHA-256 of anything JSON can hold; the order of keys does not matter."""
    return hashlib.sha256(json.dumps(data, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Give a temporary name in the folder of `path`; rename to `path` when the block ends well.

    A block that raises leaves nothing behind; a process that is killed leaves at most a
    ``.NAME.PID.part`` file, never half a `path`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield part
        _fsync(part)
        part.replace(path)
        _fsync(path.parent)
    finally:
        part.unlink(missing_ok=True)


def write_json(path: Path, data: object) -> None:
    """Write JSON atomically; NaN is refused, since JSON has none."""
    with atomic_file(path) as part:
        part.write_text(json.dumps(data, indent=1, sort_keys=True, allow_nan=False) + "\n")


def read_json(path: Path, way_out: str = REMAKE) -> dict[str, Any]:
    """Read JSON of our own: an object.

    Parameters
    ----------
    path
        The file.
    way_out
        What to do if it can't be read, for the message.

    Raises
    ------
    InputError
        The file is absent or is not JSON, or not an object.
    """
    try:
        data = json.loads(path.read_bytes())
    except OSError as error:
        raise InputError(f"{path}: can't be read: {error.strerror}; {way_out}") from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not valid JSON ({error}); {way_out}") from None
    if not isinstance(data, dict):
        raise InputError(f"{path}: a {type(data).__name__}, not an object; {way_out}")
    return data


@cache
def code_digest(step: str) -> str:
    """Return a digest of the code that a step runs: its own folder and the ground, not other steps'."""
    others = {path.parent for path in _CODE_ROOT.glob("*/component.py")} - {_CODE_ROOT / step}
    sources = [
        path
        for path in _CODE_ROOT.rglob("*")
        if path.suffix in (".py", ".html") and not others.intersection(path.parents)
    ]
    total = hashlib.sha256()
    for source in sorted(sources):
        total.update(str(source.relative_to(_CODE_ROOT)).encode() + source.read_bytes())
    kernel = (
        importlib.util.find_spec(f"ssfr.components.{step}._kernel") if (_CODE_ROOT / step).is_dir() else None
    )
    if kernel and kernel.origin:
        total.update(Path(kernel.origin).read_bytes())
    return total.hexdigest()


def every_code_digest() -> str:
    """Return a digest of the code of all steps."""
    steps = sorted(path.parent.name for path in _CODE_ROOT.glob("*/component.py"))
    return sha256_json([code_digest(step) for step in steps])


def verify(directory: Path, way_out: str = REMAKE) -> dict[str, Any]:
    """Check every file of an artifact against the digests in its manifest, and return the manifest.

    Parameters
    ----------
    directory
        The artifact.
    way_out
        What to do if it is damaged, for the message.

    Raises
    ------
    InputError
        There is no manifest: this is not an artifact, or it was never finished. Or it names a file outside.
    DamagedArtifactError
        A file is absent, its bytes are not those that were written, or the manifest is not one of ours.
    """
    body, place = manifest_in(directory), str(directory / MANIFEST)
    manifest = manifest_of(body, place, way_out)
    for name, entry in files_of(body, place).items():
        path = source_of(directory, name, way_out)
        if path.stat().st_size != entry.bytes or sha256_file(path) != entry.sha256:
            raise DamagedArtifactError(
                f"{path}: damaged, its SHA-256 is not the one in {MANIFEST}; {way_out}"
            )
    return manifest


def listed(folder: Path, paths: Iterable[Path]) -> dict[str, dict[str, Any]]:
    """Return what a manifest says of files in a folder: name -> SHA-256 and size [bytes]."""
    return {
        str(path.relative_to(folder)): {"sha256": sha256_file(path), "bytes": path.stat().st_size}
        for path in paths
    }


def publish(staging: Path, final: Path, description: Mapping[str, Any]) -> None:
    """Digest every file in `staging`, add the manifest, and rename the folder to `final` in one step."""
    finished = [
        path
        for path in sorted(staging.rglob("*"))
        if path.is_file() and path.name != MANIFEST and not path.name.endswith(".part")
    ]
    files = listed(staging, finished)
    for leftover in staging.rglob("*.part"):
        leftover.unlink()
    write_json(staging / MANIFEST, {**description, "files": files})
    final.parent.mkdir(parents=True, exist_ok=True)
    staging.rename(final)
    _fsync(final.parent)


@dataclass(frozen=True)
class Verified:
    """An artifact whose files were checked against its manifest.

    Attributes
    ----------
    folder
        Where it is.
    key
        The digest of what made it.
    """

    folder: Path
    key: str

    @classmethod
    def of(cls, folder: Path) -> Verified:
        """Check an artifact; raises as `verify`."""
        key = verify(folder).get("key")
        if not isinstance(key, str):
            raise DamagedArtifactError(f"{folder / MANIFEST}: no key of a step; {REMAKE}")
        return cls(folder, key)


Origin = Verified | Path | str
"""What a step is made from: an artifact, or the fingerprint of foreign data."""


def step_key(
    name: str, inputs: Mapping[str, Origin], settings: Mapping[str, Any], room: str | None = None
) -> str:
    """Return the digest of all that a step's artifact depends on; arguments as of `run_step`."""
    return sha256_json([name, _origins(inputs), settings, code_digest(room or name)])[:16]


def run_step(
    name: str,
    workdir: Path,
    inputs: Mapping[str, Origin],
    settings: Mapping[str, Any],
    work: Callable[[Path], Mapping[str, Any]],
    *,
    room: str | None = None,
    still_true: Callable[[Path], bool] | None = None,
) -> Path:
    """Do a step once: return its artifact, made now or found whole from an earlier run.

    The artifact's folder is named after a digest of the step's name, its inputs, its settings and our
    code, so a changed setting never meets an old result. While `work` runs, it writes into a staging
    folder that outlives a killed process: `work` finds what it had finished and goes on from there.

    Parameters
    ----------
    name
        Of the step, and of the folder in `workdir`.
    workdir
        The run's folder.
    inputs
        Artifacts (folders are checked against their digests here), or fingerprints of foreign data.
    settings
        The settings that the step depends on, as JSON can hold them.
    work
        Writes the step's files into the folder it is given and returns the step's figures.
    room
        Folder of the step's code in ``components``; by default its name.
    still_true
        Says of an artifact that is whole whether what it tells of the world outside still holds; if not,
        it is made again.
    """
    inputs = {label: Verified.of(of) if isinstance(of, Path) else of for label, of in inputs.items()}
    key = step_key(name, inputs, settings, room)
    final = workdir / name / key

    def done() -> bool:
        if not final.exists():
            return False
        verify(final)
        return still_true is None or still_true(final)

    if done():
        return final
    staging = workdir / STAGING / f"{name}-{key}"
    with locked(staging.with_suffix(".lock"), f"{workdir}: step {name}", _ORPHAN_WAIT_S):
        if done():
            return final
        if final.exists():
            remove_whole(final, staging.with_suffix(".removed"))
        staging.mkdir(parents=True, exist_ok=True)
        started = time.time()
        figures = work(staging)
        description = {
            "step": name,
            "key": key,
            "inputs": _origins(inputs),
            "settings": settings,
            "figures": figures,
            "code": code_digest(room or name),
            "version": importlib.metadata.version("ssfr"),
            "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(started)),
            "seconds": round(time.time() - started, 3),
        }
        publish(staging, final, description)
    return final


def _origins(inputs: Mapping[str, Origin]) -> dict[str, dict[str, str]]:
    checked = {label: Verified.of(of) if isinstance(of, Path) else of for label, of in inputs.items()}
    return {
        label: {"key": of.key} if isinstance(of, Verified) else {"fingerprint": of}
        for label, of in checked.items()
    }


def remove_whole(folder: Path, doomed: Path) -> None:
    """Remove a folder that is never seen half removed: it is renamed to `doomed` first.

    What a killed removal left at `doomed`, which must be on the same file system, goes too.
    """
    if doomed.exists():
        shutil.rmtree(doomed)
    folder.rename(doomed)
    shutil.rmtree(doomed)


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
