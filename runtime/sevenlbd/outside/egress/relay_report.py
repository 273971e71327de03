"""What the relay says of itself, taken with care: it is the one that a guest's bytes came to."""

from __future__ import annotations

import json
from collections import deque
from dataclasses import dataclass

from ...base import units
from ...base.errors import visible

_MOST_DOWN = 16  # the relay tells no more (relay/health.py)
_MOST_TEXT = 200  # characters; a host, a port and why
_MOST_WARNINGS = 4  # the last ones; more in a row are the doing of a guest, or of a relay that was taken over


@dataclass(frozen=True)
class Summary:
    """What went out and came in, all in all. Bytes of payload."""

    connections: int
    refused: int
    up: int
    down: int

    def spelled(self) -> str:
        """For people."""
        if not self.connections and not self.refused:
            return "the guest used none of its ways out"
        refused = f", {self.refused} refused or failed" if self.refused else ""
        sizes = f"{units.size(self.up)} out, {units.size(self.down)} in"
        some = f"{self.connections} connection{'' if self.connections == 1 else 's'}"
        return f"the guest's ways out: {some}{refused}, {sizes}"


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
        try:
            said = json.loads(line)
        except (ValueError, RecursionError):
            return
        match said:
            case {"trouble": str(text)}:
                self.trouble = _harmless(text)
            case {"warning": str(text)}:
                self.warnings.append(_harmless(text))
            case {"beat": {"met": list(met), "down": list(down)}}:
                self.beats += 1
                self.met = frozenset(name for name in met if isinstance(name, str))
                self.down = tuple(_harmless(text) for text in down[:_MOST_DOWN] if isinstance(text, str))
            case dict():
                self.summary = _summary(said) or self.summary


def _harmless(text: str) -> str:
    return visible(text[:_MOST_TEXT])


def _summary(said: dict[str, object]) -> Summary | None:
    counts = {key: value for key, value in said.items() if type(value) is int}
    return Summary(**counts) if counts.keys() == said.keys() == Summary.__dataclass_fields__.keys() else None
