"""What it takes to try a real cluster, from the environment; without it, these tests are left out.

The cluster is set up as docs/cluster.md says, up to and with its server and a bucket, and is one to try
things on: the tests write into the bucket, and put their models in service.

KUBECONFIG          of the cluster
KFP_ENDPOINT        URL of Kubeflow Pipelines
SSFR_TEST_BUCKET    s3://bucket/prefix under which runs and data may be written
SSFR_TEST_HERE      YAML file with the `storage` section for this machine; keys as always in the environment
SSFR_TEST_PODS      YAML file with the `storage` and `cluster` sections for the cluster's pods
"""

from __future__ import annotations

import os
import uuid
from pathlib import Path

import pytest
from given_cluster import Cluster, kubectl, ssfr
from small_demo import SIMULATE

_NEEDED = ("KUBECONFIG", "KFP_ENDPOINT", "SSFR_TEST_BUCKET", "SSFR_TEST_HERE", "SSFR_TEST_PODS")


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Cluster:
    """The cluster, with a small universe in its storage."""
    missing = [name for name in _NEEDED if not os.environ.get(name)]
    if missing:
        pytest.skip(f"needs a Kubernetes cluster with Kubeflow, as tests/cluster/conftest.py says: {missing}")
    repository = kubectl("get", "configmap", "ssfr-settings", "--output=jsonpath={.data.repository}")
    place = f"{os.environ['SSFR_TEST_BUCKET'].rstrip('/')}/test-{uuid.uuid4().hex[:8]}"
    here, pods = (Path(os.environ[name]).resolve() for name in ("SSFR_TEST_HERE", "SSFR_TEST_PODS"))
    universe = tmp_path_factory.mktemp("data") / "universe"
    ssfr("simulate", universe, *SIMULATE)
    ssfr("upload", universe, f"{place}/data/universe", "--settings", here)
    return Cluster(place, repository, here, pods)
