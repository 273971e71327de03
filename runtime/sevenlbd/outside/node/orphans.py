"""The process by which Apptainer mounted the SIF (squashfuse), when Apptainer itself was killed and could not end it.

It holds a mount that nobody can reach any more, some memory, and the SIF open. What it mounts cannot be looked at from
another container: its user namespace is not above ours. So only one is ended that surely serves nobody: it is this
user's, Apptainer is no longer its parent, and no process of the user has its mount. See proc_pid_mountinfo(5).
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from ...base import lineage, mount_table

_PROGRAM = "squashfuse"
_KIND = "fuse."
# What Apptainer has it mount: a file that it inherited, where the container's root is put together.
_SOURCE, _PLACE = "/proc/self/fd/", "/mnt/session/"


def end_all(proc: Path = Path("/proc")) -> int:
    """End those that are left on this node; how many there were. None are seen from a PID namespace of our own."""
    ended = 0
    for pid in _orphans(proc):
        with suppress(OSError):
            os.kill(pid, signal.SIGTERM)
            ended += 1
    return ended


def _orphans(proc: Path) -> Iterator[int]:
    ours = [entry for entry in proc.iterdir() if entry.name.isdigit() and _is_ours(entry)]
    mounts = {entry: _fuse_mounts(entry) for entry in ours}
    for entry, devices in mounts.items():
        if devices and _serves_a_container(entry) and not lineage.is_apptainers_child(int(entry.name), proc):
            others = set[str]().union(*(mounts[other] for other in ours if other != entry))
            if not devices & others:
                yield int(entry.name)


def _is_ours(entry: Path) -> bool:
    """By its real user: the files in /proc of a process that may not be looked into are root's."""
    with suppress(OSError, ValueError, StopIteration):
        lines = (entry / "status").read_text(errors="replace").splitlines()
        return int(next(line for line in lines if line.startswith("Uid:")).split()[1]) == os.getuid()
    return False


def _serves_a_container(entry: Path) -> bool:
    """By its command line, which is empty for a process that is just ending, and whatever it likes for any other."""
    with suppress(OSError):
        words = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
        match [argument for argument in words if argument]:
            case [program, *_, source, place]:
                return Path(program).name.startswith(_PROGRAM) and source.startswith(_SOURCE) and _PLACE in place
    return False


def _fuse_mounts(entry: Path) -> set[str]:
    """The device numbers of what is mounted by FUSE where a process is; they are the same in every namespace."""
    devices = set()
    with suppress(OSError):
        for line in mount_table.lines(entry / mount_table.OWN.name):
            before, _, after = line.partition(" - ")
            if after.startswith(_KIND):
                devices.add(before.split()[2])
    return devices
