"""Before native RDP over mutual TLS: who may knock at stunnel, one after the other. Its bytes are carried, never read.

stunnel has a thread and two descriptors for each connection and waits twenty seconds for a handshake, so that a few
hundred silent ones would keep the user out. Here they wait as for the page; stunnel gets those that have said hello.
"""

from __future__ import annotations

import asyncio
import socket

from . import first_bytes
from .admission import Room
from .fairness import Slots, Visit
from .native_relay import Caller, NativeRelay
from .peers import Peers
from .traffic import Traffic

_WAITING = 1024  # a descriptor each; a guess: a quarter of what waits for the pages (server.py)
_STRANGERS, _TURN = 24, 0.5  # half a megabyte each; the turn is for the round trips of a handshake
_PROVEN_SECONDS = 25.0  # stunnel has hung up by then on whoever has not shown the session's certificate (TIMEOUTbusy)
_MOST = 128  # of stunnel's 250


class Newcomer(Caller):
    """A caller with a slot, until it has been borne with for long enough to have proven who it is."""

    def __init__(self, relay: NativeRelay, visit: Visit, slots: Slots) -> None:
        super().__init__(relay)
        self._visit, self._slots = visit, slots
        self._proven: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """asyncio's callback."""
        assert isinstance(transport, asyncio.Transport)
        self._visit.hang_up = transport.abort
        self._proven = asyncio.get_running_loop().call_later(_PROVEN_SECONDS, self._slots.leave, self._visit)
        super().connection_made(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """asyncio's callback."""
        if self._proven:
            self._proven.cancel()
        self._slots.leave(self._visit)
        self._visit.over()
        super().connection_lost(exc)


async def serve(listener: socket.socket, peers: Peers, target: str) -> None:
    """Relay the connections of `listener` to stunnel's socket, `target`, until cancelled."""
    slots, relay = Slots(_STRANGERS, _TURN), NativeRelay(target, Traffic(), _MOST)
    tasks: set[asyncio.Task[object]] = set()

    def group(wire: socket.socket, address: object) -> str:
        return peers.group(wire.getsockname(), address) if isinstance(address, tuple) else ""

    def admit(wire: socket.socket, visit: Visit, known: bool) -> None:
        loop = asyncio.get_running_loop()
        task = loop.create_task(loop.connect_accepted_socket(lambda: Newcomer(relay, visit, slots), wire))
        visit.hang_up = task.cancel
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    room = Room(listener, slots, group, first_bytes.of_tls, admit, most=_WAITING)
    room.open()
    try:
        await asyncio.Event().wait()
    finally:
        room.close()
