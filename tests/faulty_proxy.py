"""A TCP proxy that breaks requests: resets, stalls, 503 answers, bodies that are cut off or altered."""

from __future__ import annotations

import asyncio
import random
import socket
import struct
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Literal

Direction = Literal["request", "answer"]
KINDS = ("reset", "stall", "truncate", "unavailable")
_UNAVAILABLE = (
    b"HTTP/1.1 503 Slow Down\r\nContent-Type: application/xml\r\nContent-Length: 37\r\n"
    b"Connection: close\r\n\r\n<Error><Code>SlowDown</Code></Error>\r\n"
)


@dataclass
class Fault:
    """What happens to one request, once so many bytes have passed in a direction."""

    kind: str
    direction: Direction
    after_bytes: int


Plan = Callable[[bytes], Fault | None]
"""Given the first bytes of a request (or of its body, sent after a 100 Continue), says what befalls it."""


def no_faults(_: bytes) -> None:
    return None


def random_faults(seed: int, share: float, kinds: tuple[str, ...] = KINDS, reach: int = 1 << 20) -> Plan:
    """Return a plan that breaks about a share of the requests, near their first bytes or up to `reach`."""
    rng = random.Random(seed)

    def plan(_: bytes) -> Fault | None:
        if rng.random() >= share:
            return None
        kind, direction = rng.choice(kinds), _choose(rng)
        after = int(rng.choice((0, 400, reach)) * rng.random())
        # what refuses to answer does so before its first byte
        return Fault(kind, direction, 0 if (kind, direction) == ("unavailable", "answer") else after)

    return plan


def _choose(rng: random.Random) -> Direction:
    return "request" if rng.random() < 0.5 else "answer"


@dataclass
class FaultyProxy:
    """A running proxy; `plan` may be replaced at any time."""

    target: int
    plan: Plan
    stall_s: float
    injected: Counter[str] = field(default_factory=Counter)
    """Faults that happened, by kind and direction."""
    port: int = 0
    redirect: str = ""
    """Where the fault "redirect" sends the client."""

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def serve(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        """Carry one connection."""
        wire = _Wire(to_client)
        try:
            server, to_server = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            to_client.close()
            return
        pumps = [
            asyncio.ensure_future(self._pump(client, to_server, "request", wire)),
            asyncio.ensure_future(self._pump(server, to_client, "answer", wire)),
        ]
        with suppress(asyncio.CancelledError):
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        for pump in pumps:
            pump.cancel()
        await asyncio.gather(*pumps, return_exceptions=True)
        for writer in (to_client, to_server):
            with suppress(OSError):
                writer.close()

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, direction: Direction, wire: _Wire
    ) -> None:
        with suppress(OSError):
            while data := await reader.read(1 << 16):
                if direction == "request" and wire.last == "answer":
                    wire.fault = self.plan(data)
                wire.last = direction
                fault = wire.fault
                if fault and fault.direction == direction:
                    if len(data) > fault.after_bytes and fault.kind == "alter":
                        data = _altered(data, fault.after_bytes)
                        self.injected[f"{fault.kind} in the {fault.direction}"] += 1
                        wire.fault = None
                    elif len(data) >= fault.after_bytes:
                        writer.write(data[: fault.after_bytes])
                        await writer.drain()
                        await self._happen(fault, wire)
                        return
                    fault.after_bytes -= len(data)
                writer.write(data)
                await writer.drain()

    async def _happen(self, fault: Fault, wire: _Wire) -> None:
        self.injected[f"{fault.kind} in the {fault.direction}"] += 1
        if fault.kind == "stall":
            await asyncio.sleep(self.stall_s)
        elif fault.kind == "unavailable":
            wire.to_client.write(_UNAVAILABLE)
            await wire.to_client.drain()
        elif fault.kind == "redirect":
            head = (
                f"HTTP/1.1 307 Temporary Redirect\r\nLocation: {self.redirect}/\r\nContent-Length: 0\r\n\r\n"
            )
            wire.to_client.write(head.encode())
            await wire.to_client.drain()
        elif fault.kind == "reset":
            at_once = struct.pack("ii", 1, 0)  # closing then sends RST, and drops what is on its way
            wire.to_client.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, at_once)
            wire.to_client.transport.abort()


def _altered(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


@dataclass
class _Wire:
    to_client: asyncio.StreamWriter
    last: Direction = "answer"
    fault: Fault | None = None


@contextmanager
def faulty_proxy(target: int, plan: Plan = no_faults, stall_s: float = 30.0) -> Iterator[FaultyProxy]:
    """Run a proxy to a port of this machine."""
    proxy = FaultyProxy(target, plan, stall_s)
    loop = asyncio.new_event_loop()
    started = threading.Event()
    servers: list[asyncio.Server] = []

    async def run() -> None:
        server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
        servers.append(server)
        proxy.port = server.sockets[0].getsockname()[1]
        started.set()

    def work() -> None:
        asyncio.set_event_loop(loop)
        loop.run_until_complete(run())
        loop.run_forever()
        left = asyncio.all_tasks(loop)
        for task in left:
            task.cancel()
        loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        loop.close()

    thread = threading.Thread(target=work, name="faulty-proxy", daemon=True)
    thread.start()
    started.wait()
    try:
        yield proxy
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
