"""The client's bundle for RDP over mutual TLS, between the supervisor, who gives it once, and whoever asks for it here.

It is lost with this process, and with an answer that was already written to a peer who has gone. What comes when nobody
waits any more is kept, in memory, for the next who may have it, until the locks that it opens are renewed.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

_SECONDS = 5.0  # the supervisor only reads a file; its node may be busy


class Voided(Exception):
    """The locks were renewed while somebody waited who came in by the old ones, or the session has ended."""


class ClientBundle:
    """One per gate."""

    def __init__(self, ask: Callable[[], None]) -> None:
        """`ask` has the supervisor give it; each time is answered once, in order."""
        self._ask = ask
        self._waiting: deque[asyncio.Future[bytes]] = deque()
        self._kept = b""
        self._voided = 0

    def give(self, packed: bytes) -> None:
        """For whoever asked first, else whoever asks next; empty when it was taken before."""
        while self._waiting:
            waiting = self._waiting.popleft()
            if not waiting.done():
                waiting.set_result(packed)
                return
        self._kept = packed or self._kept

    def void(self) -> None:
        """What has come so far opens nothing any more, and who waits may have nothing that comes from now on."""
        self._kept = b""
        self._voided += 1
        while self._waiting:
            waiting = self._waiting.popleft()
            if not waiting.done():
                waiting.set_exception(Voided())

    async def take(self) -> bytes:
        """The bundle; empty when it was taken before. Whoever cannot pass it on gives it back.

        Raises TimeoutError and Voided.
        """
        if self._kept:
            packed, self._kept = self._kept, b""
            return packed
        voided = self._voided
        coming: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._waiting.append(coming)
        self._ask()
        try:
            async with asyncio.timeout(_SECONDS):
                packed = await coming
        except (TimeoutError, asyncio.CancelledError):
            # It may have come in the same moment.
            if coming.done() and not coming.cancelled() and not coming.exception() and voided == self._voided:
                self.give(coming.result())
            raise
        if voided != self._voided:
            raise Voided
        return packed
