"""JSON as models of `kfp_server_api`, and back: a field that a model doesn't have is refused."""

from __future__ import annotations

import email
import json
from types import SimpleNamespace
from typing import Any

import kfp_server_api as api
import yaml

_CLIENT = api.ApiClient()


def read_model(data: bytes | str, name: str) -> Any:
    """Return JSON as a model.

    Raises
    ------
    ValueError
        Not JSON, or a field that the model doesn't have, at any depth; the API server refuses it as well.
    """
    read = json.loads(data)
    _check(read, name)
    return _CLIENT.deserialize(SimpleNamespace(data=json.dumps(read)), name)


def write_model(model: Any) -> bytes:
    """Return a model as JSON, without what isn't set."""
    return json.dumps(_CLIENT.sanitize_for_serialization(model)).encode()


def uploaded_spec(content_type: str, body: bytes) -> dict[str, Any]:
    """Return what the API says of an uploaded pipeline: of a file with two documents, each under a name."""
    head = f"Content-Type: {content_type}\r\n\r\n".encode()
    _, part = email.message_from_bytes(head + body).walk()
    assert part.get_param("name", header="Content-Disposition") == "uploadfile"
    data = part.get_payload(decode=True)
    assert isinstance(data, bytes)
    names = ("pipeline_spec", "platform_spec")
    documents = dict(zip(names, yaml.safe_load_all(data), strict=False))
    return documents if len(documents) > 1 else dict(documents["pipeline_spec"])


def _check(data: Any, name: str) -> None:
    model = getattr(api.models, name, None)
    if model is None or not model.openapi_types or not isinstance(data, dict):
        return
    known = {model.attribute_map[attribute]: kind for attribute, kind in model.openapi_types.items()}
    for key, value in data.items():
        if key not in known:
            raise ValueError(f'proto: unknown field "{key}"')
        kind = known[key].removeprefix("list[").removesuffix("]")
        for one in value if isinstance(value, list) else [value]:
            _check(one, kind)
