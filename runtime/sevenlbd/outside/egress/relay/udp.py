"""UDP forwards: each guest's address and port that speaks to one gets a correspondence of its own outside, connected.

So only the server's own answers come back. A guest can pretend to be many: the flows are bounded (`udp_flows`). The
socket that is outside is the broker's: one of ours could be sent anywhere from.
"""

from __future__ import annotations

import asyncio
import socket
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from . import courier, reach, reasons
from .destination import Destination
from .dialer import Unreached
from .journal import ConnectionRecord
from .lane import Lane

if TYPE_CHECKING:
    from .relay_context import RelayContext

# How long a flow is remembered (RFC 4787, section 4.3: not less than two minutes), and one that nobody answered.
_IDLE_SECONDS, _UNANSWERED_SECONDS = 180.0, 30.0
_SWEEP_SECONDS = 5.0  # how late a flow may be forgotten
_AT_ONCE, _AGAIN_SECONDS = 32, 0.01  # datagrams, and then others have their turn
_MOST = 65536  # bytes; a datagram's length has 16 bits (RFC 768)

Address = tuple[Any, ...]


class Flow:
    """One correspondent inside and the server outside."""

    def __init__(self, forward: Flows, context: RelayContext, who: Address) -> None:
        self._door, self._context, self._who = forward, context, who
        self._loop = asyncio.get_running_loop()
        self._far: socket.socket | None = None
        self.start, self.began = time.time(), self._loop.time()
        self.touched = self.began
        self.up = self.down = 0
        self.answered = False
        self.end = "idle"
        self.to_server = Lane(context.up, self._send)
        self._to_guest = Lane(context.down, self._deliver)
        self._to_guest.open()

    def opened(self, far: socket.socket) -> None:
        """The way out is there, for what has come meanwhile, too."""
        self._far = far
        far.setblocking(False)
        self._loop.add_reader(far, self._from_server)
        self.to_server.open()

    def close(self) -> None:
        """Let go of the way out."""
        self.to_server.close()
        self._to_guest.close()
        if self._far:
            self._loop.remove_reader(self._far)
            self._far.close()
            self._far = None

    def give_way(self) -> None:
        """Another one needs the room."""
        self._door.close(self._who, "made room")

    def _send(self, data: bytes) -> None:
        if not self._far:
            return
        try:
            self._far.sendmsg([courier.DATA, data])
        except BlockingIOError:
            return
        except OSError as error:
            self.end = reach.spell(error)
            return
        self.up += len(data)
        self._touch()

    def _from_server(self) -> None:
        for _ in range(_AT_ONCE):
            if not self._far:
                return
            try:
                message = self._far.recv(_MOST)
            except BlockingIOError:
                return
            except OSError:
                message = b""
            if not message:
                self._door.close(self._who, self.end)
                return
            if message[:1] == courier.TROUBLE:
                self.end = message[1:].decode()
            elif not self._to_guest.offer(message[1:]):
                self._context.health.met(reasons.RATE)

    def _deliver(self, data: bytes) -> None:
        self._door.deliver(data, self._who)
        self.answered = True
        self.down += len(data)
        self._touch()

    def _touch(self) -> None:
        self.touched = self._loop.time()
        self._context.crowd.touch(self, answered=self.answered)


class Flows:
    """A bound socket inside and its flows."""

    def __init__(self, context: RelayContext, near: socket.socket, address: str, port: int) -> None:
        self._context = context
        self._near = near
        self._place = Destination("udp", context.name(address), address, port)
        self._flows: dict[Address, Flow] = {}
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None

    async def serve(self) -> None:
        """Until cancelled."""
        self._near.setblocking(False)
        reach.let_routers_split(self._near)
        self._listen()
        try:
            await asyncio.Event().wait()
        finally:
            if self._timer:
                self._timer.cancel()
            self._loop.remove_reader(self._near)
            self._near.close()
            for who in list(self._flows):
                self.close(who, "session ended")

    def deliver(self, data: bytes, who: Address) -> None:
        """An answer, to the guest."""
        with suppress(OSError):
            self._near.sendto(data, who)

    def close(self, who: Address, end: str) -> None:
        flow = self._flows.pop(who)
        flow.close()
        self._context.crowd.leave(flow)
        seconds = flow.touched - flow.began
        self._context.journal.add(ConnectionRecord(flow.start, seconds, *self._place, flow.up, flow.down, end))

    def _from_guest(self) -> None:
        for count in range(_AT_ONCE):
            try:
                data, who = self._near.recvfrom(_MOST)
            except OSError:
                if not count:
                    self._look_again()
                return
            if (flow := self._flow(who)) and not flow.to_server.offer(data):
                self._context.health.met(reasons.RATE)

    def _look_again(self) -> None:
        """Ready, and nothing to read: whoever made the socket may have seen to that (ip(7), IP_RECVERR)."""
        self._loop.remove_reader(self._near)
        self._loop.call_later(_AGAIN_SECONDS, self._listen)

    def _listen(self) -> None:
        if self._near.fileno() >= 0:
            self._loop.add_reader(self._near, self._from_guest)

    def _flow(self, who: Address) -> Flow | None:
        if known := self._flows.get(who):
            return known
        if not self._context.pace.take(1):
            self._context.refuse(self._place, reasons.BUSY, reasons.PACE)
            return None
        if self._context.crowd.make_room():
            self._context.health.met(reasons.FLOWS)
        flow = self._flows[who] = Flow(self, self._context, who)
        self._context.crowd.touch(flow, answered=False)
        self._context.spawn(self._open(who, flow))
        if not self._timer:
            self._look_later()
        return flow

    async def _open(self, who: Address, flow: Flow) -> None:
        try:
            far, _ = await self._context.dialer.connect("udp", self._place.address, self._place.port)
        except Unreached as error:
            if self._flows.get(who) is flow:
                self.close(who, error.why)
            return
        if self._flows.get(who) is flow:
            flow.opened(far)
        else:
            far.close()

    def _look_later(self) -> None:
        seconds = min(_SWEEP_SECONDS, self._context.allowed.idle)
        self._timer = self._loop.call_later(seconds, self._sweep) if self._flows else None

    def _sweep(self) -> None:
        now, idle = self._loop.time(), min(self._context.allowed.idle, _IDLE_SECONDS)
        for who, flow in list(self._flows.items()):
            if now - flow.touched >= (idle if flow.answered else min(idle, _UNANSWERED_SECONDS)):
                self.close(who, flow.end if flow.answered or flow.end != "idle" else "no answer")
        self._look_later()
