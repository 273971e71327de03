"""Carries datagrams between the relay and one server: a message each, so that none is split or joined.

From the relay comes DATA and a datagram; to it go DATA and a datagram, or TROUBLE and a word about it. What finds no
room is dropped, as a network does.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from contextlib import suppress

from .reach import spell

DATA, TROUBLE = b"d", b"t"
MOST = 65536
"""Bytes of a message, at most."""
_AT_ONCE = 32  # datagrams; then the other way, and the other couriers, have their turn


class Courier:
    """Owns both sockets, and is done when the relay closes its end."""

    def __init__(self, near: socket.socket, far: socket.socket, closed: Callable[[Courier], None]) -> None:
        self._near, self._far, self._closed = near, far, closed
        self._loop = asyncio.get_running_loop()
        near.setblocking(False)
        self._loop.add_reader(near, self._from_relay)
        self._loop.add_reader(far, self._from_server)

    def close(self) -> None:
        """Let go of both ends."""
        if self._near.fileno() < 0:
            return
        for wire in (self._near, self._far):
            self._loop.remove_reader(wire)
            wire.close()
        self._closed(self)

    def _from_relay(self) -> None:
        for _ in range(_AT_ONCE):
            try:
                message = self._near.recv(MOST)
            except BlockingIOError:
                return
            except OSError:
                message = b""
            if not message:
                self.close()
                return
            self._send(memoryview(message)[1:])

    def _send(self, data: memoryview) -> None:
        try:
            try:
                self._far.send(data)
            except ConnectionRefusedError as error:
                # ICMP told of an earlier one: nobody was there. That is worth a word, and this one is sent anyway.
                self._tell(error)
                self._far.send(data)
        except OSError as error:
            self._tell(error)

    def _from_server(self) -> None:
        for _ in range(_AT_ONCE):
            try:
                data = self._far.recv(MOST)
            except BlockingIOError:
                return
            except OSError as error:
                self._tell(error)
                return
            with suppress(OSError):
                self._near.sendmsg([DATA, data])

    def _tell(self, error: OSError) -> None:
        if not isinstance(error, BlockingIOError):
            with suppress(OSError):
                self._near.sendmsg([TROUBLE, spell(error).encode()])
