"""The wire to the supervisor: hello, then who may come in and how the session is, again and again."""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress
from dataclasses import asdict

from ...wire import packets
from ...wire.gateway import INWARDS, OUTWARDS, Asked, Bundle, Front, Hello
from ...wire.state import SessionState
from .gate import Gate


class Link:
    """Our end. Messages are whole packets (SOCK_SEQPACKET, unix(7))."""

    def __init__(self, wire: socket.socket) -> None:
        wire.setblocking(False)
        self._wire = wire

    def send(self, request: Asked) -> None:
        """Ask. A supervisor that is gone takes us along soon."""
        with suppress(OSError):
            self._wire.send(OUTWARDS.pack(request))

    async def follow(self, gate: Gate) -> None:
        """Say hello and tell `gate` all that comes, until the supervisor is gone."""
        self.send(Hello())
        loop = asyncio.get_running_loop()
        with suppress(ConnectionError):
            while data := await loop.sock_recv(self._wire, packets.MAX_MESSAGE):
                match INWARDS.unpack(data):
                    case Front() as front:
                        gate.on_front(front)
                    case SessionState() as state:
                        gate.on_state(asdict(state))
                    case Bundle(packed):
                        gate.bundle.give(packed)
