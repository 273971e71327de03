"""What the relay says of itself, taken with care: it is the one that a guest's bytes came to."""

from __future__ import annotations

from collections import deque

from ...base.errors import visible
from .relay.lines import LINES, Beat, Caution, Summary, Trouble

_MOST_DOWN = 16  # the relay tells no more (relay/health.py)
_MOST_TEXT = 200  # characters; a host, a port and why
_MOST_WARNINGS = 4  # the last ones; more in a row are the doing of a guest, or of a relay that was taken over


class Reported:
    """Filled line by line. All texts are harmless for a terminal, and few."""

    def __init__(self) -> None:
        self.beats = 0
        self.met: frozenset[str] = frozenset()
        self.down: tuple[str, ...] = ()
        self.trouble = ""
        self.warnings: deque[str] = deque(maxlen=_MOST_WARNINGS)
        """Not told yet."""
        self.summary: Summary | None = None

    def hear(self, line: bytes) -> None:
        """One line, whatever is in it."""
        match LINES.unpack_or_none(line):
            case Trouble(text):
                self.trouble = _harmless(text)
            case Caution(text):
                self.warnings.append(_harmless(text))
            case Beat(met, down):
                self.beats += 1
                self.met = frozenset(met)
                self.down = tuple(map(_harmless, down[:_MOST_DOWN]))
            case Summary() as summary:
                self.summary = summary


def _harmless(text: str) -> str:
    return visible(text[:_MOST_TEXT])
