"""One version of a model in memory: checked, loaded, warmed up, and called."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import tensorflow as tf
from google.protobuf.message import DecodeError
from tensorflow.core.protobuf.config_pb2 import CallableOptions, ThreadPoolOptionProto
from tensorflow.core.protobuf.meta_graph_pb2 import MetaGraphDef, SignatureDef
from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

from ssfr.components.errors import DamagedArtifactError, InputError
from ssfr.components.labels.served import label_among
from ssfr.components.serving.protocol.names import DEFAULT_SIGNATURE
from ssfr.components.serving.protocol.tensors import TensorSpec, from_proto
from ssfr.components.serving.protocol.wire_pb2 import PredictionLog, PredictRequest
from ssfr.components.serving.repository.folder import DESCRIPTION, WARMUP, verify_version
from ssfr.components.storage.artifact import read_json

_MOST_NAMES = 8
"""Inputs that an error names: a hostile request can hold millions."""
_ALL_CORES = tf.compat.v1.ConfigProto(allow_soft_placement=True)
_ONE_THREAD = tf.compat.v1.ConfigProto(
    allow_soft_placement=True,
    intra_op_parallelism_threads=1,
    session_inter_op_thread_pool=[ThreadPoolOptionProto(global_name="single galaxies")],
)
"""No operation is split between threads: for a small one that takes longer than it saves.

Its calls are computed by threads of their own, as many as there are cores: in TensorFlow's common ones they
would wait for the batches there, for seconds. In the thread of the caller, one client's are as fast, those of
eight a sixth slower."""

# Without it all sessions split their operations between the threads of the first, even if that is one.
# TensorFlow reads it when it first computes anything.
os.environ.setdefault("TF_OVERRIDE_GLOBAL_THREADPOOL", "1")


class CallError(Exception):
    """A call that can't be answered, with gRPC's status code."""

    def __init__(self, code: grpc.StatusCode, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True)
class _Sessions:
    """A loaded graph: to compute one galaxy, and several."""

    for_one: tf.compat.v1.Session
    for_many: tf.compat.v1.Session


class Signature:
    """One function of a SavedModel, with what goes in and what comes out."""

    def __init__(self, name: str, definition: SignatureDef, sessions: _Sessions) -> None:
        self.name = name
        self.definition = definition
        self.inputs = {key: TensorSpec.of(info) for key, info in sorted(definition.inputs.items())}
        self.outputs = sorted(definition.outputs)
        options = CallableOptions(
            feed=[definition.inputs[key].name for key in self.inputs],
            fetch=[definition.outputs[key].name for key in self.outputs],
        )
        # The public make_callable looks its tensors up by name in each call, all of it under Python's lock;
        # it would also convert what it is given.
        self._for_one = sessions.for_one._make_callable_from_options(options)
        self._for_many = sessions.for_many._make_callable_from_options(options)

    def __call__(self, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Run the function.

        Parameters
        ----------
        arrays
            As `decode` returns them: nothing is checked or converted here.

        Returns
        -------
        Read-only arrays: one may be the model's own memory.
        """
        call = self._for_one if all(len(array) == 1 for array in arrays.values()) else self._for_many
        answers = call(*(arrays[key] for key in self.inputs))
        outputs = {}
        for key, answer in zip(self.outputs, answers, strict=True):
            # A scalar string comes as plain bytes.
            outputs[key] = np.asarray(answer, dtype=object if isinstance(answer, bytes) else None)
            outputs[key].setflags(write=False)
        return outputs

    def decode(self, request: PredictRequest, max_batch: int) -> dict[str, np.ndarray]:
        """Check a request's tensors and return them as arrays.

        Raises
        ------
        CallError
            INVALID_ARGUMENT: an input too many or too few, a wrong dtype or shape, a batch too large.
        """
        inputs = request.inputs
        missing = [key for key in self.inputs if key not in inputs]
        if missing or len(inputs) != len(self.inputs):
            extra = sorted(key for key in islice(inputs, _MOST_NAMES) if key not in self.inputs)
            raise _invalid(
                f"input size does not match signature '{self.name}': {len(inputs)}!={len(self.inputs)}. "
                f"Sent extra: {extra}. Missing but required: {missing}."
            )
        arrays = {}
        for key, spec in self.inputs.items():
            shape = inputs[key].tensor_shape.dim
            if spec.shape and spec.shape[0] is None and shape and shape[0].size > max_batch:
                raise _invalid(f"input '{key}': a batch of {shape[0].size}, at most {max_batch} are answered")
            try:
                arrays[key] = from_proto(inputs[key], spec)
            except ValueError as error:
                raise _invalid(f"input '{key}': {error}") from None
        return arrays


