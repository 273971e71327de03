"""A machine's state written and read, beside a QEMU that may die meanwhile."""

from __future__ import annotations

import asyncio
import json
import socket
from pathlib import Path

import pytest
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


@pytest.mark.parametrize("status", [None, "setup", "active"])
def test_a_qemu_that_dies_while_it_reads_or_writes_a_state_is_not_waited_for(status: str | None) -> None:
    told: list[dict[str, object]] = []
    if status:
        told.append({"event": "MIGRATION", "data": {"status": status}, "timestamp": {"seconds": 1, "microseconds": 0}})

    async def talk() -> None:
        ours, theirs = socket.socketpair()
        monitor = asyncio.create_task(_qemu(theirs, *told))
        qmp = qmp_link.client("test")
        await qmp_link.connect(qmp, ours)
        try:
            with pytest.raises(MachineError, match="QEMU ended while"):
                await migration.resume(qmp, Path("/run/state"))
        finally:
            await qmp_link.hang_up(qmp)
            await monitor

    asyncio.run(asyncio.wait_for(talk(), 10))
