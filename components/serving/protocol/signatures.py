"""Signatures as a server describes them: the names, dtypes and shapes of what goes in."""

from __future__ import annotations

from typing import Any

from google.protobuf.message import DecodeError
from tensorflow_serving.apis.get_model_metadata_pb2 import SignatureDefMap

from ssfr.components.serving.protocol.tensors import TensorSpec


def read_signatures(packed: Any) -> dict[str, dict[str, TensorSpec]]:
    """Return signature -> input -> dtype and shape, of a server that may not be ours.

    Parameters
    ----------
    packed
        The ``signature_def`` of a GetModelMetadataResponse.

    Raises
    ------
    ValueError
        Not a SignatureDefMap, or a dtype that TensorFlow does not have.
    """
    signatures = SignatureDefMap()
    try:
        packed.Unpack(signatures)
        return {
            name: {key: TensorSpec.of(info) for key, info in sorted(definition.inputs.items())}
            for name, definition in sorted(signatures.signature_def.items())
        }
    except (DecodeError, TypeError):
        raise ValueError("the server's description of its tensors can't be read") from None
