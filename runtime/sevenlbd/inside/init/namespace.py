"""The wall: own user, mount, PID, network, IPC and UTS namespaces.

Afterwards this process is in a network without a route, sees no process but its own, and holds
capabilities over these namespaces only. Sources: user_namespaces(7), pid_namespaces(7).
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from ...base import syscalls

_NAMESPACES = os.CLONE_NEWUSER | os.CLONE_NEWNS | os.CLONE_NEWPID | os.CLONE_NEWNET | os.CLONE_NEWIPC | os.CLONE_NEWUTS


def enter(uid: int, gid: int) -> None:
    """Move this process into new namespaces; returns in their PID 1, a child of the caller.

    The caller itself only waits for that child, and exits as it did. Raises OSError where the node
    does not allow it.
    """
    os.unshare(_NAMESPACES)
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"{uid} {uid} 1")
    Path("/proc/self/gid_map").write_text(f"{gid} {gid} 1")
    # The child learns through the pipe whether its parent was still there when it asked to die with it.
    alive, parent = os.pipe()
    child = os.fork()
    if child:
        os.close(alive)
        sys.exit(_wait(child))
    syscalls.signal_when_parent_dies(signal.SIGKILL)
    os.close(parent)
    os.set_blocking(alive, False)
    try:
        orphaned = os.read(alive, 1) == b""
    except BlockingIOError:
        orphaned = False
    os.close(alive)
    if orphaned:
        os._exit(1)


def close_the_curtain() -> None:
    """Let no process of the same user look into this one, or its forks: they hold secrets, and the job's log."""
    syscalls.hide_from_same_user()
    os.umask(0o077)


def _wait(child: int) -> int:
    """The child's end as an exit code; a stop signal to us is for the supervisor to handle."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)
    return abs(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
