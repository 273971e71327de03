"""Whether a session is in its project's network, and since when: what the keeper tells, in the session's state."""

from __future__ import annotations

import ipaddress
import time

from ...base.errors import visible
from ...wire.private_network import DOWN, UP
from ...wire.state import SessionState

_MOST = 200  # characters of a reason; a guess: a line of a terminal or two


def hear(state: SessionState, text: str) -> None:
    """Take the keeper's word: `up ADDRESS` or `down REASON`. Whatever else it is, is no word; it may be hostile."""
    word, _, rest = text.partition(" ")
    if not state.project or word not in (UP, DOWN):
        return
    if word == UP:
        try:
            rest = str(ipaddress.IPv4Address(rest))
        except ValueError:
            return
    was_up = bool(state.project_address)
    state.project_address = rest if word == UP else ""
    state.project_trouble = visible(rest, _MOST) if word == DOWN else ""
    if (word == UP) != was_up or not state.project_since:
        state.project_since = time.time()


def spelled(state: SessionState) -> str:
    """For people."""
    since = f" since {time.strftime('%H:%M', time.localtime(state.project_since))}" if state.project_since else ""
    if state.project_address:
        return f"{state.project}: up{since}, as {state.project_address}"
    return f"{state.project}: {f'DOWN{since}' if since else 'not up yet'}" + (
        f": {state.project_trouble}" if state.project_trouble else ""
    )
