"""Roll-out: the label stable moves to a version only if live servers answer as stored with it.

The version is labelled ``trial`` first, and checked under that label: a version that can't be loaded, or
answers otherwise, is never stable, and TF Serving moves a label only to a version that it has loaded before.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from google.protobuf.message import DecodeError

from ssfr.components.config import ServingSettings
from ssfr.components.errors import InputError
from ssfr.components.labels.served import label_among
from ssfr.components.runtime.progress import Progress
from ssfr.components.serving.client.client import ModelClient
from ssfr.components.serving.protocol.tensors import TensorSpec, from_proto
from ssfr.components.serving.protocol.wire_pb2 import PredictionLog
from ssfr.components.serving.repository.folder import DESCRIPTION, STABLE, TRIAL, WARMUP
from ssfr.components.serving.repository.remote import Labels, RemoteRepository
from ssfr.components.storage.artifact import read_json


@dataclass(frozen=True)
class KnownAnswer:
    """A request that is kept with a version, and what it answered when it was exported."""

    signature: str
    key: str
    array: np.ndarray
    """The signature's one input."""
    predicted: np.ndarray
    """(n,) float32, in the label's unit"""
    tolerance_dex: float


@dataclass(frozen=True)
class RolloutResult:
    """What a roll-out that succeeded did.

    Attributes
    ----------
    version, before
        That is stable now, and was; None: there was none.
    difference_dex
        The largest between a live answer and the stored one [dex].
    seconds
        That it took.
    """

    version: int
    before: int | None
    difference_dex: float
    seconds: float


def promote(
    repository: RemoteRepository,
    version: int,
    servers: Sequence[str],
    settings: ServingSettings,
    progress: Progress,
) -> RolloutResult:
    """Make a version the champion, once live servers answer with it as they should.

    Parameters
    ----------
    repository
        Whose labels move; the servers follow it.
    version
        In the repository.
    servers
        "HOST:PORT" each, every one of which must pass.
    settings
        ``rollout_s``, and how servers are reached.
    progress
        Shows each step.

    Raises
    ------
    InputError
        No such version, a damaged one or one without known answers: nothing was changed. The servers do
        not answer with it in time, or answer otherwise: the labels are as before, and the message says so.
    """
    return _Rollout(repository, servers, settings, progress).move(repository.read(), version, {})


def rollback(
    repository: RemoteRepository,
    to: int | None,
    servers: Sequence[str],
    settings: ServingSettings,
    progress: Progress,
) -> RolloutResult:
    """Make an earlier version the champion again; as `promote`.

    Parameters
    ----------
    to
        None: the champion before this one.
    """
    labels = repository.read()
    version = labels.champion.previous(repository.versions()) if to is None else to
    if version is None:
        raise InputError(
            f"{repository}: no champion before this one is still there; name a version with --to:"
            f" {_listed(repository)}"
        )
    return _Rollout(repository, servers, settings, progress).move(labels, version, {"rolled_back": True})


def known_answers(folder: Path, origin: str) -> list[KnownAnswer]:
    """Return the requests that were stored with a version, and their answers.

    Raises
    ------
    InputError
        There are none, or they can't be read.
    """
    known = []
    try:
        answers = read_json(folder / DESCRIPTION)["known_answers"]
        for record in tf.data.TFRecordDataset(str(folder / WARMUP)).as_numpy_iterator():
            request = PredictionLog.FromString(record).predict_log.request
            signature = request.model_spec.signature_name
            expected = answers.get(signature)
            if expected is not None:
                ((key, tensor),) = request.inputs.items()
                array = from_proto(tensor, TensorSpec.of(tensor))
                value = np.asarray(expected[label_among(expected)], np.float32)
                known.append(KnownAnswer(signature, key, array, value, float(expected["tolerance_dex"])))
    except (
        InputError,
        KeyError,
        TypeError,
        ValueError,
        AttributeError,
        OverflowError,
        DecodeError,
        tf.errors.OpError,
    ):
        known = []
    if not known:
        raise InputError(
            f"{origin}: no requests with known answers in {WARMUP} and {DESCRIPTION}; deploy the model"
            " again with deployment.warmup: true"
        )
    return known


