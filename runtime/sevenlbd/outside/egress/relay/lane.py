"""One direction of a UDP flow: it takes its turn at the bucket as TCP does, with a few datagrams in hand."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from .quotas import Bucket

# As much as the largest datagram, or a burst of usual ones: what is more is dropped, as a network does.
_MOST_WAITING = 64 * 1024


class Lane:
    """Datagrams on their way to `send`. Shut until `open`: the first ones wait for the socket that they go out by."""

    def __init__(self, rate: Bucket, send: Callable[[bytes], None]) -> None:
        self._rate, self._send = rate, send
        self._waiting: deque[bytes] = deque()
        self._bytes = self._credit = 0
        self._shut = True
        self._in_line = self._over = False

    def open(self) -> None:
        """Let go what waits."""
        self._shut = False
        self._go()

    def close(self) -> None:
        """Nothing more goes."""
        self._over = True
        self._waiting.clear()
        self._rate.give_back(self._credit)
        self._credit = 0

    def offer(self, data: bytes) -> bool:
        """Send it now or soon; False when it is dropped."""
        if self._waiting and self._bytes + len(data) > _MOST_WAITING:
            return False
        self._waiting.append(data)
        self._bytes += len(data)
        if not self._shut:
            self._go()
        return True

    def _go(self) -> None:
        while self._waiting and not self._over:
            size = len(self._waiting[0])
            if self._credit >= size:
                self._credit -= size
            elif self._in_line or not self._rate.spend(size):
                break
            self._bytes -= size
            self._send(self._waiting.popleft())
        if self._waiting and not self._in_line and not self._over:
            self._in_line = True
            self._rate.wait(self._turn)
        elif not self._waiting:
            self._rate.give_back(self._credit)
            self._credit = 0

    def _turn(self) -> None:
        self._in_line = False
        if not self._over:
            self._credit += self._rate.share()
            self._go()
