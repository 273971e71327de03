"""The wall: own user, mount, PID, network, IPC and UTS namespaces, and a private /run/7lbd.

Afterwards this process is in a network without a route, sees no process but its own, and holds
capabilities over these namespaces only. Sources: user_namespaces(7), pid_namespaces(7), mount(2).
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from pathlib import Path

PRIVATE = Path("/run/7lbd")
"""A tmpfs that only this session's processes see; all of it goes with the namespace."""

_NAMESPACES = os.CLONE_NEWUSER | os.CLONE_NEWNS | os.CLONE_NEWPID | os.CLONE_NEWNET | os.CLONE_NEWIPC | os.CLONE_NEWUTS
_MS_NOSUID, _MS_NODEV, _MS_NOEXEC, _MS_BIND, _MS_REC, _MS_PRIVATE = 2, 4, 8, 4096, 16384, 1 << 18
_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE = 1, 4
# smbd looks it up when it starts, though nobody is ever let in as a guest.
_NOBODY = "nobody:x:65534:65534"
_libc = ctypes.CDLL(None, use_errno=True)


def enter(uid: int, gid: int) -> None:
    """Move this process into new namespaces; returns in their PID 1, a child of the caller.

    The caller itself only waits for that child, and exits as it did. Raises OSError where the node
    does not allow it.
    """
    os.unshare(_NAMESPACES)
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"{uid} {uid} 1")
    Path("/proc/self/gid_map").write_text(f"{gid} {gid} 1")
    # The child learns through the pipe that its parent is still there after it asked to die with it.
    alive, parent = os.pipe()
    child = os.fork()
    if child:
        os.close(alive)
        sys.exit(_wait(child))
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    os.close(parent)
    os.set_blocking(alive, False)
    try:
        orphaned = os.read(alive, 1) == b""
    except BlockingIOError:
        orphaned = False
    os.close(alive)
    if orphaned:
        os._exit(1)


def _wait(child: int) -> int:
    """The child's end as an exit code; a stop signal to us is for the supervisor to handle."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)
    return abs(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))


def furnish(user: str, uid: int, gid: int) -> None:
    """Make the inside habitable: own /proc, the private tmpfs, and a passwd with just this user.

    Secrets may be written below PRIVATE from here on. No process of the same user elsewhere can
    look into this one (prctl(2), PR_SET_DUMPABLE).
    """
    _prctl(_PR_SET_DUMPABLE, 0)
    os.umask(0o077)
    _mount("none", Path("/"), "", _MS_REC | _MS_PRIVATE)
    _mount("proc", Path("/proc"), "proc", _MS_NOSUID | _MS_NODEV | _MS_NOEXEC)
    _mount("tmpfs", PRIVATE, "tmpfs", _MS_NOSUID | _MS_NODEV | _MS_NOEXEC, "mode=0700,size=64m")
    _replace("/etc/passwd", f"{user}:x:{uid}:{gid}::{PRIVATE}:/usr/sbin/nologin\n{_NOBODY}::/:/usr/sbin/nologin\n")
    _replace("/etc/group", f"{user}:x:{gid}:\nnogroup:x:65534:\n")


def _replace(target: str, content: str) -> None:
    ours = PRIVATE / Path(target).name
    ours.write_text(content)
    ours.chmod(0o644)
    _mount(str(ours), Path(target), "", _MS_BIND)


def _mount(source: str, target: Path, kind: str, flags: int, data: str = "") -> None:
    """mount(2). Raises OSError that names the target."""
    if _libc.mount(source.encode(), bytes(target), kind.encode(), flags, data.encode()):
        number = ctypes.get_errno()
        raise OSError(number, f"mount of {kind or source}: {os.strerror(number)}", str(target))


def _prctl(option: int, value: int) -> None:
    if _libc.prctl(option, value, 0, 0, 0):
        number = ctypes.get_errno()
        raise OSError(number, f"prctl: {os.strerror(number)}")
