"""Takes the sockets that come from inside, each with the forward that it stands for, and has them served.

Who sends them could be a guest that broke out. It gains nothing: a forward leads where the orders say, or is closed.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from contextlib import suppress

from ....wire import packets
from ....wire.forwards import FORWARDS, Forward
from . import tcp, udp
from .allowed import PROXY_PORT
from .relay_context import RelayContext

log = logging.getLogger(__name__)

_MOST_AT_ONCE = 64  # descriptors of a message; inside/net/ways_out.py sends no more
_MOST_COMPLAINTS = 20  # lines of the log, which one inside that was taken over could fill without end


class Relay:
    """Knows which forwards there may be, and which are there."""

    def __init__(self, context: RelayContext) -> None:
        self._context = context
        allowed = context.allowed
        self._missing = {Forward("tcp", *endpoint) for endpoint in allowed.tcp} | {
            Forward("udp", *endpoint) for endpoint in allowed.udp
        }
        if allowed.project:
            self._missing.add(Forward("project", allowed.project.address, allowed.project.port))
        self._proxy = bool(allowed.proxy)
        self._complaints = 0

    async def take_forwards(self, wire: socket.socket) -> None:
        """Until the sender says that there are no more, or is gone; then the wire is closed."""
        wire.setblocking(False)
        with wire:
            while forwards := await self._received(wire):
                for forward, given in forwards:
                    self.open(forward, given)
        if self._missing or self._proxy:
            log.warning("%d doors did not come", len(self._missing) + self._proxy)

    async def _received(self, wire: socket.socket) -> list[tuple[Forward, socket.socket | None]]:
        """One message: its forwards, each with its socket, or None for what is no socket."""
        await _readable(wire)
        data, given, flags, _ = socket.recv_fds(wire, packets.MAX_MESSAGE, _MOST_AT_ONCE)
        forwards = FORWARDS.unpack_or_none(data) or ()
        sockets = [_socket(number) for number in given]
        if len(forwards) != len(sockets) or flags & socket.MSG_CTRUNC:
            self._complain("a message does not fit its descriptors")
            for one in filter(None, sockets):
                one.close()
            # As good as an end: who counts wrongly is not ours.
            return []
        return list(zip(forwards, sockets, strict=True))

    def open(self, forward: Forward, given: socket.socket | None) -> None:
        """Serve a forward through its socket, if it is one of the orders and the socket one of its kind."""
        if given is None:
            self._complain(f"{forward}: not a socket")
        elif not self._expected(forward):
            self._complain(f"{forward}: not in the orders, or there already")
            given.close()
        elif not _fits(forward, given):
            self._complain(f"{forward}: not that kind of socket")
            given.close()
        else:
            self._serve(forward, given)

    def _expected(self, forward: Forward) -> bool:
        if forward.kind == "proxy":
            return self._proxy and forward.port == PROXY_PORT
        return forward in self._missing

    def _serve(self, forward: Forward, given: socket.socket) -> None:
        if forward.kind == "proxy":
            from . import proxy  # not every session has one

            self._proxy = False
            self._context.spawn(proxy.serve(self._context, given, forward.address))
            return
        self._missing.discard(forward)
        if forward.kind != "udp":
            self._context.spawn(tcp.serve(self._context, given, forward.address, forward.port))
        else:
            self._context.spawn(udp.Flows(self._context, given, forward.address, forward.port).serve())

    def _complain(self, what: str) -> None:
        self._complaints += 1
        if self._complaints <= _MOST_COMPLAINTS:
            log.warning("from inside came %s", ascii(what[:300]))


def _socket(number: int) -> socket.socket | None:
    try:
        return socket.socket(fileno=number)
    except OSError:
        with suppress(OSError):
            os.close(number)
        return None


def _fits(forward: Forward, given: socket.socket) -> bool:
    """Whether it listens (TCP) or is bound (UDP)."""
    if given.family not in (socket.AF_INET, socket.AF_INET6):
        return False
    try:
        bound = given.getsockname()[1] != 0
        listens = bool(given.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))
    except OSError:
        return False
    if forward.kind == "udp":
        return bound and (given.type, given.proto) == (socket.SOCK_DGRAM, socket.IPPROTO_UDP)
    return listens and (given.type, given.proto) == (socket.SOCK_STREAM, socket.IPPROTO_TCP)


async def _readable(wire: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    loop.add_reader(wire, ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_reader(wire)
