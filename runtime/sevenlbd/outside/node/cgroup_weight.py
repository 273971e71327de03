"""The weight of our own control group, where it is ours to set: in a unit of the user's own systemd.

A session of such a unit (systemd-run --user, a user's service) has its files; elsewhere they are root's, or the
scheduler's. Source: the kernel's Documentation/admin-guide/cgroup-v2.rst, and systemd's delegation.
"""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path

_GROUPS = Path("/sys/fs/cgroup")
_SELF = Path("/proc/self/cgroup")
# A unit made for one command: that of a terminal has the user's shell in it, which is not to be slowed.
_OURS = re.compile(r".*/user@\d+\.service/(?:.+/)?(?:run-|7lbd)[\w.@\\:-]*\.(?:scope|service)")
_LEAST = {"cpu.weight": "1", "io.weight": "1"}


def lower(own: Path = _SELF, groups: Path = _GROUPS) -> list[str]:
    """Give our control group the least weight; returns the names of what it has least of, none where it is not ours."""
    try:
        found = re.search(r"^0::(/.*)$", own.read_text(), re.MULTILINE)
    except OSError:
        return []
    if not found or not _OURS.fullmatch(found[1]):
        return []
    return [name for name, weight in _LEAST.items() if _written(groups / found[1].lstrip("/") / name, weight)]


def _written(file: Path, text: str) -> bool:
    with suppress(OSError):
        with file.open("r+") as opened:  # never a new file
            opened.write(text)
        return True
    return False
