"""What visitors leave in the gateway's memory, in the process as a session starts it."""

from __future__ import annotations

import asyncio
import gc
import weakref

import pytest
from sevenlbd.base import steady_memory

from tests.soak import crowd, gateway_alone

_TURNS = 6


def test_a_crowd_that_comes_and_breaks_off_leaves_the_heap_as_it_was() -> None:
    """A heap that grows by the crowd's buffers keeps them for ever: it was 4 MiB after these, and rose by steps."""

    async def visited() -> tuple[float, float]:
        async with gateway_alone.alone(seed=1) as (pid, place):
            before = gateway_alone.memory(pid)["heap memory"]
            for _ in range(_TURNS):
                await crowd.turn(place, gateway_alone.AT_ONCE)
            return before, gateway_alone.memory(pid)["heap memory"]

    before, after = asyncio.run(visited())
    assert after - before < 1.5, f"{before:.1f} MiB of heap became {after:.1f}"


class _Cycle:
    def __init__(self) -> None:
        self.me = self


def test_what_a_broken_connection_leaves_is_let_go_of_within_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steady_memory, "_COLLECT_SECONDS", 0.05)

    async def left() -> bool:
        keeping = asyncio.create_task(steady_memory.keep())
        await asyncio.sleep(0)
        gone = asyncio.Event()
        weakref.finalize(_Cycle(), gone.set)
        async with asyncio.timeout(20):
            await gone.wait()
        return keeping.cancel()

    gc.disable()
    try:
        assert asyncio.run(left())
    finally:
        gc.enable()
        gc.unfreeze()
