"""The supervisor's end of the wire: starts the keeper, hands it the plan, hears its events, ends it."""

from __future__ import annotations

import asyncio
import fcntl
import io
import logging
import os
import signal
import socket
import struct
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress

from ...base.errors import ExitCode, Refusal
from ...base.process import python, spawn
from ...wire import packets
from ...wire.keeper import EVENTS, ORDERS, Event, EventKind, GoOn, Hold, NewCertificates, Notice, Order, Stop
from ...wire.plan import PLANS, Plan
from ..node import abilities

log = logging.getLogger(__name__)

_LEAVE_SECONDS = 5.0  # seconds; a helper that hangs is given two (inside/services/helpers.py)
# After SIGKILL: a process that waits for a disk or a file server ends when that answers.
_GONE_SECONDS = 30.0
_CREDENTIALS = struct.Struct("iII")  # struct ucred: pid, uid, gid
# Out of the way of the low numbers that a child uses for itself.
_FIRST_DESCRIPTOR = 64


class KeeperLink:
    """A running keeper and the wire to it."""

    def __init__(self, process: asyncio.subprocess.Process, wire: socket.socket) -> None:
        self._process = process
        self._wire = wire
        self._first: int | None = None

    async def inside(self) -> None:
        """Wait until the keeper is behind the wall. Raises Refusal where the node does not allow it."""
        while event := await self._first_word():
            if event.kind == EventKind.INSIDE:
                return
            if event.kind == EventKind.NO_NAMESPACES and event.text.isdigit():
                ability = abilities.without_namespaces(int(event.text))
                raise Refusal(ExitCode.NODE, ability.why, hint=ability.mend)
        raise Refusal(ExitCode.BROKE, "the keeper died before it was inside", hint="7lbd doctor")

    def send_plan(self, plan: Plan, files: Sequence[socket.socket | io.FileIO]) -> None:
        """The plan, with the descriptors of `plan.connectors`. A keeper that is gone is heard as such."""
        with suppress(OSError):
            descriptors = [file.fileno() for file in files]
            socket.send_fds(self._wire, [PLANS.pack(plan)], descriptors)

    def send_stop(self, grace: float, notice: str = "") -> None:
        """The order to end within `grace` seconds; a `notice` is shown to the desktop's user first."""
        with suppress(OSError):
            self._wire.send(ORDERS.pack(Stop(grace, notice)))

    def send_notice(self, text: str) -> None:
        """The order to show the desktop's user a text."""
        with suppress(OSError):
            self._wire.send(ORDERS.pack(Notice(text)))

    def send_hold(self, *, live: bool) -> None:
        """The order to write the machine's state, and to have it stand still unless it is saved `live`."""
        with suppress(OSError):
            self._wire.send(ORDERS.pack(Hold(live)))

    def send_go_on(self) -> None:
        """The order to let it run again."""
        with suppress(OSError):
            self._wire.send(ORDERS.pack(GoOn()))

    def send_new_certificates(self, certificates: dict[str, str]) -> None:
        """The order to serve with these certificates from now on."""
        with suppress(OSError):
            self._wire.send(ORDERS.pack(NewCertificates(certificates)))

    def send(self, order: Order) -> None:
        """Any other order."""
        with suppress(OSError):
            self._wire.send(ORDERS.pack(order))

    async def events(self) -> AsyncIterator[Event]:
        """What the keeper tells, until it is gone."""
        loop = asyncio.get_running_loop()
        with suppress(ConnectionError):
            while data := await loop.sock_recv(self._wire, packets.MAX_MESSAGE):
                if event := EVENTS.unpack_or_none(data):
                    yield event

    async def _first_word(self) -> Event | None:
        """As `events`, while nobody is inside but the keeper; whoever says that it is there is taken hold of.

        None when it is gone. What is no event is told as one of no kind.
        """
        loop = asyncio.get_running_loop()
        readable = asyncio.Event()
        loop.add_reader(self._wire, readable.set)
        try:
            await readable.wait()
            data, with_it, _, _ = self._wire.recvmsg(packets.MAX_MESSAGE, socket.CMSG_SPACE(_CREDENTIALS.size))
        except ConnectionError:
            return None
        finally:
            loop.remove_reader(self._wire)
        event = EVENTS.unpack_or_none(data) or Event("")
        if event.kind == EventKind.INSIDE:
            self._first = _process_of(with_it)
        return event if data else None

    def kill(self) -> None:
        """End the keeper, and with it everything inside."""
        if self._first is not None:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._first, signal.SIGKILL)
        if self._process.returncode is None:
            self._process.kill()

    async def leave(self) -> bool:
        """Let it take everything down by itself for a while, then kill it. Whether nobody is left inside."""
        self._wire.close()
        try:
            await asyncio.wait_for(self._process.wait(), _LEAVE_SECONDS)
        except TimeoutError:
            self.kill()
            await self._process.wait()
        return self._first is None or await _ended(self._first)

    def forget(self) -> None:
        """Let go of what is left of it."""
        if self._first is not None:
            os.close(self._first)
            self._first = None


def _process_of(with_it: Sequence[tuple[int, int, bytes]]) -> int | None:
    """A hold (pidfd_open(2)) on who sent a message; its pid as the kernel, not the sender, tells it here (unix(7))."""
    for level, kind, content in with_it:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_CREDENTIALS):
            pid, _, _ = _CREDENTIALS.unpack(content)
            with suppress(OSError):
                return os.pidfd_open(pid)
    return None


async def _ended(pidfd: int) -> bool:
    """Wait for PID 1 of the namespace: it is gone when everybody in there is (pid_namespaces(7)). False: it is not."""
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_reader(pidfd, ended.set)
    try:
        await asyncio.wait_for(ended.wait(), _GONE_SECONDS)
    except TimeoutError:
        return False
    finally:
        loop.remove_reader(pidfd)
    return True


@asynccontextmanager
async def started() -> AsyncIterator[KeeperLink]:
    """A keeper that waits for its plan; gone, with all it started, when this ends."""
    ours, theirs = packets.pair()
    ours.setblocking(False)
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
    descriptor = fcntl.fcntl(theirs, fcntl.F_DUPFD, _FIRST_DESCRIPTOR)
    theirs.close()
    try:
        process = await spawn(python("sevenlbd.inside", str(descriptor)), pass_fds=[descriptor])
    finally:
        os.close(descriptor)
    link = KeeperLink(process, ours)
    try:
        yield link
    finally:
        await link.leave()
        link.forget()
