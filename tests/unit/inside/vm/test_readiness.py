"""When a desktop counts as ready."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from sevenlbd.inside.vm import rdp_probe, readiness


def test_a_machine_without_an_agent_that_goes_on_is_ready_when_its_shares_are_served(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its RDP server answers at once, long before: who logged in then met drives that were away."""

    async def answers(*_: object) -> bool:
        return True

    monkeypatch.setattr(rdp_probe, "answers", answers)
    plan: Any = SimpleNamespace(network="user", guest=SimpleNamespace(agent=False))

    async def thaw() -> list[str]:
        told: list[str] = []
        served = asyncio.Event()
        agent: Any = None
        ready = asyncio.create_task(readiness.wait_until_thawed(plan, served, agent, told.append, told.append))
        await asyncio.sleep(0.05)
        assert not ready.done()
        assert told == []
        served.set()
        await asyncio.wait_for(ready, 5)
        return told

    assert asyncio.run(thaw()) == ["rdp"]
