"""The proxy for activation portals: CONNECT, and plain requests, to hosts on the list; resolved and connected out here.

HTTP is read and written by h11 on both sides: nothing passes that means one thing to us and another to the server. The
guest's connections have a clock: a head that does not become complete ends them.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from http import HTTPStatus
from typing import TYPE_CHECKING

import h11

from . import pac, pump, reach, reasons, target, tcp
from .allowed import PROXY_PORT
from .destination import Destination
from .dialer import Unreached
from .exchange import VIA, Exchange
from .journal import ConnectionRecord
from .metered_socket import MAX_HEAD, Wire
from .target import Target

if TYPE_CHECKING:
    from .relay_context import RelayContext

_HEAD_SECONDS = 30.0  # docs/egress.md; for a slow guest, and no longer for one that is silent
_LINGER_SECONDS = 1.0  # so that the answer is read before the connection is reset
_VERSIONS = (b"1.0", b"1.1")
_NOWHERE = Destination("http", "", "", 0)
_UNSAID = (h11.IDLE, h11.SEND_RESPONSE)


class ProxyRefusal(Exception):
    """A request that nobody else gets to see. `place` is what it asked for, as far as that is known."""

    def __init__(self, status: HTTPStatus, why: str, destination: Destination = _NOWHERE) -> None:
        super().__init__(f"{destination.host}, port {destination.port}: {why}" if destination.host else why)
        self.status = status
        self.why = why
        self.place = destination


class Failed(Exception):
    """A request that broke off on its way."""


async def serve(context: RelayContext, listener: socket.socket, address: str) -> None:
    """Serve the guest's programs on `listener`, which is at `address` inside, until cancelled."""
    page = pac.page(context.allowed.proxy, address)
    destination = Destination("proxy", "", address, PROXY_PORT)
    await tcp.accept_all(context, listener, destination, lambda near: ProxyVisit(context, page, near).run())


