"""What was published when: a file beside an image's versions, one line an event, only ever appended to.

2026-11-22T09:15:00Z publish 2026.11 alice@login1
"""

from __future__ import annotations

import calendar
import errno
import os
import re
import time
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from ...base import heartbeat
from .. import names
from ..layout import HISTORY

PUBLISH, ROLLBACK = "publish", "rollback"
_FORM = "%Y-%m-%dT%H:%M:%SZ"
_MAX_BYTES = 1 << 20  # the last ten thousand events, about


@dataclass(frozen=True)
class HistoryEntry:
    """A version became current. `at` in seconds since the epoch."""

    at: float
    act: str
    version: str
    who: str


def record(folder: Path, act: str, version: str) -> None:
    """Append an event. Raises OSError; half a line, from a disk that was full, does no harm."""
    who = re.sub(r"\s", "_", f"{heartbeat.user_name()}@{os.uname().nodename}")
    line = f"{time.strftime(_FORM, time.gmtime())} {act} {version} {who}\n".encode()
    descriptor = os.open(folder / HISTORY, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
    with os.fdopen(descriptor, "r+b", buffering=0) as file:
        size = os.fstat(descriptor).st_size
        if size == 0:  # whoever may change the folder may add a line
            os.fchmod(descriptor, 0o644 | folder.stat().st_mode & 0o022)
        elif os.pread(descriptor, 1, size - 1) != b"\n":
            line = b"\n" + line
        if file.write(line) != len(line):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder / HISTORY))
        os.fsync(descriptor)


def events(folder: Path) -> list[HistoryEntry]:
    """All events, oldest first; lines that are none are passed over."""
    try:
        with (folder / HISTORY).open("rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - _MAX_BYTES))
            text = file.read(_MAX_BYTES).decode(errors="replace")
    except OSError:
        return []
    return [event for event in map(_event, text.split("\n")) if event]


def _event(line: str) -> HistoryEntry | None:
    words = line.split(" ")
    if len(words) != 4 or words[1] not in (PUBLISH, ROLLBACK) or not names.is_version(words[2]):
        return None
    try:
        at = calendar.timegm(time.strptime(words[0], _FORM))
    except (ValueError, OverflowError):
        return None
    return HistoryEntry(at, words[1], words[2], words[3])


def before(entries: list[HistoryEntry], current: str) -> list[str]:
    """The versions that were current before `current`, the last one at the end.

    A rollback takes back what was published since: after it, the next one goes further back.
    """
    stack: list[str] = []
    for event in entries:
        if event.act == ROLLBACK and event.version in stack:
            del stack[stack.index(event.version) + 1 :]
        elif event.version in stack:
            stack.remove(event.version)
            stack.append(event.version)
        else:
            stack.append(event.version)
    return stack[: stack.index(current)] if current in stack else stack


def given_up(entries: list[HistoryEntry]) -> dict[str, float]:
    """When each version but the last one ceased to be current."""
    return {one.version: after.at for one, after in pairwise(entries) if one.version != after.version}
