"""The session's control socket: how `stop` and `connect --renew` reach a supervisor, from whatever container.

One JSON line in, one out. The socket lies in the session folder, so that only its user can reach it.
"""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from ...base.errors import Refusal
from ..folders.session_folders import CONTROL

_MAX_LINE = 4096  # bytes; an order, or an answer, of one or two sentences
_ORDER_SECONDS = 5.0  # who connects has his order ready
# Certificates are made for it, on a node that may be busy.
_ANSWER_SECONDS = 60.0

Stop = Callable[[str, bool], None]
Renew = Callable[[], Awaitable[None]]


@asynccontextmanager
async def serve(folder: Path, stop: Stop, renew: Renew) -> AsyncIterator[None]:
    """Listen while the session lives; `stop(why, at_once)` or `renew()` is called for each order."""

    async def obey(order: dict[str, object]) -> dict[str, object]:
        match order.get("order"):
            case "stop":
                stop("stopped by its user", bool(order.get("now")))
            case "renew":
                await renew()
            case other:
                return {"ok": False, "why": f"there is no order {other!r}"}
        return {"ok": True}

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            order = json.loads(await asyncio.wait_for(reader.readline(), _ORDER_SECONDS))
            try:
                reply = await obey(order)
            except (OSError, RuntimeError, Refusal) as error:
                reply = {"ok": False, "why": str(error)}
            writer.write(json.dumps(reply).encode() + b"\n")
            await writer.drain()
        except (TimeoutError, ValueError, AttributeError, ConnectionError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_unix_server(answer, folder / CONTROL, limit=_MAX_LINE)
    async with server:
        yield


def send_stop(folder: Path, *, now: bool) -> None:
    """Tell the session's supervisor to stop. Raises OSError when nobody listens there."""
    _send(folder, {"order": "stop", "now": now})


def send_renew(folder: Path) -> str:
    """Have all locks changed; returns why it could not be, or nothing. Raises OSError when nobody listens there."""
    answer = _send(folder, {"order": "renew"})
    return "" if answer.get("ok") else str(answer.get("why") or "the session is ending")


def _send(folder: Path, order: dict[str, object]) -> dict[str, object]:
    with socket.socket(socket.AF_UNIX) as wire:
        wire.settimeout(_ANSWER_SECONDS)
        wire.connect(str(folder / CONTROL))
        wire.sendall(json.dumps(order).encode() + b"\n")
        answer = wire.recv(_MAX_LINE)
    reply: dict[str, object] = json.loads(answer) if answer else {}
    return reply
