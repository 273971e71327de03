"""The gateway's end of the wire, the supervisor's own at the other: what is told is heard, what is asked is done."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from typing import Any

from gateway_world import FRONT, until
from sevenlbd.inside.gateway.gate import Gate
from sevenlbd.inside.gateway.supervisor_link import Link
from sevenlbd.outside.access.gateway_link import GatewayLink
from sevenlbd.wire.gateway import StopPressed
from sevenlbd.wire.state import Phase, SessionState


def test_what_the_supervisor_tells_is_heard_and_what_the_gateway_asks_is_done() -> None:
    stops: list[bool] = []

    async def story() -> tuple[Any, Any, bytes]:
        supervisor = GatewayLink(stops.append, lambda: b"PK\0")
        state = SessionState("abc", "ann", "node1", "demo", "tcg", "tap", 1, "/tmp/7lbd-1/abc")
        state.advance(Phase.BOOTING)
        supervisor.let_in(FRONT)
        supervisor.show(state)
        link = Link(supervisor.theirs)
        gate = Gate(link.send, ("127.0.0.1", 1))
        tasks = [asyncio.create_task(supervisor.listen()), asyncio.create_task(link.follow(gate))]
        assert await gate.known()
        packed = await gate.bundle.take()
        gate.ask(StopPressed(now=True))
        await until(lambda: bool(stops))
        for task in tasks:
            task.cancel()
        supervisor.close()
        assert gate.state == asdict(state)
        return gate.front, gate.state["phase"], packed

    assert asyncio.run(story()) == (FRONT, "booting", b"PK\0")
    assert stops == [True]
