"""/ws/console: the machine's screen, keyboard and mouse, as RFB (RFC 6143) from QEMU's VNC socket."""

from __future__ import annotations

import asyncio
import logging

from aiohttp import web

from . import relay
from .answers import Refused
from .bridge import Far, Socket
from .gate import GUEST_UNREACHABLE, SESSION_ENDED, Gate
from .lock import Visitor

log = logging.getLogger(__name__)

_MAX_CONSOLES = 256


async def serve(request: web.Request, gate: Gate, visitor: Visitor) -> web.StreamResponse:
    """GET ws/console."""
    traffic = gate.traffic["console"]
    if traffic.now >= _MAX_CONSOLES:
        raise Refused(503, "too many consoles are open", "close some of them")
    socket = await Socket.accept(request)
    code, reason = 1000, ""
    with gate.watching(visitor) as watcher:
        if gate.over:
            code, reason = SESSION_ENDED, "the session has ended"
        else:
            try:
                wire = await relay.connect(gate.vnc)
                _, far = await asyncio.get_running_loop().create_connection(Far, sock=wire)
            except (OSError, TimeoutError) as error:
                log.warning("the machine's screen is not there: %s", type(error).__name__)
                code, reason = GUEST_UNREACHABLE, "the machine's screen is not there"
            else:
                if await socket.bridge(far, traffic):
                    code, reason = GUEST_UNREACHABLE, "the machine closed its screen"
    await socket.close(watcher.code or code, watcher.reason or reason)
    return socket.ws
