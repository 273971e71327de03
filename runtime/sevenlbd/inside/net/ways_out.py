"""The ways out as the guest finds them: a socket at each server's own address, handed to the relay outside.

`setup` has made the addresses ours. Nothing in here connects anywhere. Source: unix(7), SCM_RIGHTS.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator, Sequence
from itertools import batched

from ...base.addresses import HOST
from ...wire.forwards import FORWARDS, Egress, Forward
from ...wire.private_network import Project

CONNECTOR = "egress"
PROJECT_CLIENT = "127.0.0.4"
"""Where the session's client of a project's network finds its server: a loopback address that no guest packet names."""
# unix(7), SCM_MAX_FD is 253; the relay reads fewer at a time.
_AT_A_TIME = 64
_BACKLOG = 128  # a guess: the relay takes connections as they come


def to_open(egress: Egress, project: Project | None) -> tuple[Forward, ...]:
    """All that the relay is to serve: the guest's, and the one that only the session's own client can reach."""
    return (*egress.doors, *([Forward("project", project.server, project.port)] if project else []))


def hand_over(wire: int, forwards: Sequence[Forward], host: str, warn: Callable[[str], None]) -> None:
    """Open every forward, and send it through `wire`, which is closed then. `host` is where the proxy's is in here."""
    with socket.socket(fileno=wire) as relay:
        try:
            for some in batched(forwards, _AT_A_TIME, strict=False):
                _send(relay, list(_opened(some, host, warn)))
            relay.send(FORWARDS.pack([]))
        except OSError as error:
            warn(f"the ways out cannot be handed to the relay: {error.strerror}")


def _send(relay: socket.socket, opened: Sequence[tuple[Forward, socket.socket]]) -> None:
    try:
        if opened:
            numbers = [ours.fileno() for _, ours in opened]
            socket.send_fds(relay, [FORWARDS.pack([forward for forward, _ in opened])], numbers)
    finally:
        for _, ours in opened:
            ours.close()


def _opened(
    doors: Sequence[Forward], host: str, warn: Callable[[str], None]
) -> Iterator[tuple[Forward, socket.socket]]:
    for forward in doors:
        try:
            yield forward, _socket(forward, _address(forward, host))
        except OSError as error:
            warn(f"{forward.kind}://{forward.address}:{forward.port} cannot be offered to the guest: {error.strerror}")


def _address(forward: Forward, host: str) -> str:
    if forward.kind == "project":
        return PROJECT_CLIENT
    return host if forward.address == HOST else forward.address


def _socket(forward: Forward, address: str) -> socket.socket:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    ours = socket.socket(family, socket.SOCK_DGRAM if forward.kind == "udp" else socket.SOCK_STREAM)
    try:
        ours.bind((address, forward.port))
        if forward.kind != "udp":
            ours.listen(_BACKLOG)
    except OSError:
        ours.close()
        raise
    return ours
