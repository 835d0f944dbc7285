"""The gRPC services: TF Serving's PredictionService and ModelService over the versions in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import grpc

from ssfr.components.serving.protocol import methods
from ssfr.components.serving.protocol.names import DEFAULT_SIGNATURE, SIGNATURES
from ssfr.components.serving.protocol.signatures import pack_signatures
from ssfr.components.serving.protocol.tensors import write_proto
from ssfr.components.serving.protocol.wire_pb2 import (
    GetModelMetadataRequest,
    GetModelMetadataResponse,
    GetModelStatusRequest,
    GetModelStatusResponse,
    ModelSpec,
    PredictRequest,
    PredictResponse,
    ReloadConfigRequest,
    ReloadConfigResponse,
)
from ssfr.components.serving.server.loader import VersionLoader
from ssfr.components.serving.server.servable import CallError, Servable

_LONGEST_DETAILS = 2000
"""Characters of an error: gRPC refuses longer ones, and a request's names may be of any length."""


class Service:
    """PredictionService's Predict and GetModelMetadata, and ModelService.

    Parameters
    ----------
    loader
        Of the versions in memory.
    max_batch
        Galaxies in a request.
    reloaded
        Called after a reload.
    """

    def __init__(self, loader: VersionLoader, max_batch: int, reloaded: Callable[[], None]) -> None:
        self._loader = loader
        self._max_batch = max_batch
        self._reloaded = reloaded

    def add_to(self, server: grpc.Server) -> None:
        """Let a server answer with this service."""
        functions = {
            methods.PREDICT: self.predict,
            methods.GET_METADATA: self.metadata,
            methods.GET_STATUS: self.status,
            methods.RELOAD: self.reload,
        }
        methods.add_methods(functions, server)

    def predict(self, request: PredictRequest, context: grpc.ServicerContext) -> PredictResponse:
        """Run a signature on the tensors of the request."""
        spec = request.model_spec
        with _statuses(context):
            servable = self._loader.servable(spec)
            with servable.call():
                outputs = servable.predict(request, self._max_batch)
        response = PredictResponse(model_spec=_spec(servable, spec.signature_name or DEFAULT_SIGNATURE))
        for key, array in outputs.items():
            write_proto(array, response.outputs[key])
        return response

    def metadata(
        self, request: GetModelMetadataRequest, context: grpc.ServicerContext
    ) -> GetModelMetadataResponse:
        """Return the signatures of a version: names, dtypes and shapes."""
        with _statuses(context):
            if not request.metadata_field:
                raise CallError(
                    grpc.StatusCode.INVALID_ARGUMENT,
                    "GetModelMetadataRequest must specify at least one metadata_field",
                )
            for name in request.metadata_field:
                if name != SIGNATURES:
                    raise CallError(
                        grpc.StatusCode.INVALID_ARGUMENT, f"Metadata field {name} is not supported"
                    )
            servable = self._loader.servable(request.model_spec)
        definitions = {key: signature.definition for key, signature in servable.signatures.items()}
        return GetModelMetadataResponse(
            model_spec=_spec(servable), metadata={SIGNATURES: pack_signatures(definitions)}
        )

    def status(self, request: GetModelStatusRequest, context: grpc.ServicerContext) -> GetModelStatusResponse:
        """Return the state of a model's versions."""
        with _statuses(context):
            return GetModelStatusResponse(model_version_status=self._loader.statuses(request.model_spec))

    def reload(self, request: ReloadConfigRequest, context: grpc.ServicerContext) -> ReloadConfigResponse:
        """Serve the models, versions and labels of a new configuration."""
        with _statuses(context):
            self._loader.reload(request.config)
            self._reloaded()
        response = ReloadConfigResponse()
        response.status.error_code = 0
        return response


@contextmanager
def _statuses(context: grpc.ServicerContext) -> Iterator[None]:
    """End the call with the status code of a `CallError`."""
    try:
        yield
    except CallError as error:
        context.abort(error.code, str(error)[:_LONGEST_DETAILS])


def _spec(servable: Servable, signature_name: str = "") -> ModelSpec:
    spec = ModelSpec(name=servable.name, signature_name=signature_name)
    spec.version.value = servable.version
    return spec
