"""Runs the pipeline on this machine: no cluster, no Docker; killed anywhere, it goes on where it stopped."""

from __future__ import annotations

import builtins
import collections
import contextlib
import errno
import importlib.util
import io
import logging
import os
import platform
import shutil
import signal
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from ssfr.components.config import Settings
from ssfr.components.errors import InputError
from ssfr.components.runtime.extras import require_extras
from ssfr.components.runtime.processes import locked
from ssfr.components.runtime.progress import Progress, Sink, disk_is_full
from ssfr.components.simulation import is_synthetic
from ssfr.components.steps.step import EVENTS, LOCK
from ssfr.components.storage.artifact import STAGING, atomic_file, read_json, write_json
from ssfr.components.storage.manifest import MANIFEST
from ssfr.components.training.plan import check_settings
from ssfr.pipelines.display import RunEvents, following
from ssfr.pipelines.local.estimate import check_disk, estimate
from ssfr.pipelines.options import origin
from ssfr.pipelines.placement import OnThisMachine
from ssfr.pipelines.study import IMAGE_STEPS, STEPS, study

LOG = "kfp.log"
REPORT = "report.html"
MODEL_CARD = "model-card.md"
_ROOT = ".kfp"
_SAFE_PATH = "PYTHONSAFEPATH"
_BEFORE_TRAINING = {*STEPS[: STEPS.index("training")], *IMAGE_STEPS[: IMAGE_STEPS.index("training")]}
_LIBRARIES = ("kfp", "numpy", "h5py", "keras", "tensorflow", "scikit-learn", "illustris_python")


@dataclass(frozen=True)
class DataSource:
    """Where galaxies come from."""

    location: str
    images: bool

    @property
    def synthetic(self) -> bool:
        """Whether the galaxies are those of the synthetic universe; an image catalogue does not say."""
        return not self.images and is_synthetic(self.location)

    @staticmethod
    def parse(text: str) -> DataSource:
        """Read ``DIR`` or ``images:DIR``.

        Raises
        ------
        InputError
            The folder does not exist, or the scheme is unknown.
        """
        scheme, _, rest = text.rpartition(":")
        if scheme not in ("", "images"):
            raise InputError(
                f"--data {text}: unknown kind of data '{scheme}:'; expected DIR or images:DIR,"
                " as data in S3 are for pipelines on a cluster (ssfr compile)"
            )
        folder = Path(rest).resolve()
        if not folder.is_dir():
            raise InputError(f"--data {text}: no such folder")
        if scheme == "" and _has_pictures(folder):
            raise InputError(f"--data {text}: pictures, not a TNG directory; did you mean images:{text}?")
        return DataSource(str(folder), scheme == "images")


@dataclass(frozen=True)
class Outcome:
    """Where a run's results are."""

    artifacts: dict[str, Path]
    report: Path | None
    deployment: dict[str, Any] | None


def check(settings: Settings, until: str | None) -> None:
    """Refuse, before the first step, what a later one would only refuse after hours.

    Raises
    ------
    InputError
        A library that a step needs is not installed, or the weights that training starts from are absent.
    """
    if until not in _BEFORE_TRAINING:
        require_extras("train", *(("serve",) if until in (None, "deployment") else ()))
        check_settings(settings)


def run(
    settings: Settings,
    data: DataSource,
    workdir: Path,
    sink: Sink,
    *,
    preset: str,
    repository: Path | None = None,
    until: str | None = None,
) -> Outcome:
    """Do the study, or go on with it.

    Parameters
    ----------
    settings
        Of the run.
    data
        A simulation or an image catalogue.
    workdir
        Folder of the run; a second call with the same settings finds what the first one finished.
    sink
        Shows progress.
    preset
        Name of the settings, for the report.
    repository
        Folder of served models; by default ``models`` in `workdir`.
    until
        Last step to do; manifest.json, which is of a complete run, is then called manifest-STEP.json.

    Raises
    ------
    InputError
        What a step found wrong, in one line.
    RuntimeError
        A bug: the message holds the step's traceback.
    """
    check(settings, until)
    repository = (repository or workdir / "models").resolve()
    workdir = workdir.resolve()
    arguments: dict[str, Any] = {
        "workdir": str(workdir),
        "data": data.location,
        "settings": settings.model_dump_json(),
        "origin": origin(preset, data.location, data.images),
        "repository": str(repository),
    }
    first = IMAGE_STEPS[0] if data.images else STEPS[0]
    cases = [case.name for case in settings.cases]
    stages = {
        last: study(
            cases,
            OnThisMachine(settings.training.workers),
            images=data.images,
            until=last,
            verify=bool(settings.deployment.servers) and last is None,
        )
        for last in dict.fromkeys((first, until))
    }
    with locked(workdir / LOCK, f"--workdir {workdir}"):
        started = time.time()
        events = workdir / EVENTS
        events.unlink(missing_ok=True)
        with RunLog(workdir / LOG) as log, following(events, sink) as reported:
            for last, pipeline in stages.items():
                failure = _run_kfp(pipeline, arguments, workdir, log)
                if failure is not None:
                    break
                if last == first and until != first:
                    _announce(reported, first, settings, workdir, sink)
        if failure is not None:
            _explain(failure, reported, log)
        outcome = _outcome(workdir, reported.artifacts)
        # A run that stops early does not take the place of a complete one.
        manifest = MANIFEST if until is None else f"manifest-{until}.json"
        _write_manifest(workdir / manifest, settings, data, arguments, outcome, started)
        if until is None:
            shutil.rmtree(workdir / STAGING, ignore_errors=True)
        return outcome


