"""The ways out as the guest finds them: a socket at each server's own address, handed to the relay outside.

`setup` has made the addresses ours. Nothing in here connects anywhere. Source: unix(7), SCM_RIGHTS.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator, Sequence
from itertools import batched

from ...base.addresses import HOST
from ...wire import messages
from ...wire.messages import Door, Egress

CONNECTOR = "egress"
# unix(7), SCM_MAX_FD is 253; the relay reads fewer at a time.
_AT_A_TIME = 64
_BACKLOG = 128


def hand_over(wire: int, egress: Egress, host: str, warn: Callable[[str], None]) -> None:
    """Open every door and send it through `wire`, which is closed then. `host` is where the proxy's door is in here."""
    with socket.socket(fileno=wire) as relay:
        try:
            for some in batched(egress.doors, _AT_A_TIME, strict=False):
                _send(relay, list(_opened(some, host, warn)))
            relay.send(messages.pack_doors([]))
        except OSError as error:
            warn(f"the ways out cannot be handed to the relay: {error.strerror}")


def _send(relay: socket.socket, opened: Sequence[tuple[Door, socket.socket]]) -> None:
    try:
        if opened:
            numbers = [ours.fileno() for _, ours in opened]
            socket.send_fds(relay, [messages.pack_doors([door for door, _ in opened])], numbers)
    finally:
        for _, ours in opened:
            ours.close()


def _opened(doors: Sequence[Door], host: str, warn: Callable[[str], None]) -> Iterator[tuple[Door, socket.socket]]:
    for door in doors:
        try:
            yield door, _socket(door, host if door.address == HOST else door.address)
        except OSError as error:
            warn(f"{door.kind}://{door.address}:{door.port} cannot be offered to the guest: {error.strerror}")


def _socket(door: Door, address: str) -> socket.socket:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    ours = socket.socket(family, socket.SOCK_DGRAM if door.kind == "udp" else socket.SOCK_STREAM)
    try:
        ours.bind((address, door.port))
        if door.kind != "udp":
            ours.listen(_BACKLOG)
    except OSError:
        ours.close()
        raise
    return ours
