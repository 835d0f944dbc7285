"""What integration tests share."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from compiled_pipelines import compile_small
from kfp_server import KfpServer, kfp_server
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


@pytest.fixture(scope="session")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A compiled pipeline, small.yaml."""
    return compile_small(tmp_path_factory.mktemp("compiled") / "small.yaml")


@pytest.fixture
def no_endpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of the environment says where Kubeflow is, and who asks."""
    for name in ("KFP_ENDPOINT", "KF_PIPELINES_TOKEN", "KF_PIPELINES_SA_TOKEN_PATH", "SSL_CERT_FILE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def kfp() -> Iterator[KfpServer]:
    """A server that speaks the API of Kubeflow Pipelines."""
    with kfp_server() as server:
        yield server