def _announce(reported: RunEvents, first: str, settings: Settings, workdir: Path, sink: Sink) -> None:
    """Say how long the rest will take, from the size of the sample, and stop if the disk is too small."""
    folder = reported.wait_for(first)
    needed = estimate(folder, settings)
    Progress(sink).say(str(needed))
    check_disk(needed, workdir)


def _explain(failure: str, reported: RunEvents, log: RunLog) -> NoReturn:
    if reported.errors:
        raise InputError(reported.errors[0])
    if log.full or os.strerror(errno.ENOSPC) in log.tail():
        raise InputError(
            f"{log.path.parent}: no space left on the disk; free some and run the same command again"
        )
    raise RuntimeError(f"{failure}\n{log.traceback()}")


class RunLog(io.TextIOBase):
    """KFP's own output: a file, and its end in memory, which is there on a full disk too."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.full = False
        self._file = path.open("wb", buffering=0)
        self._end: collections.deque[str] = collections.deque(maxlen=2000)

    def write(self, text: str) -> int:
        self._end.append(text)
        try:
            self._file.write(text.encode())
        except OSError as error:
            if not disk_is_full(error):
                raise
            self.full = True
        return len(text)

    def close(self) -> None:
        self._file.close()
        super().close()

    def tail(self) -> str:
        return "".join(self._end)

    def traceback(self) -> str:
        """Return the last traceback that a component printed."""
        before, found, text = self.tail().rpartition("Traceback (most recent call last)")
        if not found:
            return f"see {self.path}"
        indent = before.rpartition("\n")[2]
        return "\n".join(line.removeprefix(indent) for line in (found + text).splitlines())


def _run_kfp(pipeline: Any, arguments: dict[str, Any], workdir: Path, log: RunLog) -> str | None:
    """Run through kfp.local with its output in the log; return why it failed, or None."""
    _hide_folder_docker()
    from kfp import local

    with (
        _safe_path(),
        _ended_by_interrupt(),
        left_as_before(),
        contextlib.redirect_stdout(log),
        warnings.catch_warnings(),
    ):
        warnings.filterwarnings("ignore", message="You may be attemp", category=RuntimeWarning)
        root = workdir / _ROOT
        local.init(
            local.SubprocessRunner(use_venv=False),
            pipeline_root=str(root),
            workspace_root=str(root / "workspace"),
        )
        try:
            pipeline(**arguments)
        except RuntimeError as error:
            return str(error)
        finally:
            shutil.rmtree(root, ignore_errors=True)
    return None


def _hide_folder_docker() -> None:
    """Keep KFP, which tries to import docker, from taking a checkout's folder for the package."""
    found = importlib.util.find_spec("docker")
    if found is not None and found.origin is None:
        sys.modules["docker"] = None  # type: ignore[assignment]


@contextlib.contextmanager
def _safe_path() -> Iterator[None]:
    """Keep steps, which start as ``python -m``, from importing folders of the working directory."""
    before = os.environ.get(_SAFE_PATH)
    os.environ[_SAFE_PATH] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[_SAFE_PATH]
        else:
            os.environ[_SAFE_PATH] = before


@contextlib.contextmanager
def _ended_by_interrupt() -> Iterator[None]:
    """End the process at once on Ctrl-C: KFP would first start the tasks that wait, and wait for them.

    Its steps see that it is gone.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(_number: int, _frame: FrameType | None) -> None:
        show_cursor = "\x1b[?25h" if sys.stderr.isatty() else ""
        os.write(2, f"{show_cursor}\ninterrupted; the same command goes on where it stopped\n".encode())
        os._exit(128 + signal.SIGINT)

    before = signal.signal(signal.SIGINT, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextlib.contextmanager
def left_as_before() -> Iterator[None]:
    """Undo what KFP leaves of its changes to `print` and to logging, where two tasks ran at a time."""
    root = logging.getLogger()
    printing, handlers, level = builtins.print, root.handlers[:], root.level
    try:
        yield
    finally:
        builtins.print = printing
        root.handlers[:] = handlers
        root.setLevel(level)


def _has_pictures(folder: Path) -> bool:
    """Whether there are pictures in a folder, or in one in it, and no snapshots."""
    if any(folder.glob("groups_*")) or any(folder.glob("output/groups_*")):
        return False
    return any(True for pattern in ("*.png", "*/*.png") for _ in folder.glob(pattern))


def _outcome(workdir: Path, artifacts: dict[str, Path]) -> Outcome:
    report = None
    if "report" in artifacts:
        for name in (MODEL_CARD, REPORT):
            with atomic_file(workdir / name) as part:
                shutil.copyfile(artifacts["report"] / name, part)
        report = workdir / REPORT
    deployment = read_json(artifacts["deployment"] / "deployment.json") if "deployment" in artifacts else None
    return Outcome(artifacts, report, deployment)


def _write_manifest(
    path: Path,
    settings: Settings,
    data: DataSource,
    arguments: dict[str, Any],
    outcome: Outcome,
    started: float,
) -> None:
    """Write what it takes to run this again."""
    steps = {label: read_json(folder / MANIFEST) for label, folder in outcome.artifacts.items()}
    write_json(
        path,
        {
            "settings": settings.model_dump(mode="json"),
            "data": data.location,
            "origin": arguments["origin"],
            "synthetic": data.synthetic,
            "repository": arguments["repository"],
            "steps": steps,
            "seconds": round(time.time() - started, 1),
            "versions": {"python": platform.python_version()}
            | {name: version for name in _LIBRARIES if (version := _version(name))},
            "machine": {"processor": platform.machine(), "cores": os.cpu_count()},
        },
    )


def _version(library: str) -> str | None:
    try:
        return metadata.version(library)
    except metadata.PackageNotFoundError:
        return None
