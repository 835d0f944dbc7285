"""Requests to an S3 server: asked again when that may help, and explained in one line when it does not."""

from __future__ import annotations

import random
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import boto3
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    HTTPClientError,
    IncompleteReadError,
    SSLError,
)
from botocore.exceptions import (
    ConnectionError as NoConnectionError,
)
from botocore.parsers import ResponseParserError
from urllib3.exceptions import HTTPError

from ssfr.components.config.storage import StorageSettings
from ssfr.components.errors import InputError
from ssfr.components.runtime.progress import Progress

T = TypeVar("T")

_TRIES_OF_BOTO3 = 2
_PASSING = {
    "404",
    "BadDigest",
    "ConditionalRequestConflict",
    "IncompleteBody",
    "InternalError",
    "OperationAborted",
    "RequestTimeout",
    "RequestTimeTooSkewed",
    "ServiceUnavailable",
    "SlowDown",
    "Throttling",
    "ThrottlingException",
    "XAmzContentChecksumMismatch",
}
"""Error codes of S3 that a later attempt may not meet; every status of 500 and above is another.

A bare 404 is the head of an answer whose body, which tells the code, was lost on the way.
"""
_WHERE_CREDENTIALS_ARE = (
    "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or storage.secret_folder to a mounted secret"
)
_NOT_ACCEPTED = "{server} does not accept the credentials ({code}); " + _WHERE_CREDENTIALS_ARE
_NO_PERMISSION = "no permission for that with these credentials; ask the bucket's owner, or use others"
_CLOCK = "{server} says that this machine's clock is wrong; set it, then run again"
_ELSEWHERE = (
    "{server} sends us elsewhere, and redirects are not followed; correct storage.endpoint or storage.region"
)
_EXPLAINED = {
    "NoSuchBucket": "no such bucket; create it, or correct the location",
    "RequestTimeTooSkewed": _CLOCK,
    "RequestExpired": _CLOCK,
    "AuthorizationHeaderMalformed": "{server} is in another region; correct storage.region",
    "ExpiredToken": _NOT_ACCEPTED,
    "InvalidAccessKeyId": _NOT_ACCEPTED,
    "InvalidToken": _NOT_ACCEPTED,
    "SignatureDoesNotMatch": _NOT_ACCEPTED,
    "NoCredentialsError": "no credentials found; " + _WHERE_CREDENTIALS_ARE,
    "PartialCredentialsError": "half of the credentials are missing; " + _WHERE_CREDENTIALS_ARE,
    "AccessDenied": _NO_PERMISSION,
    "403": _NO_PERMISSION,
    "PermanentRedirect": _ELSEWHERE,
    "TemporaryRedirect": _ELSEWHERE,
    "301": _ELSEWHERE,
    "302": _ELSEWHERE,
    "307": _ELSEWHERE,
    "308": _ELSEWHERE,
    "NotImplemented": "{server} can't do that (NotImplemented); use a server that can",
    "SSLError": "{server} has a certificate that is not trusted; set AWS_CA_BUNDLE to the file of its CA",
}


class BrokenAnswerError(Exception):
    """An answer came, but not its end; the HTTP client takes headers that are cut off for whole ones."""


_PASSING_ERRORS = (
    BrokenAnswerError,
    NoConnectionError,
    HTTPClientError,
    IncompleteReadError,
    ResponseParserError,
    HTTPError,
    ValueError,
)
"""The last two boto3 lets through: a connection that breaks in an error's body, half a time in a header."""


class S3Error(InputError):
    """An S3 server refused, or can't be reached; `code` is S3's own name for why, or a status."""

    def __init__(self, message: str, code: str) -> None:
        super().__init__(message)
        self.code = code


