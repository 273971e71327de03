"""How fast images leave: a rate for all machines together and one for each, and how many pieces at a time.

Who waits is served in turn, a bit each, so that a thousand machines which want one image all get on.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

_BURST = 0.25  # seconds of its rate that one which was not asked for a while gives at once
_MOST_STREAMS = 96  # pieces on their way at a time, a buffer of 256 KiB each; a guess
_MOST_OF_ONE = 4  # those of one machine; a guess: more is no faster
BUSY_SECONDS = 20
"""When a machine that finds no place shall come again; its own dice say how much later."""


class NoPlace(Exception):
    """As many pieces as may be are on their way."""


class Pacer:
    """A token bucket for many who wait: bytes a second; 0 is no limit."""

    def __init__(self, rate: int) -> None:
        self._rate = rate
        self._paid_until = 0.0

    async def take(self, size: int) -> None:
        """Returns when `size` bytes may be moved."""
        if not self._rate:
            return
        now = time.monotonic()
        self._paid_until = max(self._paid_until, now - _BURST) + size / self._rate
        if self._paid_until > now:
            await asyncio.sleep(self._paid_until - now)


class Throttle:
    """All that leaves."""

    def __init__(self, rate: int = 0, rate_of_one: int = 0) -> None:
        self._all, self._rate_of_one = Pacer(rate), rate_of_one
        self._each: dict[str, Pacer] = {}
        self._streams = Counter[str]()
        self.sent = 0
        """Bytes so far."""

    @property
    def streams(self) -> int:
        """Pieces on their way."""
        return self._streams.total()

    @contextmanager
    def stream(self, machine: str) -> Iterator[None]:
        """A place for one piece. Raises NoPlace."""
        if self._streams.total() >= _MOST_STREAMS or self._streams[machine] >= _MOST_OF_ONE:
            raise NoPlace
        self._streams[machine] += 1
        try:
            yield
        finally:
            self._streams[machine] -= 1
            if not self._streams[machine]:
                del self._streams[machine]

    async def take(self, machine: str, size: int) -> None:
        """Returns when this machine may be sent so many bytes."""
        if self._rate_of_one:
            await self._each.setdefault(machine, Pacer(self._rate_of_one)).take(size)
        await self._all.take(size)
        self.sent += size
