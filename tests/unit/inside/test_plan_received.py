"""What the keeper does with what comes before its plan: a session can be told to end while it still prepares."""

from __future__ import annotations

import asyncio
import select
import socket

from sevenlbd.inside import keeper
from sevenlbd.wire.keeper import ORDERS, Notice, Stop


def received(*messages: bytes, closed: bool = False) -> tuple[object, bool]:
    """What comes of it, and whether all was read."""
    ours, supervisors = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, supervisors:
        ours.setblocking(False)
        for message in messages:
            supervisors.send(message)
        if closed:
            supervisors.close()

        async def wait() -> object:
            async with asyncio.timeout(5):
                return await keeper._receive_plan(ours)

        came = asyncio.run(wait())
        return came, not select.select([ours], [], [], 0)[0] or closed


def test_an_order_to_end_is_obeyed_before_there_is_a_plan() -> None:
    assert received(ORDERS.pack(Stop(1.0))) == (None, True)


def test_a_notice_is_for_nobody_and_what_comes_after_it_is_heard() -> None:
    assert received(ORDERS.pack(Notice("five minutes")), ORDERS.pack(Stop(1.0))) == (None, True)


def test_a_supervisor_that_is_gone_is_heard() -> None:
    assert received(closed=True) == (None, True)
