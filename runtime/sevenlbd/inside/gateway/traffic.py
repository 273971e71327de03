"""Counts of connections and bytes of one connector."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass
class Traffic:
    """Since the gateway's start. `down` is from the guest to the user, `up` the other way, in bytes."""

    opened: int = 0
    now: int = 0
    down: int = 0
    up: int = 0

    @contextmanager
    def connection(self) -> Iterator[None]:
        """One more, until the block is left."""
        self.opened += 1
        self.now += 1
        try:
            yield
        finally:
            self.now -= 1
