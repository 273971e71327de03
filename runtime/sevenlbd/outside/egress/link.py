"""The supervisor's end of the relay: starts its process, hands over its orders, hears how it went, ends it.

One wire, a stream, carries the orders in and one JSON object a line out; its end is the relay's end. Another, made for
the keeper, carries the listening sockets from inside; the supervisor never reads it.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from ... import messages, people
from ...errors import visible
from ...process import python, spawn
from .allowed import Allowed

_LEAVE_SECONDS = 3.0
_MAX_LINE = 4096
# Out of the way of the low numbers that a child uses for itself.
_FIRST_DESCRIPTOR = 64


@dataclass(frozen=True)
class Summary:
    """What went out and came in, all in all. Bytes of payload."""

    connections: int
    refused: int
    up: int
    down: int

    def spelled(self) -> str:
        """For people."""
        if not self.connections and not self.refused:
            return "the guest used none of its ways out"
        refused = f", {self.refused} refused or failed" if self.refused else ""
        sizes = f"{people.size(self.up)} out, {people.size(self.down)} in"
        some = f"{self.connections} connection{'' if self.connections == 1 else 's'}"
        return f"the guest's ways out: {some}{refused}, {sizes}"


class EgressLink:
    """A running relay. `theirs` goes inside with the plan, as the connector `egress`."""

    def __init__(self, process: asyncio.subprocess.Process, wire: socket.socket, theirs: socket.socket) -> None:
        self._process = process
        self._wire = wire
        self.theirs = theirs
        self._heard: list[dict[str, object]] = []
        self._leaving = False
        self._hearing = asyncio.create_task(self._hear())

    @property
    def pid(self) -> int:
        """Of its process."""
        return self._process.pid

    async def lost(self) -> str:
        """Wait until the relay is gone though nobody told it to go; returns why, as far as it is known."""
        await asyncio.wait([self._hearing])
        if self._leaving:
            await asyncio.Event().wait()
        # Who writes there is the one that a guest's bytes came to.
        why = next((visible(str(said["trouble"])) for said in self._heard if "trouble" in said), "")
        return why or "its process ended; logs/egress.out has more"

    async def leave(self) -> Summary | None:
        """Tell the relay to end, and wait. Returns what it sums up; None when it had nothing to say."""
        self._leaving = True
        with suppress(OSError):
            self._wire.shutdown(socket.SHUT_WR)
        try:
            async with asyncio.timeout(_LEAVE_SECONDS):
                await self._hearing
                await self._process.wait()
        except TimeoutError:
            self._process.kill()
            await self._process.wait()
        return _summary(self._heard)

    def close(self) -> None:
        """Both ends that are ours."""
        self._hearing.cancel()
        self._wire.close()
        self.theirs.close()

    async def _hear(self) -> None:
        reader, writer = await asyncio.open_connection(sock=self._wire.dup(), limit=_MAX_LINE)
        try:
            while line := await reader.readline():
                with suppress(ValueError, RecursionError):
                    said = json.loads(line)
                    if isinstance(said, dict):
                        self._heard = [*self._heard[-3:], said]
        except (OSError, ValueError):
            return
        finally:
            writer.transport.abort()


@asynccontextmanager
async def started(allowed: Allowed, log: Path, session: str) -> AsyncIterator[EgressLink]:
    """A relay that waits for sockets from inside; gone when this ends.

    `log` is the session's list of connections; nobody inside can be there yet to put something in its place. `session`
    names the session in every line. Raises OSError when the files cannot be made.
    """
    ours, control = socket.socketpair()
    doors, theirs = messages.pair()
    list_of_them = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    given = [fcntl.fcntl(number, fcntl.F_DUPFD, _FIRST_DESCRIPTOR) for number in (control, doors, list_of_them)]
    os.close(list_of_them)
    control.close()
    doors.close()
    try:
        command = python("sevenlbd.outside.egress", *map(str, given), session)
        process = await spawn(command, log_file=log.with_suffix(".out"), pass_fds=given)
    except OSError:
        ours.close()
        theirs.close()
        raise
    finally:
        for number in given:
            os.close(number)
    await _hand_over(ours, allowed)
    link = EgressLink(process, ours, theirs)
    try:
        yield link
    finally:
        await link.leave()
        link.close()


@asynccontextmanager
async def kept(
    allowed: Allowed, log: Path, session: str, warn: Callable[[str], None], note: Callable[[str], None]
) -> AsyncIterator[EgressLink]:
    """As `started`; a relay that is lost is told by `warn`, and at the end `note` is told what went through."""
    async with started(allowed, log, session) as link:
        watching = asyncio.create_task(_warn_when_lost(link, warn))
        try:
            yield link
        finally:
            watching.cancel()
            if summary := await link.leave():
                note(summary.spelled())


async def _warn_when_lost(link: EgressLink, warn: Callable[[str], None]) -> None:
    """Its sockets inside are gone with it, so there can be no other; the desktop is worth going on with."""
    warn(f"the relay of the guest's ways out has ended, and the ways with it: {await link.lost()}")


async def _hand_over(wire: socket.socket, allowed: Allowed) -> None:
    """The orders, on one line; a relay that died meanwhile is heard as such."""
    wire.setblocking(False)
    with suppress(OSError):
        await asyncio.get_running_loop().sock_sendall(wire, allowed.pack() + b"\n")


def _summary(heard: list[dict[str, object]]) -> Summary | None:
    for said in reversed(heard):
        counts = {key: value for key, value in said.items() if type(value) is int}
        if counts.keys() == said.keys() == Summary.__dataclass_fields__.keys():
            return Summary(**counts)
    return None
