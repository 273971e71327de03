"""Who is logged in on this node, by logind and utmp together, and for how long nothing was typed.

A session without a terminal counts as used for as long as it is there: nobody can tell from outside when a mouse was
moved. What is asked about is the node, whose tree the site's `7lbd` command shows.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from ..node.node_programs import NODE_ROOT
from . import logind, utmp
from .lending import Person


def node_root() -> Path:
    """Where the node's own file tree is."""
    return NODE_ROOT if (NODE_ROOT / "usr").is_dir() else Path("/")


def people(root: Path) -> list[Person] | None:
    """Everybody who is logged in, once for each register; None when none of these can be asked."""
    known, older = logind.sessions(root), utmp.lines(root)
    if known is None and older is None:
        return None
    return [*_by_logind(root, known or []), *_by_utmp(root, older or [])]


def _by_logind(root: Path, sessions: list[logind.LogindSession]) -> Iterator[Person]:
    for session in sessions:
        is_screen = session.login.kind in logind.GRAPHICAL
        yield session.login if is_screen else _with_idle(root, session.login, session.tty)


def _by_utmp(root: Path, lines: list[utmp.UtmpLine]) -> Iterator[Person]:
    for line in lines:
        yield line.login if line.login.kind == "x11" else _with_idle(root, line.login, line.tty)


def _with_idle(root: Path, login: Person, tty: str) -> Person:
    """A terminal is read when somebody types: what w(1) shows, too."""
    if not tty or ".." in tty:
        return login
    try:
        read = (root / "dev" / tty).stat().st_atime
    except OSError:
        return login
    return replace(login, idle=max(time.time() - read, 0.0))
