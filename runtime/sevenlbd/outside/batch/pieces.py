"""A stream as numbered files on a share: `stdout.0`, `stdout.1`, and so on; an empty one is its end.

A file that grows would be read through two caches that need not agree; a new name is seen whole or not at all. Whoever
reads a piece removes it, and whoever writes waits while too many lie there: so a stream of any length needs a few
megabytes of disk, and a program that writes faster than somebody reads is held up as by a pipe.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from ...base import foreign_files

MAX_PIECE = 1 << 20  # bytes; large enough that the share's round trips do not count
MOST_WAITING = 16  # pieces; a guess: what a busy node needs some tenths of a second for
_PART = ".part"


class PieceWriter:
    """A stream to the guest."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder = folder
        self._name = name
        self._next = 0

    @property
    def full(self) -> bool:
        """Whether the guest has not taken what lies there already. It takes them in turn."""
        oldest = self._next - MOST_WAITING
        return oldest >= 0 and os.path.lexists(self._folder / f"{self._name}.{oldest}")

    def write(self, piece: bytes) -> None:
        """A piece, of MAX_PIECE bytes at most; the empty one ends the stream. Raises OSError.

        The guest may have put anything in the way: it is replaced, and never written through.
        """
        part = self._folder / f"{self._name}.{self._next}{_PART}"
        made = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        with os.fdopen(made, "wb") as file:
            file.write(piece)
        part.rename(self._folder / f"{self._name}.{self._next}")
        self._next += 1


class PieceReader:
    """A stream from the guest, which is believed in nothing: not in names, sizes, kinds of file or its end."""

    def __init__(self, folder: Path, name: str, sink: Callable[[bytes], None]) -> None:
        self._folder = folder
        self._name = name
        self._sink = sink
        self._next = 0
        self.ended = False

    def pump(self) -> bool:
        """Hand on what lies there. Returns whether there was anything. Raises OSError for what is no piece.

        Never more than an honest guest leaves at a time: one that always has more keeps nobody from ending it.
        """
        moved = False
        for _ in range(MOST_WAITING + 1):
            if self.ended:
                break
            name = f"{self._name}.{self._next}"
            try:
                piece = foreign_files.read(self._folder, name, MAX_PIECE)
            except FileNotFoundError:
                break
            moved = True
            # Handed on before it is removed: what nobody could take, as with a full disk, is still on the share.
            self._sink(piece)
            (self._folder / name).unlink(missing_ok=True)
            self._next += 1
            self.ended = not piece
        return moved
