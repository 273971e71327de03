"""Why there is no connection, and which limit was met: the words that the processes of the ways out share."""

from __future__ import annotations

NO_ANSWER = "no name server answered"
TOO_MANY = "too many names are being looked up that nobody answers for"
BUSY = "too many at once"
GONE = "the part that makes connections is gone"
OURS = frozenset({BUSY, GONE, TOO_MANY})
"""Of these no server knows anything."""
CONNECTIONS, FLOWS, PACE, RATE, NAMES = "connections", "flows", "pace", "rate", "names"
"""Limits that a guest can meet, as the relay tells the supervisor."""


def is_silence(why: str) -> bool:
    """Whether it is a name server that did not answer, and not one that said no."""
    return why.startswith(NO_ANSWER)
