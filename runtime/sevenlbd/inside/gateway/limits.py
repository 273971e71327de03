"""What one connection may cost once it is served: deadlines and sizes. aiohttp has none for headers.

A connection that is not busy with a request is on the clock: it has seconds to complete the headers of the next one.
One that has shown no cookie yet has one of a few slots; while others wait for those, it is served one request.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from contextlib import suppress

from aiohttp import web
from aiohttp.http_exceptions import LineTooLong

from ...base.http_line import ClockedLine, LineLimits
from .fairness import Slots, Visit
from .pages import too_large
from .responses import Refused, dress, refusal

LINGER_SECONDS = 1.0  # nobody needs the rest of what was refused; aiohttp by itself waits ten times as long
_MAX_LINE = 8 * 1024  # bytes; docs/connectors.md; as Apache has it (LimitRequestFieldSize)
_MAX_HEADERS = 64  # a guess: a browser sends some twenty, a portal's proxy a few more
_MAX_UNREAD = 64 * 1024  # bytes before a head is whole: eight of the longest lines
_HEADER_SECONDS = 10.0  # docs/connectors.md; the same that the first bytes have (admission.py)
_IDLE_SECONDS = 60.0  # a guess: a page's next request finds the connection there, and none stays for ever
_LIMITS = LineLimits(
    ask=_HEADER_SECONDS, idle=_IDLE_SECONDS, linger=LINGER_SECONDS, line=_MAX_LINE, headers=_MAX_HEADERS
)
_KEEPALIVE = ((socket.TCP_KEEPIDLE, 30), (socket.TCP_KEEPINTVL, 10), (socket.TCP_KEEPCNT, 3))


class Guarded(ClockedLine):
    """A connection with a clock, a slot while it is a stranger's, and a stream whose pace it sets."""

    def __init__(
        self, server: web.Server, visit: Visit, slots: Slots, crowded: Callable[[], bool], *, known: bool
    ) -> None:
        super().__init__(server, _LIMITS)
        self._visit, self._slots, self._crowded = visit, slots, crowded
        self._known = known
        self._unread = 0
        self._paced: asyncio.ReadTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """aiohttp's callback."""
        super().connection_made(transport)
        assert isinstance(transport, asyncio.Transport)
        _notice_half_open(transport)
        self._visit.hang_up = transport.abort
        if not self._known and self._visit not in self._slots:
            self._slots.force(self._visit)

    def data_received(self, data: bytes) -> None:
        """aiohttp's callback."""
        if not self._busy:
            if self._unread > _MAX_UNREAD:
                self.hang_up()
                return
            self._unread += len(data)
        super().data_received(data)

    def finish(self) -> None:
        """Its answer is sent."""
        self._unread = 0
        super().finish()

    def trust(self) -> None:
        """It has shown a cookie or a token."""
        self._known = True
        self._slots.leave(self._visit)

    @property
    def outstays(self) -> bool:
        """Whether this answer has to be the last: a stranger's, while others wait."""
        return not self._known and self._crowded()

    def pace(self, other: asyncio.ReadTransport | None) -> None:
        """From now on read from `other` only while nothing that was written here waits to go out."""
        self._paced = other
        if self.transport:
            # TLS counts a full buffer from `high`, a plain socket from what is above it.
            high = 1 if self.transport.get_extra_info("sslcontext") else 0
            self.transport.set_write_buffer_limits(high=high, low=0)

    def pause_writing(self) -> None:
        """aiohttp's callback."""
        super().pause_writing()
        if self._paced:
            self._paced.pause_reading()

    def resume_writing(self) -> None:
        """aiohttp's callback."""
        super().resume_writing()
        if self._paced:
            self._paced.resume_reading()

    def connection_lost(self, exc: BaseException | None) -> None:
        """aiohttp's callback."""
        self._slots.leave(self._visit)
        self._visit.over()
        super().connection_lost(exc)

    def apology(self, status: int, what: str, error: BaseException | None) -> web.StreamResponse:
        """In JSON, but for a browser that sends too much: its user is told what to do."""
        response = too_large(_MAX_LINE) if isinstance(error, LineTooLong) else refusal(Refused(status, what))
        dress(response)
        return response


def _notice_half_open(transport: asyncio.Transport) -> None:
    """Ask a silent TCP peer whether it is still there (tcp(7))."""
    wire = transport.get_extra_info("socket")
    if wire is None or wire.family == socket.AF_UNIX:
        return
    with suppress(OSError):
        wire.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in _KEEPALIVE:
            wire.setsockopt(socket.IPPROTO_TCP, option, value)
