"""Which versions are in memory: follows the repository, and swaps versions without failing a call."""

from __future__ import annotations

import gc
import threading
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc

from ssfr.components.errors import InputError
from ssfr.components.runtime.progress import Progress
from ssfr.components.serving.protocol.wire_pb2 import (
    ModelConfig,
    ModelServerConfig,
    ModelSpec,
    ModelVersionStatus,
)
from ssfr.components.serving.repository.folder import STABLE, ModelFolder, model_names
from ssfr.components.serving.server.servable import CallError, Servable

State = ModelVersionStatus.State


@dataclass(frozen=True)
class LoadedVersions:
    """The versions that answer a model's calls at one moment; replaced in one assignment, never changed."""

    servables: Mapping[int, Servable] = field(default_factory=dict)
    labels: Mapping[str, int] = field(default_factory=dict)
    default: int | None = None
    """Version of a call that names none: the champion, or the newest where there is no champion."""

    def after(self, loaded: Mapping[int, Servable], labels: Mapping[str, int]) -> LoadedVersions:
        """Return what answers once the repository has changed.

        A label whose version could not be loaded stays where it was; where the champion could not be
        loaded, what answered goes on answering, but no other version steps in.

        Parameters
        ----------
        loaded
            The versions to hold that could be loaded.
        labels
            As they are to be.
        """
        held = {**self.servables, **loaded}
        placed = {}
        for label, wanted in labels.items():
            version = wanted if wanted in held else self.labels.get(label)
            if version is not None:
                placed[label] = version
        newest = max(loaded, default=self.default)
        default = placed.get(STABLE, self.default) if STABLE in labels else newest
        kept = {*loaded, *placed.values(), *({default} if default is not None else ())}
        return LoadedVersions({version: held[version] for version in sorted(kept)}, placed, default)


@dataclass
class _Model:
    folder: ModelFolder
    table: LoadedVersions = LoadedVersions()
    states: dict[int, tuple[State, str]] = field(default_factory=dict)
    draining: list[Servable] = field(default_factory=list)
    broken: dict[int, tuple[Any, ...]] = field(default_factory=dict)
    warned: set[str] = field(default_factory=set)


