"""A slow network on this machine: a TCP proxy that carries a number of bytes a second in each connection."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

_PIECE = 1 << 16
"""[bytes] carried at once, and buffered by the machine, so that a sender is held back as by a network."""


@contextmanager
def throttled(port: int, bytes_per_s: float) -> Iterator[int]:
    """Run a proxy to a port of this machine, in a process of its own, and give the proxy's port."""
    command = [sys.executable, "-m", "benchmarks.throttle", str(port), str(bytes_per_s)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            yield int(process.stdout.readline())
        finally:
            process.kill()


def _serve(port: int, bytes_per_s: float) -> None:
    listener = socket.create_server(("127.0.0.1", 0), backlog=128)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _PIECE)
    print(listener.getsockname()[1], flush=True)
    while True:
        client, _ = listener.accept()
        server = socket.socket()
        server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _PIECE)
        server.connect(("127.0.0.1", port))
        for ends in ((client, server), (server, client)):
            threading.Thread(target=_carry, args=(*ends, bytes_per_s), daemon=True).start()


def _carry(source: socket.socket, target: socket.socket, bytes_per_s: float) -> None:
    target.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    free = time.monotonic()
    with suppress(OSError):
        while piece := source.recv(_PIECE):
            target.sendall(piece)
            free = max(free, time.monotonic()) + len(piece) / bytes_per_s
            time.sleep(max(0.0, free - time.monotonic()))
        target.shutdown(socket.SHUT_WR)


if __name__ == "__main__":
    _serve(int(sys.argv[1]), float(sys.argv[2]))
