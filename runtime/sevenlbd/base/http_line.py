"""A server's HTTP connection with a clock, and with errors that tell nobody what was asked. aiohttp has neither.

What is not busy with a request is on the clock: it has seconds to complete the headers of the next one.
"""

from __future__ import annotations

import asyncio
import logging
import traceback
from abc import abstractmethod
from dataclasses import dataclass

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class LineLimits:
    """What one connection may take: seconds and bytes."""

    ask: float
    """For the headers of a request, from their first byte on; at the beginning from when it is open."""
    idle: float
    """Until the next request begins."""
    linger: float
    """For the rest of what was refused."""
    line: int
    """A line of the headers."""
    headers: int
    """How many of these."""


class ClockedLine(RequestHandler):
    """aiohttp's connection with a clock. Whoever serves a request says when it begins and finishes."""

    def __init__(self, server: web.Server, limits: LineLimits) -> None:
        super().__init__(
            server,
            loop=asyncio.get_running_loop(),
            access_log=None,  # type: ignore[arg-type]  # it does say None to itself
            keepalive_timeout=limits.idle,
            lingering_time=limits.linger,
            max_line_size=limits.line,
            max_field_size=limits.line,
            max_headers=limits.headers,
            auto_decompress=False,
        )
        self._limits = limits
        self._clock: asyncio.TimerHandle | None = None
        self._idle = False
        self._busy = False

    @abstractmethod
    def apology(self, status: int, what: str, error: BaseException | None) -> web.StreamResponse:
        """The answer to what cannot be served, whole but for being sent: `what` is all that is said of it."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """aiohttp's callback."""
        super().connection_made(transport)
        self._wait(self._limits.ask)

    def data_received(self, data: bytes) -> None:
        """aiohttp's callback."""
        if self._idle and not self._busy:
            self._wait(self._limits.ask)
        super().data_received(data)

    def begin(self) -> None:
        """A request's headers are complete."""
        self._busy = True
        if self._clock:
            self._clock.cancel()

    def finish(self) -> None:
        """Its answer is sent: now for the next one."""
        self._busy = False
        if self.transport:
            self._wait(self._limits.idle, idle=True)

    def connection_lost(self, exc: BaseException | None) -> None:
        """aiohttp's callback."""
        if self._clock:
            self._clock.cancel()
        super().connection_lost(exc)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answer what aiohttp could not parse, or we not serve. No words of the request or the error are logged.

        There may be a token in them.
        """
        if status >= 500 and exc and not isinstance(exc, ConnectionError):  # RFC 9110, 15.6
            log.error("a request failed: %s\n%s", type(exc).__name__, "".join(traceback.format_tb(exc.__traceback__)))
        response = self.apology(status, "the request cannot be read" if status < 500 else "this failed", exc)
        response.force_close()
        return response

    def log_exception(self, *args: object, **kw: object) -> None:
        """aiohttp's own complaints, without what they hold."""
        log.warning("a connection failed")

    def hang_up(self) -> None:
        """At once, whatever is on its way."""
        if self.transport:
            self.transport.abort()

    def _wait(self, seconds: float, idle: bool = False) -> None:
        if self._clock:
            self._clock.cancel()
        self._idle = idle
        self._clock = asyncio.get_running_loop().call_later(seconds, self.hang_up)
