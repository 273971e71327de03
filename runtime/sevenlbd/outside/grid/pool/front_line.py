"""The service's listening socket: who may be served, how many at a time, and how long each may take to ask.

A stranger costs a handshake and a line of HTTP. No address may have more than a share of the lines, and all together
have an end; who is beyond it is sent away and comes again, by its own dice.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress

from aiohttp import web

from ....base.http_line import ClockedLine, LineLimits
from ..protocol import Problem
from .service_answers import Declined, dress, refusal

log = logging.getLogger(__name__)

BACKLOG = 4096
"""What the kernel allows by default (net.core.somaxconn): a burst waits there, and is not sent away."""
_MOST, _MOST_OF_ONE = 2000, 400  # lines; a guess: a thousand machines, many of them behind one NAT
_HANDSHAKE_SECONDS = 15.0  # two round trips, and a turn among a thousand
# Guesses: for the headers of a request; a browser's next one comes at once, a machine's in a minute; nobody needs the
# rest of what was refused; a token has 8 KiB at most.
_LIMITS = LineLimits(ask=15.0, idle=10.0, linger=1.0, line=16 << 10, headers=64)
_PAUSE = 0.2  # seconds until somebody has hung up, when there are no more descriptors


class PoolLine(ClockedLine):
    """A connection with a clock, that says when it is over."""

    def __init__(self, server: web.Server, over: Callable[[], None]) -> None:
        super().__init__(server, _LIMITS)
        self._over = over
        self.opened = time.monotonic()
        """When it was."""
        self.met = False
        """Whether the handshake was done."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """aiohttp's callback."""
        super().connection_made(transport)
        self.met = True

    def connection_lost(self, exc: BaseException | None) -> None:
        """aiohttp's callback."""
        self._over()
        super().connection_lost(exc)

    def apology(self, status: int, what: str, error: BaseException | None) -> web.StreamResponse:
        """In JSON, as machines read it."""
        response = refusal(Declined(status, Problem(what)))
        dress(response)
        return response


class FrontLine:
    """A listening socket with all that comes in by it."""

    def __init__(self, server: web.Server, listener: socket.socket, tls: ssl.SSLContext) -> None:
        self._server, self._listener, self._tls = server, listener, tls
        self._lines = Counter[str]()
        self._tasks: set[asyncio.Task[None]] = set()
        self.turned_away = 0

    @property
    def lines(self) -> int:
        """Those that are open."""
        return self._lines.total()

    async def serve(self) -> None:
        """Until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            try:
                wire, address = await loop.sock_accept(self._listener)
            except OSError as error:
                log.warning("no connection can be taken: %s", error.strerror)
                await asyncio.sleep(_PAUSE)
                continue
            host = str(address[0])
            if self._lines.total() >= _MOST or self._lines[host] >= _MOST_OF_ONE:
                self.turned_away += 1
                wire.close()
                continue
            self._lines[host] += 1
            task = loop.create_task(self._admit(wire, host))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _admit(self, wire: socket.socket, host: str) -> None:
        """A failed handshake leaves nothing: its error would hold it in a cycle by its traceback."""
        line = PoolLine(self._server, lambda: self._leave(host))
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: line, wire, ssl=self._tls, ssl_handshake_timeout=_HANDSHAKE_SECONDS
            )
        except OSError as error:
            error.__traceback__ = None
            wire.close()
            if not line.met:
                self._leave(host)

    def _leave(self, host: str) -> None:
        self._lines[host] -= 1
        if self._lines[host] <= 0:
            del self._lines[host]


def listen(address: str, port: int) -> socket.socket:
    """A listening socket. Raises OSError."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with suppress(OSError):
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        listener.bind((address, port))
        listener.listen(BACKLOG)
        listener.setblocking(False)
    except OSError:
        listener.close()
        raise
    return listener
