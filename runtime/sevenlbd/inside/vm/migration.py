"""A machine frozen into files, and one that goes on from there. Source: QEMU, docs/devel/migration.

The guest's memory is a file that migration leaves alone (`x-ignore-shared`); the stream holds the devices only, so
both ways take a fraction of a second.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

from qemu.qmp import EventListener, QMPClient, QMPError

_SECONDS = 60.0  # without the memory, which is a file of its own, a state is written and read within three


class MachineError(Exception):
    """QEMU did not start, ended on its own, or cannot do what was asked; the text carries its last words."""


async def freeze(qmp: QMPClient, state: Path) -> None:
    """Stop the machine and write its devices to `state`. Raises MachineError."""
    await _execute(qmp, "stop")
    await _migrate(qmp, "migrate", {"uri": f"file:{state}"})


async def thaw(qmp: QMPClient, state: Path) -> None:
    """Read the devices from `state` and let the machine go on. Raises MachineError."""
    # It shall tell what is wrong, instead of ending at once.
    await _migrate(qmp, "migrate-incoming", {"uri": f"file:{state}", "exit-on-error": False})
    # It was stopped when it was frozen, and still is.
    await _execute(qmp, "cont")


async def _migrate(qmp: QMPClient, command: str, arguments: dict[str, object]) -> None:
    capabilities = [{"capability": name, "state": True} for name in ("x-ignore-shared", "events")]
    await _execute(qmp, "migrate-set-capabilities", {"capabilities": capabilities})
    with qmp.listener(("MIGRATION",)) as events:
        await _execute(qmp, command, arguments)
        try:
            reached = await asyncio.wait_for(_end_of(events), _SECONDS)
        except TimeoutError:
            raise MachineError(f"QEMU's {command} did not end within {_SECONDS:.0f} s") from None
    if reached != "completed":
        reply = await _execute(qmp, "query-migrate")
        why = reply.get("error-desc", reached) if isinstance(reply, dict) else reached
        raise MachineError(f"QEMU's {command} {reached}: {why}")


async def _end_of(events: EventListener) -> str:
    async for event in events:
        data = event["data"]
        status = str(data.get("status")) if isinstance(data, dict) else ""
        if status in ("completed", "failed", "cancelled"):
            return status
    return "was cut off"


async def _execute(qmp: QMPClient, command: str, arguments: dict[str, object] | None = None) -> object:
    try:
        return await qmp.execute(command, arguments)
    except (QMPError, OSError) as error:
        raise MachineError(f"QEMU's {command}: {error}") from None
