"""The client: maps, images or PNG files in, sSFR out; retries, deadlines, and errors in one line."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields
from functools import lru_cache
from types import TracebackType
from typing import Any, Self

import grpc
import numpy as np
from pydantic import ValidationError

from ssfr.components.config import DeploymentSettings, ServingSettings
from ssfr.components.errors import InputError
from ssfr.components.labels.served import label_among, outputs_of
from ssfr.components.serving.client.answer import Answer, VersionStatus
from ssfr.components.serving.client.calls import call, explain, is_about_input
from ssfr.components.serving.client.channel import open_channel
from ssfr.components.serving.client.inputs import Accepted, Inputs
from ssfr.components.serving.protocol import methods
from ssfr.components.serving.protocol.names import (
    DEFAULT_SIGNATURE,
    DESCRIBE,
    PREDICT_MAPS,
    PREDICT_PNG,
    SIGNATURES,
)
from ssfr.components.serving.protocol.signatures import read_signatures
from ssfr.components.serving.protocol.tensors import STRING, TensorSpec, from_proto, write_proto
from ssfr.components.serving.protocol.wire_pb2 import (
    GetModelMetadataRequest,
    GetModelStatusRequest,
    ModelSpec,
    ModelVersionStatus,
    PredictRequest,
    PredictResponse,
)

_DEFAULTS = ServingSettings()
_OPTIONS = (
    "deadline_s",
    "retries",
    "max_message_mb",
    "max_batch",
    "tls_server_ca",
    "tls_client_certificate",
    "tls_client_key",
)
"""Of the serving settings: those of a client."""
_POLL_S = 0.2
"""[s] between two requests that find out which version answers."""
_BATCH = 32
"""Galaxies in a request at most: a slow model on a small machine answers these within the deadline."""
_ENVELOPE_BYTES = 65536
"""Kept free in a message for everything that is not the tensor."""


class ModelClient:
    """Predictions by one model of a server; a context manager.

    Parameters
    ----------
    address
        "HOST:PORT".
    model
        Name of the model.
    version, label
        Which version answers; neither: the champion. Both can't be given.
    deadline_s
        [s] for a request, its retries included.
    retries
        Attempts after the first one while the server is away, with growing pauses.
    max_message_mb
        [MB] of a request or an answer; as the server's.
    max_batch
        Galaxies in a request; as the server's.
    tls_server_ca
        PEM file of the authority that signed the server's certificate; None: plaintext.
    tls_client_certificate, tls_client_key
        PEM files, for a server that requires a certificate of clients.

    Raises
    ------
    InputError
        Not an address, or a certificate that can't be read.
    """

    def __init__(
        self,
        address: str = f"{_DEFAULTS.host}:{_DEFAULTS.port}",
        model: str = DeploymentSettings().name,
        version: int | None = None,
        label: str | None = None,
        *,
        deadline_s: float = _DEFAULTS.deadline_s,
        retries: int = _DEFAULTS.retries,
        max_message_mb: float = _DEFAULTS.max_message_mb,
        max_batch: int = _DEFAULTS.max_batch,
        tls_server_ca: str | None = None,
        tls_client_certificate: str | None = None,
        tls_client_key: str | None = None,
    ) -> None:
        if version is not None and label is not None:
            raise InputError(f"version {version} and label '{label}': give one of them")
        self.address = address
        self._spec = ModelSpec(name=model)
        if version is not None:
            self._spec.version.value = version
        if label is not None:
            self._spec.version_label = label
        self._deadline_s, self._retries = deadline_s, retries
        self._max_message_mb, self._max_batch = max_message_mb, max_batch
        self._channel = open_channel(
            address,
            int(max_message_mb * 1e6),
            server_ca=tls_server_ca,
            client_certificate=tls_client_certificate,
            client_key=tls_client_key,
        )
        self._predict = methods.PREDICT.stub(self._channel)
        self._get_metadata = methods.GET_METADATA.stub(self._channel)
        self._get_status = methods.GET_STATUS.stub(self._channel)

    @classmethod
    def of(
        cls,
        settings: ServingSettings,
        address: str,
        model: str = DeploymentSettings().name,
        version: int | None = None,
        label: str | None = None,
    ) -> Self:
        """Return a client with the deadline, retries, limits and certificates of settings."""
        options = {name: getattr(settings, name) for name in _OPTIONS}
        return cls(address, model, version, label, **options)

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
        return self.predict_signature(PREDICT_MAPS, "maps", np.asarray(maps, dtype=np.float32))

    def predict_images(self, images: np.ndarray) -> Answer:
        """Predict from pictures.

        Parameters
        ----------
        images : (n, P, P, 3) uint8
        """
        return self.predict_signature(DEFAULT_SIGNATURE, "images", np.asarray(images))

    def predict_png(self, files: Sequence[bytes]) -> Answer:
        """Predict from the bytes of 8-bit RGB PNG files (an alpha channel is dropped)."""
        array = np.empty(len(files), dtype=object)
        array[:] = list(files)
        return self.predict_signature(PREDICT_PNG, "png", array)

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

    def wait_for(self, version: int, predict: Callable[[], Answer], deadline: float) -> None:
        """Predict again and again until a version answers.

        Parameters
        ----------
        version
            That this client's label is to become on the server.
        predict
            A request of this client's.
        deadline
            [s] of `time.monotonic`.

        Raises
        ------
        InputError
            Another version answers until the deadline; the message holds the server's problem with this
            one, or the last answer.
        """
        started = time.monotonic()
        while True:
            try:
                answers = predict().versions
                if (answers == version).all():
                    return
                reason = f"version {answers[0]} answers"
            except InputError as error:
                reason = str(error)
            if time.monotonic() >= deadline:
                waited = time.monotonic() - started
                raise InputError(
                    f"{self.address}: {self._version_words()} was not version {version} after {waited:.1f} s"
                    f" ({self._problem_of(version) or reason}); see that the server follows the repository"
                    " and that its model-sync runs"
                )
            time.sleep(_POLL_S)

    def _problem_of(self, version: int) -> str:
        """Return the problem that the server reports of a version, or ""."""
        try:
            return next((one.problem for one in self.status() if one.version == version), "")
        except InputError:
            return ""

    def status(self) -> list[VersionStatus]:
        """Return the state of the model's versions, newest first."""
        request = GetModelStatusRequest(model_spec=ModelSpec(name=self._spec.name))
        response = self._call(self._get_status, request)
        return [
            VersionStatus(
                entry.version, ModelVersionStatus.State.Name(entry.state), entry.status.error_message
            )
            for entry in response.model_version_status
        ]

    def metadata(self) -> dict[str, dict[str, TensorSpec]]:
        """Return the signatures: name -> input -> dtype and shape."""
        request = GetModelMetadataRequest(model_spec=self._spec, metadata_field=[SIGNATURES])
        packed = self._call(self._get_metadata, request).metadata[SIGNATURES]
        try:
            return read_signatures(packed)
        except ValueError as error:
            raise InputError(f"{self.address}: {self._spec.name}: {SIGNATURES}: {error}") from None

    def describe(self) -> Accepted:
        """Return what the model takes, by its own description.

        Raises
        ------
        InputError
            The description is absent or of another form: ssfr did not deploy this model.
        """
        text = self._output(self._answer(DESCRIBE, {}), "json", TensorSpec(STRING, ())).item()
        try:
            return Accepted.model_validate_json(text)
        except ValidationError as error:
            found = error.errors()[0]
            where = ".".join(["json", *map(str, found["loc"])])
            raise InputError(
                f"{self.address}: {self._spec.name}: output '{where}' of {DESCRIBE}: {found['msg']}; "
                "is it a model that ssfr deployed?"
            ) from None

    def predict_signature(self, signature: str, key: str, array: np.ndarray) -> Answer:
        """Predict by a signature from its one input, the array of n galaxies under the name `key`."""
        parts = [self._predict_part(signature, key, part) for part in self._parts(array)]
        if len(parts) == 1:
            return parts[0]
        names = [field.name for field in fields(Answer) if field.name != "label"]
        columns = {name: np.concatenate([getattr(part, name) for part in parts]) for name in names}
        return Answer(parts[0].label, **columns)

    def _predict_part(self, signature: str, key: str, array: np.ndarray) -> Answer:
        answer = self._answer(signature, {key: array})
        expected = _column(len(array))
        # What came is read-only.
        try:
            label = label_among(answer.outputs)
        except KeyError as error:
            raise self._without(error.args[0], answer) from None
        predicted, linear, lower, upper = (
            self._output(answer, name, expected).copy() for name in outputs_of(label)
        )
        versions = np.array([answer.model_spec.version.value] * len(array), np.int64)
        return Answer(label, predicted, linear, lower, upper, versions)

    def _answer(self, signature: str, inputs: Mapping[str, np.ndarray]) -> PredictResponse:
        request = PredictRequest(model_spec=self._spec)
        request.model_spec.signature_name = signature
        for key, array in inputs.items():
            write_proto(array, request.inputs[key])
        sent = next(iter(inputs.values()), None)
        return self._call(self._predict, request, sent)

    def _output(self, answer: PredictResponse, name: str, expected: TensorSpec) -> np.ndarray:
        """Return one output of an answer, which another server may have written in another form."""
        if name not in answer.outputs:
            raise self._without(name, answer)
        try:
            return from_proto(answer.outputs[name], expected)
        except ValueError as error:
            raise InputError(f"{self.address}: {self._spec.name}: output '{name}': {error}") from None

    def _without(self, name: str, answer: PredictResponse) -> InputError:
        there = ", ".join(sorted(answer.outputs)) or "none"
        return InputError(f"{self.address}: {self._spec.name}: no output '{name}', only {there}")

    def _parts(self, array: np.ndarray) -> Iterator[np.ndarray]:
        """Split a batch into requests under the limits; an empty batch is one empty request."""
        if array.dtype == object:
            sizes = [len(value) for value in array]
        else:
            sizes = [array[0].nbytes] * len(array) if len(array) else []
        most_bytes = int(self._max_message_mb * 1e6) - _ENVELOPE_BYTES
        longest = min(_BATCH, self._max_batch)
        start, filled = 0, 0
        for index, size in enumerate(sizes):
            if size > most_bytes:
                raise InputError(
                    f"galaxy {index} takes {size / 1e6:.3g} MB; serving.max_message_mb is "
                    f"{self._max_message_mb:g}"
                )
            if index - start == longest or filled + size > most_bytes:
                yield array[start:index]
                start, filled = index, 0
            filled += size
        yield array[start:]

    def _call(self, method: Callable[..., Any], request: Any, sent: np.ndarray | None = None) -> Any:
        try:
            return call(method, request, self._deadline_s, self._retries)
        except grpc.RpcError as error:
            text = explain(error, self._spec.name, self._version_words(), self._deadline_s)
            if is_about_input(error):
                text += ("" if sent is None else f"; sent {_described(sent)}") + self._input_words()
        raise InputError(f"{self.address}: {text}")

    def _version_words(self) -> str:
        choice = self._spec.WhichOneof("version_choice")
        if choice == "version":
            return f"version {self._spec.version.value}"
        return f"label {self._spec.version_label}" if choice else ""

    def _input_words(self) -> str:
        """Return the inputs of the model as words, "" if the server does not answer."""
        request = GetModelMetadataRequest(model_spec=self._spec, metadata_field=[SIGNATURES])
        try:
            packed = self._get_metadata(request, timeout=5.0).metadata[SIGNATURES]
            signatures = read_signatures(packed)
        except (grpc.RpcError, ValueError):
            return ""
        kinds = [
            f"{name}: {', '.join(f'{key} {spec}' for key, spec in inputs.items())}"
            for name, inputs in signatures.items()
            if inputs
        ]
        return f"; the model takes {'; '.join(kinds)}"


@lru_cache
def _column(length: int) -> TensorSpec:
    return TensorSpec("float32", (length,))


def _described(array: np.ndarray) -> str:
    return f"{'bytes' if array.dtype == object else array.dtype} {array.shape}"
