"""A socket for those who read what passes: it is paid for before more is read, and nobody waits for ever."""

from __future__ import annotations

import asyncio
import socket

import h11

from .limits import Bucket

_CHUNK = 64 * 1024


class Wire:
    """One end. The bucket is that of what comes in here."""

    def __init__(self, wire: socket.socket, idle: float, rate: Bucket) -> None:
        self.socket = wire
        self._idle = idle
        self._rate = rate
        self._loop = asyncio.get_running_loop()
        self.received = 0

    async def receive(self) -> bytes:
        """What comes; empty at the end. Raises OSError: TimeoutError when nothing does."""
        async with asyncio.timeout(self._idle):
            data = await self._loop.sock_recv(self.socket, _CHUNK)
        self.received += len(data)
        paid = 0
        while paid < len(data):
            paid += await self._rate.taken(len(data) - paid)
        return data

    async def send(self, data: bytes | None) -> None:
        """Send all. Raises OSError: TimeoutError when nobody takes it."""
        if data:
            async with asyncio.timeout(self._idle):
                await self._loop.sock_sendall(self.socket, data)

    async def next_event(self, connection: h11.Connection) -> object:
        """The next piece of what HTTP says here. Raises OSError, and h11.RemoteProtocolError for what is no HTTP."""
        while (event := connection.next_event()) is h11.NEED_DATA:
            connection.receive_data(await self.receive())
        return event
