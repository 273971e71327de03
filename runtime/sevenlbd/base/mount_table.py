"""What is mounted, a line a mount, as the kernel tells it. Source: proc_pid_mountinfo(5).

A mount's path is whatever somebody has called his folder, and any user of the node mounts by FUSE what everybody sees
here. Of it the kernel escapes space, tab, line feed and backslash: what else Python takes for a line's end (a carriage
return, a form feed, U+0085) stands there as it is, and so do bytes that are no UTF-8.
"""

from __future__ import annotations

from pathlib import Path

OWN = Path("/proc/self/mountinfo")


def lines(table: Path | None = None) -> list[str]:
    """In the order in which they were mounted: of two at one place the last is seen. Raises OSError."""
    return [line for line in (table or OWN).read_bytes().decode(errors="surrogateescape").split("\n") if line]
