"""Artifacts of a run: written completely or not at all, digested, found again by what made them."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ssfr.components.errors import DamagedArtifactError, InputError
from ssfr.components.runtime.processes import locked
from ssfr.components.storage.manifest import MANIFEST, REMAKE, files_of, manifest_in, manifest_of, source_of

STAGING = ".staging"
_ORPHAN_WAIT_S = 30.0
"""[s] for a step of a killed run to notice that its owner is gone."""


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


def verify(
    directory: Path, way_out: str = REMAKE, only: Callable[[str], bool] = lambda name: True
) -> dict[str, Any]:
    """Check the files of an artifact against the digests in its manifest, and return the manifest.

    Parameters
    ----------
    directory
        The artifact.
    way_out
        What to do if it is damaged, for the message.
    only
        Which files are checked, by name.

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
        if not only(name):
            continue
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
class Origin:
    """What a step is made from.

    Attributes
    ----------
    digest
        Of all that the step reads of it: with another one, the step is done again.
    artifact
        Key of the artifact, for the record; None: data that no step made.
    """

    digest: str
    artifact: str | None = None


def step_key(name: str, inputs: Mapping[str, Origin], settings: Mapping[str, Any], code: str) -> str:
    """Return the digest of all that a step's artifact depends on; arguments as of `run_step`."""
    digests = {label: origin.digest for label, origin in inputs.items()}
    return sha256_json([name, digests, settings, code])[:16]


def run_step(
    name: str,
    workdir: Path,
    inputs: Mapping[str, Origin],
    settings: Mapping[str, Any],
    work: Callable[[Path], Mapping[str, Any]],
    *,
    code: str,
    still_true: Callable[[Path], bool] | None = None,
) -> Path:
    """Do a step once: return its artifact, made now or by an earlier run.

    The artifact's folder is named after a digest of the step's name, its inputs, its settings and its
    code, so that no changed setting finds an old result. While `work` runs, it writes into a staging
    folder that outlives a killed process: `work` finds what it had finished and goes on from there.

    Parameters
    ----------
    name
        Of the step, and of the folder in `workdir`.
    workdir
        The run's folder.
    inputs
        Label -> what it reads.
    settings
        The settings that the result depends on, as JSON can hold them.
    work
        Writes the step's files into the folder it is given and returns the step's figures.
    code
        Digest of the step's code.
    still_true
        Says of a complete artifact whether what it states of the world outside still holds; if not, it is
        made again.
    """
    key = step_key(name, inputs, settings, code)
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
            "inputs": {label: asdict(origin) for label, origin in inputs.items()},
            "settings": settings,
            "figures": figures,
            "code": code,
            "version": importlib.metadata.version("ssfr"),
            "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(started)),
            "seconds": round(time.time() - started, 3),
        }
        publish(staging, final, description)
    return final


def keep_files(made: Path, folder: Path) -> None:
    """Give the files of an artifact, which never change, second names in a folder; across disks, copies."""
    for path in sorted(made.rglob("*")):
        if path.is_file() and path.name != MANIFEST:
            keep_file(path, folder / path.relative_to(made))


def keep_file(path: Path, name: Path) -> None:
    """Give a file of an artifact a second name, as `keep_files`."""
    with atomic_file(name) as part:
        try:
            os.link(path, part)
        except OSError:
            shutil.copyfile(path, part)


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
