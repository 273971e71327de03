"""Our standard output and error, written to by threads of their own.

Whoever reads them may stall for as long as he likes: that holds up the command, as a pipe would, and nothing else.
Signals, time limits and the session's own events are heard meanwhile.
"""

from __future__ import annotations

import os
import queue
import select
import threading
import time
from collections.abc import Callable
from functools import cache

_POLL = 0.02  # seconds


class Outlet:
    """A descriptor of ours that somebody reads, or not."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._pieces: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._waiting = 0
        self._thread: threading.Thread | None = None
        self._failed: OSError | None = None

    def put(self, piece: bytes) -> None:
        """Have this written in its turn. Waits for nobody. Raises OSError when an earlier one could not be written."""
        with self._lock:
            self._check()
            self._waiting += len(piece)
            self._pieces.put(piece)
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, daemon=True)
                self._thread.start()

    def waiting(self) -> int:
        """Bytes that nobody has taken yet. Raises OSError when nobody will."""
        with self._lock:
            self._check()
            return self._waiting

    def _check(self) -> None:
        if self._failed is not None:
            raise OSError(self._failed.errno, self._failed.strerror)

    def _work(self) -> None:
        """The thread's whole life."""
        try:
            while True:
                piece = self._pieces.get()
                write(self._descriptor, piece)
                with self._lock:
                    self._waiting -= len(piece)
        except OSError as error:
            self._failed = error


@cache
def of(descriptor: int) -> Outlet:
    """Of our standard output, 1, or error, 2: the same one when both go to the same place, so that order is kept."""
    if descriptor == 2 and os.path.sameopenfile(1, 2):
        return of(1)
    return Outlet(descriptor)


def flush(is_over: Callable[[], bool] = lambda: False) -> None:
    """Wait until all of it is taken, or cannot be, or it `is_over`."""
    for outlet in {of(1), of(2)}:
        try:
            while outlet.waiting() and not is_over():
                time.sleep(_POLL)
        except OSError:
            continue


def patience(seconds: float) -> Callable[[], bool]:
    """Over after so long."""
    until = time.monotonic() + seconds
    return lambda: time.monotonic() > until


def write(descriptor: int, piece: bytes) -> None:
    """All of it, however long that takes: also where somebody who shares the pipe has told it never to wait."""
    left = memoryview(piece)
    while left:
        try:
            left = left[os.write(descriptor, left) :]
        except BlockingIOError:
            select.select([], [descriptor], [])