class ProxyVisit:
    """One connection of the guest's, with one request after the other. Owns its socket and a slot."""

    def __init__(self, context: RelayContext, page: bytes, near: socket.socket) -> None:
        self._context = context
        self._page = page
        self._near = Wire(near, context.allowed.idle, context.up)
        self._here = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD)

    async def run(self) -> None:
        """Until one of both hangs up, or something is wrong."""
        try:
            while await self._serve_one():
                self._here.start_next_cycle()
        except ProxyRefusal as refused:
            await self._refuse(refused)
        except h11.RemoteProtocolError as error:
            await self._refuse(ProxyRefusal(HTTPStatus(error.error_status_hint), "that is not HTTP as it should be"))
        except Failed as failed:
            await self._answer(HTTPStatus.BAD_GATEWAY, f"7lbd: {failed}\n".encode())
        except (OSError, h11.LocalProtocolError):
            pump.reset(self._near.socket)
        finally:
            self._near.socket.close()
            self._context.slots.give_back()

    async def _serve_one(self) -> bool:
        """One request; returns whether there may be another one on this connection."""
        try:
            async with asyncio.timeout(_HEAD_SECONDS):
                request = await self._near.next_event(self._here)
        except TimeoutError:
            return False
        if not isinstance(request, h11.Request):
            return False
        if request.http_version not in _VERSIONS:
            raise ProxyRefusal(HTTPStatus.HTTP_VERSION_NOT_SUPPORTED, "HTTP/1.1, please")
        if request.method == b"CONNECT":
            await self._connect(request)
            return False
        if request.method in (b"GET", b"HEAD") and request.target in pac.PATHS:
            await self._answer(HTTPStatus.OK, self._page, pac.TYPE)
            return False
        await self._forward(request)
        return (self._here.our_state, self._here.their_state) == (h11.DONE, h11.DONE)

    async def _connect(self, request: h11.Request) -> None:
        if any(name in (b"content-length", b"transfer-encoding") for name, _ in request.headers):
            raise ProxyRefusal(HTTPStatus.BAD_REQUEST, "a CONNECT has no body")
        requested = self._parsed(target.of_connect, request)
        far, destination = await self._reach(requested)
        start, began = time.time(), time.monotonic()
        up, down, end = 0, 0, "session ended"
        try:
            await self._near.next_event(self._here)  # the end of a request without a body
            answer = h11.Response(status_code=200, reason=b"Connection established", headers=[])
            await self._near.send(self._here.send(answer))
            early, _ = self._here.trailing_data
            await Wire(far, self._context.allowed.idle, self._context.down).send(early)
            up = len(early)
            coupled = pump.Pump(
                self._near.socket, far, self._context.up, self._context.down, self._context.allowed.idle
            )
            try:
                end = await coupled.run()
            finally:
                up, down = up + coupled.up, coupled.down
        except OSError as error:
            end = reach.spell(error)
            raise
        finally:
            pump.reset(far)
            self._context.journal.add(ConnectionRecord(start, time.monotonic() - began, *destination, up, down, end))

    async def _forward(self, request: h11.Request) -> None:
        if request.method == b"TRACE":
            raise ProxyRefusal(HTTPStatus.METHOD_NOT_ALLOWED, "no TRACE through this proxy")
        requested = self._parsed(target.of_request, request)
        far, destination = await self._reach(requested)
        start, began, end = time.time(), time.monotonic(), "session ended"
        wire = Wire(far, self._context.allowed.idle, self._context.down)
        exchange = Exchange(self._here, self._near, wire)
        try:
            end = str(await exchange.carry(request, requested))
        except (OSError, h11.ProtocolError) as error:
            what = reach.spell(error) if isinstance(error, OSError) else "malformed"
            end = f"{exchange.culprit}: {what}"
            raise Failed(f"{requested.host}: {end}") from error
        finally:
            far.close()
            seconds = time.monotonic() - began
            self._context.journal.add(ConnectionRecord(start, seconds, *destination, exchange.up, wire.received, end))

    def _parsed(self, parse: Callable[[bytes], Target], request: h11.Request) -> Target:
        """What the request asks for, if it is on the list. Raises Refused."""
        try:
            requested = parse(request.target)
        except target.MalformedTarget as error:
            raise ProxyRefusal(HTTPStatus.BAD_REQUEST, str(error)) from error
        if not target.is_listed(requested, self._context.allowed.proxy):
            why = f"not on this site's list for {requested.scheme}"
            raise ProxyRefusal(HTTPStatus.FORBIDDEN, why, _place(requested))
        return requested

    async def _reach(self, requested: Target) -> tuple[socket.socket, Destination]:
        """A connection to the first of its addresses that takes one; the broker finds them. Raises Refused."""
        await self._context.pace.taken(1)  # a connection of the guest's can ask for many
        try:
            dialed = self._context.dialer.connect(
                requested.scheme, requested.host, requested.port, small=self._context.crowded
            )
            far, address = await dialed
        except Unreached as error:
            destination = _place(requested, error.address)
            raise self._not_reached(destination, error.why) from None
        destination = _place(requested, address)
        self._context.health.worked(destination)
        return far, destination

    def _not_reached(self, destination: Destination, why: str) -> ProxyRefusal:
        if why == reasons.TOO_MANY:
            self._context.health.met(reasons.NAMES)
            return ProxyRefusal(HTTPStatus.SERVICE_UNAVAILABLE, why, destination)
        self._context.health.failed(destination, why)
        status = HTTPStatus.GATEWAY_TIMEOUT if reasons.is_silence(why) else HTTPStatus.BAD_GATEWAY
        return ProxyRefusal(status, why, destination)

    async def _refuse(self, refused: ProxyRefusal) -> None:
        self._context.refuse(refused.place, refused.why)
        await self._answer(refused.status, f"7lbd: {refused}\n".encode())

    async def _answer(self, status: HTTPStatus, body: bytes, kind: str = "text/plain; charset=utf-8") -> None:
        """Say it ourselves, if nothing is said yet, and hang up so that it arrives."""
        if self._here.our_state not in _UNSAID:
            pump.reset(self._near.socket)
            return
        headers = [(b"Content-Type", kind.encode()), (b"Content-Length", b"%d" % len(body)), VIA]
        head = h11.Response(status_code=status, reason=status.phrase, headers=[*headers, (b"Connection", b"close")])
        with suppress(OSError, h11.LocalProtocolError):
            await self._near.send(self._here.send(head))
            await self._near.send(self._here.send(h11.Data(data=body)))
            self._here.send(h11.EndOfMessage())
            self._near.socket.shutdown(socket.SHUT_WR)
            async with asyncio.timeout(_LINGER_SECONDS):
                while await self._near.receive():
                    pass


def _place(requested: Target, address: str = "") -> Destination:
    return Destination("connect" if requested.scheme == "https" else "http", requested.host, address, requested.port)