class VersionLoader:
    """All models of a repository.

    Calls read a table that is replaced in one assignment, so a swap neither blocks nor fails them. A
    version that can't be loaded leaves what is served as it is, and is tried again when its files change.

    Parameters
    ----------
    root
        The repository.
    progress
        Reports what was loaded, unloaded and refused.
    """

    def __init__(self, root: Path, progress: Progress) -> None:
        self._root = root
        self._progress = progress
        self._models: dict[str, _Model] = {}
        self._configured: dict[str, ModelConfig] | None = None
        self._lock = threading.Lock()

    @property
    def ready(self) -> bool:
        """Whether any model can answer."""
        return any(model.table.servables for model in self._models.values())

    def servable(self, spec: ModelSpec) -> Servable:
        """Return the version that a call is for.

        Raises
        ------
        CallError
            INVALID_ARGUMENT: no name, or an unknown label; NOT_FOUND: no such model or version.
        """
        if not spec.name:
            raise CallError(grpc.StatusCode.INVALID_ARGUMENT, "ModelSpec has no name specified.")
        model = self._models.get(spec.name)
        table = model.table if model else LoadedVersions()
        choice = spec.WhichOneof("version_choice")
        if choice == "version_label":
            if model and spec.version_label not in table.labels:
                raise CallError(
                    grpc.StatusCode.INVALID_ARGUMENT,
                    f"Unrecognized servable version label: {spec.version_label}",
                )
            version = table.labels.get(spec.version_label)
        else:
            version = spec.version.value if choice == "version" else table.default
        servable = None if version is None else table.servables.get(version)
        if servable is None:
            wanted = (
                f"Specific({spec.name}, {spec.version.value})"
                if choice == "version"
                else f"Latest({spec.name})"
            )
            raise CallError(grpc.StatusCode.NOT_FOUND, f"Servable not found for request: {wanted}")
        return servable

    def statuses(self, spec: ModelSpec) -> list[ModelVersionStatus]:
        """Return the state of a model's versions, newest first, or of the requested one.

        Raises
        ------
        CallError
            NOT_FOUND, or INVALID_ARGUMENT for an unknown label.
        """
        model = self._models.get(spec.name)
        states = dict(model.states) if model else {}
        choice = spec.WhichOneof("version_choice")
        if not states:
            raise CallError(
                grpc.StatusCode.NOT_FOUND, f"Could not find any versions of model {spec.name or '(no name)'}"
            )
        if choice is not None:
            version = self.servable(spec).version if choice == "version_label" else spec.version.value
            if version not in states:
                raise CallError(
                    grpc.StatusCode.NOT_FOUND, f"Could not find version {version} of model {spec.name}"
                )
            states = {version: states[version]}
        answer = []
        for version, (state, problem) in sorted(states.items(), reverse=True):
            status = ModelVersionStatus(version=version, state=state)
            if problem:
                status.status.error_code = grpc.StatusCode.FAILED_PRECONDITION.value[0]
                status.status.error_message = problem
            answer.append(status)
        return answer

    def sync(self) -> None:
        """Look at the repository once, and load and unload what changed."""
        with self._lock:
            configured = self._configured
            names = {*model_names(self._root), *self._models} if configured is None else configured.keys()
            for name in sorted(names):
                model = self._model(name)
                self._replace(model, self._next(model, configured[name] if configured else None))
            self._finish_draining()

    def reload(self, config: ModelServerConfig) -> None:
        """Serve exactly the models, versions and labels of a configuration from now on.

        The versions that it names are loaded first; if one of them is refused, nothing has changed.

        Raises
        ------
        CallError
            INVALID_ARGUMENT: another kind of configuration, or a folder outside the repository;
            FAILED_PRECONDITION: a label on a version that can't be loaded.
        """
        if config.WhichOneof("config") != "model_config_list":
            raise CallError(
                grpc.StatusCode.INVALID_ARGUMENT,
                "ServerModelConfig type not supported by HandleReloadConfigRequest. "
                "Only ModelConfigList is currently supported",
            )
        configured: dict[str, ModelConfig] = {}
        for entry in config.model_config_list.config:
            if entry.name in configured:
                raise CallError(grpc.StatusCode.INVALID_ARGUMENT, f"model '{entry.name}' is named twice")
            self._check_config(entry)
            configured[entry.name] = entry
        with self._lock:
            tables = {name: self._next(self._model(name), entry) for name, entry in configured.items()}
            for name, entry in configured.items():
                for label, version in entry.version_labels.items():
                    if tables[name].labels.get(label) != version:
                        raise CallError(
                            grpc.StatusCode.FAILED_PRECONDITION,
                            f"Request to assign label to {version} version of model {name}, "
                            "which is not currently available for inference",
                        )
            self._configured = configured
            for name, model in self._models.items():
                self._replace(model, tables.get(name, LoadedVersions()))
            self._finish_draining()

    def follow(self, stop: threading.Event, every_s: float, after: Callable[[], None]) -> None:
        """Look at the repository every `every_s` seconds until `stop` is set."""
        warned = ""
        while not stop.wait(every_s):
            problem = ""
            try:
                self.sync()
            except InputError as error:
                problem = str(error)
            except Exception:
                # Whatever went wrong with a new version, the old one goes on answering.
                problem = traceback.format_exc()
            if problem and problem != warned:
                self._progress.warn(f"{problem}; what is loaded stays")
            warned = problem
            after()

    def _check_config(self, entry: ModelConfig) -> None:
        try:
            folder = ModelFolder(self._root, entry.name)
        except InputError as error:
            raise CallError(grpc.StatusCode.INVALID_ARGUMENT, str(error)) from None
        if not folder.path.is_dir():
            raise CallError(
                grpc.StatusCode.INVALID_ARGUMENT, f"model '{entry.name}' is not in the repository"
            )
        if entry.base_path and Path(entry.base_path).resolve() != folder.path.resolve():
            raise CallError(
                grpc.StatusCode.INVALID_ARGUMENT,
                f"base_path of '{entry.name}': expected {folder.path}, "
                "models are served from the repository only",
            )

    def _model(self, name: str) -> _Model:
        if name not in self._models:
            # Calls read this dictionary while it is replaced.
            self._models = {**self._models, name: _Model(ModelFolder(self._root, name))}
        return self._models[name]

    def _next(self, model: _Model, config: ModelConfig | None) -> LoadedVersions:
        """Load what is wanted and not there yet, and return the table to answer from then on."""
        try:
            wanted, labels = self._wanted(model, config)
        except InputError as error:
            self._warn_once(model, f"{error}; what is loaded stays")
            return model.table
        loaded = {}
        for version in sorted(wanted):
            servable = model.table.servables.get(version) or self._load(model, version)
            if servable is not None:
                loaded[version] = servable
        return model.table.after(loaded, labels)

    def _wanted(self, model: _Model, config: ModelConfig | None) -> tuple[set[int], Mapping[str, int]]:
        """Return the versions to hold in memory, and the labels to give."""
        on_disk = model.folder.versions(lambda text: self._warn_once(model, text))
        labels: Mapping[str, int] = model.folder.champion().labels
        if config is not None and config.version_labels:
            labels = dict(config.version_labels)
        policy = config.model_version_policy.WhichOneof("policy_choice") if config is not None else None
        if config is not None and policy == "all":
            wanted = set(on_disk)
        elif config is not None and policy == "specific":
            wanted = set(config.model_version_policy.specific.versions)
            labels = {label: version for label, version in labels.items() if version in wanted}
        elif config is not None and policy == "latest":
            wanted = set(on_disk[-max(config.model_version_policy.latest.num_versions, 1) :])
        else:
            wanted = set()
        wanted = wanted | set(labels.values()) or set(on_disk[-1:])
        for version in sorted(wanted - set(on_disk)):
            self._warn_once(model, f"{model.folder.path}: version {version} is labelled, but not there")
        return wanted & set(on_disk), labels

    def _load(self, model: _Model, version: int) -> Servable | None:
        """Load a version; None if that can't be done, until its files change."""
        directory = model.folder.version_path(version)
        fingerprint = _fingerprint(directory)
        if model.broken.get(version) == fingerprint:
            return None
        model.states[version] = (State.LOADING, "")
        try:
            servable = Servable.load(directory, model.folder.name, version)
        except Exception as error:
            # Whatever is wrong with one version, the others are looked at and answer.
            expected = isinstance(error, (InputError, OSError))
            problem = str(error) if expected else traceback.format_exc()
            model.broken[version] = fingerprint
            model.states[version] = (State.END, problem)
            served = model.table.default
            stays = f"; version {served} goes on answering" if served is not None else ""
            self._progress.warn(f"{model.folder.name} version {version} not loaded: {problem}{stays}")
            return None
        model.broken.pop(version, None)
        self._progress.say(f"{model.folder.name} version {version} loaded")
        return servable

    def _replace(self, model: _Model, table: LoadedVersions) -> None:
        """Answer from `table` from now on, and set the states of the versions."""
        before, model.table = model.table.servables, table
        for version in before.keys() - table.servables.keys():
            model.states[version] = (State.UNLOADING, "")
            model.draining.append(before[version])
        for version in table.servables:
            model.states[version] = (State.AVAILABLE, "")
        existing = {*model.folder.versions(), *table.servables, *(gone.version for gone in model.draining)}
        model.states = {
            version: state
            for version, state in model.states.items()
            # What a refused configuration had loaded is gone again.
            if version in existing and state[0] != State.LOADING
        }

    def _finish_draining(self) -> None:
        ended = False
        for model in self._models.values():
            for servable in [servable for servable in model.draining if not servable.busy]:
                model.draining.remove(servable)
                if model.states[servable.version][0] == State.UNLOADING:
                    model.states[servable.version] = (State.END, "")
                self._progress.say(f"{servable.name} version {servable.version} unloaded")
                ended = True
        if ended:
            # A loaded SavedModel is a cycle of references: without this its weights stay in memory.
            gc.collect()

    def _warn_once(self, model: _Model, text: str) -> None:
        if text not in model.warned:
            model.warned.add(text)
            self._progress.warn(text)


def _fingerprint(directory: Path) -> tuple[Any, ...]:
    entries = []
    try:
        for path in sorted(directory.rglob("*")):
            status = path.lstat()
            entries.append((str(path), status.st_size, status.st_mtime_ns, status.st_ino))
    except OSError as error:
        return (str(error),)
    return tuple(entries)
