"""A real S3 server for the tests: OpenStack Swift with its S3 face, one replica in one folder, no root."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from ssfr.components.config.storage import StorageSettings
from ssfr.components.runtime.progress import SILENT, Progress
from ssfr.components.storage.opening import open_store
from ssfr.components.storage.store import Store

ACCESS_KEY, SECRET_KEY = "study:pipeline", "not-a-secret"
READER_ACCESS_KEY, READER_SECRET_KEY = "study:stranger", "not-a-secret-either"
REGION = "us-east-1"
_BACKENDS = ("account", "container", "object")
_START_WAIT_S = 60.0

_SWIFT = """
[swift-hash]
swift_hash_path_suffix = ssfr
[storage-policy:0]
name = one
default = yes
"""
_BACKEND = """
[DEFAULT]
bind_ip = 127.0.0.1
bind_port = {port}
workers = 0
swift_dir = {folder}
devices = {folder}/devices
mount_check = false
disable_fallocate = true
fallocate_reserve = 0
container_update_timeout = 30
[pipeline:main]
pipeline = {kind}-server
[app:{kind}-server]
use = egg:swift#{kind}
"""
_PROXY = """
[DEFAULT]
bind_ip = 127.0.0.1
bind_port = {port}
workers = 0
swift_dir = {folder}
[pipeline:main]
pipeline = catch_errors proxy-logging listing_formats bulk s3api tempauth slo versioned_writes symlink \
 proxy-logging proxy-server
[app:proxy-server]
use = egg:swift#proxy
account_autocreate = true
node_timeout = 30
conn_timeout = 5
[filter:catch_errors]
use = egg:swift#catch_errors
[filter:proxy-logging]
use = egg:swift#proxy_logging
[filter:listing_formats]
use = egg:swift#listing_formats
[filter:bulk]
use = egg:swift#bulk
[filter:s3api]
use = egg:swift#s3api
location = {region}
[filter:tempauth]
use = egg:swift#tempauth
user_study_pipeline = {secret} .admin
user_study_stranger = {reader_secret}
[filter:slo]
use = egg:swift#slo
[filter:versioned_writes]
use = egg:swift#versioned_writes
allow_object_versioning = true
[filter:symlink]
use = egg:swift#symlink
"""
# The servers' own start scripts, but for a log on standard error in place of the machine's syslog, and an end
# with the process that started them (PR_SET_PDEATHSIG), even if that is killed.
_START = """
import ctypes, logging, signal, sys
ctypes.CDLL(None).prctl(1, signal.SIGKILL)
from swift.common import utils
utils.logs.ThreadSafeSysLogHandler = lambda *args, **kwargs: logging.StreamHandler()
from swift.common.wsgi import run_wsgi
sys.exit(run_wsgi(sys.argv[1], sys.argv[2]))
"""


@dataclass(frozen=True)
class S3Server:
    """A running server: its address, its folder, and its processes."""

    port: int
    folder: Path
    processes: dict[str, subprocess.Popen[bytes]]

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@dataclass(frozen=True)
class Place:
    """A bucket on the server, and how a store in it is opened: impatiently, in small parts."""

    server: S3Server
    bucket: str
    client: Any

    def settings(self, endpoint: str | None = None, **changes: Any) -> StorageSettings:
        patience = {"attempts": 8, "backoff_s": 0.02, "connect_timeout_s": 3.0, "read_timeout_s": 10.0}
        where = {"endpoint": endpoint or self.server.endpoint, "allow_http": True, "region": REGION}
        return StorageSettings(**{**where, "part_mb": 5, **patience, **changes})

    def store(self, endpoint: str | None = None, progress: Progress = SILENT, **changes: Any) -> Store:
        return open_store(f"s3://{self.bucket}/runs", self.settings(endpoint, **changes), progress)

    def names(self) -> list[str]:
        found = self.client.list_objects_v2(Bucket=self.bucket, Prefix="runs/").get("Contents", [])
        return [one["Key"].removeprefix("runs/") for one in found]

    def data(self) -> list[str]:
        return [name for name in self.names() if name.startswith(".data/")]


@contextmanager
def s3_server(folder: Path) -> Iterator[S3Server]:
    """Run Swift with everything it writes in `folder`, whose file system must have extended attributes."""
    ports = dict(zip(("proxy", *_BACKENDS), _free_ports(4), strict=True))
    _write_configuration(folder, ports)
    processes: dict[str, subprocess.Popen[bytes]] = {}
    try:
        with (folder / "server.log").open("ab") as log:
            for kind in (*_BACKENDS, "proxy"):
                processes[kind] = _start(kind, folder, log)
        for port in ports.values():
            _wait(port, processes, folder)
        yield S3Server(ports["proxy"], folder, processes)
    finally:
        for process in processes.values():
            process.kill()
        for process in processes.values():
            process.wait()


def _write_configuration(folder: Path, ports: dict[str, int]) -> None:
    from swift.common.ring import RingBuilder

    (folder / "devices" / "disk").mkdir(parents=True)
    probe = folder / "devices" / "xattr"
    probe.touch()
    os.setxattr(probe, "user.swift.metadata", b"x")
    (folder / "swift.conf").write_text(_SWIFT)
    for kind in _BACKENDS:
        text = _BACKEND.format(kind=kind, port=ports[kind], folder=folder)
        (folder / f"{kind}.conf").write_text(text)
        device = {"id": 0, "region": 1, "zone": 1, "weight": 1, "device": "disk", "ip": "127.0.0.1"}
        address = {"port": ports[kind], "replication_ip": "127.0.0.1", "replication_port": ports[kind]}
        builder = RingBuilder(part_power=4, replicas=1, min_part_hours=0)
        builder.add_dev(device | address)
        builder.rebalance(seed=0)
        builder.get_ring().save(str(folder / f"{kind}.ring.gz"))
    proxy = _PROXY.format(
        port=ports["proxy"],
        folder=folder,
        region=REGION,
        secret=SECRET_KEY,
        reader_secret=READER_SECRET_KEY,
    )
    (folder / "proxy.conf").write_text(proxy)


def _start(kind: str, folder: Path, log: IO[bytes]) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-W", "ignore", "-c", _START, str(folder / f"{kind}.conf"), f"{kind}-server"]
    return subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)


def _wait(port: int, processes: dict[str, subprocess.Popen[bytes]], folder: Path) -> None:
    """Wait until a server answers, were it only that it does not know us."""
    deadline = time.monotonic() + _START_WAIT_S
    while time.monotonic() < deadline:
        for kind, process in processes.items():
            if process.poll() is not None:
                log = (folder / "server.log").read_text()
                raise RuntimeError(f"Swift's {kind} server ended: {log[-2000:]}")
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=1)
        except urllib.error.HTTPError:
            return
        except OSError:
            time.sleep(0.05)
    raise RuntimeError(f"Swift did not answer within {_START_WAIT_S:g} s: {folder / 'server.log'}")


def _free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports
