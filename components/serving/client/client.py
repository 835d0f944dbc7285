"""The client: maps, images or PNG files in, sSFR out; retries, deadlines, and errors in one line."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import lru_cache
from types import TracebackType
from typing import Any, Self

import grpc
import numpy as np
import tensorflow as tf
from google.protobuf.message import DecodeError
from pydantic import ValidationError
from tensorflow_serving.apis.get_model_metadata_pb2 import GetModelMetadataRequest, SignatureDefMap
from tensorflow_serving.apis.get_model_status_pb2 import GetModelStatusRequest, ModelVersionStatus
from tensorflow_serving.apis.model_pb2 import ModelSpec
from tensorflow_serving.apis.model_service_pb2_grpc import ModelServiceStub
from tensorflow_serving.apis.predict_pb2 import PredictResponse
from tensorflow_serving.apis.prediction_service_pb2_grpc import PredictionServiceStub

from ssfr.components.config import ServingSettings
from ssfr.components.errors import InputError
from ssfr.components.serving.client.channel import open_channel
from ssfr.components.serving.client.inputs import Accepted, Inputs, read_inputs
from ssfr.components.serving.protocol.messages import predict_request
from ssfr.components.serving.protocol.tensors import TensorSpec, from_proto
from ssfr.components.serving.server.servable import DEFAULT_SIGNATURE, DESCRIBE, PREDICT_MAPS, PREDICT_PNG
from ssfr.components.serving.server.service import PREDICTION_SERVICE, SIGNATURES

__all__ = ["Answer", "Client", "VersionStatus", "read_inputs"]

Code = grpc.StatusCode

_OUTPUTS = ("log10_ssfr", "ssfr", "lower", "upper")
_LOOK_S = 0.2
"""[s] between two questions whether a version answers."""
_BATCH = 32
"""Galaxies in a request at most: a slow model on a small machine answers these within the deadline."""
_FIRST_PAUSE_S = 0.5
_LONGEST_PAUSE_S = 5.0
_TOO_LARGE = "larger than max"
"""In gRPC's own words on a message over the limit."""
_NOT_GRPC = "Failed parsing HTTP/2"
"""In gRPC's own words on a server of something else."""
_ENVELOPE_BYTES = 65536
"""Kept free in a message for everything that is not the tensor."""


@dataclass(frozen=True)
class Answer:
    """What was predicted for n galaxies.

    Attributes
    ----------
    log10_ssfr, lower, upper
        (n,) float32 [dex of 1/yr]; the interval holds the truth with the model's stated probability.
    ssfr
        (n,) float32 [1/yr].
    versions
        (n,) int64, the model's version that answered.
    """

    log10_ssfr: np.ndarray
    ssfr: np.ndarray
    lower: np.ndarray
    upper: np.ndarray
    versions: np.ndarray


@dataclass(frozen=True)
class VersionStatus:
    """State of a version on the server ("AVAILABLE", ...) and what is wrong with it, if anything."""

    version: int
    state: str
    problem: str