class Servable:
    """A loaded version.

    Attributes
    ----------
    signatures
        By name, sorted.
    """

    def __init__(self, name: str, version: int, signatures: Mapping[str, Signature]) -> None:
        self.name = name
        self.version = version
        self.signatures = signatures
        self._calls = 0
        self._lock = threading.Lock()

    @classmethod
    def load(cls, directory: Path, name: str, version: int) -> Servable:
        """Check a version's digests, load it, and run its warm-up requests.

        Raises
        ------
        InputError
            Not a model of ours, damaged, unreadable, or it computes something else than it did when it
            was exported. The message says which.
        """
        verify_version(directory)
        try:
            description = read_json(directory / DESCRIPTION) if (directory / DESCRIPTION).exists() else {}
            servable = cls(name, version, _load_signatures(directory, bool(description.get("one_thread"))))
            servable._warm_up(directory, _known_answers(description))
        except (OSError, ValueError, KeyError, DecodeError, CallError, tf.errors.OpError) as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise InputError(f"{directory}: not loadable as a SavedModel ({reason})") from None
        return servable

    @property
    def busy(self) -> bool:
        """Whether a call is under way."""
        return self._calls > 0

    @contextmanager
    def call(self) -> Iterator[None]:
        """Count a call as under way."""
        with self._lock:
            self._calls += 1
        try:
            yield
        finally:
            with self._lock:
                self._calls -= 1

    def signature(self, name: str) -> Signature:
        """Return a signature; the empty name is ``serving_default``.

        Raises
        ------
        CallError
            FAILED_PRECONDITION: there is none of that name.
        """
        try:
            return self.signatures[name or DEFAULT_SIGNATURE]
        except KeyError:
            raise CallError(
                grpc.StatusCode.FAILED_PRECONDITION,
                f'Serving signature key "{name or DEFAULT_SIGNATURE}" not found. '
                f"This model has: {', '.join(self.signatures)}.",
            ) from None

    def predict(self, request: PredictRequest, max_batch: int) -> dict[str, np.ndarray]:
        """Return the outputs that a request names, by default all.

        Raises
        ------
        CallError
            With TF Serving's status code.
        """
        wanted = request.output_filter
        signature = self.signature(request.model_spec.signature_name)
        for key in wanted:
            if key not in signature.outputs:
                raise _invalid(f"output tensor alias not found in signature: {key}")
        arrays = signature.decode(request, max_batch)
        try:
            answer = signature(arrays)
        except tf.errors.OpError as error:
            raise CallError(_STATUS.get(error.error_code, grpc.StatusCode.INTERNAL), _reason(error)) from None
        return {key: answer[key] for key in wanted or signature.outputs}

    def _warm_up(self, directory: Path, known: Mapping[str, tuple[str, np.ndarray, float]]) -> None:
        path = directory / WARMUP
        if not path.exists():
            return
        for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
            request = PredictionLog.FromString(record).predict_log.request
            signature = self.signature(request.model_spec.signature_name)
            arrays = signature.decode(request, max_batch=2**31)
            # One galaxy and several may be computed in different sessions.
            answers = [signature(arrays), signature({key: array[:1] for key, array in arrays.items()})]
            if signature.name not in known:
                continue
            label, right, tolerance = known[signature.name]
            # np.max hands a NaN on, which no tolerance lets through; Python's own max may lose it.
            difference = np.max(
                [np.abs(answer[label] - right[: len(answer[label])]).max() for answer in answers]
            )
            if not difference <= tolerance:
                raise DamagedArtifactError(
                    f"{directory}: signature '{signature.name}' differs by {difference:.2g} dex from the "
                    "answers it gave when it was exported; deploy the model again on this machine"
                )


_NOT_A_REASON = ("Graph execution error", "Detected at node", "<stack traces", "[[{{node")
_STATUS = {code.value[0]: code for code in grpc.StatusCode}


def _known_answers(description: Mapping[str, Any]) -> dict[str, tuple[str, np.ndarray, float]]:
    """Return by signature the label and its values when the version was exported, and the tolerance [dex]."""
    try:
        return {
            name: (label, np.array([*answer[label]], np.float32), float(answer["tolerance_dex"]))
            for name, answer in description.get("known_answers", {}).items()
            for label in (label_among(answer),)
        }
    except (AttributeError, KeyError, TypeError, ValueError, OverflowError):
        raise ValueError(f"{DESCRIPTION}: known_answers: not what we write") from None


def _invalid(message: str) -> CallError:
    return CallError(grpc.StatusCode.INVALID_ARGUMENT, message)


def _reason(error: tf.errors.OpError) -> str:
    """Return the first words of TensorFlow's message: a failed assertion's, if it was one."""
    text = error.message or type(error).__name__
    asserted = re.search(r"assertion failed: \[(.*)\]", text)
    if asserted:
        return asserted[1]
    lines = (line.strip() for line in text.splitlines())
    return next((line for line in lines if line and not line.startswith(_NOT_A_REASON)), text)


def _load_signatures(directory: Path, one_thread: bool) -> dict[str, Signature]:
    """Load a SavedModel; with `one_thread` no operation on a single galaxy is split between threads."""
    saved = SavedModel.FromString((directory / "saved_model.pb").read_bytes())
    if not saved.meta_graphs:
        raise ValueError("saved_model.pb holds no graph")
    meta_graph = saved.meta_graphs[0]
    for_many = _session(meta_graph, directory, _ALL_CORES)
    for_one = _session(meta_graph, directory, _ONE_THREAD) if one_thread else for_many
    return {
        key: Signature(key, definition, _Sessions(for_one, for_many))
        for key, definition in sorted(meta_graph.signature_def.items())
        if not key.startswith("__")
    }


def _session(
    meta_graph: MetaGraphDef, directory: Path, config: tf.compat.v1.ConfigProto
) -> tf.compat.v1.Session:
    """Load a graph with its variables into a session: its steps go through less Python than a function's."""
    with tf.Graph().as_default():
        saver = tf.compat.v1.train.import_meta_graph(meta_graph)
        session = tf.compat.v1.Session(config=config)
        saver.restore(session, str(directory / "variables" / "variables"))
        session.run(list(meta_graph.collection_def["saved_model_main_op"].node_list.value))
    return session
