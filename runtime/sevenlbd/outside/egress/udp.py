"""UDP doors: each guest's address and port that speaks to a door gets a socket of its own outside, connected.

So only the server's own answers come back. A guest can pretend to be many: the flows are bounded, and one that nobody
answered makes room for a new one. What is beyond the rate is dropped, as a network does.
"""

from __future__ import annotations

import asyncio
import socket
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from .journal import Record
from .tcp import Place, spell

if TYPE_CHECKING:
    from .house import House

# How long a flow is remembered (RFC 4787, section 4.3: not less than two minutes), and one that nobody answered.
_IDLE_SECONDS, _UNANSWERED_SECONDS = 180.0, 30.0
_SWEEP_SECONDS = 5.0
_AT_ONCE = 32
_MOST = 65536
_IP_MTU_DISCOVER, _IPV6_MTU_DISCOVER, _PMTUDISC_DONT = 10, 23, 0

Address = tuple[Any, ...]


class Flow:
    """One correspondent inside and the server outside."""

    def __init__(self, far: socket.socket, now: float) -> None:
        self.far = far
        self.start, self.began, self.touched = time.time(), now, now
        self.up = self.down = 0
        self.answered = False
        self.end = "idle"


class Flows:
    """A bound socket inside and its flows."""

    def __init__(self, house: House, near: socket.socket, address: str, port: int) -> None:
        self._house = house
        self._near = near
        self._place = Place("udp", house.name(address), address, port)
        self._family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self._flows: dict[Address, Flow] = {}
        """The one that has been silent longest is the first."""
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None

    async def serve(self) -> None:
        """Until cancelled."""
        self._near.setblocking(False)
        _let_routers_split(self._near, self._near.family)
        self._loop.add_reader(self._near, self._from_guest)
        try:
            await asyncio.Event().wait()
        finally:
            if self._timer:
                self._timer.cancel()
            self._loop.remove_reader(self._near)
            self._near.close()
            for who in list(self._flows):
                self._close(who, "session ended")

    def give_way(self) -> bool:
        """Close the flow that waits longest for its first answer, if there is one."""
        for who, flow in self._flows.items():
            if not flow.answered:
                self._close(who, "made room")
                return True
        return False

    def _from_guest(self) -> None:
        for _ in range(_AT_ONCE):
            try:
                data, who = self._near.recvfrom(_MOST)
            except OSError:
                return
            if self._house.up.spend(len(data)) and (flow := self._flow(who)):
                self._sent(who, flow, data)

    def _sent(self, who: Address, flow: Flow, data: bytes) -> None:
        try:
            self._send(flow, data)
        except OSError as error:
            self._trouble(flow, error)
            return
        flow.up += len(data)
        self._touch(who, flow)

    def _send(self, flow: Flow, data: bytes) -> None:
        try:
            flow.far.send(data)
        except ConnectionRefusedError:
            # ICMP told of an earlier one: nobody was there. That is worth a line, and this one is sent all the same.
            flow.end = "refused"
            flow.far.send(data)

    def _from_server(self, who: Address, flow: Flow) -> None:
        for _ in range(_AT_ONCE):
            try:
                data = flow.far.recv(_MOST)
            except BlockingIOError:
                return
            except OSError as error:
                self._trouble(flow, error)
                return
            if self._house.down.spend(len(data)):
                with suppress(OSError):
                    self._near.sendto(data, who)
                flow.answered = True
                flow.down += len(data)
                self._touch(who, flow)

    def _trouble(self, flow: Flow, error: OSError) -> None:
        """Said in the journal, and tried again with the next datagram."""
        if not isinstance(error, BlockingIOError):
            flow.end = spell(error)

    def _flow(self, who: Address) -> Flow | None:
        if found := self._flows.get(who):
            return found
        if not self._house.pace.take(1):
            self._house.refuse(self._place, "too many at once")
            return None
        if not self._house.admit():
            self._house.refuse(self._place, "too many connections")
            return None
        try:
            far = self._open()
        except OSError as error:
            self._house.slots.give_back()
            self._house.refuse(self._place, spell(error))
            return None
        flow = self._flows[who] = Flow(far, self._loop.time())
        self._loop.add_reader(far, self._from_server, who, flow)
        if not self._timer:
            self._look_later()
        return flow

    def _open(self) -> socket.socket:
        far = socket.socket(self._family, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        try:
            far.setblocking(False)
            _let_routers_split(far, self._family)
            far.connect((self._place.address, self._place.port))
        except BaseException:
            far.close()
            raise
        return far

    def _touch(self, who: Address, flow: Flow) -> None:
        flow.touched = self._loop.time()
        self._flows[who] = self._flows.pop(who)

    def _look_later(self) -> None:
        seconds = min(_SWEEP_SECONDS, self._house.allowed.idle)
        self._timer = self._loop.call_later(seconds, self._sweep) if self._flows else None

    def _sweep(self) -> None:
        now, idle = self._loop.time(), min(self._house.allowed.idle, _IDLE_SECONDS)
        for who, flow in list(self._flows.items()):
            if now - flow.touched >= (idle if flow.answered else min(idle, _UNANSWERED_SECONDS)):
                self._close(who, flow.end if flow.answered or flow.end != "idle" else "no answer")
        self._look_later()

    def _close(self, who: Address, end: str) -> None:
        flow = self._flows.pop(who)
        self._loop.remove_reader(flow.far)
        flow.far.close()
        self._house.slots.give_back()
        seconds = flow.touched - flow.began
        self._house.journal.add(Record(flow.start, seconds, *self._place, flow.up, flow.down, end))


def _let_routers_split(wire: socket.socket, family: int) -> None:
    """A datagram is passed on in its size; whether it must be split is the network's affair (ip(7))."""
    with suppress(OSError):
        if family == socket.AF_INET6:
            wire.setsockopt(socket.IPPROTO_IPV6, _IPV6_MTU_DISCOVER, _PMTUDISC_DONT)
        else:
            wire.setsockopt(socket.IPPROTO_IP, _IP_MTU_DISCOVER, _PMTUDISC_DONT)