class Calls:
    """A client of one server, with patience.

    Parameters
    ----------
    location
        Named in messages.
    settings
        Where the server is, and how patient to be.
    progress
        Told of every attempt that failed.
    """

    def __init__(self, location: str, settings: StorageSettings, progress: Progress) -> None:
        self._location, self._settings, self._progress = location, settings, progress
        self.client = _client(settings)
        events = self.client.meta.events
        events.register("before-send.s3", self._tell_of_inner_tries)
        events.register_last("before-parameter-build.s3", _stay_here)

    def __call__(self, doing: str, request: Callable[[], T]) -> T:
        """Return what a request answers.

        Parameters
        ----------
        doing
            What for, for messages: ``reading training/0123``.
        request
            Made again after a failure that may pass, so it must be safe to make twice; it also reads the
            body of its answer, if there is one, and raises BrokenAnswerError for one that is cut off.

        Raises
        ------
        S3Error
            It failed for good, or too often.
        """
        for attempt in range(1, self._settings.attempts + 1):
            try:
                return request()
            except (BotoCoreError, ClientError, *_PASSING_ERRORS) as error:
                if attempt == self._settings.attempts or not _may_pass(error):
                    raise self._explain(doing, error, attempt) from None
                wait = self._wait_s(attempt)
                self._progress.say(
                    f"{self._location}: {doing}: {_reason(error)};"
                    f" attempt {attempt + 1} of {self._settings.attempts} in {wait:.1f} s"
                )
                time.sleep(wait)
        raise AssertionError("there is at least one attempt")

    def _wait_s(self, attempt: int) -> float:
        """Return a random wait, so that clients that failed together do not come back together."""
        longest = min(self._settings.backoff_max_s, self._settings.backoff_s * 2.0 ** (attempt - 1))
        return random.uniform(0, longest)

    def _tell_of_inner_tries(self, request: Any, **_: object) -> None:
        tries = re.search(r"attempt=(\d+)", _text(request.headers.get("amz-sdk-request", "")))
        if tries and int(tries[1]) > 1:
            self._progress.say(f"{self._location}: no good answer; asking again at once")

    def _explain(self, doing: str, error: Exception, attempts: int) -> S3Error:
        """Return the error in our words: the server's own may hold what was signed, and with which key."""
        code = _code(error)
        server = self._settings.endpoint or "the S3 server"
        if code in _EXPLAINED:
            text = _EXPLAINED[code].format(server=server, code=code)
        elif _may_pass(error):
            text = (
                f"{_reason(error)}, {attempts} attempts; is {server} up, and is storage.endpoint right?"
                " Then run again"
            )
        else:
            text = f"{_reason(error)}; check the location, storage.endpoint and the credentials"
        return S3Error(f"{self._location}: {doing}: {text}", code)


def _client(settings: StorageSettings) -> Any:
    endpoint = settings.endpoint
    if endpoint and urlsplit(endpoint).username is not None:
        raise InputError("storage.endpoint: holds credentials; they belong in the environment or a secret")
    credentials = _mounted(Path(settings.secret_folder)) if settings.secret_folder else {}
    config = Config(
        connect_timeout=settings.connect_timeout_s,
        read_timeout=settings.read_timeout_s,
        retries={"mode": "standard", "total_max_attempts": _TRIES_OF_BOTO3},
        s3={"addressing_style": "path" if settings.path_style else "virtual"},
        # Content-MD5 instead, which servers that know nothing of the newer checksums check as well
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )
    try:
        session: Any = boto3.session.Session()
        client = session.client(
            "s3",
            endpoint_url=endpoint,
            region_name=settings.region or session.region_name or "us-east-1",
            config=config,
            **credentials,
        )
    except (BotoCoreError, ValueError) as error:
        raise InputError(
            f"storage: no client can be made ({type(error).__name__}); check storage.endpoint, storage.region"
            " and AWS_PROFILE"
        ) from None
    if client.meta.endpoint_url.startswith("http://") and not settings.allow_http:
        raise InputError(
            "storage.endpoint: plain http would send everything in the clear; use https,"
            " or set storage.allow_http: true inside a network you trust"
        )
    return client


def _stay_here(context: dict[str, Any], **_: object) -> None:
    """Keep boto3 from asking around where a bucket is, and from following what it is told."""
    context.setdefault("s3_redirect", {})["redirected"] = True


def _mounted(folder: Path) -> dict[str, str]:
    try:
        return {
            "aws_access_key_id": (folder / "accesskey").read_text().strip(),
            "aws_secret_access_key": (folder / "secretkey").read_text().strip(),
        }
    except (OSError, UnicodeDecodeError):
        raise InputError(f"storage.secret_folder: {folder}: expected files accesskey and secretkey") from None


def _may_pass(error: Exception) -> bool:
    if isinstance(error, ClientError):
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        return _code(error) in _PASSING or status == 429 or (status >= 500 and status != 501)
    if isinstance(error, SSLError):
        return "CERTIFICATE_VERIFY_FAILED" not in str(error)
    return isinstance(error, _PASSING_ERRORS)


def _code(error: Exception) -> str:
    if isinstance(error, ClientError):
        return str(error.response.get("Error", {}).get("Code", ""))
    return type(error).__name__


def _reason(error: Exception) -> str:
    return re.sub(r"[^A-Za-z0-9]", " ", _code(error))[:60] or "no answer that we know"


def _text(header: str | bytes) -> str:
    return header.decode() if isinstance(header, bytes) else header
