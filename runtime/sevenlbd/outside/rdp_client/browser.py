"""What a page gives the client: a WebSocket to the gateway, timers, a canvas that knows whether it shows something."""

from __future__ import annotations

import asyncio
import time
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol

import aiohttp

from . import true_colour
from .values import UNDEFINED, ArrayBuffer, EventTarget, Function, PageEvent, Promise

_CONNECTING, _OPEN, _CLOSED = 0, 1, 3  # WebSocket.readyState
_ABNORMAL = 1006  # RFC 6455, 7.1.5
_DARK = 24  # of 255: a black screen with the odd grey of a codec is still one
_PROBES = 40  # in a row and a column of the picture: a taskbar of an eightieth of its height may slip through
_LIT = 0.03  # of the probes: a cursor and a line of text on black are no desktop
_LARGE = 0.01  # of the picture: a clock and a blinking cursor are smaller
_BUSY = 8  # updates in a second: a spinner makes more, a blinking cursor two
_CHANNELS = 4  # red, green, blue, alpha


class GatewayWire(Protocol):
    """How a page's WebSockets get to the gateway; and who sees every byte on the way."""

    def dial(self, url: str) -> AbstractAsyncContextManager[aiohttp.ClientWebSocketResponse]: ...
    def received(self, data: bytes) -> None: ...
    def sent(self, data: bytes) -> None: ...


class WebSocket(EventTarget):
    """The browser's, over aiohttp, with what the page's own adds."""

    def __init__(self, url: str, wire: GatewayWire) -> None:
        super().__init__()
        self.url = url
        self.ready_state = _CONNECTING
        self._wire = wire
        self._outgoing: asyncio.Queue[bytes | str | None] = asyncio.Queue()
        self._task = asyncio.get_running_loop().create_task(self._run())

    def send(self, data: bytes | str) -> None:
        self._outgoing.put_nowait(data if isinstance(data, str) else true_colour.asked_for(data))

    def close(self) -> None:
        self._outgoing.put_nowait(None)

    async def _run(self) -> None:
        code, reason = _ABNORMAL, ""
        try:
            async with self._wire.dial(self.url) as socket:
                code = await self._talk(socket)
        except (aiohttp.ClientError, OSError) as error:
            reason = str(error)
            self.dispatch(PageEvent("error"))
        self.ready_state = _CLOSED
        self.dispatch(PageEvent("close", code=code, reason=reason, was_clean=code != _ABNORMAL))

    async def _talk(self, socket: aiohttp.ClientWebSocketResponse) -> int:
        """Until it closes: with which code."""
        self.ready_state = _OPEN
        self.dispatch(PageEvent("open"))
        writer = asyncio.get_running_loop().create_task(self._write(socket))
        try:
            async for message in socket:
                if message.type is aiohttp.WSMsgType.BINARY:
                    self._wire.received(message.data)
                    self.dispatch(PageEvent("message", data=ArrayBuffer(message.data)))
        finally:
            writer.cancel()
        return socket.close_code or _ABNORMAL

    async def _write(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        while (data := await self._outgoing.get()) is not None:
            if isinstance(data, str):
                await socket.send_str(data)
            else:
                self._wire.sent(data)
                await socket.send_bytes(data)
        await socket.close()


class Timers:
    """setTimeout, setInterval and what takes them back."""

    def once(self, function: Function, milliseconds: float) -> asyncio.TimerHandle:
        return asyncio.get_running_loop().call_later(milliseconds / 1000, function)

    def interval(self, function: Function, milliseconds: float) -> list[asyncio.TimerHandle]:
        held: list[asyncio.TimerHandle] = []

        def again() -> None:
            held[:] = [self.once(again, milliseconds)]
            function()

        held.append(self.once(again, milliseconds))
        return held

    def clear(self, timer: Any) -> Any:
        for one in timer if isinstance(timer, list) else [timer]:
            if isinstance(one, asyncio.TimerHandle):
                one.cancel()
        return timer


class Performance:
    """window.performance: that it is there is all that is asked of it, and the time."""


@dataclass
class PageWindow:
    """The global object."""

    wire: GatewayWire
    user_agent: str = "7lbd"
    performance: Performance = field(default_factory=Performance)
    timers: Timers = field(default_factory=Timers)

    def socket(self, url: str) -> WebSocket:
        """new WebSocket(url)."""
        return WebSocket(url, self.wire)

    @property
    def navigator(self) -> PageWindow:
        return self

    def queueMicrotask(self, task: Function) -> None:  # noqa: N802  # JavaScript's name
        Promise.resolved(UNDEFINED).then(lambda _: task())


@dataclass(frozen=True)
class ImageData:
    """ImageData."""

    data: bytes
    width: int


class Canvas:
    """The element that the client draws on. Of a desktop's size, and of what is on it, it keeps only the last."""

    def __init__(self, width: int, height: int) -> None:
        self._size = [width, height]
        self.context = Context(self)
        self.clear()

    @property
    def width(self) -> int:
        return self._size[0]

    @width.setter
    def width(self, value: int) -> None:
        self._size[0] = value
        self.clear()

    @property
    def height(self) -> int:
        return self._size[1]

    @height.setter
    def height(self, value: int) -> None:
        self._size[1] = value
        self.clear()

    def clear(self) -> None:
        """As the element does when its size is set."""
        self.pixels = bytearray(self.width * self.height * _CHANNELS)
        self.context.changes.clear()

    def colours(self) -> list[bytes]:
        """The pixels of a grid over the picture."""
        columns = range(0, self.width, max(1, self.width // _PROBES))
        rows = range(0, self.height, max(1, self.height // _PROBES))
        starts = [(row * self.width + column) * _CHANNELS for row in rows for column in columns]
        return [bytes(self.pixels[start : start + 3]) for start in starts]

    @property
    def is_lit(self) -> bool:
        """Whether it is more than black."""
        colours = self.colours()
        return sum(max(colour) > _DARK for colour in colours) > _LIT * len(colours)


class Context:
    """The canvas' 2D context."""

    def __init__(self, canvas: Canvas) -> None:
        self._canvas = canvas
        self.changes: list[tuple[float, int]] = []
        """When something changed, and how many pixels were sent for it."""

    def put(self, image: ImageData, x: int, y: int, *dirty: int) -> None:
        """putImageData: the dirty part of the image, where it belongs; all of it when none is named."""
        canvas = self._canvas
        left, top, width, height = dirty or (0, 0, image.width, len(image.data) // (image.width * _CHANNELS))
        width = min(width, canvas.width - x - left)
        changed = False
        for row in range(top, min(top + height, canvas.height - y)):
            source = (row * image.width + left) * _CHANNELS
            target = ((y + row) * canvas.width + x + left) * _CHANNELS
            line = image.data[source : source + width * _CHANNELS]
            if canvas.pixels[target : target + len(line)] != line:
                canvas.pixels[target : target + len(line)] = line
                changed = True
        if changed:
            self.changes.append((time.monotonic(), width * height))

    def is_quiet(self, seconds: float) -> bool:
        """Whether nothing large changed in this time, and nothing keeps on turning."""
        since = time.monotonic() - seconds
        late = [size for when, size in self.changes if when >= since]
        largest = _LARGE * self._canvas.width * self._canvas.height
        return len(late) <= _BUSY * seconds and sum(late) <= largest * max(1, seconds)

    def last_large(self) -> float:
        """When a large part of the picture was drawn last; 0.0 when never."""
        largest = _LARGE * self._canvas.width * self._canvas.height
        return max((when for when, size in self.changes if size >= largest), default=0.0)
