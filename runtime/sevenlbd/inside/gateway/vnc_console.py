"""/ws/console: the machine's screen, keyboard and mouse, as RFB (RFC 6143) from QEMU's VNC socket."""

from __future__ import annotations

import asyncio
import logging

from aiohttp import web

from . import late_input, native_relay
from .authentication import Visitor
from .bridge import Far, Goodbye, Socket, conversation
from .gate import GUEST_UNREACHABLE, Gate, Watcher
from .responses import Refused

log = logging.getLogger(__name__)

_MAX_CONSOLES = 256  # a guess: far more than a session has people


async def serve(request: web.BaseRequest, gate: Gate, visitor: Visitor) -> web.StreamResponse:
    """GET ws/console."""
    traffic = gate.traffic["console"]
    if traffic.now >= _MAX_CONSOLES:
        raise Refused(503, "too many consoles are open", "close some of them")

    async def talk(socket: Socket, watcher: Watcher) -> Goodbye:
        try:
            wire = await native_relay.connect(gate.vnc)
            _, far = await asyncio.get_running_loop().create_connection(Far, sock=wire)
        except (OSError, TimeoutError) as error:
            log.warning("the machine's screen is not there: %s", type(error).__name__)
            return GUEST_UNREACHABLE, "the machine's screen is not there"
        if await socket.bridge(far, traffic, late_input.rfb):
            return GUEST_UNREACHABLE, "the machine closed its screen"
        return 1000, ""

    return await conversation(request, gate, visitor, talk)
