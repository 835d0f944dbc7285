"""Objects of a bucket, sent and read by s3transfer: several parts at a time, each checked by both sides."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from typing import Any

from s3transfer.manager import TransferConfig, TransferManager
from s3transfer.subscribers import BaseSubscriber

from ssfr.components.config.storage import StorageSettings
from ssfr.components.errors import DamagedArtifactError
from ssfr.components.runtime.progress import Progress
from ssfr.components.storage.files import CheckedReader, CheckedWriter
from ssfr.components.storage.location import Bucket
from ssfr.components.storage.manifest import MANIFEST
from ssfr.components.storage.s3_client import Answer, S3Client, S3Error

_ABSENT = {"NoSuchKey", "InvalidRange"}
_MOST_PARTS = 1000
"""S3 allows 10,000 parts, some servers fewer."""
_WRITTEN_AT_ONCE = 1 << 20
"""[bytes]"""


class Objects:
    """The objects below a prefix of a bucket; names are relative to it."""

    def __init__(self, place: Bucket, settings: StorageSettings, progress: Progress) -> None:
        self._place, self._settings = place, settings
        self._client = S3Client(place, settings, progress)
        self._top = f"{place.prefix}/" if place.prefix else ""

    def put(self, name: str, body: bytes, **more: Any) -> Answer:
        """Store an object; `more` are its conditions and metadata as boto3 names them."""
        return self._client.put_object(**self._object(name), Body=body, **more)

    def get(self, name: str, **more: Any) -> Answer | None:
        """Return an object, or a range of it, with its bytes as ``Body``; None: absent, or not that long."""
        try:
            answer = self._client.get_object(**self._object(name), **more)
        except S3Error as error:
            if error.code in _ABSENT:
                return None
            raise
        return {**answer, "Body": answer["Body"].read()}

    def upload(self, sources: Mapping[str, CheckedReader], moved: Callable[[int], None]) -> None:
        """Store files, several parts at a time.

        Parameters
        ----------
        sources
            Name of the object -> the file.
        moved
            Called from several threads with the number of bytes that each has taken.

        Raises
        ------
        DamagedArtifactError
            A file is not the one in its manifest, or the server does not have it afterwards.
        """
        bucket = self._place.name
        largest = max((source.bytes for source in sources.values()), default=0)
        part_bytes = max(self._part_bytes, -(-largest // _MOST_PARTS))
        with ExitStack() as opened, self._transfers(part_bytes) as transfers:
            futures = {}
            for name, source in sources.items():
                opened.enter_context(closing(source))
                known = [_Known(source.bytes, "", moved)]
                futures[name] = transfers.upload(source, bucket, self._top + name, subscribers=known)
            for name, future in futures.items():
                future.result()
                self._etag(name, sources[name].bytes)

    def download(self, targets: Mapping[str, CheckedWriter], moved: Callable[[int], None]) -> None:
        """Write objects to new files, several parts at a time.

        Parameters
        ----------
        targets
            Name of the object -> the file.
        moved
            As of `upload`.

        Raises
        ------
        DamagedArtifactError
            An object is absent, or not the file in its manifest.
        """
        bucket = self._place.name
        with ExitStack() as opened, self._transfers(self._part_bytes) as transfers:
            futures = {}
            for name, target in targets.items():
                opened.enter_context(closing(target))
                etag = self._etag(name, target.bytes) if target.bytes > self._part_bytes else ""
                known = [_Known(target.bytes, etag, moved)]
                futures[name] = transfers.download(bucket, self._top + name, target, subscribers=known)
            for name, future in futures.items():
                try:
                    future.result()
                except S3Error as error:
                    if error.code in _ABSENT:
                        raise self._damaged(name) from None
                    raise
                targets[name].finish()

    def names(self, prefix: str) -> Iterator[tuple[str, float]]:
        """Yield name and time [s since 1970] of the objects whose name begins with `prefix`."""
        for page in self._pages(self._client.list_objects_v2, prefix):
            for one in page.get("Contents", ()):
                yield one["Key"].removeprefix(self._top), one["LastModified"].timestamp()

    def unfinished(self, prefix: str) -> Iterator[tuple[str, str, float]]:
        """Yield name, upload and time [s since 1970] of multipart uploads that were never completed."""
        for page in self._pages(self._client.list_multipart_uploads, prefix):
            for one in page.get("Uploads", ()):
                yield one["Key"].removeprefix(self._top), one["UploadId"], one["Initiated"].timestamp()

    def abort(self, name: str, upload: str) -> None:
        """Drop the parts of a multipart upload."""
        try:
            self._client.abort_multipart_upload(**self._object(name), UploadId=upload)
        except S3Error as error:
            if error.code not in _ABSENT | {"NoSuchUpload"}:
                raise

    def delete(self, name: str) -> None:
        """Remove an object; absent is no error."""
        self._client.delete_object(**self._object(name))

    @property
    def _part_bytes(self) -> int:
        return self._settings.part_mb << 20

    def _object(self, name: str) -> dict[str, str]:
        return {"Bucket": self._place.name, "Key": self._top + name}

    @contextmanager
    def _transfers(self, part_bytes: int) -> Iterator[Any]:
        """Give a TransferManager that holds a few parts more in memory than there are connections."""
        at_once = self._settings.connections
        config = TransferConfig(
            multipart_threshold=part_bytes + 1,
            multipart_chunksize=part_bytes,
            max_request_concurrency=at_once,
            max_in_memory_upload_chunks=at_once,
            max_in_memory_download_chunks=at_once,
            max_submission_concurrency=1,  # each reads a part ahead
            io_chunksize=_WRITTEN_AT_ONCE,
            max_io_queue_size=part_bytes // _WRITTEN_AT_ONCE,
            num_download_attempts=1,  # the client makes them, with waits between
        )
        client: Any = self._client.for_one_transfer()
        with TransferManager(client, config) as transfers:
            try:
                yield transfers
            except BaseException:
                client.give_up()
                raise

    def _etag(self, name: str, size: int) -> str:
        """Return the version of an object, which must have a size [bytes].

        Raises
        ------
        DamagedArtifactError
            It has another, or is absent.
        """
        # The last byte is read instead of the headers: headers that are cut off look complete.
        end = {"Range": f"bytes={size - 1}-"} if size else {}
        there = self.get(name, **end)
        if there is None or (size and there.get("ContentRange") != f"bytes {size - 1}-{size - 1}/{size}"):
            raise self._damaged(name)
        return str(there.get("ETag", ""))

    def _damaged(self, name: str) -> DamagedArtifactError:
        return DamagedArtifactError(
            f"{self._place}/{name}: absent, or not of the size in {MANIFEST}; it may just have been"
            " removed; if not, remove the artifact and publish it again"
        )

    def _pages(self, request: Callable[..., Answer], prefix: str) -> Iterator[Answer]:
        where = {"Bucket": self._place.name, "Prefix": self._top + prefix}
        more: dict[str, str] | None = {}
        while more is not None:
            page = request(**where, **more)
            yield page
            more = None
            if page.get("NextContinuationToken"):
                more = {"ContinuationToken": page["NextContinuationToken"]}
            elif page["IsTruncated"]:
                more = {"KeyMarker": page["NextKeyMarker"], "UploadIdMarker": page["NextUploadIdMarker"]}


class _Known(BaseSubscriber):
    """Gives s3transfer what it would otherwise request, and passes on how far it is."""

    def __init__(self, size: int, etag: str, moved: Callable[[int], None]) -> None:
        self._size, self._etag, self._moved = size, etag, moved

    def on_queued(self, future: Any, **_: Any) -> None:
        future.meta.provide_transfer_size(self._size)
        future.meta.provide_object_etag(self._etag)

    def on_progress(self, future: Any, bytes_transferred: int, **_: Any) -> None:
        self._moved(bytes_transferred)
