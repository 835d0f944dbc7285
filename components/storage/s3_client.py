"""boto3's client with patience: requests are repeated when that may help, and explained when it does not."""

from __future__ import annotations

import copy
import random
import re
import threading
from collections import deque
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import boto3
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    FlexibleChecksumError,
    HTTPClientError,
    IncompleteReadError,
    SSLError,
)
from botocore.exceptions import (
    ConnectionError as NoConnectionError,
)
from botocore.handlers import add_expect_header
from botocore.parsers import ResponseParserError
from urllib3.exceptions import HTTPError

from ssfr.components.config.storage import StorageSettings
from ssfr.components.errors import InputError
from ssfr.components.runtime.progress import Progress
from ssfr.components.storage.location import Bucket

Answer = dict[str, Any]

_DOING = {
    "put_object": "writing {Key}",
    "create_multipart_upload": "writing {Key}",
    "upload_part": "writing {Key}, part {PartNumber}",
    "complete_multipart_upload": "writing {Key}",
    "abort_multipart_upload": "dropping half of {Key}",
    "get_object": "reading {Key}",
    "delete_object": "removing {Key}",
    "list_objects_v2": "listing {Prefix}",
    "list_multipart_uploads": "listing {Prefix}",
}
_EXPECTED = {
    "put_object": "ETag",
    "upload_part": "ETag",
    "create_multipart_upload": "UploadId",
    "get_object": "ContentLength",
    "list_objects_v2": "IsTruncated",
    "list_multipart_uploads": "IsTruncated",
}
"""A field of every good answer; boto3 takes an answer whose end was lost for one that says nothing."""
_CHUNK_BYTES = 1 << 20
_MOST_BYTES = 64 << 20
"""Of an object that is read in one request, unless a part is larger."""

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
    "XAmzContentSHA256Mismatch",
}
"""Error codes of S3 that a later attempt may not get; every status of 500 and above is another.

A bare 404 is the head of an answer whose body, with the code, was lost on the way.
"""
_WHERE_CREDENTIALS_ARE = (
    "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or storage.secret_folder to a mounted secret"
)
_NOT_ACCEPTED = "{server} does not accept the credentials ({code}); " + _WHERE_CREDENTIALS_ARE
_NO_PERMISSION = "no permission for that with these credentials; ask the bucket's owner, or use others"
_CLOCK = "{server} says that this machine's clock is wrong; set it, then run again"
_ELSEWHERE = "{server} redirects, which is not followed; correct storage.endpoint or storage.region"
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
    """An answer came, but not its end; the HTTP client takes headers that are cut off for complete ones."""


