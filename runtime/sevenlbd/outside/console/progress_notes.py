"""How far something long of a session's has come, as notes among its other ones."""

from __future__ import annotations

import time

from ...base import units

_NOTE_SECONDS = 2.0  # what is over at once says nothing


class ProgressNotes:
    """Of one thing, from now on."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._began = self._told_at = 0.0
        self.has_spoken = False
        """Whether it takes so long that anything was said."""

    def told(self, done: int, total: int) -> str:
        """What is to be said now; empty when it is not time."""
        now = time.monotonic()
        self._began = self._began or now
        self._told_at = self._told_at or now
        if now - self._told_at < _NOTE_SECONDS or not done:
            return ""
        self._told_at = now
        self.has_spoken = True
        rate = done / (now - self._began)
        left = units.duration((total - done) / rate)
        return f"{self._what}: {100 * done // max(total, 1)} %, {rate / 2**20:.0f} MiB/s, {left} left"
