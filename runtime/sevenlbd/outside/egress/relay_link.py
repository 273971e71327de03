"""The supervisor's end of the relay: starts its two processes, hands over their orders, hears how it went, ends them.

Each has a wire, a stream, that carries the orders in and, from the relay, one JSON object a line out; its end is the
process's end. Another, made for the keeper, carries the listening sockets from inside; a third is between the two
processes. The supervisor reads neither.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from ...base.process import python, spawn
from ...wire import packets
from . import relay_watch
from .relay.allowed import ORDERS, Allowed
from .relay.lines import Summary
from .relay_report import Reported

_LEAVE_SECONDS = 3.0  # the list's last words take two at most (relay/journal.py)
_MAX_LINE = 16384  # bytes; a report names 16 servers at most, some hundred bytes each
# Out of the way of the low numbers that a child uses for itself.
_FIRST_DESCRIPTOR = 64


class EgressLink:
    """A running relay with its broker. `theirs` goes inside with the plan, as the connector `egress`."""

    def __init__(self, relay: RelayPart, broker: RelayPart, theirs: socket.socket) -> None:
        self._relay, self._broker = relay, broker
        self.theirs = theirs
        self.state = Reported()
        self._leaving = False
        self._hearing = asyncio.create_task(self._hear())

    @property
    def pid(self) -> int:
        """Of the relay's process."""
        return self._relay.process.pid

    @property
    def broker_pid(self) -> int:
        """Of the process that makes its connections."""
        return self._broker.process.pid

    async def lost(self) -> str:
        """Wait until the relay is gone though nobody told it to go; returns why, as far as it is known."""
        await asyncio.wait([self._hearing])
        if self._leaving:
            await asyncio.Event().wait()
        return self.state.trouble or "its process ended; logs/egress.out has more"

    async def leave(self) -> Summary | None:
        """Tell the relay to end, and wait. Returns what it sums up; None when it had nothing to say."""
        self._leaving = True
        for part in (self._relay, self._broker):
            with suppress(OSError):
                part.wire.shutdown(socket.SHUT_WR)
            # One that is stopped, or hangs, ends all the same.
            await part.end(_LEAVE_SECONDS)
        await asyncio.wait([self._hearing], timeout=_LEAVE_SECONDS)
        return self.state.summary

    def close(self) -> None:
        """All ends that are ours."""
        self._hearing.cancel()
        self._relay.wire.close()
        self._broker.wire.close()
        self.theirs.close()

    async def _hear(self) -> None:
        reader, writer = await asyncio.open_connection(sock=self._relay.wire.dup(), limit=_MAX_LINE)
        try:
            while line := await reader.readline():
                self.state.hear(line)
        except (OSError, ValueError):
            return
        finally:
            writer.transport.abort()


@dataclass(frozen=True)
class RelayPart:
    """One of the processes, and the wire that brought its orders."""

    process: asyncio.subprocess.Process
    wire: socket.socket

    async def end(self, seconds: float) -> None:
        """Wait for its end, and see to it that there is one."""
        try:
            await asyncio.wait_for(self.process.wait(), seconds)
        except TimeoutError:
            with suppress(ProcessLookupError):
                self.process.kill()
            await self.process.wait()


@asynccontextmanager
async def started(allowed: Allowed, log: Path, session: str) -> AsyncIterator[EgressLink]:
    """A relay that waits for sockets from inside; gone when this ends.

    `log` is the session's list of connections; nobody inside can be there yet to put something in its place. `session`
    names the session in every line. Raises OSError when the files cannot be made.
    """
    errors = log.with_suffix(".out")
    async with AsyncExitStack() as ours:
        doors, theirs = (ours.enter_context(end) for end in packets.pair())
        dials, answers = (ours.enter_context(end) for end in packets.pair())
        listed = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        ours.callback(os.close, listed)
        broker = await _part("sevenlbd.outside.egress.relay.broker", [answers.fileno()], [], errors)
        ours.push_async_callback(broker.end, 0)
        ours.enter_context(broker.wire)
        relay = await _part(
            "sevenlbd.outside.egress.relay", [doors.fileno(), dials.fileno(), listed], [session], errors
        )
        # What is theirs is theirs alone: its end is to be noticed.
        for end in (doors, dials, answers):
            end.close()
        for part in (broker, relay):
            await _hand_over(part.wire, allowed)
        link = EgressLink(relay, broker, theirs)
        try:
            yield link
        finally:
            await link.leave()
            link.close()


async def _part(module: str, descriptors: Sequence[int], arguments: Sequence[str], errors: Path) -> RelayPart:
    """A process of ours; its first descriptor is the wire that brings its orders. Raises OSError."""
    ours, control = socket.socketpair()
    with control:
        given = [fcntl.fcntl(number, fcntl.F_DUPFD, _FIRST_DESCRIPTOR) for number in (control.fileno(), *descriptors)]
    try:
        command = python(module, *map(str, given), *arguments)
        return RelayPart(await spawn(command, log_file=errors, pass_fds=given), ours)
    except OSError:
        ours.close()
        raise
    finally:
        for number in given:
            os.close(number)


@asynccontextmanager
async def kept(
    allowed: Allowed,
    log: Path,
    session: str,
    warn: Callable[[str], None],
    note: Callable[[str], None],
    show: Callable[[Sequence[str]], None],
) -> AsyncIterator[EgressLink]:
    """As `started`; what the user must know is told by `warn`, what is wrong now by `show`, and `note` sums up."""
    async with started(allowed, log, session) as link:
        watching = [
            asyncio.create_task(_warn_when_lost(link, warn)),
            asyncio.create_task(relay_watch.watch(link.state, relay_watch.limits(allowed), warn, show)),
        ]
        try:
            yield link
        finally:
            for task in watching:
                task.cancel()
            if summary := await link.leave():
                note(summary.spelled())


async def _warn_when_lost(link: EgressLink, warn: Callable[[str], None]) -> None:
    """Its sockets inside are gone with it, so there can be no other; the desktop is worth going on with."""
    warn(f"the relay of the guest's ways out has ended, and the ways with it: {await link.lost()}")


async def _hand_over(wire: socket.socket, allowed: Allowed) -> None:
    """The orders, on one line; a relay that died meanwhile is heard as such."""
    wire.setblocking(False)
    with suppress(OSError):
        await asyncio.get_running_loop().sock_sendall(wire, ORDERS.pack(allowed) + b"\n")
