"""A relay far away: passes octets on, each way after half of the round trip. ``python -m tests.benchmarks.delay``."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from subprocess import Popen

from tests.benchmarks.peers import free_port, is_listening, wait_for


class _Late(asyncio.Protocol):
    """One direction: hands what it receives to the other side, late."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.other: _Late | None = None
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        asyncio.get_running_loop().call_later(self.seconds, self._pass_on, data)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - how it ended is not told
        asyncio.get_running_loop().call_later(self.seconds, self._end)

    def _pass_on(self, data: bytes) -> None:
        if self.other is not None and self.other.transport is not None:
            self.other.transport.write(data)

    def _end(self) -> None:
        if self.other is not None and self.other.transport is not None:
            self.other.transport.close()


class _Front(_Late):
    """The client's side: connects to the target, itself half a round trip away."""

    def __init__(self, seconds: float, target: int) -> None:
        super().__init__(seconds)
        self.target = target
        self.early: list[bytes] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        asyncio.ensure_future(self._connect())  # noqa: RUF006 - it lives as long as the connection

    async def _connect(self) -> None:
        await asyncio.sleep(self.seconds)
        loop = asyncio.get_running_loop()
        _, back = await loop.create_connection(lambda: _Late(self.seconds), "127.0.0.1", self.target)
        back.other, self.other = self, back


async def _serve(port: int, target: int, round_trip_seconds: float) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Front(round_trip_seconds / 2, target), "127.0.0.1", port, backlog=1000)
    await server.serve_forever()


@contextmanager
def far_away(target: int, *, round_trip_seconds: float) -> Iterator[int]:
    """Run the delay in a process of its own in front of a port of loopback; yield the port to talk to."""
    port = free_port()
    words = [sys.executable, "-m", "tests.benchmarks.delay", str(port), str(target), str(round_trip_seconds)]
    with Popen(words) as process:
        try:
            wait_for(lambda: is_listening(port))
            yield port
        finally:
            process.terminate()


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        asyncio.run(_serve(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])))
