"""The gRPC services: TF Serving's PredictionService and ModelService over the versions in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

import grpc
from tensorflow_serving.apis.get_model_metadata_pb2 import (
    GetModelMetadataRequest,
    GetModelMetadataResponse,
    SignatureDefMap,
)
from tensorflow_serving.apis.get_model_status_pb2 import GetModelStatusRequest, GetModelStatusResponse
from tensorflow_serving.apis.model_management_pb2 import ReloadConfigRequest, ReloadConfigResponse
from tensorflow_serving.apis.model_pb2 import ModelSpec
from tensorflow_serving.apis.model_service_pb2_grpc import ModelServiceServicer
from tensorflow_serving.apis.predict_pb2 import PredictResponse
from tensorflow_serving.apis.prediction_service_pb2_grpc import (
    PredictionServiceServicer,
    add_PredictionServiceServicer_to_server,
)

from ssfr.components.serving.protocol.messages import Request, parse_request
from ssfr.components.serving.protocol.names import DEFAULT_SIGNATURE, PREDICTION_SERVICE, SIGNATURES
from ssfr.components.serving.protocol.tensors import write_proto
from ssfr.components.serving.server.loader import VersionLoader
from ssfr.components.serving.server.servable import CallError, Servable


def add_prediction_service(service: PredictionService, server: grpc.Server) -> None:
    """Let a server answer the calls of PredictionService."""
    # The first that knows a method answers. The generated one would copy a request's numbers into a message.
    predict = grpc.unary_unary_rpc_method_handler(
        service.Predict, parse_request, PredictResponse.SerializeToString
    )
    ours = grpc.method_handlers_generic_handler(PREDICTION_SERVICE, {"Predict": predict})
    server.add_generic_rpc_handlers((ours,))
    add_PredictionServiceServicer_to_server(service, server)


class PredictionService(PredictionServiceServicer):
    """Predict and GetModelMetadata; the other calls answer UNIMPLEMENTED.

    Parameters
    ----------
    loader
        Of the versions in memory.
    max_batch
        Galaxies in a request.
    """

    def __init__(self, loader: VersionLoader, max_batch: int) -> None:
        self._loader = loader
        self._max_batch = max_batch

    def Predict(self, request: Request, context: grpc.ServicerContext) -> PredictResponse:  # noqa: N802
        """Run a signature on the tensors of the request."""
        spec = request.message.model_spec
        with _statuses(context):
            servable = self._loader.servable(spec)
            with servable.call():
                outputs = servable.predict(request, self._max_batch)
        response = PredictResponse(model_spec=_spec(servable, spec.signature_name or DEFAULT_SIGNATURE))
        for key, array in outputs.items():
            write_proto(array, response.outputs[key])
        return response

    def GetModelMetadata(  # noqa: N802
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
        response = GetModelMetadataResponse(model_spec=_spec(servable))
        definitions = {key: signature.definition for key, signature in servable.signatures.items()}
        response.metadata[SIGNATURES].Pack(SignatureDefMap(signature_def=definitions))
        return response

    def Classify(self, request: object, context: grpc.ServicerContext) -> NoReturn:  # noqa: N802
        """Not part of this server."""
        _unimplemented("Classify", context)

    def Regress(self, request: object, context: grpc.ServicerContext) -> NoReturn:  # noqa: N802
        """Not part of this server."""
        _unimplemented("Regress", context)

    def MultiInference(self, request: object, context: grpc.ServicerContext) -> NoReturn:  # noqa: N802
        """Not part of this server."""
        _unimplemented("MultiInference", context)


class ModelService(ModelServiceServicer):
    """What is loaded, and what is to be loaded.

    Parameters
    ----------
    loader
        Of the versions in memory.
    changed
        Called after a reload.
    """

    def __init__(self, loader: VersionLoader, changed: Callable[[], None]) -> None:
        self._loader = loader
        self._changed = changed

    def GetModelStatus(  # noqa: N802
        self, request: GetModelStatusRequest, context: grpc.ServicerContext
    ) -> GetModelStatusResponse:
        """Return the state of a model's versions."""
        with _statuses(context):
            return GetModelStatusResponse(model_version_status=self._loader.statuses(request.model_spec))

    def HandleReloadConfigRequest(  # noqa: N802
        self, request: ReloadConfigRequest, context: grpc.ServicerContext
    ) -> ReloadConfigResponse:
        """Serve the models, versions and labels of a new configuration."""
        with _statuses(context):
            self._loader.reload(request.config)
            self._changed()
        response = ReloadConfigResponse()
        response.status.error_code = 0
        return response


@contextmanager
def _statuses(context: grpc.ServicerContext) -> Iterator[None]:
    """End the call with the status code of a `CallError`."""
    try:
        yield
    except CallError as error:
        context.abort(error.code, str(error))


def _spec(servable: Servable, signature_name: str = "") -> ModelSpec:
    spec = ModelSpec(name=servable.name, signature_name=signature_name)
    spec.version.value = servable.version
    return spec


def _unimplemented(name: str, context: Any) -> NoReturn:
    context.abort(grpc.StatusCode.UNIMPLEMENTED, f"{name} is not implemented; use Predict")
    raise AssertionError("abort raises")
