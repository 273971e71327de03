"""What goes to a browser's WebSocket made smaller: permessage-deflate (RFC 7692), as far as it costs next to nothing.

A desktop's first picture shrinks to a third, which a slow line takes a second less for; a film would only cost time. So
there is so much a second and no more: all of what a slow line can carry, and little of what a fast one does.
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable
from typing import Any

from aiohttp import hdrs, web

_RATE = 256 * 1024  # bytes a second: at worst 6 ms of a core, measured with noise
_BURST = 1024 * 1024  # bytes: a guess, two large pictures at once
_TAIL = 4  # bytes that a message ends with and that are left out (RFC 7692, 7.2.1)
_FRESH = "server_no_context_takeover"  # the same, 7.1.1.1
_BY_ITSELF = "; client_no_context_takeover"  # 7.1.1.2


class PackingSocket(web.WebSocketResponse):
    """One whose browser packs each message by itself.

    By what went before, the length of a keystroke's frame would tell who watches the line which keys were typed twice.
    aiohttp has no word for it, and no other place for this.
    """

    def _pre_start(self, request: web.BaseRequest) -> tuple[str | None, Any]:
        started = super()._pre_start(request)
        if self.compress:
            self.headers[hdrs.SEC_WEBSOCKET_EXTENSIONS] += _BY_ITSELF
        return started


class Deflate:
    """One connection's, for all that is sent after this is made."""

    def __init__(self, window: int, *, fresh: bool = False, clock: Callable[[], float] = time.monotonic) -> None:
        """`window` in bits; `fresh` where no message may refer to one before it."""
        self._packer = zlib.compressobj(wbits=-window)
        self._flush = zlib.Z_FULL_FLUSH if fresh else zlib.Z_SYNC_FLUSH
        self._clock = clock
        self._left, self._then = float(_BURST), clock()

    def packed(self, message: memoryview) -> bytes | None:
        """The message made smaller; None when it is to go as it is."""
        now = self._clock()
        self._left = min(_BURST, self._left + (now - self._then) * _RATE)
        self._then = now
        if len(message) > self._left:
            return None
        self._left -= len(message)
        return (self._packer.compress(message) + self._packer.flush(self._flush))[:-_TAIL]


def agreed(ws: web.WebSocketResponse) -> Deflate | None:
    """As the handshake has it; None when the browser does not take it."""
    if not ws.compress:
        return None
    return Deflate(int(ws.compress), fresh=_FRESH in ws.headers.get(hdrs.SEC_WEBSOCKET_EXTENSIONS, ""))
