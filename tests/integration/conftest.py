"""What integration tests share."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from botocore.config import Config
from s3_server import ACCESS_KEY, REGION, SECRET_KEY, Place, S3Server, s3_server


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """A real S3 server, started once."""
    with s3_server(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture(scope="session")
def s3_client(s3: S3Server) -> Any:
    """What sees a bucket as it is."""
    keys = {"aws_access_key_id": ACCESS_KEY, "aws_secret_access_key": SECRET_KEY}
    config = Config(s3={"addressing_style": "path"})
    return boto3.client("s3", endpoint_url=s3.endpoint, region_name=REGION, config=config, **keys)


@pytest.fixture
def place(s3: S3Server, s3_client: Any, monkeypatch: pytest.MonkeyPatch) -> Place:
    """A bucket of one test, with the credentials for it in the environment."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", ACCESS_KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
    bucket = f"test-{uuid.uuid4().hex}"
    s3_client.create_bucket(Bucket=bucket)
    return Place(s3, bucket, s3_client)
