"""How messages are carried: SOCK_SEQPACKET socketpairs, one message a packet (unix(7)): none is split or joined."""

from __future__ import annotations

import socket

# The plan is the longest, for the session's certificates (tls.MOST).
MAX_MESSAGE = 128 * 1024


def pair() -> tuple[socket.socket, socket.socket]:
    """The two ends of a wire."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    for end in (ours, theirs):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2 * MAX_MESSAGE)
    return ours, theirs
