"""The wire to the supervisor: hello, then who may come in and how the session is, again and again."""

from __future__ import annotations

import asyncio
import base64
import json
import socket
from contextlib import suppress

from ...wire import messages
from .gate import Gate


class Link:
    """Our end. Messages are whole packets (SOCK_SEQPACKET, unix(7))."""

    def __init__(self, wire: socket.socket) -> None:
        wire.setblocking(False)
        self._wire = wire

    def send(self, kind: str, *, now: bool = False) -> None:
        """Say `kind`. A supervisor that is gone takes us along soon."""
        with suppress(OSError):
            self._wire.send(json.dumps({"kind": kind, "now": now}).encode())

    async def follow(self, gate: Gate) -> None:
        """Say hello and tell `gate` all that comes, until the supervisor is gone."""
        self.send(messages.HELLO)
        loop = asyncio.get_running_loop()
        with suppress(ConnectionError):
            while data := await loop.sock_recv(self._wire, messages.MAX_MESSAGE):
                told = json.loads(data)
                match told.pop("kind"):
                    case messages.FRONT:
                        gate.on_front(messages.unpack_front(told))
                    case messages.STATE:
                        gate.on_state(told)
                    case messages.BUNDLE:
                        gate.on_bundle(base64.b64decode(told["packed"]))
