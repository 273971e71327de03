"""A session in the background leaves when memory gets short: by a made-up node, and a keeper that only says so."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest
from sevenlbd.base.errors import ExitCode
from sevenlbd.outside.node import host_memory
from sevenlbd.outside.node.host_memory import HostMemory
from sevenlbd.outside.session import memory_floor, supervisor
from sevenlbd.outside.session.keeper_link import KeeperLink
from sevenlbd.outside.session.memory_floor import MemoryFloor
from sevenlbd.outside.session.preflight.prepared import Prepared
from sevenlbd.wire.state import Phase
from test_supervisor import NORMAL, Keeper, Shown, not_the_tests_parent, prepared
from test_suspending import HoldingKeeper, savable

__all__ = ["not_the_tests_parent"]
GIB = 1 << 30


class Node:
    """A /proc that somebody else fills."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        (folder / "pressure").mkdir(parents=True)
        self.has(8 * GIB)

    def has(self, available: int, stalled: float = 0.0) -> None:
        (self._folder / "meminfo").write_text(f"MemTotal: 1 kB\nMemAvailable: {available >> 10} kB\n")
        full = f"full avg10={stalled * 100:.2f} avg60=0.00 avg300=0.00 total=1"
        (self._folder / "pressure" / "memory").write_text(f"some avg10=99.00 avg60=9.00 avg300=9.00 total=1\n{full}\n")

    def is_hidden(self) -> None:
        (self._folder / "meminfo").unlink()

    def look(self) -> HostMemory | None:
        return host_memory.look(self._folder)


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(tmp_path / "proc")


def watched(node: Node, acts: list[tuple[str, bool]]) -> MemoryFloor:
    def act(why: str, now: bool) -> bool:
        acts.append((why, now))
        return True

    return MemoryFloor(GIB, act, node.look)


def test_a_moment_is_no_reason(node: Node) -> None:
    acts: list[tuple[str, bool]] = []
    floor = watched(node, acts)
    for available in (8 * GIB, GIB - 4096, 8 * GIB, GIB - 4096, GIB):
        node.has(available)
        floor.look()
    assert acts == []


def test_below_the_floor_it_goes_in_order_and_far_below_at_once(node: Node) -> None:
    acts: list[tuple[str, bool]] = []
    floor = watched(node, acts)
    node.has(GIB * 9 // 10)
    for _ in range(5):
        floor.look()
    assert acts == [("the node has 921.6 MiB of memory left, and 1.0 GiB are others' (background_memory)", False)]
    node.has(GIB // 3)
    for _ in range(5):
        floor.look()
    assert [now for _, now in acts] == [False, True]


def test_a_node_that_waits_for_memory_is_short_of_it_whatever_is_said_to_be_free(node: Node) -> None:
    acts: list[tuple[str, bool]] = []
    floor = watched(node, acts)
    node.has(8 * GIB, stalled=0.05)
    floor.look()
    floor.look()
    assert acts == []
    node.has(8 * GIB, stalled=0.45)
    floor.look()
    floor.look()
    assert acts == [("the node waits for memory 45% of the time, and this session gives way", False)]


def test_what_cannot_be_told_ends_nobodys_desktop(node: Node) -> None:
    acts: list[tuple[str, bool]] = []
    floor = watched(node, acts)
    node.is_hidden()
    for _ in range(5):
        floor.look()
    assert acts == []


async def begun(made: Prepared, link: Keeper, shown: Shown) -> ExitCode:
    return await supervisor.run(cast(KeeperLink, link), made, shown)


@pytest.fixture
def short(node: Node, monkeypatch: pytest.MonkeyPatch) -> Node:
    """A node on which memory is short from the first look, which comes at once."""
    node.has(GIB * 9 // 10)
    monkeypatch.setattr(memory_floor, "LOOK_SECONDS", 0.05)
    monkeypatch.setattr(host_memory.look, "__defaults__", (node._folder,))
    return node


@pytest.mark.usefixtures("short")
def test_a_session_is_shut_down_in_order_and_its_code_says_why(tmp_path: Path) -> None:
    made = prepared(tmp_path)
    made = replace(made, options=replace(made.options, least_memory=GIB))
    link, shown = Keeper(*NORMAL[:-1]), Shown()
    code = asyncio.run(asyncio.wait_for(begun(made, link, shown), 20))
    assert code is ExitCode.RESOURCES
    assert link.stops == [made.options.stop_grace]
    assert shown.last
    assert shown.last.phase is Phase.ENDED
    assert "are others'" in shown.last.reason
    assert any("are others'" in warning for warning in shown.last.warnings)


@pytest.mark.usefixtures("short")
def test_a_session_that_does_not_give_way_is_left_alone(tmp_path: Path) -> None:
    link, shown = Keeper(*NORMAL[:-1]), Shown()

    async def for_a_while() -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(begun(prepared(tmp_path), link, shown), 1)

    asyncio.run(for_a_while())
    assert link.stops == []


@pytest.mark.usefixtures("short")
def test_where_the_policy_says_so_it_is_suspended(tmp_path: Path) -> None:
    made = savable(tmp_path)
    made = replace(made, options=replace(made.options, least_memory=GIB, suspend_seconds=30.0))
    link = HoldingKeeper(Path(made.plan.folder))
    shown = Shown()
    code = asyncio.run(asyncio.wait_for(begun(made, link, shown), 60))
    assert code is ExitCode.SUSPENDED
    assert shown.last
    assert shown.last.phase is Phase.SUSPENDED
    assert Path(shown.last.saved).exists()
