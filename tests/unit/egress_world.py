"""The relay in this process, between a guest and a server that are both on the loopback: `inside` are its doors."""

from __future__ import annotations

import asyncio
import functools
import inspect
import json
import os
import socket
import struct
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from sevenlbd.outside.egress.relay.allowed import Allowed
from sevenlbd.outside.egress.relay.broker import Broker
from sevenlbd.outside.egress.relay.dialer import Dialer
from sevenlbd.outside.egress.relay.forwarding import Relay
from sevenlbd.outside.egress.relay.journal import Journal, Sheet
from sevenlbd.outside.egress.relay.relay_context import RelayContext
from sevenlbd.wire import packets
from sevenlbd.wire.forwards import Forward

HOME = "127.0.0.1"
SESSION = "blue-fox"
PATIENCE = 10.0
_RESET = struct.pack("ii", 1, 0)

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def live(body: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    """A test that runs in an event loop, for a bounded time."""

    @functools.wraps(body)
    def run(*arguments: Any, **named: Any) -> None:
        async def bounded() -> None:
            async with asyncio.timeout(60):
                await body(*arguments, **named)

        asyncio.run(bounded())

    run.__signature__ = inspect.signature(body)  # type: ignore[attr-defined]  # pytest reads it
    return run


class World:
    """A house with its broker and its journal, and the sockets that a guest would find."""

    def __init__(self, allowed: Allowed, list_of_them: Path) -> None:
        self._list = list_of_them
        number = os.open(list_of_them, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        ours, theirs = packets.pair()
        self._broker, self._wire = asyncio.create_task(Broker(allowed, theirs).serve()), theirs
        self._dialer = Dialer(ours, lambda: None)
        self.house = RelayContext(allowed, Journal(SESSION, [Sheet(number)]), self._dialer)
        self.relay = Relay(self.house)

    def open(self, door: Forward) -> tuple[str, int]:
        """Hand over a socket for the door; returns where the guest finds it."""
        ours = udp() if door.kind == "udp" else socket.create_server((HOME, 0), backlog=128)
        place: tuple[str, int] = ours.getsockname()
        self.relay.open(door, socket.socket(fileno=ours.detach()))
        return place

    async def end(self) -> None:
        """The session is over."""
        await self.house.end()
        self._dialer.close()
        await self._broker
        self._wire.close()
        self.house.journal.close()

    def records(self) -> list[dict[str, Any]]:
        """What the journal has so far."""
        return [json.loads(line) for line in self._list.read_text().splitlines()]

    async def recorded(self, count: int = 1) -> list[dict[str, Any]]:
        """The same, as soon as there are so many."""
        await until(lambda: len(self.records()) >= count)
        return self.records()


@asynccontextmanager
async def world(allowed: Allowed) -> AsyncIterator[World]:
    """A relay for these orders; closed at the end."""
    with tempfile.TemporaryDirectory() as folder:
        here = World(allowed, Path(folder) / "list")
        try:
            yield here
        finally:
            await here.end()


@asynccontextmanager
async def tcp_forward(serve: Serve, **orders: Any) -> AsyncIterator[tuple[World, tuple[str, int]]]:
    """A server that does `serve` with each connection, and a door to it: the world, and where the door is inside."""
    async with server(serve) as port, world(Allowed(tcp=((HOME, port),), **orders)) as here:
        yield here, here.open(Forward("tcp", HOME, port))


@asynccontextmanager
async def server(serve: Serve) -> AsyncIterator[int]:
    """A TCP server on a free port."""

    async def forgiving(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            await serve(reader, writer)
        writer.close()

    listening = await asyncio.start_server(forgiving, HOME, 0)
    try:
        yield listening.sockets[0].getsockname()[1]
    finally:
        listening.close()
        listening.abort_clients()


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Send back what comes, to its end."""
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()


def udp() -> socket.socket:
    """A bound UDP socket that does not block."""
    ours = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    ours.bind((HOME, 0))
    ours.setblocking(False)
    return ours


def free_port() -> int:
    """A port where nobody listens."""
    with socket.create_server((HOME, 0)) as taken:
        port: int = taken.getsockname()[1]
        return port


def reset(writer: asyncio.StreamWriter) -> None:
    """Close with RST."""
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    writer.transport.abort()


async def is_calm() -> bool:
    """Whether the event loop has little to do for half a second, in turns: CPU time says little on a busy node."""
    loop: Any = asyncio.get_running_loop()
    turns, turn = 0, loop._run_once

    def counted() -> None:
        nonlocal turns
        turns += 1
        turn()

    loop._run_once = counted
    try:
        await asyncio.sleep(0.5)
    finally:
        loop._run_once = turn
    return turns < 200


async def until(happened: Callable[[], bool]) -> None:
    """Wait for something to happen."""
    async with asyncio.timeout(PATIENCE):
        while not happened():
            await asyncio.sleep(0.01)
