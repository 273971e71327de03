"""A machine that stands still for two reasons: it has no room, and it is written out."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, cast

import pytest
from qemu.qmp import QMPClient
from sevenlbd.inside.vm import checkpoint, machine, migration
from sevenlbd.inside.vm.agent import Agent
from sevenlbd.inside.vm.machine import Machine
from sevenlbd.inside.vm.migration import MachineError


class Monitor:
    """Stands for QEMU's: takes every order, and says of what the disk's node reports."""

    def __init__(self) -> None:
        self.orders: list[str] = []
        self._listener: Any = None

    def register_listener(self, listener: object) -> None:
        self._listener = listener

    async def execute(self, command: str, _arguments: object = None) -> object:
        self.orders.append(command)
        return {}

    async def no_room(self) -> None:
        await self._listener.put({"event": "BLOCK_IO_ERROR", "data": {"nospace": True}})


class Process:
    """Of a QEMU that never ends."""

    returncode = None

    async def wait(self) -> int:
        await asyncio.Event().wait()
        return 0


@pytest.fixture(autouse=True)
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that the machine leaves, in a folder with room."""
    for name in ("state", "checkpoint.qcow2"):
        (tmp_path / name).touch()
    monkeypatch.setattr(machine, "SESSION", tmp_path)
    monkeypatch.setattr(machine, "FROZEN_STATE", tmp_path / "state")
    monkeypatch.setattr(machine, "OVERLAY", tmp_path)
    monkeypatch.setattr(machine, "_ROOM_TO_RESUME", 0)


Held = Callable[[Machine], Coroutine[Any, Any, object]]


async def goes_on(hold: Held, monkeypatch: pytest.MonkeyPatch) -> tuple[list[str], list[str]]:
    """A machine that waits for room while `hold` lasts, and after it: what QEMU was told until then, and in all."""
    monitor, looks = Monitor(), asyncio.Semaphore(0)
    really = asyncio.sleep

    async def looked(_seconds: float) -> None:
        looks.release()
        await really(0)

    vm = Machine(cast("asyncio.subprocess.Process", Process()), cast("QMPClient", monitor), cast("Agent", None), print)
    resumed = asyncio.Event()
    watching = asyncio.create_task(vm.watch(lambda _: None, resumed.set))
    writing, written = asyncio.Event(), asyncio.Event()

    async def write(*_: object, **__: object) -> float:
        writing.set()
        await written.wait()
        return 0.0

    monkeypatch.setattr(migration, "hold", write)
    monkeypatch.setattr(checkpoint, "save", write)
    holding = asyncio.create_task(hold(vm))
    await writing.wait()
    monkeypatch.setattr(asyncio, "sleep", looked)
    await monitor.no_room()
    for _ in range(3):
        await looks.acquire()  # it would go on each time
    while_written = list(monitor.orders)
    written.set()
    await holding
    await vm.go_on()
    await resumed.wait()
    await really(0)
    watching.cancel()
    return while_written, monitor.orders


@pytest.mark.parametrize("hold", [Machine.hold, Machine.save_running])
def test_room_that_comes_while_it_is_written_lets_it_not_run_before_that_is_done(
    hold: Held, monkeypatch: pytest.MonkeyPatch
) -> None:
    while_written, orders = asyncio.run(asyncio.wait_for(goes_on(hold, monkeypatch), 30))
    assert while_written == [], "its disk would be of a later moment than its memory"
    assert "cont" in orders


def test_one_that_could_not_be_written_goes_on_when_there_is_room(monkeypatch: pytest.MonkeyPatch) -> None:
    async def lived() -> None:
        monitor = Monitor()
        process = cast("asyncio.subprocess.Process", Process())
        vm = Machine(process, cast("QMPClient", monitor), cast("Agent", None), print)
        resumed = asyncio.Event()
        watching = asyncio.create_task(vm.watch(lambda _: None, resumed.set))

        async def full(*_: object, **__: object) -> None:
            raise MachineError("no space left")

        monkeypatch.setattr(migration, "hold", full)
        with pytest.raises(MachineError):
            await vm.hold()
        await monitor.no_room()
        await resumed.wait()
        while "cont" not in monitor.orders:
            await asyncio.sleep(0)
        watching.cancel()

    asyncio.run(asyncio.wait_for(lived(), 30))
