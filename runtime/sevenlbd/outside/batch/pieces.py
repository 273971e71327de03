"""A stream as numbered files on a share: `stdout.0`, `stdout.1`, and so on; an empty one is its end.

A file that grows would be read through two caches that need not agree; a new name is seen whole or not at all. Whoever
reads a piece removes it, and whoever writes waits while too many lie there: so a stream of any length needs a few
megabytes of disk, and a program that writes faster than somebody reads is held up as by a pipe.
"""

from __future__ import annotations

from collections.abc import Callable

from ..folders.job_folder import JobFolder

MAX_PIECE = 1 << 20  # bytes; large enough that the share's round trips do not count
MOST_WAITING = 16  # pieces; a guess: what a busy node needs some tenths of a second for
_MOST_HELD = 4 * MAX_PIECE  # a guess: enough for the reader to be busy until we look again
_PART = ".part"


class PieceWriter:
    """A stream to the guest."""

    def __init__(self, folder: JobFolder, name: str) -> None:
        self._folder = folder
        self._name = name
        self._next = 0

    @property
    def full(self) -> bool:
        """Whether the guest has not taken what lies there already. It takes them in turn."""
        oldest = self._next - MOST_WAITING
        return oldest >= 0 and self._folder.has(f"{self._name}.{oldest}")

    @property
    def is_taken(self) -> bool:
        """Whether the guest has taken all that was written."""
        return self._next == 0 or not self._folder.has(f"{self._name}.{self._next - 1}")

    def write(self, piece: bytes) -> None:
        """A piece, of MAX_PIECE bytes at most; the empty one ends the stream. Raises OSError.

        The guest may have put anything in the way: it is replaced, and never written through.
        """
        name = f"{self._name}.{self._next}"
        self._folder.put_in_turn(name, f"{name}{_PART}", piece)
        self._next += 1


class PieceReader:
    """A stream from the guest, which is believed in nothing: not in names, sizes, kinds of file or its end."""

    def __init__(
        self, folder: JobFolder, name: str, sink: Callable[[bytes], None], waiting: Callable[[], int] = lambda: 0
    ) -> None:
        """`waiting` says how many bytes the sink holds that nobody has taken."""
        self._folder = folder
        self._name = name
        self._sink = sink
        self.waiting = waiting
        self._next = 0
        self.ended = False

    def pump(self) -> int:
        """Hand on what lies there, while it is taken. Returns how many pieces. Raises OSError for what is no piece.

        Never more than an honest guest leaves at a time: one that always has more keeps nobody from ending it.
        """
        moved = 0
        while moved <= MOST_WAITING and not self.ended and self.waiting() < _MOST_HELD:
            name = f"{self._name}.{self._next}"
            try:
                piece = self._folder.read(name, MAX_PIECE)
            except FileNotFoundError:
                break
            moved += 1
            self._sink(piece)
            self._folder.remove(name)
            self._next += 1
            self.ended = not piece
        return moved
