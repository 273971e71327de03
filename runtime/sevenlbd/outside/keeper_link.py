"""The supervisor's end of the wire: starts the keeper, hands it the plan, hears its events, ends it."""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress

from .. import messages
from ..errors import ExitCode, Refusal
from ..messages import Event, NewCertificates, Notice, Plan, Stop
from ..process import python, spawn
from . import node

log = logging.getLogger(__name__)

_LEAVE_SECONDS = 5.0
# Out of the way of the low numbers that a child uses for itself.
_FIRST_DESCRIPTOR = 64


class KeeperLink:
    """A running keeper and the wire to it."""

    def __init__(self, process: asyncio.subprocess.Process, wire: socket.socket) -> None:
        self._process = process
        self._wire = wire

    async def inside(self) -> None:
        """Wait until the keeper is behind the wall. Raises Refusal where the node does not allow it."""
        async for event in self.events():
            if event.kind == messages.INSIDE:
                return
            if event.kind == messages.NO_NAMESPACES and event.text.isdigit():
                ability = node.without_namespaces(int(event.text))
                raise Refusal(ExitCode.NODE, ability.why, hint=ability.mend)
        raise Refusal(ExitCode.BROKE, "the keeper died before it was inside", hint="7lbd doctor")

    def send_plan(self, plan: Plan, listeners: Sequence[socket.socket]) -> None:
        """The plan, with the listening sockets of `plan.connectors`. A keeper that is gone is heard as such."""
        with suppress(OSError):
            descriptors = [listener.fileno() for listener in listeners]
            socket.send_fds(self._wire, [messages.pack_plan(plan)], descriptors)

    def send_stop(self, grace: float, notice: str = "") -> None:
        """The order to end within `grace` seconds; a `notice` is shown to the desktop's user first."""
        with suppress(OSError):
            self._wire.send(messages.pack_order(Stop(grace, notice)))

    def send_notice(self, text: str) -> None:
        """The order to show the desktop's user a text."""
        with suppress(OSError):
            self._wire.send(messages.pack_order(Notice(text)))

    def send_new_certificates(self) -> None:
        """The order to load the certificates anew."""
        with suppress(OSError):
            self._wire.send(messages.pack_order(NewCertificates()))

    async def events(self) -> AsyncIterator[Event]:
        """What the keeper tells, until it is gone."""
        loop = asyncio.get_running_loop()
        with suppress(ConnectionError):
            while data := await loop.sock_recv(self._wire, messages.MAX_MESSAGE):
                if event := messages.unpack_event(data):
                    yield event

    def kill(self) -> None:
        """End the keeper, and with it everything inside."""
        if self._process.returncode is None:
            self._process.kill()

    async def leave(self) -> None:
        """Let it take its house down by itself for a while, then kill it."""
        self._wire.close()
        try:
            await asyncio.wait_for(self._process.wait(), _LEAVE_SECONDS)
        except TimeoutError:
            self.kill()
            await self._process.wait()


@asynccontextmanager
async def started() -> AsyncIterator[KeeperLink]:
    """A keeper that waits for its plan; gone, with all it started, when this ends."""
    ours, theirs = messages.pair()
    ours.setblocking(False)
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
