"""What a stranger may cost: deadlines, sizes and numbers of connections. aiohttp has none for headers."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Sequence

from aiohttp import web

Listener = tuple[socket.socket, ssl.SSLContext | None]


async def serve(application: web.Application, listeners: Sequence[Listener]) -> None:
    """Serve the application on inherited sockets, with HTTPS where there is a context, until cancelled."""
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    try:
        for listener, tls in listeners:
            await web.SockSite(runner, listener, ssl_context=tls).start()
        await asyncio.Event().wait()
    finally:
        await runner.cleanup()