class Client:
    """Calls one model of a server; a context manager.

    Parameters
    ----------
    address
        "HOST:PORT".
    settings
        Deadline, retries, limits, certificates.
    model
        Its name.
    version, label
        Which version answers; neither: the champion. Both can't be given.

    Raises
    ------
    InputError
        Not an address, or a certificate that can't be read.
    """

    def __init__(
        self,
        address: str,
        settings: ServingSettings,
        model: str = "ssfr",
        version: int | None = None,
        label: str | None = None,
    ) -> None:
        if version is not None and label is not None:
            raise InputError(f"version {version} and label '{label}': give one of them")
        self.address = address
        self._settings = settings
        self._spec = ModelSpec(name=model)
        if version is not None:
            self._spec.version.value = version
        if label is not None:
            self._spec.version_label = label
        self._limit = int(settings.max_message_mb * 1e6)
        self._channel = open_channel(address, settings, self._limit)
        self._prediction = PredictionServiceStub(self._channel)
        self._model = ModelServiceStub(self._channel)
        # The stub's own Predict would build and serialise a message; ours is bytes already.
        self._predict_bytes = self._channel.unary_unary(
            f"/{PREDICTION_SERVICE}/Predict", response_deserializer=PredictResponse.FromString
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._channel.close()

    def predict_maps(self, maps: np.ndarray) -> Answer:
        """Predict from physical maps.

        Parameters
        ----------
        maps : (n, F, P, P) float32
            In the order and the units of the model's fields (`describe`); NaN where there is no gas.

        Raises
        ------
        InputError
            No server, no such model, maps that the model does not take. So do all calls here.
        """
        return self.ask(PREDICT_MAPS, "maps", np.asarray(maps, dtype=np.float32))

    def predict_images(self, images: np.ndarray) -> Answer:
        """Predict from pictures.

        Parameters
        ----------
        images : (n, P, P, 3) uint8
        """
        return self.ask(DEFAULT_SIGNATURE, "images", np.asarray(images))

    def predict_png(self, files: Sequence[bytes]) -> Answer:
        """Predict from the bytes of 8-bit RGB PNG files (an alpha channel is dropped)."""
        array = np.empty(len(files), dtype=object)
        array[:] = list(files)
        return self.ask(PREDICT_PNG, "png", array)

    def predict(self, inputs: Inputs) -> Answer:
        """Predict from what `inputs.read_inputs` read, after checking that the model takes it.

        Raises
        ------
        InputError
            Images for a model of maps or the other way round, a wrong size, other fields or units; the
            message names the file.
        """
        inputs.check(self.describe())
        if inputs.maps is not None:
            return self.predict_maps(inputs.maps)
        assert inputs.images is not None
        return self.predict_images(inputs.images)

    def wait_for(self, version: int, ask: Callable[[], Answer], deadline: float) -> None:
        """Ask again and again until a version answers.

        Parameters
        ----------
        version
            That this client's label is to become on the server.
        ask
            A request of this client's.
        deadline
            [s] of `time.monotonic`.

        Raises
        ------
        InputError
            It does not come; the message holds what the server says of it, or the last answer.
        """
        started = time.monotonic()
        while True:
            try:
                answers = ask().versions
                if (answers == version).all():
                    return
                reason = f"version {answers[0]} answers"
            except InputError as error:
                reason = str(error)
            if time.monotonic() >= deadline:
                waited = time.monotonic() - started
                raise InputError(
                    f"{self.address}: {self._asked_for()} was not version {version} after {waited:.1f} s"
                    f" ({self._problem_of(version) or reason}); see that the server follows the repository"
                    " and that its model-sync runs"
                )
            time.sleep(_LOOK_S)

    def _problem_of(self, version: int) -> str:
        """Return what the server says is wrong with a version, if it does."""
        try:
            return next((one.problem for one in self.status() if one.version == version), "")
        except InputError:
            return ""

    def status(self) -> list[VersionStatus]:
        """Return the state of the model's versions, newest first."""
        request = GetModelStatusRequest(model_spec=ModelSpec(name=self._spec.name))
        response = self._call(self._model.GetModelStatus, request)
        return [
            VersionStatus(
                entry.version, ModelVersionStatus.State.Name(entry.state), entry.status.error_message
            )
            for entry in response.model_version_status
        ]

    def metadata(self) -> dict[str, dict[str, TensorSpec]]:
        """Return the signatures: name -> input -> dtype and shape."""
        request = GetModelMetadataRequest(model_spec=self._spec, metadata_field=[SIGNATURES])
        packed = self._call(self._prediction.GetModelMetadata, request).metadata[SIGNATURES]
        try:
            return _signatures(packed)
        except ValueError as error:
            raise InputError(f"{self.address}: {self._spec.name}: {SIGNATURES}: {error}") from None

    def describe(self) -> Accepted:
        """Return what the model says of its input.

        Raises
        ------
        InputError
            It does not say so in a form of ours: it is another server's model.
        """
        text = self._output(self._answer(DESCRIBE, {}), "json", TensorSpec(tf.string, ())).item()
        try:
            return Accepted.model_validate_json(text)
        except ValidationError as error:
            found = error.errors()[0]
            where = ".".join(["json", *map(str, found["loc"])])
            raise InputError(
                f"{self.address}: {self._spec.name}: output '{where}' of {DESCRIBE}: {found['msg']}; "
                "is it a model that ssfr deployed?"
            ) from None

    def ask(self, signature: str, key: str, array: np.ndarray) -> Answer:
        """Predict by a signature from its one input."""
        parts = [self._ask(signature, key, part) for part in self._parts(array)]
        if len(parts) == 1:
            return parts[0]
        names = [field.name for field in fields(Answer)]
        return Answer(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in names})

    def _ask(self, signature: str, key: str, array: np.ndarray) -> Answer:
        answer = self._answer(signature, {key: array})
        expected = _column(len(array))
        # What came is a view of the message: read-only, and all of it would be kept.
        columns = {name: self._output(answer, name, expected).copy() for name in _OUTPUTS}
        return Answer(**columns, versions=np.array([answer.model_spec.version.value] * len(array), np.int64))

    def _answer(self, signature: str, inputs: Mapping[str, np.ndarray]) -> PredictResponse:
        spec = ModelSpec(signature_name=signature)
        spec.MergeFrom(self._spec)
        sent = next(iter(inputs.values()), None)
        return self._call(self._predict_bytes, predict_request(spec, inputs), sent)

    def _output(self, answer: PredictResponse, name: str, expected: TensorSpec) -> np.ndarray:
        """Return one output of an answer, which another server may have written in another form."""
        if name not in answer.outputs:
            there = ", ".join(sorted(answer.outputs))
            raise InputError(f"{self.address}: {self._spec.name}: no output '{name}', only {there or 'none'}")
        try:
            return from_proto(answer.outputs[name], expected)
        except ValueError as error:
            raise InputError(f"{self.address}: {self._spec.name}: output '{name}': {error}") from None

    def _parts(self, array: np.ndarray) -> Iterator[np.ndarray]:
        """Split a batch into requests under the limits; an empty batch is one empty request."""
        if array.dtype == object:
            sizes = [len(value) for value in array]
        else:
            sizes = [array[0].nbytes] * len(array) if len(array) else []
        room = self._limit - _ENVELOPE_BYTES
        longest = min(_BATCH, self._settings.max_batch)
        start, filled = 0, 0
        for index, size in enumerate(sizes):
            if size > room:
                raise InputError(
                    f"galaxy {index} takes {size / 1e6:.3g} MB; serving.max_message_mb is "
                    f"{self._settings.max_message_mb:g}"
                )
            if index - start == longest or filled + size > room:
                yield array[start:index]
                start, filled = index, 0
            filled += size
        yield array[start:]

    def _call(
        self, method: Callable[..., Any], request: Any, sent: np.ndarray | None = None
    ) -> PredictResponse:
        """Call once, and again with growing pauses while the server is not there, within one deadline."""
        deadline = time.monotonic() + self._settings.deadline_s
        pause = _FIRST_PAUSE_S
        for attempt in range(self._settings.retries + 1):
            try:
                return method(request, timeout=max(deadline - time.monotonic(), 0.001))
            except grpc.RpcError as error:
                # The jitter keeps clients that lost one server from coming back all at once.
                wait = pause * random.uniform(0.75, 1.25)
                pause = min(2 * pause, _LONGEST_PAUSE_S)
                late = time.monotonic() + wait >= deadline
                if not _passing(error) or late or attempt == self._settings.retries:
                    raise self._explained(error, sent) from None
                time.sleep(wait)
        raise AssertionError("the last attempt returns or raises")

    def _explained(self, error: Any, sent: np.ndarray | None) -> InputError:
        """Return one line on what went wrong and what to do."""
        code, details = error.code(), " ".join((error.details() or "").split())
        text = f"the server failed: {code.name}: {details}"
        if code is Code.UNIMPLEMENTED or _NOT_GRPC in details:
            text = f"something answers there, but it is no model server ({details})"
        elif code in (Code.UNAVAILABLE, Code.CANCELLED):
            text = (
                f"no server answers there, or it went away and did not come back ({details}); "
                "start it with: ssfr serve DIR"
            )
        elif code is Code.DEADLINE_EXCEEDED:
            limit = self._settings.deadline_s
            text = f"no answer within {limit:g} s; if the server is only busy, raise serving.deadline_s"
        elif code is Code.NOT_FOUND:
            which = f"{self._spec.name} {self._asked_for()}".strip()
            text = f"the server has no model '{which}' loaded ({details})"
        elif code is Code.RESOURCE_EXHAUSTED:
            text = f"the server is too busy ({details}); try again later, or with fewer calls at a time"
            if _TOO_LARGE in details:
                text = (
                    f"{details}; set serving.max_message_mb alike here and there, or ask for less at a time"
                )
        elif code in (Code.INVALID_ARGUMENT, Code.FAILED_PRECONDITION):
            got = "" if sent is None else f"; sent {_described(sent)}"
            wrong_input = code is Code.FAILED_PRECONDITION or "input" in details
            text = f"{self._spec.name}: {details}" + (got + self._takes() if wrong_input else "")
        return InputError(f"{self.address}: {text}")

    def _asked_for(self) -> str:
        choice = self._spec.WhichOneof("version_choice")
        if choice == "version":
            return f"version {self._spec.version.value}"
        return f"label {self._spec.version_label}" if choice else ""

    def _takes(self) -> str:
        """Say what the model takes, if the server still says so."""
        request = GetModelMetadataRequest(model_spec=self._spec, metadata_field=[SIGNATURES])
        try:
            packed = self._prediction.GetModelMetadata(request, timeout=5.0).metadata[SIGNATURES]
            signatures = _signatures(packed)
        except (grpc.RpcError, ValueError):
            return ""
        kinds = [
            f"{name}: {', '.join(f'{key} {spec}' for key, spec in inputs.items())}"
            for name, inputs in signatures.items()
            if inputs
        ]
        return f"; the model takes {'; '.join(kinds)}"


def _signatures(packed: Any) -> dict[str, dict[str, TensorSpec]]:
    """Unpack signatures, of a server that may not be ours: name -> input -> dtype and shape."""
    signatures = SignatureDefMap()
    try:
        packed.Unpack(signatures)
        return {
            name: {key: TensorSpec.of(info) for key, info in sorted(definition.inputs.items())}
            for name, definition in sorted(signatures.signature_def.items())
        }
    except (DecodeError, TypeError):
        raise ValueError("the server's description of its tensors can't be read") from None


@lru_cache
def _column(length: int) -> TensorSpec:
    return TensorSpec(tf.float32, (length,))


def _passing(error: Any) -> bool:
    """Whether the same request may succeed later."""
    if error.code() is Code.RESOURCE_EXHAUSTED:
        return _TOO_LARGE not in (error.details() or "")
    return error.code() in (Code.UNAVAILABLE, Code.CANCELLED)


def _described(array: np.ndarray) -> str:
    return f"{'bytes' if array.dtype == object else array.dtype} {array.shape}"
