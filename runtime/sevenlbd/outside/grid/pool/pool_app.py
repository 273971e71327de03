"""The HTTP application: the table of routes, and what every request goes through.

What is not in the table does not exist. Machines' routes want a machine's token, files a ticket, pages and metrics the
administrator's. Nobody's body is read before that is settled, but that of an enrolment, which has its code in it.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from .. import protocol
from ..protocol import Problem
from . import file_answers, machine_api
from .admin_pages import AdminPages
from .front_line import PoolLine
from .machine_api import PoolParts
from .members import Barred, PoolMember
from .service_answers import Declined, dress, record, refusal

_BODY_SECONDS = 30.0  # a guess: for the largest report at 10 kB/s
_FILE = re.compile(rf"{protocol.IMAGES}/([^/]+)/([^/]+)/(.+)")
_BUSY = {"Retry-After": "20"}
Handler = Callable[[PoolParts, PoolMember, bytes], Awaitable[object]]
_MACHINES: dict[tuple[str, str], Handler] = {
    ("GET", protocol.WAITING): machine_api.waiting,
    ("GET", protocol.IMAGES): machine_api.images,
    ("POST", protocol.STATE): machine_api.state,
    ("POST", protocol.WORKER): machine_api.worker,
    ("POST", protocol.KEY): machine_api.key,
}


class PoolApp:
    """All routes."""

    def __init__(self, parts: PoolParts, pages: AdminPages) -> None:
        self._parts, self._pages = parts, pages

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        """Serve one request to its end."""
        line, began = request.protocol, time.monotonic()
        assert isinstance(line, PoolLine)
        line.begin()
        path = request.rel_url.raw_path
        try:
            response = await self._or_refusal(request, path, line)
            if not response.prepared:
                dress(response)
                await response.prepare(request)
            await response.write_eof()
            self._count(path, response.status, time.monotonic() - began)
            return response
        finally:
            line.finish()

    def _count(self, path: str, status: int, seconds: float) -> None:
        """A stranger chooses the path: what is no route is one and the same."""
        known = {protocol.ENROL, *(path for _, path in _MACHINES)}
        route = path if path in known else protocol.IMAGES + "/FILE" if _FILE.fullmatch(path) else "page"
        self._parts.answered[route, status] += 1
        self._parts.seconds[route] += seconds

    async def _or_refusal(self, request: web.BaseRequest, path: str, line: PoolLine) -> web.StreamResponse:
        try:
            return await self._served(request, path, line)
        except Declined as declined:
            return refusal(declined)
        except Barred as barred:
            return refusal(Declined(barred.status, barred.problem))
        except OSError as error:
            if isinstance(error, ConnectionError):
                raise
            problem = Problem(
                "the service's own disk does not do", str(error.strerror), "its administrator has to look"
            )
            return refusal(Declined(503, problem, _BUSY))

    async def _served(self, request: web.BaseRequest, path: str, line: PoolLine) -> web.StreamResponse:
        if handler := _MACHINES.get((request.method, path)):
            return await self._for_machine(request, path, handler, line.opened)
        if (request.method, path) == ("POST", protocol.ENROL):
            body = await _body(request, protocol.MOST_BYTES[path])
            return record(await machine_api.enrol(self._parts, _address(request), body))
        if request.method == "GET" and (file := _FILE.fullmatch(path)):
            return await file_answers.send(request, self._parts, _bearer(request), *file.groups())
        if path.startswith("/v1/"):
            raise Declined(404, Problem("there is no such thing to be asked", mend="is this machine's 7lbd newer?"))
        return await self._pages.answer(request, path)

    async def _for_machine(
        self, request: web.BaseRequest, path: str, handler: Handler, opened: float
    ) -> web.StreamResponse:
        admitted = self._parts.members.admit(_bearer(request), opened=opened, address=_address(request))
        body = await _body(request, protocol.MOST_BYTES[path]) if request.method == "POST" else b""
        response = record(await handler(self._parts, admitted.member, body))
        response.headers[protocol.RENEWED] = admitted.renewed
        return response


def _bearer(request: web.BaseRequest) -> str:
    """RFC 6750, 2.1."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def _address(request: web.BaseRequest) -> str:
    peer: Any = request.transport.get_extra_info("peername") if request.transport else None
    return str(peer[0]) if peer else ""


async def _body(request: web.BaseRequest, most: int) -> bytes:
    """Raises Declined when it is too long, or does not come."""
    pieces, left = [], most
    try:
        async with asyncio.timeout(_BODY_SECONDS):
            async for piece in request.content.iter_any():
                left -= len(piece)
                if left < 0:
                    raise Declined(413, Problem(f"the request has more than the {most} bytes that it may have"))
                pieces.append(piece)
    except TimeoutError:
        raise Declined(408, Problem("the request does not come to an end")) from None
    return b"".join(pieces)
