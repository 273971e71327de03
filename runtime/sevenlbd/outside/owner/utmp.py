"""The older register of who is logged in, utmp(5): where there is no logind, and whoever it does not see.

Some systems let users write lines of their own (utempter). Whoever makes one up is counted, and so keeps borrowed work
off the machine; nobody is taken away by it whom logind knows.
"""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ...base import foreign_files
from .lending import Person

PLACES = (Path("run/utmp"), Path("var/run/utmp"))
# utmp(5) as it is on x86-64: type, pid, line, id, user, host, exit status, session, seconds, and what is not looked at.
RECORD = struct.Struct("=h2xi32s4s32s256s4xi2i16x20x")
USER_PROCESS = 7  # <utmp.h>
_MOST = 4 << 20  # bytes; ten thousand log-ins
_FIRST_NAMESPACE = "pid:[4026531836]"  # <linux/proc_ns.h>, PROC_PID_INIT_INO
# Windows of tmux and screen, which stay when their user has left; the log-in that they were opened from is told apart.
_MULTIPLEXERS = re.compile(r"tmux\(\d+\).*|.*:S\.\d+")


@dataclass(frozen=True)
class UtmpLine:
    """One line that tells of somebody. `tty` is below /dev."""

    login: Person
    tty: str


def lines(root: Path) -> list[UtmpLine] | None:
    """Who is logged in; None where there is no such register, or none that can be read."""
    for place in PLACES:
        path = root / place
        try:
            content = foreign_files.read(path.parent, path.name, _MOST)
        except OSError:
            continue
        return list(_people(content))
    return None


def _people(content: bytes) -> Iterator[UtmpLine]:
    sees_all = _sees_all_processes()
    whole = len(content) - len(content) % RECORD.size
    for kind, pid, line, _id, user, host, _session, seconds, _micro in RECORD.iter_unpack(content[:whole]):
        name, tty, where = _text(user), _text(line), _text(host)
        if kind != USER_PROCESS or not name or _MULTIPLEXERS.fullmatch(where):
            continue
        if sees_all and pid > 0 and _is_gone(pid):
            continue  # it was killed, and nobody took the line away
        yield UtmpLine(Person(name, float(max(seconds, 0)), _kind(tty, where)), tty)


def _is_gone(pid: int) -> bool:
    """By a signal that is none (kill(2)): a /proc with hidepid shows nobody else's processes."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False


def _kind(tty: str, host: str) -> str:
    if tty.startswith(":") or host.startswith(":"):
        return "x11"
    return "ssh" if host else "tty"


def _sees_all_processes() -> bool:
    """Whether a process that is not there is really gone, and not only in another namespace."""
    try:
        return str(Path("/proc/self/ns/pid").readlink()) == _FIRST_NAMESPACE
    except OSError:
        return False


def _text(field: bytes) -> str:
    return field.partition(b"\0")[0].decode(errors="replace")
