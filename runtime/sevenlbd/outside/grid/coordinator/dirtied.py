"""What a VM has dirtied, all of which is written when it is suspended: its QEMU's memory, and its overlay."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from ....wire import shared_files

_QEMU = "qemu-system"
_DEEPEST = 12  # processes between a session's first one and its QEMU; there are five
_BLOCK = 512  # bytes of st_blocks (stat(2))


def of(pid: int, folder: Path, memory: int, proc: Path = Path("/proc")) -> int:
    """Bytes. `pid` is the session's first process, `folder` its own; `memory` is what the VM has at most."""
    found = [_resident(proc, one) for one in _descendants(proc, pid, _DEEPEST) if _is_qemu(proc, one)]
    return (sum(found) or memory) + _overlay(folder)


def _overlay(folder: Path) -> int:
    with suppress(OSError):
        return (folder / shared_files.OVERLAY).lstat().st_blocks * _BLOCK
    return 0


def _descendants(proc: Path, pid: int, deepest: int) -> Iterator[int]:
    """By proc_pid_children(5): children of each thread."""
    if not deepest:
        return
    with suppress(OSError, ValueError):
        for task in (proc / str(pid) / "task").iterdir():
            for child in map(int, (task / "children").read_text().split()):
                yield child
                yield from _descendants(proc, child, deepest - 1)


def _is_qemu(proc: Path, pid: int) -> bool:
    with suppress(OSError):
        return (proc / str(pid) / "comm").read_text().startswith(_QEMU)
    return False


def _resident(proc: Path, pid: int) -> int:
    with suppress(OSError, ValueError, IndexError):
        return int((proc / str(pid) / "statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return 0
