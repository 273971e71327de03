"""The connection to QEMU's monitor: made and left, whatever QEMU says, even one that a guest has taken over."""

from __future__ import annotations

import socket
from contextlib import suppress

from qemu.qmp import QMPClient, QMPError, Runstate


class NoAnswer(Exception):
    """QEMU is gone, or greets as no QEMU does."""


def client(name: str) -> QMPClient:
    """A client that keeps no event but for who listens to it.

    The library's own listener takes all, for the program's life, and nobody reads it: each look at the screen is three
    events, and a guest makes others as it likes.
    """
    qmp = QMPClient(name)
    qmp.events.event_filter = _none
    return qmp


def _none(_: object) -> bool:
    return False


async def connect(qmp: QMPClient, wire: socket.socket) -> None:
    """Greet. Raises NoAnswer; the library also asserts that who has just greeted it is still there."""
    try:
        await qmp.connect(wire)
    except (QMPError, AssertionError) as error:
        raise NoAnswer(str(error)) from error


async def gone(qmp: QMPClient) -> None:
    """Wait until the connection has broken; who listens for an event is not told of that by the library."""
    while qmp.runstate is Runstate.RUNNING:
        await qmp.runstate_changed()


async def hang_up(qmp: QMPClient) -> None:
    """Leave. What the library met while it read comes up only here: bytes that are no text are a ValueError."""
    with suppress(QMPError, EOFError, OSError, ValueError):
        await qmp.disconnect()
