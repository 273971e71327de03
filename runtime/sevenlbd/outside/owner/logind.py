"""Sessions of systemd-logind: the files that sd-login(3) of libsystemd itself reads, one for each session.

They tell of ssh, X, Wayland and consoles alike. A greeter's log-in screen is a session, too, and so are a user's
service manager and his cron jobs: these are nobody who sits there. One that is closing is of somebody who has left.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ...base import foreign_files
from .lending import Person

FOLDER = Path("run/systemd/sessions")
_MOST = 64 << 10  # bytes of a session's file, which has some hundred
# pam_systemd(8), class=. What is not known here is counted as a person: a mistake is not to be the owner's.
_NOBODY = ("greeter", "lock-screen", "background", "manager", "none")
GRAPHICAL = frozenset({"x11", "wayland", "mir", "web"})
_NAMELESS = "somebody"


@dataclass(frozen=True)
class LogindSession:
    """One that somebody uses. `tty` is below /dev; empty for none."""

    id: str
    login: Person
    tty: str


def sessions(root: Path) -> list[LogindSession] | None:
    """The sessions of people; None where there is no logind to ask, or its answer is kept from us."""
    folder = root / FOLDER
    try:
        names = sorted(path.name for path in folder.iterdir())
    except OSError:
        return None
    return [session for name in names if "." not in name for session in _session(folder, name)]


def _session(folder: Path, name: str) -> Iterator[LogindSession]:
    try:
        text = foreign_files.read(folder, name, _MOST).decode(errors="replace")
    except OSError as error:
        if error.errno != errno.ENOENT:  # somebody has logged out meanwhile
            yield LogindSession(name, Person(_NAMELESS), "")
        return
    values = dict(line.partition("=")[::2] for line in text.splitlines() if not line.startswith("#"))
    left = values.get("STATE") == "closing" or values.get("STOPPING") in ("1", "yes")
    if not left and not values.get("CLASS", "").startswith(_NOBODY):
        yield LogindSession(name, _login(values), values.get("TTY", ""))


def _login(values: dict[str, str]) -> Person:
    kind = values.get("TYPE", "")
    if values.get("SERVICE") == "sshd":
        kind = "ssh"
    since = 0.0
    with suppress(ValueError):
        since = int(values.get("REALTIME", "")) / 1e6  # microseconds
    uid = values.get("UID", "")
    return Person(values.get("USER") or uid or _NAMELESS, max(since, 0.0), kind, uid=uid)
