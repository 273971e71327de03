"""A machine's state written and read, beside a QEMU that may die meanwhile."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from qemu.qmp import QMPClient
from sevenlbd.inside.vm import migration, qmp_link
from sevenlbd.inside.vm.migration import MachineError

GREETING = {"QMP": {"version": {"qemu": {"major": 10, "minor": 0, "micro": 0}, "package": ""}, "capabilities": []}}


async def _qemu(wire: socket.socket, *says: dict[str, object]) -> None:
    """A monitor that takes every order, tells what it is to tell once it migrates, and then dies."""
    reader, writer = await asyncio.open_connection(sock=wire)
    writer.write(json.dumps(GREETING).encode() + b"\r\n")
    begun = ""
    while not begun:
        text = b""
        while text.count(b"{") == 0 or text.count(b"{") != text.count(b"}"):  # an order ends no line
            text += await reader.readexactly(1)
        order = json.loads(text)
        writer.write(json.dumps({"return": {}} | ({"id": order["id"]} if "id" in order else {})).encode() + b"\r\n")
        begun = order["execute"] if order["execute"] in ("migrate", "migrate-incoming") else ""
    for said in says:
        writer.write(json.dumps(said).encode() + b"\r\n")
    await writer.drain()
    writer.close()


def talked(says: list[dict[str, object]], talk: Callable[[QMPClient], Awaitable[None]], says_why: str) -> None:
    """What is asked of such a QEMU fails, for this reason."""

    async def connected() -> None:
        ours, theirs = socket.socketpair()
        monitor = asyncio.create_task(_qemu(theirs, *says))
        qmp = qmp_link.client("test")
        await qmp_link.connect(qmp, ours)
        try:
            with pytest.raises(MachineError, match=says_why):
                await talk(qmp)
        finally:
            await qmp_link.hang_up(qmp)
            await monitor

    asyncio.run(asyncio.wait_for(connected(), 10))


def migration_is(status: str) -> dict[str, object]:
    return {"event": "MIGRATION", "data": {"status": status}, "timestamp": {"seconds": 1, "microseconds": 0}}


@pytest.mark.parametrize("status", [None, "setup", "active"])
def test_a_qemu_that_dies_while_it_reads_or_writes_a_state_is_not_waited_for(status: str | None) -> None:
    told = [migration_is(status)] if status else []
    talked(told, lambda qmp: migration.resume(qmp, Path("/run/state")), "QEMU ended while")


@pytest.mark.parametrize("write", [migration.hold, migration.save_running])
def test_a_state_that_could_not_be_written_leaves_the_guests_disk_its_room(
    tmp_path: Path, write: Callable[[QMPClient, Path], Awaitable[None]]
) -> None:
    """A disk that was full of it would stop the guest that is to go on."""
    state = tmp_path / "state"
    state.write_bytes(b"half of it")
    talked([migration_is("failed")], lambda qmp: write(qmp, state), "QEMU")
    assert state.read_bytes() == b""
