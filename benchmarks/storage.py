"""How fast artifacts go to S3 and back, and a thousand faults of the network, of which none loses anything.

The server is the tests' own, on this machine, reached directly and through a network of 10 MB/s a connection.
Both sides are as they come, with their own defaults; `peer` is boto3's transfer of the same file, several
parts at a time, without a manifest, a SHA-256, or a check of what the server has in the end.
"""

from __future__ import annotations

import importlib
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import boto3
import numpy as np
from botocore.config import Config

from benchmarks.figure import row
from benchmarks.throttle import throttled
from ssfr.components.config.storage import StorageSettings
from ssfr.components.errors import InputError
from ssfr.components.runtime.progress import Progress
from ssfr.components.storage.artifact import publish, verify
from ssfr.components.storage.opening import open_store

FAULTS = 1000
SHARE = 0.25
BUCKET = "benchmark"
_FILE_MB = 128
_ROUNDS = 5
_PUBLISHERS = 8
_PEER = "boto3 transfer"
_SLOW_BYTES_PER_S = 10e6
"""Of a connection."""
_TESTS = Path(__file__).resolve().parents[1] / "tests"


class Counted(Progress):
    """Counts failed attempts."""

    def __init__(self) -> None:
        super().__init__(self)
        self.retries = 0

    def emit(self, event: dict[str, Any]) -> None:
        """Count a retry."""
        self.retries += event["kind"] == "say"


def run() -> list[dict[str, Any]]:
    """Measure both ways through S3, then publish and fetch until `FAULTS` faults have happened.

    Returns
    -------
    list of dict
        Rates [MB/s] by the median of rounds taken in turn with the peer's; then the faults, the attempts
        made again because of them, the artifacts carried, and those that were lost or damaged.
    """
    sys.path.insert(0, str(_TESTS))  # the server and the proxy are the tests'
    server, proxy = importlib.import_module("s3_server"), importlib.import_module("faulty_proxy")
    os.environ |= {"AWS_ACCESS_KEY_ID": server.ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": server.SECRET_KEY}
    with (
        tempfile.TemporaryDirectory(prefix="ssfr-storage-") as folder,
        server.s3_server(Path(folder) / "s3") as s3,
        throttled(s3.port, _SLOW_BYTES_PER_S) as slow_port,
        proxy.faulty_proxy(s3.port, proxy.random_faults(1, SHARE), stall_s=3.0) as faulty,
    ):
        _boto3(s3.endpoint).create_bucket(Bucket=BUCKET)
        artifact = _artifact(Path(folder), "rates", {"maps.h5": _FILE_MB << 20})
        return [
            *_rates("storage", s3.endpoint, artifact),
            *_rates("storage.10_mb_per_s", f"http://127.0.0.1:{slow_port}", artifact),
            *_faults(faulty, Path(folder)),
        ]


def _boto3(endpoint: str) -> Any:
    config = Config(s3={"addressing_style": "path"})
    return boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1", config=config)


def _settings(endpoint: str, **changes: Any) -> StorageSettings:
    return StorageSettings(endpoint=endpoint, allow_http=True, region="us-east-1", **changes)


def _rates(name: str, endpoint: str, artifact: Path) -> list[dict[str, Any]]:
    store, client = open_store(f"s3://{BUCKET}/{name}", _settings(endpoint)), _boto3(endpoint)
    back, file = artifact.with_name(f"{name}-back"), str(artifact / "maps.h5")
    timings: dict[str, list[float]] = {}

    def timed(name: str, call: Callable[[], object]) -> None:
        started = time.perf_counter()
        call()
        timings.setdefault(name, []).append(time.perf_counter() - started)

    for number in range(_ROUNDS):
        key = f"training/{number}"
        timed("publish", partial(store.publish, artifact, key))
        timed("upload", partial(client.upload_file, file, BUCKET, "peer"))
        timed("fetch", partial(store.fetch, key, back / key))
        timed("download", partial(client.download_file, BUCKET, "peer", str(back / "peer")))
        store.remove(key)
    rate = {call: _FILE_MB * 1.048576 / float(np.median(seconds)) for call, seconds in timings.items()}
    return [
        row(f"{name}.publish", rate["publish"], "MB/s", _PEER, rate["upload"]),
        row(f"{name}.fetch", rate["fetch"], "MB/s", _PEER, rate["download"]),
    ]


def _faults(proxy: Any, scratch: Path) -> list[dict[str, Any]]:
    started = time.perf_counter()
    with ThreadPoolExecutor(_PUBLISHERS) as pool:
        tallies = list(pool.map(lambda number: _carry(number, proxy, scratch), range(_PUBLISHERS)))
    total = sum(tallies, Counter[str]())
    injected = [
        row(f"storage.faults.{name.replace(' in the ', '_of_')}", count, "faults")
        for name, count in sorted(proxy.injected.items())
    ]
    counts = ("retries", "artifacts", "failed", "damaged")
    return [
        row("storage.faults", proxy.injected.total(), "faults"),
        *injected,
        *(row(f"storage.faults.{name}", total[name], name) for name in counts),
        row("storage.faults.seconds", time.perf_counter() - started, "s"),
    ]


def _carry(publisher: int, proxy: Any, scratch: Path) -> Counter[str]:
    """Publish and fetch one artifact after another until there were enough faults, and count."""
    counted, tally = Counted(), Counter[str]()
    patience = {"attempts": 12, "backoff_s": 0.02, "read_timeout_s": 1.5, "connect_timeout_s": 1.5}
    store = open_store(f"s3://{BUCKET}/faults", _settings(proxy.endpoint, **patience, part_mb=5), counted)
    while proxy.injected.total() < FAULTS:
        name = f"{publisher}-{tally['artifacts']}"
        sizes = {"maps.h5": (6 << 20) + publisher, **{f"part-{number}": 999 * number for number in range(6)}}
        folder, back = _artifact(scratch, name, sizes, tally["artifacts"]), scratch / f"back-{name}"
        try:
            store.publish(folder, f"training/{name}")
            store.fetch(f"training/{name}", back)
            tally["damaged"] += verify(back) != verify(folder)
        except InputError as error:
            tally["failed"] += 1
            print(f"storage: {error}", file=sys.stderr)
        tally["artifacts"] += 1
    tally["retries"] = counted.retries
    return tally


def _artifact(scratch: Path, name: str, sizes: dict[str, int], seed: int = 0) -> Path:
    staging, final = scratch / f"{name}-staging", scratch / name
    staging.mkdir()
    rng = np.random.default_rng(seed)
    for file, size in sizes.items():
        (staging / file).write_bytes(rng.bytes(size))
    publish(staging, final, {"step": "training", "key": name})
    return final
