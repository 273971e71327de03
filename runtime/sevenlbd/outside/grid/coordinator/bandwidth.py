"""What a machine may move, shared out: each slot has its part, VM or not; what is left fetches images.

A VM's rate is its session's from begin to end (`network_rate`), so the parts are fixed, and never too much in sum.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

_BURST = 0.25  # seconds of the rate that come at once after a pause
_MEGABIT = 125_000  # bytes


def of_vm(rate: int, slots: int) -> int:
    """Mbit/s of one VM; 0 is no limit. `rate` is the machine's, in bytes a second."""
    return max(1, rate // (slots + 1) // _MEGABIT) if rate else 0


def of_images(rate: int, slots: int, running: int) -> int:
    """Bytes a second that fetching may take while so many VMs run; 0 is no limit."""
    return max(1, rate - running * of_vm(rate, slots) * _MEGABIT) if rate else 0


class ChangingRate:
    """A token bucket whose rate follows what else goes on; 0 is no limit."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._rate = 0
        self._paid_until = 0.0
        self._lock = threading.Lock()

    def set(self, rate: int) -> None:
        """From now on."""
        with self._lock:
            self._rate = rate

    def take(self, size: int, over: threading.Event) -> None:
        """Returns when `size` bytes may have been moved, or when it is `over`."""
        with self._lock:
            if not self._rate:
                return
            now = self._clock()
            self._paid_until = max(self._paid_until, now - _BURST) + size / self._rate
            pause = self._paid_until - now
        if pause > 0:
            over.wait(pause)
