"""A browser's WebSocket and a stream to the guest, made one.

From guest to browser each chunk becomes a frame in the callback that brings it, in the one buffer that it was received
into: no task, no queue and no copy of our own, unless it is made smaller. While any of it waits to go out, the guest is
not read, so the browser's pace is the guest's. The other way aiohttp's reader does the same. Source of the frame: RFC
6455 section 5.2.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass

from aiohttp import WSMsgType, web

from .authentication import Visitor
from .deflate import Deflate, PackingSocket, agreed
from .gate import SESSION_ENDED, Gate, Watcher
from .late_input import Freshness, Sieve
from .limits import Guarded
from .mcs import ChannelConnection
from .traffic import Traffic

Goodbye = tuple[int, str]
"""A close code and its reason (RFC 6455 section 7.4)."""
Talk = Callable[["Socket", Watcher], Awaitable[Goodbye]]

_CHUNK = 256 * 1024  # bytes; between the calls that smaller ones take and the old pictures that larger ones hold
_HEADER = 10  # the largest header of a frame that is not masked
MAX_MESSAGE = (1 << 20) + 1  # aiohttp refuses what is as long as that
_HEARTBEAT_SECONDS = 40.0  # less than the 60 after which a proxy hangs up on silence (nginx, proxy_read_timeout)
_CLOSE_SECONDS = 2.0  # for the other side's close frame, and for what is on its way (RFC 6455, 7.1.1)
_TEXT, _BINARY, _PACKED = 0x81, 0x82, 0xC2  # one whole message; one by RFC 7692 (6)
_SHORT, _MEDIUM = 126, 1 << 16  # RFC 6455, 5.2: lengths of 7 bits, of 16, and of 64


def _header(kind: int, length: int) -> bytes:
    if length < _SHORT:
        return struct.pack(">BB", kind, length)
    if length < _MEDIUM:
        return struct.pack(">BBH", kind, 126, length)
    return struct.pack(">BBQ", kind, 127, length)


def _keep_fresh(near: asyncio.Transport) -> None:
    """Hold one chunk for a slow browser, not the megabytes that TCP would (tcp(7)): old pictures, and cold memory."""
    wire = near.get_extra_info("socket")
    if wire:
        wire.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _CHUNK)


class Far(asyncio.BufferedProtocol):
    """The guest's end. It is not read before it is bridged."""

    def __init__(self) -> None:
        self.gone: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.transport: asyncio.Transport | None = None
        self._near: asyncio.Transport | None = None
        self._deflate: Deflate | None = None
        self._channels: ChannelConnection | None = None
        self._traffic = Traffic()
        self._room = bytearray(_HEADER + _CHUNK)
        self._view = memoryview(self._room)
        self._writable = asyncio.Event()
        self._writable.set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """asyncio's callback."""
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        transport.pause_reading()

    def begin(
        self,
        near: asyncio.Transport,
        traffic: Traffic,
        deflate: Deflate | None = None,
        channels: ChannelConnection | None = None,
    ) -> None:
        """From now on all that comes goes to `near`. It must pace us whenever it has something left to send."""
        self._near, self._traffic, self._deflate, self._channels = near, traffic, deflate, channels
        if self.transport:
            self.transport.resume_reading()

    def get_buffer(self, sizehint: int) -> memoryview:
        """asyncio's callback: where to put what comes."""
        return self._view[_HEADER:]

    def buffer_updated(self, nbytes: int) -> None:
        """asyncio's callback: it has come."""
        near = self._near
        if near is None or near.is_closing():
            return
        self._traffic.down += nbytes
        message = self._view[_HEADER : _HEADER + nbytes]
        if self._channels:
            self._channels.from_guest(message)
        if self._deflate and (packed := self._deflate.packed(message)):
            near.write(_header(_PACKED, len(packed)) + packed)
            return
        header = _header(_BINARY, nbytes)
        start = _HEADER - len(header)
        self._view[start:_HEADER] = header
        near.write(self._view[start : _HEADER + nbytes])

    def cut(self) -> None:
        """Nothing more to the browser: a close frame is the last."""
        self._near = self._channels = None

    async def write(self, data: bytes) -> None:
        """To the guest, at its pace. Raises ConnectionError when it is gone."""
        if not self.transport or self.gone.done():
            raise ConnectionResetError("the guest's end is closed")
        self.say(data)
        await self._writable.wait()

    def say(self, data: bytes) -> None:
        """To the guest, if it is still there: some bytes that need no pace."""
        if self.transport:
            self._traffic.up += len(data)
            self.transport.write(data)

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
    request: web.BaseRequest
    on_late: Callable[[], None]
    """Called when something was typed too long ago, and not delivered."""
    deflate: Deflate | None = None
    """For what is bridged, where both sides agreed on it."""

    @classmethod
    async def accept(cls, request: web.BaseRequest, on_late: Callable[[], None], *, packs: bool = False) -> Socket:
        """Shake hands. Raises web.HTTPException when the request is no handshake."""
        ws = PackingSocket(
            compress=packs,
            max_msg_size=MAX_MESSAGE,
            heartbeat=_HEARTBEAT_SECONDS,
            protocols=("binary",),
            autoclose=False,
        )
        try:
            await ws.prepare(request)
        except ValueError:  # aiohttp's, of a key with characters that no coding has
            raise web.HTTPBadRequest(reason="the key of the handshake is none") from None
        return cls(ws, request, on_late, agreed(ws))

    async def close(self, code: int, reason: str) -> None:
        """Say goodbye, and hang up on a peer that does not answer."""
        transport = self.request.transport
        with suppress(TimeoutError, OSError):
            async with asyncio.timeout(_CLOSE_SECONDS):
                await self.ws.close(code=code, message=reason.encode()[:123])
        if transport:
            asyncio.get_running_loop().call_later(_CLOSE_SECONDS, transport.abort)

    def forget_frames(self) -> None:
        """Let go of what its errors' tracebacks hold. For its end.

        aiohttp keeps the error of a peer that just went away. Its frames hold this socket, and the guest's end with its
        buffer: a cycle that waits for the garbage collector, which counts objects and knows nothing of their size.
        """
        error: BaseException | None = self.ws.exception()
        while error:
            error.__traceback__ = None
            error = error.__cause__ or error.__context__

    async def bridge(
        self,
        far: Far,
        traffic: Traffic,
        sieve: Sieve,
        on_first: Callable[[], None] = lambda: None,
        channels: ChannelConnection | None = None,
    ) -> bool:
        """Until one side ends. Whether it was the guest's. What is typed late goes through `sieve`.

        `on_first` is called when the browser says something. `channels` may have said to the guest what it says.
        """
        near = self.request.transport
        protocol = self.request.protocol
        assert isinstance(protocol, Guarded)
        if not near or not far.transport:
            return False
        _keep_fresh(near)
        protocol.pace(far.transport)
        upwards = asyncio.ensure_future(self._upwards(far, sieve, on_first, channels))
        try:
            with traffic.connection():
                far.begin(near, traffic, self.deflate, channels)
                await asyncio.wait({upwards, far.gone}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            upwards.cancel()
            far.cut()
            protocol.pace(None)
            far.close()
        return far.gone.done()

    def _give_back(self, stamp: str) -> None:
        """So that the page knows that this very line lives. What waits to go out tells it as well."""
        near = self.request.transport
        if near and not near.is_closing() and not near.get_write_buffer_size():
            near.write(_header(_TEXT, len(stamp)) + stamp.encode())

    async def _upwards(
        self, far: Far, sieve: Sieve, on_first: Callable[[], None], channels: ChannelConnection | None
    ) -> None:
        freshness, is_noted, is_first = Freshness(), False, True
        with suppress(ConnectionError):
            async for message in self.ws:
                if message.type is WSMsgType.TEXT and (stamp := freshness.repeated(message.data)):
                    self._give_back(stamp)
                    continue
                if message.type is not WSMsgType.BINARY:
                    return
                if is_first:
                    on_first()
                is_first, late = False, freshness.late
                data = sieve(message.data) if late else message.data
                is_dropped = data != message.data
                if is_dropped and not is_noted:
                    self.on_late()  # once: every page hears of it
                is_noted = late and (is_noted or is_dropped)
                if channels:
                    data = channels.from_client(data)
                if data:
                    await far.write(data)


async def conversation(
    request: web.BaseRequest, gate: Gate, visitor: Visitor, talk: Talk, *, packs: bool = False
) -> web.StreamResponse:
    """A WebSocket from its handshake to its goodbye, which `talk` chooses unless it is ended from elsewhere.

    Where it `packs`, what is bridged may be made smaller on its way to the browser (deflate.py).
    """
    socket = await Socket.accept(request, gate.note_late, packs=packs)
    code, reason = SESSION_ENDED, "the session has ended"
    try:
        with gate.watching(visitor) as watcher:
            if not gate.over:
                code, reason = await talk(socket, watcher)
        await socket.close(watcher.code or code, watcher.reason or reason)
    finally:
        socket.forget_frames()
    return socket.ws
