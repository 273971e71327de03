"""A machine frozen into files, and one that goes on from there. Source: QEMU, docs/devel/migration.

For a warm state the guest's memory is a file that migration leaves alone (`x-ignore-shared`); the stream holds the
devices only, so both ways take a fraction of a second. A machine that is suspended has its memory in the stream, each
page at a place of its own (`mapped-ram`): what is compared with the warm memory is found there.
"""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress
from pathlib import Path

from qemu.qmp import EventListener, QMPClient, QMPError

from . import qmp_link

_WARM, _SUSPENDED = "x-ignore-shared", "mapped-ram"
_IN_PARALLEL = "multifd"
"""Two threads write at once, which halves the time; what they have written is read best by one."""
_LONG_SECONDS = 1800.0  # a guess: 64 GiB onto a disk that takes 40 MB/s; who cannot wait, stops the session
_LIVE_SECONDS = 30.0  # a guess: what a guest has dirtied by then, it goes on to dirty
_STILL_MS = 100  # milliseconds; docs/suspend.md promises three times as much for all of it
_NO_LIMIT = 1 << 50  # bytes a second; QEMU's own is 128 MiB
_SECONDS = 60.0  # without the memory, which is a file of its own, a state is written and read within three


class MachineError(Exception):
    """QEMU did not start, ended on its own, or cannot do what was asked; the text carries its last words."""


async def freeze(qmp: QMPClient, state: Path) -> None:
    """Stop the machine and write its devices to `state`. Raises MachineError."""
    await execute(qmp, "stop")
    await _migrate(qmp, "migrate", {"uri": f"file:{state}"}, _WARM)


async def hold(qmp: QMPClient, state: Path, *, with_memory: bool = True) -> None:
    """Stop the machine and write all of it but its disk to `state`; on failure it runs on. Raises MachineError.

    Without its memory, where that is in a file already.
    """
    wanted = (_SUSPENDED, _IN_PARALLEL) if with_memory else (_WARM,)
    await execute(qmp, "stop")
    try:
        await execute(qmp, "migrate-set-parameters", {"max-bandwidth": _NO_LIMIT})
        await _migrate(qmp, "migrate", {"uri": f"file:{state}"}, *wanted)
    except BaseException:
        await _give_up(qmp, state)
        raise


async def save_running(qmp: QMPClient, state: Path) -> None:
    """The same while the machine runs; it stands still when this is done. On failure it runs on. Raises MachineError.

    One that dirties its memory faster than it can be written is stopped before all is.
    """
    patience = asyncio.get_running_loop().call_later(_LIVE_SECONDS, lambda: asyncio.ensure_future(_stop(qmp)))
    try:
        await execute(qmp, "migrate-set-parameters", {"max-bandwidth": _NO_LIMIT, "downtime-limit": _STILL_MS})
        await _migrate(qmp, "migrate", {"uri": f"file:{state}"}, _SUSPENDED, _IN_PARALLEL)
    except BaseException:
        await _give_up(qmp, state)
        raise
    finally:
        patience.cancel()


async def _give_up(qmp: QMPClient, state: Path) -> None:
    """Let the machine run, with the room on its disk that a half written state would keep from it for ever."""
    with suppress(MachineError):
        await execute(qmp, "migrate_cancel")
    with suppress(OSError):
        os.truncate(state, 0)
    with suppress(MachineError):
        await execute(qmp, "cont")


async def _stop(qmp: QMPClient) -> None:
    with suppress(MachineError):
        await execute(qmp, "stop")


async def go_on(qmp: QMPClient) -> None:
    """Let a machine that was held run again. Raises MachineError."""
    await execute(qmp, "cont")


async def resume(qmp: QMPClient, state: Path, *, with_memory: bool = True) -> None:
    """Read what `hold` has written, and let the machine go on. Raises MachineError."""
    wanted = _SUSPENDED if with_memory else _WARM
    await _migrate(qmp, "migrate-incoming", {"uri": f"file:{state}", "exit-on-error": False}, wanted)
    await execute(qmp, "cont")


async def thaw(qmp: QMPClient, state: Path) -> None:
    """Read the devices from `state` and let the machine go on. Raises MachineError."""
    # It shall tell what is wrong, instead of ending at once.
    await _migrate(qmp, "migrate-incoming", {"uri": f"file:{state}", "exit-on-error": False}, _WARM)
    # It was stopped when it was frozen, and still is.
    await execute(qmp, "cont")


async def _migrate(qmp: QMPClient, command: str, arguments: dict[str, object], *wanted: str) -> None:
    used = {"events": True} | {name: name in wanted for name in (_WARM, _SUSPENDED, _IN_PARALLEL)}
    seconds = _SECONDS if _WARM in wanted else _LONG_SECONDS
    capabilities = [{"capability": name, "state": state} for name, state in used.items()]
    await execute(qmp, "migrate-set-capabilities", {"capabilities": capabilities})
    with qmp.listener(("MIGRATION",)) as events:
        await execute(qmp, command, arguments)
        try:
            reached = await asyncio.wait_for(_end_of(events, qmp), seconds)
        except TimeoutError:
            raise MachineError(f"QEMU's {command} did not end within {seconds:.0f} s") from None
    if reached != "completed":
        reply = await execute(qmp, "query-migrate")
        why = reply.get("error-desc", reached) if isinstance(reply, dict) else reached
        raise MachineError(f"QEMU's {command} {reached}: {why}")


async def _end_of(events: EventListener, qmp: QMPClient) -> str:
    """What it came to. Raises MachineError when QEMU is gone before."""
    reached, gone = asyncio.create_task(_last_status(events)), asyncio.create_task(qmp_link.gone(qmp))
    try:
        await asyncio.wait((reached, gone), return_when=asyncio.FIRST_COMPLETED)
        if not reached.done():
            raise MachineError("QEMU ended while the machine's state was written or read")
        return reached.result()
    finally:
        reached.cancel()
        gone.cancel()


async def _last_status(events: EventListener) -> str:
    async for event in events:
        data = event["data"]
        status = str(data.get("status")) if isinstance(data, dict) else ""
        if status in ("completed", "failed", "cancelled"):
            return status
    return "was cut off"


async def execute(qmp: QMPClient, command: str, arguments: dict[str, object] | None = None) -> object:
    """One command of QMP's. Raises MachineError."""
    try:
        return await qmp.execute(command, arguments)
    except (QMPError, OSError) as error:
        raise MachineError(f"QEMU's {command}: {error}") from None
