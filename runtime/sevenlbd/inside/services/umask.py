"""Runs a program under a umask it cannot change: `python3 -I -m sevenlbd.inside.services.umask 027 PROGRAM WORD...`

smbd sets its own to 0 (source3/smbd/server.c) and computes modes itself. That is not what happens on the node: there
the kernel applies the umask, but not in a folder with default entries in its access list, which stand in its place
(acl(5)). So smbd asks for all bits, and the kernel decides: umask(2) says that it has done what it was told, and does
nothing. Source: seccomp(2).
"""

from __future__ import annotations

import ctypes
import os
import struct
import sys
from collections.abc import Sequence

from ...base import syscalls
from ...base.process import python

_UMASK, _AUDIT_ARCH_X86_64 = 95, 0xC000003E  # <asm/unistd_64.h>, <linux/audit.h>
_ALLOW, _ERRNO_0 = 0x7FFF0000, 0x00050000  # <linux/seccomp.h>
_LOAD, _JUMP_IF_EQUAL, _RETURN = 0x20, 0x15, 0x06  # <linux/bpf_common.h>: BPF_LD | BPF_ABS, BPF_JMP | BPF_JEQ, BPF_RET
_NUMBER, _ARCHITECTURE = 0, 4
"""Where both stand in struct seccomp_data."""

# Each instruction: what, jump if true, jump if not, its value (struct sock_filter).
_FILTER = (
    (_LOAD, 0, 0, _ARCHITECTURE),
    (_JUMP_IF_EQUAL, 0, 3, _AUDIT_ARCH_X86_64),
    (_LOAD, 0, 0, _NUMBER),
    (_JUMP_IF_EQUAL, 0, 1, _UMASK),
    (_RETURN, 0, 0, _ERRNO_0),
    (_RETURN, 0, 0, _ALLOW),
)


def under(umask: int, command: Sequence[str]) -> list[str]:
    """How to run `command` like that."""
    return python("sevenlbd.inside.services.umask", f"{umask:03o}", *command)


def keep() -> None:
    """From here on this process and its children have the umask that it has now. Raises OSError."""
    program = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *instruction) for instruction in _FILTER))
    syscalls.filter_calls(len(_FILTER), ctypes.addressof(program))


if __name__ == "__main__":
    os.umask(int(sys.argv[1], 8))
    keep()
    os.execv(sys.argv[2], sys.argv[2:])
