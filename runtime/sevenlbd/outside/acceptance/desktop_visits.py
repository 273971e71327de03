"""Visits to the desktop by the page's own client, through the session's own socket, each in a process of its own."""

from __future__ import annotations

import json

from ...base import process
from ..folders import session_folders
from .criteria.evidence import SessionRecord
from .criteria.observations import Visited
from .examined_session import ExaminedSession

_SOCKET, _URL = "web.sock", "http://localhost/"
# Seconds for a desktop: Windows makes a profile in one or two minutes where it has none, and is done with it then.
_FIRST_PATIENCE, _QUICK_PATIENCE, _PATIENCE = 300.0, 90.0, 60.0
_LATE = 90.0  # seconds beside: the log-in, the moving, the leave-taking
_MOVE, _MOVE_NOT = 5.0, 0.0  # seconds
_WRONG = "not-the-password-of-this-session"


class DesktopVisits:
    """Two log-ons with the right password, one with a wrong one, and one more with the right one."""

    name = "desktop"
    quick = True

    def gather(self, session: ExaminedSession, record: SessionRecord) -> None:
        """Into `more`: `desktop.first`, `.second`, `.wrong`, `.after`."""
        wishes = {
            "first": ("", _MOVE),
            "second": ("", _MOVE_NOT),
            "wrong": (_WRONG, _MOVE_NOT),
            "after": ("", _MOVE_NOT),
        }
        patience = _QUICK_PATIENCE if session.quick else _FIRST_PATIENCE
        for which, (password, move) in wishes.items():
            record.more[f"desktop.{which}"] = visited(session, password, move, patience)
            patience = _PATIENCE


def visited(session: ExaminedSession, password: str, move: float, patience: float) -> Visited:
    """One visit. What it cannot do is told as what was found."""
    try:
        secrets = json.loads((session.folder / session_folders.CREDENTIALS).read_bytes())
        request = {
            "url": _URL,
            "socket": str(session.folder / _SOCKET),
            "token": secrets["tokens"]["desktop"],
            "password": password,
            "seconds": patience,
            "move_seconds": move,
        }
        client = process.python("sevenlbd.outside.rdp_client")
        done = process.run(client, stdin=json.dumps(request), seconds=patience + _LATE)
        told = json.loads(done.printed) if done.code == 0 else {}
    except (OSError, ValueError, LookupError) as error:
        return Visited(failure=f"the client could not be run: {error}")
    if not isinstance(told, dict) or not told:
        return Visited(failure=f"the client ended with {done.code}: {done.said.splitlines()[-1] if done.said else ''}")
    return Visited(told)
