"""A piece of an image's file on its way to a machine: looked up, in its turn, at the rate that the site allows."""

from __future__ import annotations

import asyncio
import logging
import os
import re

from aiohttp import web

from ..protocol import Problem
from .machine_api import PoolParts
from .members import PoolMember
from .offers import NotOffered
from .service_answers import Declined, dress
from .throttle import BUSY_SECONDS, NoPlace

log = logging.getLogger(__name__)

_RANGE = re.compile(r"bytes=([0-9]{1,15})-([0-9]{1,15})?")  # one range, as machines ask (RFC 9110, 14.1.2)
_PIECE = 256 << 10  # bytes that are read, and paid for, at once
_STALL_SECONDS = 90.0  # for one of these: machines give up at 4 KiB a second as well


async def send(
    request: web.BaseRequest, parts: PoolParts, ticket: str, name: str, version: str, file: str
) -> web.StreamResponse:
    """Raises Barred and Declined."""
    member: PoolMember = parts.members.admit_ticket(ticket)
    try:
        with parts.throttle.stream(member.name), parts.offers.opened(name, version, file) as (descriptor, size):
            return await _send(request, parts, member, descriptor, _span(request, size), size)
    except NoPlace:
        problem = Problem("the pool sends as much as it can", mend="come again in a moment")
        raise Declined(503, problem, {"Retry-After": str(BUSY_SECONDS)}) from None
    except NotOffered:
        raise Declined(404, Problem("this is not offered any more", mend="ask for the images again")) from None


def _span(request: web.BaseRequest, size: int) -> tuple[int, int]:
    """First byte, and the one behind the last. Raises Declined."""
    said = request.headers.get("Range", "")
    match = _RANGE.fullmatch(said)
    if not said:
        return 0, size
    begin, end = (int(match[1]), min(int(match[2] or size - 1) + 1, size)) if match else (0, 0)
    if begin >= end:
        raise Declined(416, Problem("there are no such bytes in the file"), {"Content-Range": f"bytes */{size}"})
    return begin, end


async def _send(
    request: web.BaseRequest, parts: PoolParts, member: PoolMember, descriptor: int, span: tuple[int, int], size: int
) -> web.StreamResponse:
    at, end = span
    partial = bool(request.headers.get("Range"))
    headers = {"Content-Type": "application/octet-stream", "Content-Length": str(end - at)}
    if partial:
        headers["Content-Range"] = f"bytes {at}-{end - 1}/{size}"
    response = web.StreamResponse(status=206 if partial else 200, headers=headers)
    dress(response)
    await response.prepare(request)
    while at < end:
        await parts.throttle.take(member.name, min(_PIECE, end - at))
        piece = await asyncio.to_thread(_read, descriptor, min(_PIECE, end - at), at)
        try:
            async with asyncio.timeout(_STALL_SECONDS):
                await response.write(piece)
        except TimeoutError:
            piece = b""
        if not piece:
            _cut(request)
            break
        at += len(piece)
    return response


def _read(descriptor: int, length: int, at: int) -> bytes:
    """Nothing where it cannot be read: the answer has begun, and whatever else is said would be taken for the file."""
    try:
        return os.pread(descriptor, length, at)
    except OSError as error:
        log.error("an image cannot be read: %s", error.strerror)
        return b""


def _cut(request: web.BaseRequest) -> None:
    """The file became shorter or cannot be read, or nobody reads: an end that cannot be taken for a good one."""
    if request.transport:
        request.transport.abort()
