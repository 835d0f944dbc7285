"""Signatures as a server describes them: the names, dtypes and shapes of what goes in and comes out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from google.protobuf.any_pb2 import Any as Packed
from google.protobuf.message import DecodeError

from ssfr.components.serving.protocol.tensors import TensorSpec
from ssfr.components.serving.protocol.wire_pb2 import SignatureDefMap

_TYPE = "type.googleapis.com/tensorflow.serving.SignatureDefMap"


def pack_signatures(definitions: Mapping[str, Any]) -> Packed:
    """Return the ``signature_def`` of a GetModelMetadataResponse.

    Parameters
    ----------
    definitions
        Name -> SignatureDef, TensorFlow's own or that of `wire_pb2`.
    """
    signatures = SignatureDefMap()
    for name, definition in definitions.items():
        signatures.signature_def[name].MergeFromString(definition.SerializeToString())
    return Packed(type_url=_TYPE, value=signatures.SerializeToString())


def read_signatures(packed: Packed) -> dict[str, dict[str, TensorSpec]]:
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
    try:
        signatures = SignatureDefMap.FromString(packed.value)
        return {
            name: {key: TensorSpec.of(info) for key, info in sorted(definition.inputs.items())}
            for name, definition in sorted(signatures.signature_def.items())
        }
    except (DecodeError, ValueError):
        raise ValueError("the server's description of its tensors can't be read") from None