class _Rollout:
    def __init__(
        self,
        repository: RemoteRepository,
        servers: Sequence[str],
        settings: ServingSettings,
        progress: Progress,
    ) -> None:
        if not servers:
            raise InputError("no server to check; give --server HOST:PORT, once for each")
        for server in servers:
            ModelClient.of(settings, server).close()  # a wrong address is said before anything is copied
        self._repository, self._servers, self._progress = repository, servers, progress
        self._settings = settings.model_copy(update={"retries": 0})

    def move(self, before: Labels, version: int, note: Mapping[str, Any]) -> RolloutResult:
        """Label a version, see it answer, make it stable, see it answer; or put the labels back."""
        started = time.monotonic()
        if version not in self._repository.versions():
            raise InputError(
                f"{self._repository}: no complete version {version}; there are: {_listed(self._repository)}"
            )
        with tempfile.TemporaryDirectory(prefix="ssfr-rollout-", dir=self._repository.scratch) as scratch:
            folder = self._repository.pull(Path(scratch), before, [version])
            known = known_answers(folder.version_path(version), f"{self._repository}/{version}")
        champion = before.champion
        if champion.version == version:
            self._progress.say(f"version {version} is stable already; it is checked, and no label moves")
            difference = self._see(STABLE, version, known)
            return RolloutResult(version, version, difference, time.monotonic() - started)
        now = before
        try:
            now = self._repository.write(now, replace(champion, labels={**champion.labels, TRIAL: version}))
            self._progress.say(f"version {version} is on trial")
            self._see(TRIAL, version, known)
            others = {
                label: one
                for label, one in champion.labels.items()
                if one != version and label != TRIAL  # that a killed roll-out left
            }
            line = {"version": version, "promoted": True, "reason": "by hand", **note}
            now = self._repository.write(now, champion.noted({**others, STABLE: version}, line))
            self._progress.say(f"version {version} is labelled stable")
            difference = self._see(STABLE, version, known)
        except BaseException as error:
            if now is before:
                raise
            back = self._put_back(now, before, version, error)
            if isinstance(error, InputError):
                raise InputError(f"{error}; {back}") from None
            self._progress.warn(back)
            raise
        return RolloutResult(version, champion.version, difference, time.monotonic() - started)

    def _see(self, label: str, version: int, known: Sequence[KnownAnswer]) -> float:
        """Wait until each server answers a label with a version, and return the largest difference [dex]."""
        deadline = time.monotonic() + self._settings.rollout_s
        largest = 0.0
        for server in self._servers:
            with ModelClient.of(self._settings, server, self._repository.name, label=label) as client:
                first = known[0]
                client.wait_for(
                    version,
                    partial(client.predict_signature, first.signature, first.key, first.array),
                    deadline,
                )
                for one in known:
                    answer = client.predict_signature(one.signature, one.key, one.array)
                    difference = float(np.abs(answer.predicted - one.predicted).max())
                    if not difference <= one.tolerance_dex or (answer.versions != version).any():
                        raise InputError(
                            f"{server}: version {version} does not answer '{one.signature}' as it did when"
                            f" it was exported: {difference:.2g} dex off, more than {one.tolerance_dex:g}"
                        )
                    largest = max(largest, difference)
        return largest

    def _put_back(self, now: Labels, before: Labels, version: int, error: BaseException) -> str:
        """Write the labels as they were; return what to tell."""
        champion = before.champion
        line = {"version": version, "promoted": False, "reason": str(error) or type(error).__name__}
        try:
            self._repository.write(now, champion.noted(champion.labels, line))
        except InputError as problem:
            return f"the labels could not be put back: {problem}"
        return f"the labels are back: {STABLE} is {champion.version or 'no version'}"


def _listed(repository: RemoteRepository) -> str:
    return ", ".join(map(str, repository.versions())) or "none"
