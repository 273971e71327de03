"""Serves the application on the listening sockets that the supervisor has bound: the private one, and the node's port.

The two have nothing in common but the loop: a flood of the port leaves the user's own socket its slots and its pace.
"""

from __future__ import annotations

import asyncio
import logging
import resource
import socket
import ssl
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass

from aiohttp import web

from . import first_bytes
from .admission import Room
from .fairness import Slots, Visit
from .gate import Gate
from .limits import LINGER_SECONDS, Guarded
from .peers import Peers

log = logging.getLogger(__name__)

_BACKLOG = 4096  # what the kernel allows by default (net.core.somaxconn): a burst waits there, and is not sent away
_WAITING = 4096  # docs/connectors.md; a descriptor each, and a quarter of ours at most
# A handshake costs 120 kB while it lasts, an open connection as much again; the turns are for a round trip or two.
_HANDSHAKES, _HANDSHAKE_TURN = 48, 0.25
_STRANGERS, _STRANGERS_TURN = 64, 0.5  # docs/connectors.md
_HANDSHAKE_SECONDS = 5.0  # two round trips, and a client on a slow device
_DESCRIPTORS = 65536  # a guess: far more than all that may wait and be served at a time
_THREADS = 2  # a guess: files are few and small


@dataclass(frozen=True)
class Listener:
    """A listening socket, with what makes it HTTPS, and who can tell its callers apart."""

    socket: socket.socket
    tls: ssl.SSLContext | None = None
    peers: Peers | None = None


class Entrance:
    """One listening socket with all that its strangers may use up."""

    def __init__(self, listener: Listener, gate: Gate, application: web.Server, most: int) -> None:
        self._tls, self._peers, self._gate, self._application = listener.tls, listener.peers, gate, application
        self._slots = Slots(_STRANGERS, _STRANGERS_TURN)
        self._handshakes = Slots(_HANDSHAKES, _HANDSHAKE_TURN)
        self._tasks: set[asyncio.Task[None]] = set()
        listener.socket.listen(_BACKLOG)
        first = self._handshakes if self._tls else self._slots
        self._room = Room(listener.socket, first, self._group, self._look, self._admit, most=most)

    def open(self) -> None:
        """Begin to accept."""
        self._room.open()

    def close(self) -> None:
        """Accept no more."""
        self._room.close()
        for task in self._tasks:
            task.cancel()

    def _group(self, wire: socket.socket, address: object) -> str:
        if not self._peers or not isinstance(address, tuple):
            return ""
        return self._peers.group(wire.getsockname(), address)

    def _look(self, data: bytes) -> first_bytes.Verdict:
        return first_bytes.of_tls(data) if self._tls else first_bytes.of_http(data, self._gate.front)

    def _admit(self, wire: socket.socket, visit: Visit, known: bool) -> None:
        serve = self._shake_hands(wire, visit) if self._tls else self._serve(wire, visit, known)
        task = asyncio.get_running_loop().create_task(serve)
        self._tasks.add(task)
        task.add_done_callback(lambda task: self._done(task, wire))
        visit.hang_up = task.cancel

    def _done(self, task: asyncio.Task[None], wire: socket.socket) -> None:
        self._tasks.discard(task)
        if task.cancelled():
            wire.close()  # it may not even have begun

    async def _serve(self, wire: socket.socket, visit: Visit, known: bool) -> None:
        try:
            await asyncio.get_running_loop().connect_accepted_socket(self._guarded(visit, known), wire)
        except OSError:
            self._slots.leave(visit)
            wire.close()

    async def _shake_hands(self, wire: socket.socket, visit: Visit) -> None:
        """A failed handshake leaves nothing: its error would hold it in a cycle, buffers and all, by its traceback."""
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                self._guarded(Visit(visit.group), known=False),
                wire,
                ssl=self._tls,
                ssl_handshake_timeout=_HANDSHAKE_SECONDS,
            )
        except OSError as error:
            error.__traceback__ = None
            wire.close()
        finally:
            self._handshakes.leave(visit)
            visit.over()

    def _guarded(self, visit: Visit, known: bool) -> Callable[[], Guarded]:
        return lambda: Guarded(self._application, visit, self._slots, self._is_crowded, known=known)

    def _is_crowded(self) -> bool:
        return self._room.crowded


async def serve(application: web.Server, gate: Gate, listeners: Sequence[Listener]) -> None:
    """Serve the application on inherited sockets until cancelled."""
    descriptors = _more_descriptors()
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(_THREADS, "files"))
    most = min(_WAITING, descriptors // 4)
    try:
        with ExitStack() as entrances:
            for listener in listeners:
                entrance = Entrance(listener, gate, application, most)
                entrance.open()
                entrances.callback(entrance.close)
            await asyncio.Event().wait()
    finally:
        application.pre_shutdown()
        await application.shutdown(LINGER_SECONDS)


def _more_descriptors() -> int:
    """As many as the node allows, up to what we can use; how many that is."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    target = _DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, _DESCRIPTORS)
    if soft < target:
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (target, hard))
            soft = target
    return soft
