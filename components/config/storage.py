"""Settings of the storage: how an S3 server is reached, and how often a request is repeated."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from ssfr.components.config.section import Positive, Section


class StorageSettings(Section):
    """The S3 server, and how often and how long it is tried; a local folder needs only `orphan_age_h`."""

    changes_result: ClassVar[bool] = False

    endpoint: str | None = Field(
        None, pattern=r"^https?://", description="URL of the server; None: AWS, or what AWS_ENDPOINT_URL says"
    )
    allow_http: bool = Field(
        False, description="http sends everything in the clear; inside a cluster that may do"
    )
    region: str | None = Field(None, description="None: what boto3 finds, or us-east-1")
    path_style: bool = Field(True, description="server/bucket/key; false: bucket.server/key")
    secret_folder: str | None = Field(
        None,
        description="folder with the files accesskey and secretkey (a mounted secret); None: boto3's own chain, environment first",
    )
    connect_timeout_s: Positive = Field(5.0, description="[s]")
    read_timeout_s: Positive = Field(30.0, description="[s] without a byte of the answer")
    attempts: int = Field(6, ge=1, description="of a request, each of two tries of boto3's")
    backoff_s: Positive = Field(
        0.5, description="[s] the longest wait before the second attempt; doubled after each"
    )
    backoff_max_s: Positive = Field(20.0, description="[s] the longest wait before any attempt")
    part_mb: int = Field(
        8, ge=5, le=1024, description="[MiB] sent or read by one request, and held in memory meanwhile"
    )
    connections: int = Field(10, ge=1, le=100, description="parts sent or read at a time")
    scratch: str | None = Field(
        None,
        description="folder for what a step works on when its run is in S3; None: the system's temporary folder",
    )
    orphan_age_h: Positive = Field(
        24.0, description="[h] after which data without a manifest are a killed publisher's, and go"
    )
