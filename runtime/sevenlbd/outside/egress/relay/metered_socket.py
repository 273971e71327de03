"""A socket for those who read what passes: it is paid for before more is read, and nobody waits for ever."""

from __future__ import annotations

import asyncio
import socket

import h11

from .quotas import Bucket

MAX_HEAD = 64 * 1024
"""Bytes of a request's or an answer's head, at most; h11 looks only at what is not complete yet."""
_CHUNK = 64 * 1024  # bytes; a whole head in one


class Wire:
    """One end. The bucket is that of what comes in here."""

    def __init__(self, wire: socket.socket, idle: float, rate: Bucket) -> None:
        self.socket = wire
        self._idle = idle
        self._rate = rate
        self._loop = asyncio.get_running_loop()
        self.received = 0

    async def receive(self, most: int = _CHUNK) -> bytes:
        """What comes, up to `most` bytes; empty at the end. Raises OSError: TimeoutError when nothing does."""
        async with asyncio.timeout(self._idle):
            data = await self._loop.sock_recv(self.socket, most)
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
        held = -1
        while (event := connection.next_event()) is h11.NEED_DATA:
            if held < 0:
                held = len(connection.trailing_data[0])
            if held >= MAX_HEAD:
                raise h11.RemoteProtocolError("a head that is too long", error_status_hint=431)
            data = await self.receive(min(_CHUNK, MAX_HEAD - held))
            held += len(data)
            connection.receive_data(data)
        return event
