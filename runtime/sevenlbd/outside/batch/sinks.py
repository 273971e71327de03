"""Where a command's output goes: to our own as it is, or as JSON lines in which nothing of it can pass for ours."""

from __future__ import annotations

import base64
import json
import os
import threading
from contextlib import suppress
from typing import Protocol

from ...base.errors import Refusal, visible
from .verdict import CommandEnd, OwnCode


class Sinks(Protocol):
    """What hears a command. Each raises OSError when nobody takes it."""

    def out(self, piece: bytes) -> None:
        """It has printed this."""

    def err(self, piece: bytes) -> None:
        """The same to its standard error."""

    def ended(self, end: CommandEnd) -> None:
        """It is over."""

    def tell(self, text: str) -> None:
        """A line for people."""

    def event(self, name: str, fields: dict[str, object]) -> None:
        """Something for programs."""


class Raw:
    """Our standard output and error, byte by byte."""

    def out(self, piece: bytes) -> None:
        write(1, piece)

    def err(self, piece: bytes) -> None:
        write(2, piece)

    def ended(self, end: CommandEnd) -> None:
        if not end.own:
            self.tell(end.said)

    def tell(self, text: str) -> None:
        with suppress(OSError):
            write(2, f"7lbd: {visible(text)}\n".encode())

    def event(self, name: str, fields: dict[str, object]) -> None:
        pass


class Json:
    """One object a line, on standard output."""

    def out(self, piece: bytes) -> None:
        self._stream("stdout", piece)

    def err(self, piece: bytes) -> None:
        self._stream("stderr", piece)

    def ended(self, end: CommandEnd) -> None:
        _write_line(end.event())

    def tell(self, text: str) -> None:
        pass

    def event(self, name: str, fields: dict[str, object]) -> None:
        with suppress(OSError):
            _write_line({"event": name, **fields})

    def refused(self, refusal: Refusal) -> None:
        """There was no machine."""
        self.event("refused", {"what": refusal.what, "hint": refusal.hint, "code": int(OwnCode.FAILED)})

    @staticmethod
    def _stream(name: str, piece: bytes) -> None:
        if piece:
            _write_line({"event": name, "base64": base64.b64encode(piece).decode()})


_turn = threading.Lock()


def _write_line(said: dict[str, object]) -> None:
    """Whole, though a session's events come from another thread than its command's."""
    with _turn:
        write(1, json.dumps(said).encode() + b"\n")


def write(descriptor: int, piece: bytes) -> None:
    """All of it; a reader that is slow holds up the command, as a pipe would."""
    left = memoryview(piece)
    while left:
        left = left[os.write(descriptor, left) :]
