"""The calls of TensorFlow Serving's protocol: their paths, and the messages that go in and come out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import grpc

from ssfr.components.serving.protocol import wire_pb2 as wire
from ssfr.components.serving.protocol.names import MODEL_SERVICE, PREDICTION_SERVICE


@dataclass(frozen=True)
class Method:
    """A call of a service.

    Attributes
    ----------
    service, name
        Together the path of the call.
    request, response
        Classes of the messages.
    """

    service: str
    name: str
    request: type[Any]
    response: type[Any]

    def stub(self, channel: grpc.Channel) -> grpc.UnaryUnaryMultiCallable:
        """Return the client's side: a function from a request to the server's response."""
        return channel.unary_unary(
            f"/{self.service}/{self.name}", self.request.SerializeToString, self.response.FromString
        )


PREDICT = Method(PREDICTION_SERVICE, "Predict", wire.PredictRequest, wire.PredictResponse)
GET_METADATA = Method(
    PREDICTION_SERVICE, "GetModelMetadata", wire.GetModelMetadataRequest, wire.GetModelMetadataResponse
)
GET_STATUS = Method(MODEL_SERVICE, "GetModelStatus", wire.GetModelStatusRequest, wire.GetModelStatusResponse)
RELOAD = Method(
    MODEL_SERVICE, "HandleReloadConfigRequest", wire.ReloadConfigRequest, wire.ReloadConfigResponse
)


def add_methods(
    functions: Mapping[Method, Callable[[Any, grpc.ServicerContext], Any]], server: grpc.Server
) -> None:
    """Let a server answer calls; other calls of the same services end with UNIMPLEMENTED.

    Parameters
    ----------
    functions
        What answers each method: from a request and the call's context to the response.
    server
        Not yet started.
    """
    for method, function in functions.items():
        handler = grpc.unary_unary_rpc_method_handler(
            function, method.request.FromString, method.response.SerializeToString
        )
        server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler(method.service, {method.name: handler}),)
        )
