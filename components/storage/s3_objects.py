"""Objects of a bucket: sent and read in parts, a part in memory at a time, each checked by both sides."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

from ssfr.components.config.storage import StorageSettings
from ssfr.components.errors import DamagedArtifactError, InputError
from ssfr.components.runtime.progress import Progress
from ssfr.components.storage.files import Checked
from ssfr.components.storage.location import Bucket
from ssfr.components.storage.manifest import MANIFEST, FileEntry
from ssfr.components.storage.s3_calls import BrokenAnswerError, Calls, S3Error

ABSENT = {"NoSuchKey"}
_MOST_PARTS = 1000
"""S3 allows 10,000 parts, some servers fewer."""

_MOST_AT_ONCE = 64 << 20
"""[bytes] of an object that is read whole."""

Answer = dict[str, Any]


class Objects:
    """The objects below a prefix of a bucket; names are relative to it."""

    def __init__(self, place: Bucket, settings: StorageSettings, progress: Progress) -> None:
        self._place, self._part_bytes = place, settings.part_mb << 20
        self._call = Calls(str(place), settings, progress)
        self._s3 = self._call.client
        self._top = f"{place.prefix}/" if place.prefix else ""

    def put(self, name: str, body: bytes, **more: Any) -> Answer:
        """Store an object; `more` are its conditions and metadata as boto3 names them."""
        return self._send(f"writing {name}", self._s3.put_object, name, body, **more)

    def upload(self, path: Path, name: str, entry: FileEntry) -> None:
        """Store a file, which must be the one in the manifest."""
        checked = Checked(entry, str(path))
        part_bytes = max(self._part_bytes, -(-entry.bytes // _MOST_PARTS))
        with path.open("rb") as stream:
            first = checked.take(stream.read(part_bytes))
            if entry.bytes <= part_bytes:
                checked.take(stream.read(1))
                checked.finish()
                self.put(name, first)
            else:
                self._upload_parts(name, self._chunks(first, stream.read, part_bytes, checked))

    def see_size(self, name: str, size: int) -> None:
        """Raise DamagedArtifactError unless the server has an object of this size [bytes]."""
        # The last byte is asked for instead of the headers: headers that are cut off look like whole ones.
        end = {"Range": f"bytes={size - 1}-"} if size else {}
        there = self.get(name, **end)
        if there is None or (size and there.get("ContentRange") != f"bytes {size - 1}-{size - 1}/{size}"):
            raise DamagedArtifactError(
                f"{self._place}/{name}: the server lost it or has another size; publish it again"
            )

    def get(self, name: str, **more: Any) -> Answer | None:
        """Return an object, or a part of it, with its bytes as ``Body``; None: absent."""

        def read() -> Answer:
            answer = self._s3.get_object(**self._named(name), **more)
            with closing(answer["Body"]) as stream:
                if answer.get("ContentLength", 0) > max(self._part_bytes, _MOST_AT_ONCE):
                    raise InputError(
                        f"{self._place}/{name}: more bytes than asked for, or than a manifest has"
                    )
                body = stream.read()
            if len(body) != answer.get("ContentLength"):
                raise BrokenAnswerError
            return {**answer, "Body": body}

        try:
            return self._call(f"reading {name}", read)
        except S3Error as error:
            if error.code in ABSENT:
                return None
            raise

    def download(self, name: str, size: int) -> Iterator[bytes]:
        """Read an object of a known size [bytes]; a part that fails is read again, not the whole."""
        for start in range(0, size, self._part_bytes):
            last = min(start + self._part_bytes, size) - 1
            part = self.get(name, Range=f"bytes={start}-{last}")
            if part is None or part.get("ContentRange") != f"bytes {start}-{last}/{size}":
                raise DamagedArtifactError(
                    f"{self._place}/{name}: absent, or not of the size in {MANIFEST}; it may just have been"
                    " removed; if not, remove the artifact and publish it again"
                )
            yield part["Body"]

    def names(self, prefix: str) -> Iterator[tuple[str, float]]:
        """Yield name and time [s since 1970] of the objects whose name begins with `prefix`."""
        for page in self._pages(f"listing {prefix or 'all'}", self._s3.list_objects_v2, prefix):
            for one in page.get("Contents", ()):
                yield one["Key"].removeprefix(self._top), one["LastModified"].timestamp()

    def unfinished(self, prefix: str) -> Iterator[tuple[str, str, float]]:
        """Yield name, upload and time [s since 1970] of multipart uploads that were never completed."""
        for page in self._pages(f"listing {prefix or 'all'}", self._s3.list_multipart_uploads, prefix):
            for one in page.get("Uploads", ()):
                yield one["Key"].removeprefix(self._top), one["UploadId"], one["Initiated"].timestamp()

    def abort(self, name: str, upload: str) -> None:
        """Drop the parts of a multipart upload."""
        try:
            self._call(
                f"dropping half of {name}",
                lambda: self._s3.abort_multipart_upload(**self._named(name), UploadId=upload),
            )
        except S3Error as error:
            if error.code not in ABSENT | {"NoSuchUpload"}:
                raise

    def delete(self, name: str) -> None:
        """Remove an object; absent is no error."""
        self._call(f"removing {name}", lambda: self._s3.delete_object(**self._named(name)))

    def _named(self, name: str) -> dict[str, str]:
        return {"Bucket": self._place.name, "Key": self._top + name}

    def _send(self, doing: str, send: Callable[..., Answer], name: str, body: bytes, **more: Any) -> Answer:
        """Send bytes that the server compares with their MD5, and compare what it says that it has."""
        md5 = hashlib.md5(body, usedforsecurity=False)
        content_md5 = base64.b64encode(md5.digest()).decode()

        def request() -> Answer:
            answer = send(**self._named(name), Body=body, ContentMD5=content_md5, **more)
            # Of an object encrypted with a key of the user's, the ETag is not the MD5.
            encrypted = "SSECustomerAlgorithm" in answer or "SSEKMSKeyId" in answer
            if not encrypted and answer.get("ETag", "").strip('"') != md5.hexdigest():
                raise BrokenAnswerError
            return answer

        return self._call(doing, request)

    def _chunks(
        self, first: bytes, read: Callable[[int], bytes], size: int, checked: Checked
    ) -> Iterator[bytes]:
        yield first
        while chunk := checked.take(read(size)):
            yield chunk
        checked.finish()

    def _upload_parts(self, name: str, chunks: Iterator[bytes]) -> None:
        doing = f"writing {name}"
        named = self._named(name)
        upload = self._call(doing, partial(_whole, "UploadId", self._s3.create_multipart_upload, **named))[
            "UploadId"
        ]
        parts = []
        try:
            for number, chunk in enumerate(chunks, 1):
                part = {"UploadId": upload, "PartNumber": number}
                answer = self._send(f"{doing}, part {number}", self._s3.upload_part, name, chunk, **part)
                parts.append({"PartNumber": number, "ETag": answer["ETag"]})
        except DamagedArtifactError:
            self.abort(name, upload)
            raise
        whole = {"UploadId": upload, "MultipartUpload": {"Parts": parts}}
        try:
            self._call(doing, lambda: self._s3.complete_multipart_upload(**named, **whole))
        except S3Error as error:
            # After a lost answer the upload is gone because it is complete; `see_size` tells.
            if error.code != "NoSuchUpload":
                raise

    def _pages(self, doing: str, request: Callable[..., Answer], prefix: str) -> Iterator[Answer]:
        where = {"Bucket": self._place.name, "Prefix": self._top + prefix}
        more: dict[str, str] | None = {}
        while more is not None:
            page = self._call(doing, partial(_whole, "IsTruncated", request, **where, **more))
            yield page
            more = None
            if page.get("NextContinuationToken"):
                more = {"ContinuationToken": page["NextContinuationToken"]}
            elif page["IsTruncated"]:
                more = {"KeyMarker": page["NextKeyMarker"], "UploadIdMarker": page["NextUploadIdMarker"]}


def _whole(field: str, request: Callable[..., Answer], **named: str) -> Answer:
    """Return an answer that has a field; without a body, boto3 takes it for one that says nothing."""
    answer = request(**named)
    if field not in answer:
        raise BrokenAnswerError
    return answer
