"""System calls that Python does not offer: mount(2), umount2(2), pivot_root(2), prctl(2), sync_file_range(2) ...

Each that fails raises OSError with the kernel's reason. Light on purpose: the process before the wall loads it.
"""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REMOUNT = 1, 2, 4, 8, 32  # <linux/mount.h>
MS_NOATIME, MS_NODIRATIME, MS_BIND, MS_REC = 1 << 10, 1 << 11, 1 << 12, 1 << 14  # <linux/mount.h>
MS_NOSYMFOLLOW, MS_PRIVATE, MS_RELATIME = 1 << 8, 1 << 18, 1 << 21  # <linux/mount.h>
MNT_DETACH = 2  # <sys/mount.h>

_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE = 1, 4  # <linux/prctl.h>
_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, _PR_SET_NO_NEW_PRIVS = 22, 2, 38  # <linux/prctl.h>, <linux/seccomp.h>
_IO_URING_SETUP, _IO_URING_PARAMS_SIZE = 425, 120  # <asm/unistd_64.h>, and bytes of struct io_uring_params
_SYNC_FILE_RANGE_WRITE = 2  # <linux/fs.h>
_libc = ctypes.CDLL(None, use_errno=True)


def mount(source: str, target: Path, kind: str, flags: int, data: str = "") -> None:
    """mount(2). Raises OSError."""
    done = _libc.mount(os.fsencode(source), os.fsencode(target), kind.encode(), flags, data.encode())
    _check(done, f"mount of {kind or source}", target)


def change_root(new: Path) -> None:
    """Make `new` the root of this mount namespace, and the old one unreachable."""
    os.chdir(new)
    _check(_libc.pivot_root(b".", b"."), "pivot_root", new)
    _check(_libc.umount2(b".", MNT_DETACH), "umount of the old root", Path("/"))
    os.chdir("/")


def signal_when_parent_dies(number: int) -> None:
    """Have the kernel send this process a signal when its parent is gone."""
    _check(_libc.prctl(_PR_SET_PDEATHSIG, number, 0, 0, 0), "prctl PR_SET_PDEATHSIG")


def hide_from_same_user() -> None:
    """Let no other process of the same user trace this one or read its memory."""
    _check(_libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0), "prctl PR_SET_DUMPABLE")


class _Filter(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_void_p))


def filter_calls(length: int, instructions: int) -> None:
    """Have a program of so many instructions, which lie at that address, judge each system call from now on."""
    _check(_libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "prctl PR_SET_NO_NEW_PRIVS")
    program = _Filter(length, instructions)
    _check(_libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.byref(program), 0, 0), "prctl PR_SET_SECCOMP")


def io_uring_works() -> bool:
    """Whether this process may use io_uring: old kernels lack it, and sites switch it off (io_uring_setup(2))."""
    ring = _libc.syscall(_IO_URING_SETUP, 1, ctypes.create_string_buffer(_IO_URING_PARAMS_SIZE))
    if ring < 0:
        return False
    os.close(ring)
    return True


def begin_writeback(descriptor: int) -> None:
    """Have the kernel begin to write what is new in a file, without waiting for it; a hint, so it never fails."""
    _libc.sync_file_range(descriptor, ctypes.c_int64(0), ctypes.c_int64(0), _SYNC_FILE_RANGE_WRITE)


def _check(result: int, what: str, where: Path | None = None) -> None:
    if result:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}", *([str(where)] if where else []))
