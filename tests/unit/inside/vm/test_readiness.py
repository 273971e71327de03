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


def test_a_desktop_whose_agent_was_deaf_when_it_was_suspended_is_its_users_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def answers(*_: object) -> bool:
        return True

    async def silent() -> bool:
        return False

    monkeypatch.setattr(rdp_probe, "answers", answers)
    monkeypatch.setattr(readiness, "_DEAF_SECONDS", 0.05)
    plan: Any = SimpleNamespace(network="user", guest=SimpleNamespace(agent=True), resumed=True, shows_desktop=True)
    agent: Any = SimpleNamespace(answers=silent)

    async def thaw() -> tuple[list[str], list[str]]:
        told: list[str] = []
        warned: list[str] = []
        served = asyncio.Event()
        served.set()
        await asyncio.wait_for(readiness.wait_until_thawed(plan, served, agent, told.append, warned.append), 10)
        return told, warned

    told, warned = asyncio.run(thaw())
    assert told == ["rdp"]
    assert "does not answer" in warned[0]


@pytest.mark.parametrize(("administrator", "given"), [("Administrator", ["user1", "Administrator"]), ("", ["user1"])])
def test_whoever_maintains_an_image_has_its_administrators_password(
    monkeypatch: pytest.MonkeyPatch, administrator: str, given: list[str]
) -> None:
    """The image's account may install nothing, and nobody has ever known the administrator's own password."""

    async def answers(*_: object) -> bool:
        return True

    passwords: dict[str, str] = {}

    async def set_password(user: str, password: str) -> None:
        passwords[user] = password

    async def set_clock() -> None:
        pass

    monkeypatch.setattr(rdp_probe, "answers", answers)
    guest = SimpleNamespace(agent=True, smbios=False, account="user1")
    agent: Any = SimpleNamespace(answers=answers, set_password=set_password, set_clock=set_clock)
    plan: Any = SimpleNamespace(
        network="user", guest=guest, freeze=False, shows_desktop=True, timezone_command=(), password="secret"
    )
    plan.administrator = administrator
    line: Any = None

    def ignore(_: str) -> None:
        pass

    asyncio.run(asyncio.wait_for(readiness.wait_until_ready(plan, line, agent, ignore, ignore), 10))
    assert passwords == dict.fromkeys(given, "secret")
