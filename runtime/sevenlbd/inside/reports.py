"""What the supervisor is told by the keeper."""

from __future__ import annotations

import logging
import socket
from contextlib import suppress

from ..wire.codec import MAX_TEXT
from ..wire.keeper import EVENTS, Event, EventKind, GuestAnswer

log = logging.getLogger(__name__)


class Reports:
    """The way out for events. Every part of a session has it."""

    def __init__(self, wire: socket.socket) -> None:
        self._wire = wire

    def tell(self, kind: str, text: str = "", hint: str = "") -> None:
        """An event for the supervisor. Without one there is nobody left to tell."""
        with suppress(OSError):
            self._wire.send(EVENTS.pack(Event(kind, text[:MAX_TEXT], hint)))

    def answer(self, answer: GuestAnswer) -> None:
        """What a program in the guest came to."""
        with suppress(OSError):
            self._wire.send(EVENTS.pack(Event(EventKind.ANSWER, answer=answer)))

    def warn(self, text: str) -> None:
        """A warning for the supervisor, and for our own log."""
        log.warning("%s", text)
        self.tell(EventKind.WARNING, text)
