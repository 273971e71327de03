"""One plain HTTP request and its answer, read from one side and written anew to the other, bodies as they come.

The server is asked to close afterwards: a connection is for one request, so what follows in it can be for nobody else.
"""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress

import h11

from .metered_socket import MAX_HEAD, Wire
from .pump import GUEST, SERVER
from .target import Target

VIA = (b"Via", b"1.1 7lbd")  # RFC 9110, 7.6.3
# RFC 9110, 7.6.1. The Host is ours to say; how long a body is, h11 says, and Content-Length stays whatever is asked.
_HOP_BY_HOP = frozenset(
    b"connection proxy-connection keep-alive te trailer upgrade proxy-authorization proxy-authenticate"
    b" proxy-authentication-info transfer-encoding host expect".split()
)
_LENGTH = b"content-length"


class Exchange:
    """One request on its way. `here` is HTTP with the guest, `there` with the server."""

    def __init__(self, here: h11.Connection, near: Wire, far: Wire) -> None:
        self._here, self._near, self._far = here, near, far
        self._there = h11.Connection(h11.CLIENT, max_incomplete_event_size=MAX_HEAD)
        self.up = 0
        self.culprit = SERVER
        """Who it was, when this fails."""

    async def carry(self, request: h11.Request, target: Target) -> int:
        """To the end of the answer; returns its status. Raises OSError and h11's errors."""
        headers = [(b"Host", target.authority), *_passed_on(request), VIA, (b"Connection", b"close")]
        if _is_chunked(request):
            headers.append((b"Transfer-Encoding", b"chunked"))
        await self._to_server(h11.Request(method=request.method, target=target.path, headers=headers))
        if self._here.they_are_waiting_for_100_continue:
            await self._to_guest(h11.InformationalResponse(status_code=100, headers=[]))
        sending = asyncio.create_task(self._carry_body())
        try:
            return await self._carry_answer()
        finally:
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)

    async def _carry_body(self) -> None:
        """What the guest sends. If it breaks off, so do we; a server that takes no more may still answer."""
        while True:
            try:
                event = await self._near.next_event(self._here)
            except (OSError, h11.RemoteProtocolError):
                self.culprit = GUEST
                with suppress(OSError):
                    self._far.socket.shutdown(socket.SHUT_RDWR)
                return
            if isinstance(event, h11.EndOfMessage):
                event = h11.EndOfMessage()  # without the trailer
            elif not isinstance(event, h11.Data):
                return
            with suppress(OSError, h11.LocalProtocolError):
                await self._to_server(event)
            if isinstance(event, h11.EndOfMessage):
                return

    async def _carry_answer(self) -> int:
        status = 0
        while True:
            event = await self._far.next_event(self._there)
            if isinstance(event, h11.Response):
                status = event.status_code
                headers = [*_passed_on(event), VIA]
                await self._to_guest(h11.Response(status_code=status, reason=event.reason, headers=headers))
            elif isinstance(event, h11.Data):
                await self._to_guest(event)
            elif isinstance(event, h11.EndOfMessage):
                await self._to_guest(h11.EndOfMessage())
                return status
            elif isinstance(event, h11.ConnectionClosed):
                raise h11.RemoteProtocolError("closed without an answer")

    async def _to_server(self, event: h11.Event) -> None:
        data = self._there.send(event) or b""
        await self._far.send(data)
        self.up += len(data)

    async def _to_guest(self, event: h11.Event) -> None:
        try:
            await self._near.send(self._here.send(event))
        except OSError:
            self.culprit = GUEST
            raise


def _passed_on(event: h11.Request | h11.Response) -> list[tuple[bytes, bytes]]:
    """What is meant for the other end, as it was spelled: without what is for this hop, or named so by Connection."""
    named = {
        option.strip().lower() for name, value in event.headers if name == b"connection" for option in value.split(b",")
    }
    dropped = _HOP_BY_HOP | named - {_LENGTH}
    if _is_chunked(event):
        dropped |= {_LENGTH}  # RFC 9112, 6.3: the coding counts
    return [(name, value) for name, value in event.headers.raw_items() if name.lower() not in dropped]


def _is_chunked(event: h11.Request | h11.Response) -> bool:
    return any(name == b"transfer-encoding" for name, _ in event.headers)
