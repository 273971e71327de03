"""The raw relays: carry native clients' bytes from inherited Unix sockets to the guest, and look at none.

Each end writes to the other in the callback that brings its bytes, from the one buffer that they were received into;
it is not read while any of them wait to go out. An end of input is passed on as such: the other direction may go on.
"""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress

from .traffic import Traffic

_CHUNK = 256 * 1024  # bytes; as in bridge.py
_MAX_CONNECTIONS = 64  # a guess: a client has one, and a user a few clients
_CONNECT_SECONDS, _TRY_AGAIN_SECONDS = 10.0, 0.02  # for a guest on a busy node; for QEMU to take the caller before us
_LINGER_SECONDS = 5.0  # for a client that reads slowly


async def connect(path: str) -> socket.socket:
    """Connect to QEMU's socket, which has a backlog of one: a full one says EAGAIN (unix(7)), and is tried again.

    Raises OSError, or TimeoutError when it stays full.
    """
    wire = socket.socket(socket.AF_UNIX)
    wire.setblocking(False)
    try:
        async with asyncio.timeout(_CONNECT_SECONDS):
            while True:
                try:
                    wire.connect(path)
                    return wire
                except BlockingIOError:
                    await asyncio.sleep(_TRY_AGAIN_SECONDS)
    except BaseException:
        wire.close()
        raise


class End(asyncio.BufferedProtocol):
    """One end of a relayed connection. It is not read before it has its other."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self._other: End | None = None
        self._room = memoryview(bytearray(_CHUNK))
        self._traffic = Traffic()
        self._up = False
        self._ended = False

    def couple(self, other: End, traffic: Traffic, *, up: bool) -> None:
        """Write what comes here to `other`; `up` is towards the guest."""
        self._other, self._traffic, self._up = other, traffic, up
        if self.transport:
            self.transport.resume_reading()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """asyncio's callback."""
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        transport.set_write_buffer_limits(0)
        transport.pause_reading()

    def get_buffer(self, sizehint: int) -> memoryview:
        """asyncio's callback: where to put what comes."""
        return self._room

    def buffer_updated(self, nbytes: int) -> None:
        """asyncio's callback: it has come."""
        if self._up:
            self._traffic.up += nbytes
        else:
            self._traffic.down += nbytes
        if self._other and self._other.transport:
            self._other.transport.write(self._room[:nbytes])

    def eof_received(self) -> bool:
        """asyncio's callback: whether the other direction may go on."""
        self._ended = True
        other = self._other
        if not other or not other.transport or other.transport.is_closing():
            return False
        with suppress(OSError, RuntimeError):
            other.transport.write_eof()
        return not other._ended

    def pause_writing(self) -> None:
        """asyncio's callback: the other is read at our pace."""
        if self._other and self._other.transport:
            self._other.transport.pause_reading()

    def resume_writing(self) -> None:
        """asyncio's callback."""
        if self._other and self._other.transport:
            self._other.transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        """asyncio's callback: the other goes, too, but what is on its way still arrives."""
        if self._other and self._other.transport:
            self._other.transport.close()
            asyncio.get_running_loop().call_later(_LINGER_SECONDS, self._other.transport.abort)


class Caller(End):
    """The user's end: a connection that was accepted."""

    def __init__(self, relay: NativeRelay) -> None:
        super().__init__()
        self._relay = relay
        self._task: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """asyncio's callback."""
        super().connection_made(transport)
        if self._relay.full:
            transport.close()
            return
        self._relay.traffic.opened += 1
        self._relay.traffic.now += 1
        self._task = asyncio.get_running_loop().create_task(self._relay.reach(self))

    def connection_lost(self, exc: Exception | None) -> None:
        """asyncio's callback."""
        if self._task:
            self._task.cancel()
            self._relay.traffic.now -= 1
        super().connection_lost(exc)


class NativeRelay:
    """One way in: the place in here that its connections lead to."""

    def __init__(self, target: str, traffic: Traffic, most: int) -> None:
        self._target, self._most = target, most
        self.traffic = traffic

    @property
    def full(self) -> bool:
        """Whether no more connections are taken."""
        return self.traffic.now >= self._most

    async def reach(self, caller: Caller) -> None:
        """Connect the caller to the target."""
        try:
            far = await self._open()
        except (OSError, TimeoutError):
            if caller.transport:
                caller.transport.close()
            return
        far.couple(caller, self.traffic, up=False)
        caller.couple(far, self.traffic, up=True)

    async def _open(self) -> End:
        loop = asyncio.get_running_loop()
        if self._target.startswith("/"):
            _, far = await loop.create_unix_connection(End, sock=await connect(self._target))
        else:
            host, _, port = self._target.rpartition(":")
            async with asyncio.timeout(_CONNECT_SECONDS):
                _, far = await loop.create_connection(End, host, int(port))
        return far


async def serve(listener: socket.socket, target: str, traffic: Traffic) -> None:
    """Relay every connection of `listener` to `target` (HOST:PORT or /PATH) until cancelled."""
    listener.setblocking(False)
    relay = NativeRelay(target, traffic, _MAX_CONNECTIONS)
    async with await asyncio.get_running_loop().create_unix_server(lambda: Caller(relay), sock=listener) as server:
        await server.serve_forever()
