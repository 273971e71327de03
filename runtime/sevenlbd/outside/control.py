"""The session's control socket: how `stop` reaches a supervisor, from whatever container it is called in.

One JSON line in, one out. The socket lies in the session folder, so that only its user can reach it.
"""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from .folder import CONTROL

_MAX_LINE = 4096


@asynccontextmanager
async def serve(folder: Path, stop: Callable[[str, bool], None]) -> AsyncIterator[None]:
    """Listen while the session lives; `stop(why, at_once)` is called for each order to stop."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            order = json.loads(await asyncio.wait_for(reader.readline(), 5))
            if order.get("order") == "stop":
                stop("stopped by its user", bool(order.get("now")))
            writer.write(b'{"ok": true}\n')
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
    with socket.socket(socket.AF_UNIX) as wire:
        wire.settimeout(10)
        wire.connect(str(folder / CONTROL))
        wire.sendall(json.dumps({"order": "stop", "now": now}).encode() + b"\n")
        wire.recv(_MAX_LINE)
