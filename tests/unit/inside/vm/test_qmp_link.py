"""The monitor's connection: what nobody listens to is not kept."""

from __future__ import annotations

import asyncio
import json
import socket

from qemu.qmp import EventListener
from sevenlbd.inside.vm import qmp_link

GREETING = {"QMP": {"version": {"qemu": {"major": 10, "minor": 0, "micro": 0}, "package": ""}, "capabilities": []}}
MANY = 500


async def _qemu(wire: socket.socket, events: int) -> None:
    """A monitor that greets, agrees, and tells of a screen's viewers."""
    reader, writer = await asyncio.open_connection(sock=wire)
    writer.write(json.dumps(GREETING).encode() + b"\r\n")
    await reader.readuntil(b"}")  # it ends no line
    writer.write(b'{"return": {}}\r\n')
    for name in ["VNC_CONNECTED"] * events + ["SHUTDOWN"]:
        event = {"event": name, "data": {}, "timestamp": {"seconds": 1, "microseconds": 0}}
        writer.write(json.dumps(event).encode() + b"\r\n")
    await reader.read()
    writer.close()


def test_an_event_that_nobody_listens_to_is_not_kept() -> None:
    async def talk() -> tuple[int, bool, int]:
        ours, theirs = socket.socketpair()
        monitor = asyncio.create_task(_qemu(theirs, MANY))
        qmp = qmp_link.client("test")
        listener = EventListener(("SHUTDOWN",))
        qmp.register_listener(listener)
        await asyncio.wait_for(qmp_link.connect(qmp, ours), 10)
        event = await asyncio.wait_for(listener.get(), 10)
        assert event["event"] == "SHUTDOWN"
        kept = len(qmp.events.history), qmp.events.empty(), len(listener.history)
        await qmp_link.hang_up(qmp)
        await asyncio.wait_for(monitor, 10)
        return kept

    assert asyncio.run(talk()) == (0, True, 1)
