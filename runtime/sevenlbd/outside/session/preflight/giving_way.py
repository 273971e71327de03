"""A session in the background, before it begins: whether there is room for it, and what can be had of giving way."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from ....base import units
from ....base.errors import ExitCode, Refusal
from ....base.paths import is_there
from ....config.settings import Settings
from ....images.description import Description
from ...job import leads
from ...node import host_memory
from .remarks import Remarks


def check(settings: Settings, memory: int) -> None:
    """Hold the node's memory against what the guest (`memory` bytes) takes and others need. Raises Refusal."""
    if not settings.background or (now := host_memory.look()) is None:
        return
    left = settings.background_memory
    if now.available - memory < left:
        free = units.size(now.available)
        what = f"the node has {free} of memory that could be had, the guest takes up to {units.size(memory)}, and "
        what += f"{units.size(left)} are left to others (background_memory)"
        hint = "take a smaller guest (--memory 2G), or try again when the node is less busy"
        raise Refusal(ExitCode.BUSY, what, hint=hint)
    if left and now.stalled > host_memory.STALLED:  # where it would be sent away again at once
        what = f"the node waits for memory {now.stalled:.0%} of the time, and a session in the background gives way"
        raise Refusal(ExitCode.BUSY, what, hint="try again when the node is less busy")


def sentence(settings: Settings, described: Description | None = None) -> str:
    """What is told of such a session; empty of any other."""
    if not settings.background:
        return ""
    end = "suspended" if leads.suspends(settings, described) else "shut down"
    floor = f", and is {end} when the node has less than {units.size(settings.background_memory)} of memory left"
    return f"in the background: it gives way to others on this node{floor if settings.background_memory else ''}"


def is_direct(settings: Settings, where: Path, layers: Iterable[Path], remarks: Remarks) -> bool:
    """Whether the guest's disk can go past the node's cache: each file has to (open(2), O_DIRECT)."""
    if not settings.background:
        return False
    without = [path for path in (_nearest(where), *layers) if not _takes_direct(path)]
    if without:
        remarks.notes.append(f"the guest's disk is held in the node's cache: {without[0]} has no direct I/O")
    return not without


def _nearest(folder: Path) -> Path:
    while not is_there(folder):
        folder = folder.parent
    return folder


def _takes_direct(path: Path) -> bool:
    """A folder is tried with a file that never has a name."""
    flags = os.O_RDWR | os.O_TMPFILE if path.is_dir() else os.O_RDONLY
    with suppress(OSError):
        os.close(os.open(path, flags | os.O_DIRECT | os.O_CLOEXEC, 0o600))
        return True
    return False
