"""Watches, for a session that gives way, what memory the node has left for others; below the floor it has to go.

Told once when it is low for more than a moment, and again when it is so low that there is no time for order.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from ...base import units
from ..node import host_memory
from ..node.host_memory import HostMemory

LOOK_SECONDS = 2.0  # a look costs microseconds, and memory is eaten at gigabytes a second at most
_TWICE = 2  # looks in a row: a moment is no reason to end somebody's desktop
_DIRE = 0.5  # of the floor: what is left then is not enough for a shutdown of minutes

type Act = Callable[[str, bool], bool]


class MemoryFloor:
    """The watch over one session. A floor of 0 is none."""

    def __init__(self, least: int, act: Act, look: Callable[[], HostMemory | None] = host_memory.look) -> None:
        """`act(why, now)` has the session leave, with `now` at once; it is asked again if it says that it does not."""
        self._least = least
        self._act = act
        self._look = look
        self._low = 0
        self._told = self._told_dire = False
        self._task: asyncio.Task[None] | None = None

    def watch(self) -> None:
        """Begin, if there is a floor."""
        if self._least:
            self._task = asyncio.create_task(self._watch())

    def unwatch(self) -> None:
        """Look no more."""
        if self._task:
            self._task.cancel()

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            self.look()

    def look(self) -> None:
        """Look once. What cannot be told changes nothing."""
        memory = self._look()
        if memory is None:
            return
        is_low = memory.available < self._least or memory.stalled > host_memory.STALLED
        self._low = self._low + 1 if is_low else 0
        if self._low < _TWICE:
            return
        if not self._told:
            self._told = self._act(self._why(memory), False)
        elif memory.available < self._least * _DIRE and not self._told_dire:
            self._told_dire = self._act(self._why(memory), True)

    def _why(self, memory: HostMemory) -> str:
        if memory.available < self._least:
            free, least = units.size(memory.available), units.size(self._least)
            return f"the node has {free} of memory left, and {least} are others' (background_memory)"
        return f"the node waits for memory {memory.stalled:.0%} of the time, and this session gives way"
