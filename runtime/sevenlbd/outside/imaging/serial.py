"""What an installation says of itself: lines `7lbd: ...` on the serial line, told as they come.

The guest writes them, so they are shown and nothing more; only an error that it tells ends it before its time.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from ...base import foreign_files
from ...base.errors import visible
from ...wire.shared_files import SERIAL_LOG

_LINE = re.compile(rb"7lbd: ([^\r\n]+)[\r\n]")
_ERROR = "error:"
_POLL_SECONDS = 0.5  # for people who watch
_LONGEST = 400  # bytes of a line that are shown, and of one that has not ended that are kept; a few lines of a terminal
_MOST_BYTES = 1 << 20  # of one look: the guest decides how much there is
_MOST_LINES = 1000  # a guess: an installation says some dozens


class SerialListener:
    """Reads a session's serial log while it grows."""

    def __init__(self, tell: Callable[[str], None], fail: Callable[[], None]) -> None:
        self._tell, self._fail = tell, fail
        self._over = threading.Event()
        self._thread: threading.Thread | None = None
        self._session = Path()
        self._at, self._rest, self._told = 0, b"", 0
        self.last = ""
        """The last thing that was said."""
        self.error = ""
        """The first error that was told, without the word."""

    def begin(self, session: Path) -> None:
        """Listen to the session in this folder; once."""
        if self._thread is None:
            self._session = session
            self._thread = threading.Thread(target=self._follow, daemon=True)
            self._thread.start()

    def end(self) -> None:
        """Read what is left, and no more."""
        if self._thread is not None:
            self._over.set()
            self._thread.join()
            self._read()

    def _follow(self) -> None:
        while not self._over.wait(_POLL_SECONDS):
            self._read()

    def _read(self) -> None:
        with suppress(OSError), foreign_files.opened(self._session, SERIAL_LOG) as file:
            if os.fstat(file).st_size < self._at:
                self._at = 0  # it grew too long, and was begun anew
            piece = os.pread(file, _MOST_BYTES, self._at)
            self._at += len(piece)
            text = self._rest + piece
            ended = max(text.rfind(b"\n"), text.rfind(b"\r")) + 1
            self._rest = text[ended:][-_LONGEST:]
            for line in _LINE.findall(text[:ended]):
                self._heard(visible(line[:_LONGEST].decode(errors="replace").strip()))

    def _heard(self, line: str) -> None:
        if self._told < _MOST_LINES:
            self._told += 1
            self._tell(line)
        self.last = line
        if line.startswith(_ERROR) and not self.error:
            self.error = line.removeprefix(_ERROR).strip()
            self._fail()