_PASSING_ERRORS = (
    BrokenAnswerError,
    FlexibleChecksumError,
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


class _Body:
    """The bytes of an answer in the chunks in which they arrived: none is copied, each is freed once read."""

    def __init__(self, chunks: deque[bytes]) -> None:
        self._chunks = chunks

    def read(self, amount: int | None = None) -> bytes:
        """Return the next chunk, at most _CHUNK_BYTES; without `amount` all that is left."""
        if amount is not None:
            return self._chunks.popleft() if self._chunks else b""
        left = b"".join(self._chunks)
        self._chunks.clear()
        return left


class S3Client:
    """A boto3 client of one server that repeats and checks its requests; s3transfer takes it for boto3's.

    Every operation that is named in this module is a method, with boto3's arguments and answers, but the
    ``Body`` of an answer has been read. They raise S3Error, one line, after as many attempts as the
    settings allow, and the progress shows each that failed.

    Parameters
    ----------
    place
        Named in messages.
    settings
        Where the server is, and how many attempts a request has.
    progress
        Shows every attempt that failed.
    """

    def __init__(self, place: Bucket, settings: StorageSettings, progress: Progress) -> None:
        self._place, self._settings, self._progress = place, settings, progress
        self._boto3 = _boto3_client(settings)
        self._given_up, self._is_one_transfer = threading.Event(), False
        self.meta = self._boto3.meta
        # Where a connection ends in the middle of "100 Continue", botocore reads for ever.
        self.meta.events.unregister("before-call.s3", add_expect_header)
        self.meta.events.register("before-send.s3", self._show_inner_tries)
        self.meta.events.register_last("before-parameter-build.s3", _stay_here)

    def __getattr__(self, operation: str) -> Callable[..., Answer]:
        if operation not in _DOING:
            raise AttributeError(operation)
        return partial(self._request, operation, getattr(self._boto3, operation))

    def for_one_transfer(self) -> S3Client:
        """Return a client of the same connections, all of whose requests are in vain once one has failed."""
        client = copy.copy(self)
        client._given_up, client._is_one_transfer = threading.Event(), True
        return client

    def give_up(self) -> None:
        """End the waits between attempts, and make no more attempts."""
        self._given_up.set()

    def complete_multipart_upload(self, **named: Any) -> Answer:
        """Make an object of parts; an upload that is gone counts as complete, as after a lost answer."""

        def complete(**named: Any) -> Answer:
            try:
                return dict(self._boto3.complete_multipart_upload(**named))
            except ClientError as error:
                if _code(error) != "NoSuchUpload":
                    raise
                return {}

        return self._request("complete_multipart_upload", complete, **named)

    def get_object(self, **named: Any) -> Answer:
        """Read an object or a range of one: its ``Body`` has arrived completely."""

        def read(**named: Any) -> Answer:
            answer: Answer = self._boto3.get_object(**named)
            length = answer.get("ContentLength", 0)
            with closing(answer["Body"]) as stream:
                if length > max(self._settings.part_mb << 20, _MOST_BYTES):
                    raise InputError(
                        f"{self._place}: reading {self._shown(named)['Key']}: more bytes than"
                        " requested, or than a manifest has"
                    )
                chunks = deque(stream.iter_chunks(_CHUNK_BYTES))
            if sum(map(len, chunks)) != length:
                raise BrokenAnswerError
            return {**answer, "Body": _Body(chunks)}

        return self._request("get_object", read, **named)

    def _request(self, operation: str, request: Callable[..., Answer], **named: Any) -> Answer:
        doing = _DOING[operation].format_map(self._shown(named))
        for attempt in range(1, self._settings.attempts + 1):
            try:
                if hasattr(named.get("Body"), "seek"):
                    named["Body"].seek(0)
                answer = request(**named)
                if _is_cut_off(answer, _EXPECTED.get(operation)):
                    raise BrokenAnswerError
                return answer
            except (BotoCoreError, ClientError, *_PASSING_ERRORS) as error:
                last = attempt == self._settings.attempts or self._given_up.is_set()
                if last or not _may_pass(error):
                    if self._is_one_transfer:
                        self.give_up()
                    raise self._explain(doing, error, attempt) from None
                wait = self._wait_s(attempt)
                self._progress.say(
                    f"{self._place}: {doing}: {_reason(error)};"
                    f" attempt {attempt + 1} of {self._settings.attempts} in {wait:.1f} s"
                )
                self._given_up.wait(wait)
        raise AssertionError("there is at least one attempt")

    def _shown(self, named: dict[str, Any]) -> dict[str, Any]:
        """Return a request's arguments with names relative to the place, for messages."""
        top = f"{self._place.prefix}/" if self._place.prefix else ""
        names = {name: named.get(name, "").removeprefix(top) or "all" for name in ("Key", "Prefix")}
        return named | names

    def _wait_s(self, attempt: int) -> float:
        """Return a random wait, so that clients that failed together do not come back together."""
        longest = min(self._settings.backoff_max_s, self._settings.backoff_s * 2.0 ** (attempt - 1))
        return random.uniform(0, longest)

    def _show_inner_tries(self, request: Any, **_: object) -> None:
        tries = re.search(r"attempt=(\d+)", _text(request.headers.get("amz-sdk-request", "")))
        if tries and int(tries[1]) > 1:
            self._progress.say(f"{self._place}: no good answer; repeated at once")

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
        return S3Error(f"{self._place}: {doing}: {text}", code)


def _boto3_client(settings: StorageSettings) -> Any:
    endpoint = settings.endpoint
    if endpoint and urlsplit(endpoint).username is not None:
        raise InputError("storage.endpoint: holds credentials; they belong in the environment or a secret")
    credentials = _mounted(Path(settings.secret_folder)) if settings.secret_folder else {}
    config = Config(
        connect_timeout=settings.connect_timeout_s,
        read_timeout=settings.read_timeout_s,
        max_pool_connections=settings.connections,
        retries={"mode": "standard", "total_max_attempts": _TRIES_OF_BOTO3},
        s3={
            "addressing_style": "path" if settings.path_style else "virtual",
            # The SHA-256 of what is sent is signed, and every server compares it; the newer checksums some
            # servers refuse.
            "payload_signing_enabled": True,
        },
        request_checksum_calculation="when_required",
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
    """Keep boto3 from looking for a bucket in other regions, and from following redirects."""
    context.setdefault("s3_redirect", {})["redirected"] = True


def _mounted(folder: Path) -> dict[str, str]:
    try:
        return {
            "aws_access_key_id": (folder / "accesskey").read_text().strip(),
            "aws_secret_access_key": (folder / "secretkey").read_text().strip(),
        }
    except (OSError, UnicodeDecodeError):
        raise InputError(f"storage.secret_folder: {folder}: expected files accesskey and secretkey") from None


def _is_cut_off(answer: Answer, expected: str | None) -> bool:
    """Return whether an answer lacks an expected field, or holds half an ETag, which is quoted."""
    return expected is not None and (expected not in answer or str(answer[expected]).count('"') == 1)


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
    return re.sub(r"[^A-Za-z0-9]", " ", _code(error))[:60] or "no answer of S3"


def _text(header: str | bytes) -> str:
    return header.decode() if isinstance(header, bytes) else header
