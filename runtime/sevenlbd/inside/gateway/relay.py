"""The raw relays: carry native clients' bytes from inherited Unix sockets to the guest, and look at none."""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress

_CHUNK = 256 * 1024
_MAX_CONNECTIONS = 64
_CONNECT_SECONDS, _TRY_AGAIN_SECONDS = 10.0, 0.02


async def _open(target: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    if target.startswith("/"):
        return await asyncio.open_unix_connection(sock=await _connect(target), limit=_CHUNK)
    host, _, port = target.rpartition(":")
    return await asyncio.open_connection(host, int(port), limit=_CHUNK)


async def _connect(path: str) -> socket.socket:
    """Connect to QEMU's socket, which has a backlog of one: a full one says EAGAIN (unix(7)), and is tried again."""
    wire = socket.socket(socket.AF_UNIX)
    wire.setblocking(False)
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


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """One direction, with back-pressure; an end of input is passed on as such."""
    while data := await reader.read(_CHUNK):
        writer.write(data)
        await writer.drain()
    with suppress(OSError):
        writer.write_eof()


class Connector:
    """One way in: a listening socket and the place in here that its connections lead to."""

    def __init__(self, target: str) -> None:
        self._target = target
        self._free = asyncio.Semaphore(_MAX_CONNECTIONS)

    async def on_connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Relay one connection until both directions have ended, or one breaks."""
        try:
            if self._free.locked():
                return
            async with self._free:
                with suppress(OSError):
                    await self._relay(reader, writer)
        finally:
            writer.close()

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await _open(self._target)
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(_copy(reader, far_writer))
                both.create_task(_copy(far_reader, writer))
        except* OSError:
            pass
        finally:
            far_writer.close()


async def serve(listener: socket.socket, target: str) -> None:
    """Relay every connection of `listener` to `target` (HOST:PORT or /PATH) until cancelled."""
    listener.setblocking(False)
    server = await asyncio.start_unix_server(Connector(target).on_connect, sock=listener, limit=_CHUNK)
    async with server:
        await server.serve_forever()
