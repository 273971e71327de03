"""The supervisor's hold on those inside: nobody is left when it says so, and no descriptor of theirs is taken."""

from __future__ import annotations

import asyncio
import re
import signal
import socket
import sys
from collections.abc import Callable, Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from sevenlbd.outside.access.gateway_link import GatewayLink
from sevenlbd.outside.session import keeper_link
from sevenlbd.outside.session.keeper_link import KeeperLink
from sevenlbd.wire import packets
from sevenlbd.wire.keeper import EVENTS, Event, EventKind

# Who waits in front of the wall, and one who is inside, does not hear signals, and outlives the other.
FRONT = """
import os, signal, socket, sys, time
wire = socket.socket(fileno=int(sys.argv[1]))
if os.fork():
    time.sleep(600)
signal.signal(signal.SIGTERM, signal.SIG_IGN)
wire.send(b'{"kind": "inside"}')
time.sleep(600)
"""


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def told_by(story: Callable[[KeeperLink, socket.socket], Coroutine[Any, Any, None]]) -> None:
    """Run `story` with a link to a front that does nothing, and the wire's other end."""

    async def run() -> None:
        ours, theirs = packets.pair()
        ours.setblocking(False)
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", FRONT, str(theirs.fileno()), pass_fds=[theirs.fileno()]
        )
        link = KeeperLink(process, ours)
        try:
            await story(link, theirs)
        finally:
            link.kill()
            await process.wait()
            link.forget()

    asyncio.run(run())


def test_it_is_left_when_whoever_said_to_be_inside_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not only who waits in front of the wall: what somebody inside may still write is not to be taken."""
    monkeypatch.setattr(keeper_link, "_LEAVE_SECONDS", 0.2)

    async def story(link: KeeperLink, _theirs: socket.socket) -> None:
        await asyncio.wait_for(link.inside(), 20)
        first = link._first
        assert first is not None
        assert await link.leave()
        pid = re.findall(r"Pid:\s*(-?\d+)", Path(f"/proc/self/fdinfo/{first}").read_text())[0]
        with suppress(OSError):  # gone, or dead and not buried yet
            assert Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"

    told_by(story)


def test_it_is_not_left_while_somebody_is_inside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeper_link, "_LEAVE_SECONDS", 0.2)
    monkeypatch.setattr(keeper_link, "_GONE_SECONDS", 0.2)
    monkeypatch.setattr(signal, "pidfd_send_signal", lambda *_: None)  # as one that waits for a disk that is away

    async def story(link: KeeperLink, _theirs: socket.socket) -> None:
        await asyncio.wait_for(link.inside(), 20)
        assert not await link.leave()
        monkeypatch.undo()

    told_by(story)


def test_descriptors_that_come_along_are_not_taken() -> None:
    async def story(link: KeeperLink, theirs: socket.socket) -> None:
        await asyncio.wait_for(link.inside(), 20)
        before = descriptors()
        for _ in range(50):
            socket.send_fds(theirs, [EVENTS.pack(Event(EventKind.WARNING, "w"))], [0, 1, 2])
            event = await anext(link.events())
            assert event.kind == EventKind.WARNING
        assert descriptors() == before

    told_by(story)


def test_neither_does_the_gateways_wire_take_any() -> None:
    async def story() -> None:
        link = GatewayLink(lambda _now: None, lambda: b"")
        hearing = asyncio.create_task(link.listen())
        await asyncio.sleep(0)
        before = descriptors()
        for _ in range(50):
            socket.send_fds(link.theirs, [b'{"kind": "told"}'], [0, 1])
            await asyncio.sleep(0.001)
        assert descriptors() == before
        hearing.cancel()
        link.close()

    asyncio.run(story())
