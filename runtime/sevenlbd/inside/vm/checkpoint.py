"""A machine that is saved while it runs: its memory goes into a file, and for a moment it stands still.

In that moment its disk is told to be copied as it is now: what the guest writes from then on is copied before it is
overwritten (QEMU, docs/interop/live-block-operations). Sources: QEMU, qapi/block-core.json, qapi/job.json.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from qemu.qmp import EventListener, QMPClient

from . import migration
from .migration import MachineError, execute

_FILE, _DISK, _JOB = "checkpoint-file", "checkpoint", "checkpoint-job"
_CLUSTER = 128 << 10  # bytes; as of the overlay (outside/session/overlay_disk.py)
_JOB_SECONDS = 1800.0  # a guess: as for the memory (migration)


@dataclass(frozen=True)
class DiskCopy:
    """Where the disk is copied to, and the node that the copy stands on, as the disk does; empty for none."""

    path: Path
    below: str


async def save(qmp: QMPClient, state: Path, disk: DiskCopy, meanwhile: Callable[[], None]) -> float:
    """Write memory and devices to `state`, and the disk of the same moment; the machine runs when this is done.

    `meanwhile` is called while it stands still. Returns for how many seconds that was. Raises MachineError, and what
    `meanwhile` raises; nothing is left in the files then.
    """
    try:
        return await _saved(qmp, state, disk, meanwhile)
    except BaseException:
        for path in (state, disk.path):
            with suppress(OSError):
                os.truncate(path, 0)
        raise


async def _saved(qmp: QMPClient, state: Path, disk: DiskCopy, meanwhile: Callable[[], None]) -> float:
    async with _target(qmp, disk):
        with qmp.listener(("BLOCK_JOB_COMPLETED",)) as events, qmp.listener(("STOP", "RESUME")) as stillness:
            await migration.save_running(qmp, state)
            try:
                await execute(qmp, "blockdev-set-active", {"active": True})
                meanwhile()
                await execute(
                    qmp, "blockdev-backup", {"job-id": _JOB, "device": "overlay", "target": _DISK, "sync": "top"}
                )
            finally:
                await execute(qmp, "cont")
            await _copied(qmp, events)
            return _between(stillness)


def _between(stillness: EventListener) -> float:
    """Seconds from the first event to the last, by QEMU's own clock."""
    moments = []
    for event in stillness.clear():
        at = event["timestamp"]
        if isinstance(at, dict):
            moments.append(float(at["seconds"]) + float(at["microseconds"]) / 1e6)
    return moments[-1] - moments[0] if moments else 0.0


async def _copied(qmp: QMPClient, events: EventListener) -> None:
    """Wait for the copy. Raises MachineError."""
    try:
        async with asyncio.timeout(_JOB_SECONDS):
            data = (await anext(events))["data"]
    except BaseException:
        with suppress(MachineError):
            await execute(qmp, "block-job-cancel", {"device": _JOB, "force": True})
            await asyncio.wait_for(anext(events), _JOB_SECONDS)
        raise
    if isinstance(data, dict) and (data.get("error") or data.get("offset") != data.get("len")):
        raise MachineError(f"QEMU could not copy the disk: {data.get('error') or 'it was cut off'}")


@asynccontextmanager
async def _target(qmp: QMPClient, disk: DiskCopy) -> AsyncIterator[None]:
    """An empty disk of the same size, open as long as this lasts. Raises MachineError or OSError."""
    os.truncate(disk.path, 0)
    await execute(qmp, "blockdev-add", {"driver": "file", "node-name": _FILE, "filename": str(disk.path)})
    try:
        await _create(qmp)
        node: dict[str, object] = {"driver": "qcow2", "node-name": _DISK, "file": _FILE, "backing": disk.below or None}
        await execute(qmp, "blockdev-add", node)
        try:
            yield
        finally:
            with suppress(MachineError):
                await execute(qmp, "blockdev-del", {"node-name": _DISK})
    finally:
        with suppress(MachineError):
            await execute(qmp, "blockdev-del", {"node-name": _FILE})


async def _create(qmp: QMPClient) -> None:
    options = {
        "driver": "qcow2",
        "file": _FILE,
        "size": await _size(qmp),
        "cluster-size": _CLUSTER,
        "extended-l2": True,
    }
    with qmp.listener(("JOB_STATUS_CHANGE",)) as events:
        await execute(qmp, "blockdev-create", {"job-id": _JOB, "options": options})
        async for event in events:
            data = event["data"]
            if isinstance(data, dict) and data.get("status") == "concluded":
                break
    jobs = await execute(qmp, "query-jobs")
    await execute(qmp, "job-dismiss", {"id": _JOB})
    for job in jobs if isinstance(jobs, list) else ():
        if job.get("id") == _JOB and job.get("error"):
            raise MachineError(f"QEMU could not make a disk to copy to: {job['error']}")


async def _size(qmp: QMPClient) -> int:
    """The disk's size in bytes, as the guest sees it."""
    nodes = await execute(qmp, "query-named-block-nodes", {"flat": True})
    assert isinstance(nodes, list)
    return int(next(node["image"]["virtual-size"] for node in nodes if node["node-name"] == "overlay"))
