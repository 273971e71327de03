"""What a crash leaves on the node's disk."""

from __future__ import annotations

import resource

_NONE = 1
"""Bytes: less than any dump has, and with just this the kernel starts no collector of dumps either (core(5); Linux,
fs/coredump.c). With 0 one that is a pipe, as systemd's, would still be given everything."""


def leave_none() -> None:
    """Let neither this process nor what it starts leave its memory in a file when it crashes."""
    resource.setrlimit(resource.RLIMIT_CORE, (_NONE, _NONE))
