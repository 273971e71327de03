"""Where a command's output goes: to our own as it is, or as JSON lines in which nothing of it can pass for ours."""

from __future__ import annotations

import base64
import json
import os
from typing import Protocol

from .verdict import JobEnd


class Sinks(Protocol):
    """What hears a command. Each raises OSError when nobody takes it."""

    def out(self, piece: bytes) -> None:
        """It has printed this."""

    def err(self, piece: bytes) -> None:
        """The same to its standard error."""

    def ended(self, end: JobEnd) -> None:
        """It is over."""


class Raw:
    """Our standard output and error, byte by byte."""

    def out(self, piece: bytes) -> None:
        _write(1, piece)

    def err(self, piece: bytes) -> None:
        _write(2, piece)

    def ended(self, end: JobEnd) -> None:
        if not end.own:
            _write(2, f"7lbd: {end.said}\n".encode())


class Json:
    """One object a line, on standard output."""

    def out(self, piece: bytes) -> None:
        self._stream("stdout", piece)

    def err(self, piece: bytes) -> None:
        self._stream("stderr", piece)

    def ended(self, end: JobEnd) -> None:
        _write(1, json.dumps(end.event()).encode() + b"\n")

    @staticmethod
    def _stream(name: str, piece: bytes) -> None:
        if piece:
            said = {"event": name, "base64": base64.b64encode(piece).decode()}
            _write(1, json.dumps(said).encode() + b"\n")


def _write(descriptor: int, piece: bytes) -> None:
    """All of it; a reader that is slow holds up the command, as a pipe would."""
    left = memoryview(piece)
    while left:
        left = left[os.write(descriptor, left) :]
