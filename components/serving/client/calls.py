"""Calls to a server that may be away: made again within a deadline, and failures explained in one line."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Any

import grpc

Code = grpc.StatusCode

_FIRST_PAUSE_S = 0.5
_LONGEST_PAUSE_S = 5.0
_TOO_LARGE = "larger than max"
"""In gRPC's own words on a message over the limit."""
_NOT_GRPC = "Failed parsing HTTP/2"
"""In gRPC's own words on a server of something else."""


def call(method: Callable[..., Any], request: Any, deadline_s: float, retries: int) -> Any:
    """Return the server's answer to a request, calling again with growing pauses while the server is away.

    Parameters
    ----------
    method
        A stub's call.
    request
        Its message.
    deadline_s
        [s] for all attempts together.
    retries
        Attempts after the first one.

    Raises
    ------
    grpc.RpcError
        The last attempt's.
    """
    deadline = time.monotonic() + deadline_s
    pause = _FIRST_PAUSE_S
    for attempt in range(retries + 1):
        try:
            return method(request, timeout=max(deadline - time.monotonic(), 0.001))
        except grpc.RpcError as error:
            # The jitter keeps clients that lost one server from coming back all at once.
            wait = pause * random.uniform(0.75, 1.25)
            pause = min(2 * pause, _LONGEST_PAUSE_S)
            late = time.monotonic() + wait >= deadline
            if not _may_succeed_later(error) or late or attempt == retries:
                raise
            time.sleep(wait)
    raise AssertionError("the last attempt returns or raises")


def explain(error: Any, model: str, version: str, deadline_s: float) -> str:
    """Return one line on what went wrong in a call and what to do.

    Parameters
    ----------
    error
        grpc.RpcError.
    model, version
        That were called; the version as words, "" for the champion.
    deadline_s
        [s]
    """
    code, details = error.code(), details_of(error)
    text = f"the server failed: {code.name}: {details}"
    if code is Code.UNIMPLEMENTED or _NOT_GRPC in details:
        text = f"something answers there, but it is no model server ({details})"
    elif code in (Code.UNAVAILABLE, Code.CANCELLED):
        text = (
            f"no server answers there, or it went away and did not come back ({details}); "
            "start it with: ssfr serve DIR"
        )
    elif code is Code.DEADLINE_EXCEEDED:
        text = f"no answer within {deadline_s:g} s; if the server is only busy, raise serving.deadline_s"
    elif code is Code.NOT_FOUND:
        text = f"the server has no model '{f'{model} {version}'.strip()}' loaded ({details})"
    elif code is Code.RESOURCE_EXHAUSTED:
        text = f"the server is too busy ({details}); try again later, or with fewer calls at a time"
        if _TOO_LARGE in details:
            text = f"{details}; set serving.max_message_mb alike here and there, or send fewer galaxies"
    elif code in (Code.INVALID_ARGUMENT, Code.FAILED_PRECONDITION):
        text = f"{model}: {details}"
    return text


def is_about_input(error: Any) -> bool:
    """Whether a call failed because the model does not take what was sent."""
    code = error.code()
    return code is Code.FAILED_PRECONDITION or (
        code is Code.INVALID_ARGUMENT and "input" in details_of(error)
    )


def details_of(error: Any) -> str:
    """Return the server's words on a failed call, in one line."""
    return " ".join((error.details() or "").split())


def _may_succeed_later(error: Any) -> bool:
    if error.code() is Code.RESOURCE_EXHAUSTED:
        return _TOO_LARGE not in (error.details() or "")
    return error.code() in (Code.UNAVAILABLE, Code.CANCELLED)
