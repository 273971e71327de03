"""Between accept(2) and the application: connections wait here, cheaply, until there is something to serve.

    accepted   a descriptor in a poll set, and nothing else: no transport, no task, no buffer of ours
    whole      its first bytes are a request's head, or a ClientHello; it waits for one of a few slots
    admitted   it has one, or needs none because it has shown a cookie or a token

All but the last is bounded, and in each the group with the most gives way first. In each turn of the loop only so many
are accepted, looked at and admitted, so what is admitted already is served meanwhile, whatever comes.
"""

from __future__ import annotations

import asyncio
import logging
import select
import socket
import time
from collections.abc import Callable
from contextlib import suppress

from .fairness import Crowd, Slots, Visit
from .first_bytes import PEEK, Verdict

log = logging.getLogger(__name__)

WAIT_SECONDS = 10.0  # docs/connectors.md; a client sends its first bytes at once, by a bad network within a few
# In a turn, 25 us and 400 us each: while more call than that, the looking comes first, for the user may be among them.
_ACCEPTS, _LOOKS = 128, 128
_ADMISSIONS, _ADMISSIONS_IN_A_RUSH = 8, 1  # a turn of a few milliseconds; in a rush half of one
_TICK_SECONDS = 0.1  # how late a deadline may be
_POLLED = select.EPOLLIN | select.EPOLLRDHUP | select.EPOLLET

Look = Callable[[bytes], Verdict]
Grouping = Callable[[socket.socket, object], str]
Admit = Callable[[socket.socket, Visit, bool], None]
"""Serve a connection; whether it is known already."""


class Room:
    """The waiting room of one listening socket."""

    def __init__(
        self, listener: socket.socket, slots: Slots, group: Grouping, look: Look, admit: Admit, *, most: int
    ) -> None:
        listener.setblocking(False)
        self._listener, self._slots = listener, slots
        self._group, self._look, self._admit = group, look, admit
        self._most = most
        self._wires: dict[Visit, socket.socket] = {}
        self._visits: dict[int, Visit] = {}
        self._silent, self._whole = Crowd(), Crowd()
        self._poll = select.epoll()
        self._ticking: asyncio.TimerHandle | None = None
        self._rush = False

    @property
    def crowded(self) -> bool:
        """Whether somebody waits for a slot."""
        return bool(self._whole)

    def open(self) -> None:
        """Begin to accept."""
        asyncio.get_running_loop().add_reader(self._poll.fileno(), self._on_bytes)
        self._tick()

    def close(self) -> None:
        """Accept no more, and let go of all who wait."""
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._listener.fileno())
        loop.remove_reader(self._poll.fileno())
        if self._ticking:
            self._ticking.cancel()
        for visit in list(self._wires):
            self._drop(visit)
        self._poll.close()

    def _on_callers(self) -> None:
        self._rush = False
        for _ in range(_ACCEPTS):
            try:
                wire, address = self._listener.accept()
            except BlockingIOError:
                return
            except ConnectionError:
                continue
            except OSError as error:
                # Out of descriptors or of memory: whoever has waited longest, of those with the most, pays for it.
                log.warning("no connection can be accepted at the moment: %s", error.strerror)
                self._thin_out(0)
                asyncio.get_running_loop().remove_reader(self._listener.fileno())
                return
            self._enter(wire, address)
        self._rush = True

    def _enter(self, wire: socket.socket, address: object) -> None:
        try:
            wire.setblocking(False)
            visit = Visit(self._group(wire, address))
            self._poll.register(wire.fileno(), _POLLED)
        except OSError:
            wire.close()
            return
        self._wires[visit] = wire
        self._visits[wire.fileno()] = visit
        self._silent.add(visit)
        self._thin_out(self._most)

    def _thin_out(self, most: int) -> None:
        """Those who have sent nothing whole go first; whoever is whole has a bound of its own."""
        for crowd in (self._silent, self._whole):
            if len(crowd) > most:
                self._drop(crowd.oldest(crowd.largest()))

    def _on_bytes(self) -> None:
        for descriptor, events in self._poll.poll(0, _LOOKS):
            if visit := self._visits.get(descriptor):
                self._see(visit, ended=bool(events & (select.EPOLLRDHUP | select.EPOLLHUP | select.EPOLLERR)))
        self._admit_some()

    def _see(self, visit: Visit, *, ended: bool) -> None:
        try:
            verdict = self._look(self._wires[visit].recv(PEEK, socket.MSG_PEEK))
        except BlockingIOError:
            return
        except OSError:
            verdict = Verdict.GONE
        if verdict is Verdict.WAIT and ended:
            verdict = Verdict.STRANGER  # more will not come
        if verdict is Verdict.GONE:
            self._drop(visit)
        elif verdict is Verdict.KNOWN:
            self._let_in(visit, known=True)
        elif verdict is Verdict.STRANGER and self._silent.remove(visit):
            self._whole.add(visit)
            self._thin_out(self._most)

    def _admit_some(self) -> None:
        """Each group's oldest in turn, as far as there are slots for them."""
        left = _ADMISSIONS_IN_A_RUSH if self._rush else _ADMISSIONS
        while self._whole and left > 0:
            before = left
            for visit in self._whole.in_turn():
                if left > 0 and self._slots.take(visit):
                    self._let_in(visit, known=False)
                    left -= 1
            if left == before:
                return

    def _let_in(self, visit: Visit, *, known: bool) -> None:
        wire = self._forget(visit)
        with suppress(OSError):
            self._poll.unregister(wire.fileno())
        self._admit(wire, visit, known)

    def _drop(self, visit: Visit) -> None:
        self._forget(visit).close()

    def _forget(self, visit: Visit) -> socket.socket:
        wire = self._wires.pop(visit)
        del self._visits[wire.fileno()]
        if not self._silent.remove(visit):
            self._whole.remove(visit)
        return wire

    def _tick(self) -> None:
        late = time.monotonic() - WAIT_SECONDS
        for crowd in (self._silent, self._whole):
            for visit in crowd.before(late):
                self._drop(visit)
        self._admit_some()
        loop = asyncio.get_running_loop()
        loop.add_reader(self._listener.fileno(), self._on_callers)
        self._ticking = loop.call_later(_TICK_SECONDS, self._tick)
