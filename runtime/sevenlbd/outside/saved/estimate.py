"""How long it takes to suspend a machine: by what it took the last time, or a guess that errs on the long side."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from ...base import atomic, foreign_files

RATE = "rate"
"""The file that has what was measured, in bytes a second of what the machine had in use."""
_MOST = 64  # bytes of a number
FIRST_SECONDS = 5.0  # the guest is asked to write what it holds, and the file is brought to disk
USUAL_RATE = 128 << 20  # bytes of guest memory a second, a guess: a disk on a network takes so much
LEAST_RATE, MOST_RATE = 4 << 20, 1 << 30  # what was measured beyond these says more of a disturbed moment
_USUAL_MEMORY = 4 << 30  # bytes; as of an image that says nothing (images/description.py)
RESERVE = 1.5  # the guest may have dirtied more by then, and the disk be slower


def seconds(memory: int, folder: Path | None) -> float:
    """For a machine with so many bytes of memory, 0 if nobody knows; `folder` has what was measured."""
    return FIRST_SECONDS + RESERVE * (memory or _USUAL_MEMORY) / (_measured(folder) or USUAL_RATE)


def remember(folder: Path, used: int, taken: float) -> None:
    """So long it took for so many bytes that were in use: the next time, all of the memory may be. A full disk
    forgets it."""
    rate = min(max(used / max(taken, 0.001), LEAST_RATE), MOST_RATE)
    with suppress(OSError):
        if folder.lstat().st_uid == os.getuid():
            atomic.replace(folder / RATE, str(round(rate)).encode())


def _measured(folder: Path | None) -> float:
    if folder is None:
        return 0.0
    try:
        return min(max(float(foreign_files.read(folder, RATE, _MOST)), LEAST_RATE), MOST_RATE)
    except (OSError, ValueError):
        return 0.0
