"""Where a command's output goes: to our own as it is, or as JSON lines in which nothing of it can pass for ours."""

from __future__ import annotations

import base64
import json
from contextlib import suppress
from typing import Protocol

from ...base.errors import Refusal, visible
from . import outlet
from .verdict import CommandEnd, OwnCode


class Sinks(Protocol):
    """What hears a command. None of them waits for whoever reads; each raises OSError when nobody takes it."""

    def out(self, piece: bytes) -> None:
        """It has printed this."""

    def err(self, piece: bytes) -> None:
        """The same to its standard error."""

    def waiting(self, stream: str) -> int:
        """Bytes of `stdout` or `stderr` that nobody has taken yet."""

    def ended(self, end: CommandEnd) -> None:
        """It is over."""

    def tell(self, text: str) -> None:
        """A line for people."""

    def event(self, name: str, fields: dict[str, object]) -> None:
        """Something for programs."""


class Raw:
    """Our standard output and error, byte by byte."""

    def out(self, piece: bytes) -> None:
        outlet.of(1).put(piece)

    def err(self, piece: bytes) -> None:
        outlet.of(2).put(piece)

    def waiting(self, stream: str) -> int:
        return outlet.of(1 if stream == "stdout" else 2).waiting()

    def ended(self, end: CommandEnd) -> None:
        if not end.own:
            self.tell(end.said)

    def tell(self, text: str) -> None:
        with suppress(OSError):
            outlet.of(2).put(f"7lbd: {visible(text)}\n".encode())

    def event(self, name: str, fields: dict[str, object]) -> None:
        pass


class Json:
    """One object a line, on standard output."""

    def out(self, piece: bytes) -> None:
        self._stream("stdout", piece)

    def err(self, piece: bytes) -> None:
        self._stream("stderr", piece)

    def waiting(self, stream: str) -> int:
        return outlet.of(1).waiting()

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
        outlet.flush()

    @staticmethod
    def _stream(name: str, piece: bytes) -> None:
        if piece:
            _write_line({"event": name, "base64": base64.b64encode(piece).decode()})


def _write_line(said: dict[str, object]) -> None:
    """Whole, though a session's events come from another thread than its command's."""
    outlet.of(1).put(json.dumps(said).encode() + b"\n")
