"""A browser's WebSocket and a stream to the guest, made one.

From guest to browser each chunk becomes a frame in the callback that brings it: no task, no queue and no copy of our
own. The browser's pace is the guest's: while the connection's write buffer is full, the stream is not read. The
other way aiohttp's reader does the same. Source of the frame: RFC 6455 section 5.2.
"""

from __future__ import annotations

import asyncio
import struct
from contextlib import suppress
from dataclasses import dataclass

from aiohttp import WSMsgType, web

from .limits import Guarded
from .traffic import Traffic

_BUFFER = 256 * 1024
_MAX_MESSAGE = 1 << 20
_HEARTBEAT_SECONDS = 40.0
_CLOSE_SECONDS = 2.0
_BINARY = 0x82  # one whole message
_SHORT, _MEDIUM = 126, 1 << 16


def _frame_header(length: int) -> bytes:
    if length < _SHORT:
        return struct.pack(">BB", _BINARY, length)
    if length < _MEDIUM:
        return struct.pack(">BBH", _BINARY, 126, length)
    return struct.pack(">BBQ", _BINARY, 127, length)


class Far(asyncio.Protocol):
    """The guest's end. It is not read before it is bridged."""

    def __init__(self) -> None:
        self.gone: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.transport: asyncio.Transport | None = None
        self._near: asyncio.Transport | None = None
        self._traffic = Traffic()
        self._writable = asyncio.Event()
        self._writable.set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """asyncio's callback."""
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        transport.pause_reading()

    def begin(self, near: asyncio.Transport, traffic: Traffic) -> None:
        """From now on all that comes goes to `near`."""
        self._near, self._traffic = near, traffic
        if self.transport:
            self.transport.resume_reading()

    def data_received(self, data: bytes) -> None:
        """asyncio's callback."""
        near = self._near
        if near is None or near.is_closing():
            return
        self._traffic.down += len(data)
        near.writelines((_frame_header(len(data)), data))

    def cut(self) -> None:
        """Nothing more to the browser: a close frame is the last."""
        self._near = None

    async def write(self, data: bytes) -> None:
        """To the guest, at its pace. Raises ConnectionError when it is gone."""
        if not self.transport or self.gone.done():
            raise ConnectionResetError("the guest's end is closed")
        self._traffic.up += len(data)
        self.transport.write(data)
        await self._writable.wait()

    def pause_writing(self) -> None:
        """asyncio's callback."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """asyncio's callback."""
        self._writable.set()

    def connection_lost(self, exc: Exception | None) -> None:
        """asyncio's callback."""
        self._writable.set()
        if not self.gone.done():
            self.gone.set_result(None)

    def close(self) -> None:
        """Let go of it; what it does not take soon is lost."""
        if self.transport:
            self.transport.close()
            asyncio.get_running_loop().call_later(_CLOSE_SECONDS, self.transport.abort)


@dataclass
class Socket:
    """A WebSocket with the request that it came by."""

    ws: web.WebSocketResponse
    request: web.Request

    @classmethod
    async def accept(cls, request: web.Request) -> Socket:
        """Shake hands. Raises web.HTTPException when the request is no handshake."""
        ws = web.WebSocketResponse(
            compress=False,
            max_msg_size=_MAX_MESSAGE,
            heartbeat=_HEARTBEAT_SECONDS,
            protocols=("binary",),
            autoclose=False,
            decode_text=False,
        )
        await ws.prepare(request)
        return cls(ws, request)

    async def close(self, code: int, reason: str) -> None:
        """Say goodbye, and hang up on a peer that does not answer."""
        transport = self.request.transport
        with suppress(TimeoutError, OSError):
            async with asyncio.timeout(_CLOSE_SECONDS):
                await self.ws.close(code=code, message=reason.encode()[:123])
        if transport:
            asyncio.get_running_loop().call_later(_CLOSE_SECONDS, transport.abort)

    async def bridge(self, far: Far, traffic: Traffic) -> bool:
        """Until one side ends. Whether it was the guest's."""
        near = self.request.transport
        protocol = self.request.protocol
        assert isinstance(protocol, Guarded)
        if not near or not far.transport:
            return False
        near.set_write_buffer_limits(_BUFFER)
        protocol.pace(far.transport)
        upwards = asyncio.ensure_future(self._upwards(far))
        try:
            with traffic.connection():
                far.begin(near, traffic)
                await asyncio.wait({upwards, far.gone}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            upwards.cancel()
            far.cut()
            protocol.pace(None)
            far.close()
        return far.gone.done()

    async def _upwards(self, far: Far) -> None:
        with suppress(ConnectionError):
            async for message in self.ws:
                if message.type is not WSMsgType.BINARY:
                    return
                await far.write(message.data)
