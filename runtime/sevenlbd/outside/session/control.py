"""The session's control socket: how `stop` and `connect --renew` reach a supervisor, from whatever container.

One JSON line in, one out. The socket lies in the session folder, so that only its user can reach it.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from ...base.errors import Refusal
from ...wire.codec import Codec, Printable
from ..folders.session_folders import CONTROL

_MAX_LINE = 4096  # bytes; an order, or an answer, of one or two sentences
_ORDER_SECONDS = 5.0  # who connects has his order ready
# Certificates are made for it, on a node that may be busy.
_ANSWER_SECONDS = 60.0

Stop = Callable[[str, bool], None]
Renew = Callable[[], Awaitable[None]]


@dataclass(frozen=True)
class _Order:
    """What is to be done. The one who sends it may be of an older SIF, or a newer one."""

    order: Printable
    now: bool = False


@dataclass(frozen=True)
class _Reply:
    """Whether it was, and why not."""

    ok: bool
    why: Printable = ""


_ORDERS: Codec[_Order] = Codec(_Order)
_REPLIES: Codec[_Reply] = Codec(_Reply)


@asynccontextmanager
async def serve(folder: Path, stop: Stop, renew: Renew) -> AsyncIterator[None]:
    """Listen while the session lives; `stop(why, at_once)` or `renew()` is called for each order."""

    async def obey(order: _Order) -> _Reply:
        match order.order:
            case "stop":
                stop("stopped by its user", order.now)
            case "renew":
                await renew()
            case other:
                return _Reply(ok=False, why=f"there is no order {other!r}")
        return _Reply(ok=True)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            order = _ORDERS.unpack(await asyncio.wait_for(reader.readline(), _ORDER_SECONDS))
            try:
                reply = await obey(order)
            except (OSError, RuntimeError, Refusal) as error:
                reply = _Reply(ok=False, why=str(error))
            writer.write(_REPLIES.pack(reply) + b"\n")
            await writer.drain()
        except (TimeoutError, ValueError, ConnectionError):  # what is no order is a ValueError, too
            pass
        finally:
            writer.close()

    server = await asyncio.start_unix_server(answer, folder / CONTROL, limit=_MAX_LINE)
    async with server:
        yield


def send_stop(folder: Path, *, now: bool) -> None:
    """Tell the session's supervisor to stop. Raises OSError when nobody listens there."""
    _send(folder, _Order("stop", now))


def send_renew(folder: Path) -> str:
    """Have all locks changed; returns why it could not be, or nothing. Raises OSError when nobody listens there."""
    reply = _send(folder, _Order("renew"))
    return "" if reply and reply.ok else (reply and reply.why) or "the session is ending"


def _send(folder: Path, order: _Order) -> _Reply | None:
    with socket.socket(socket.AF_UNIX) as wire:
        wire.settimeout(_ANSWER_SECONDS)
        wire.connect(str(folder / CONTROL))
        wire.sendall(_ORDERS.pack(order) + b"\n")
        return _REPLIES.unpack_or_none(wire.recv(_MAX_LINE))
