"""When the pool is asked, and for how long its last answer counts."""

from __future__ import annotations

from random import Random

from ..protocol import Demand, Waiting
from .acts import Act, AskPool

# Whatever the service says, in seconds: thousands of machines must not be made to press, nor one to sleep for days.
_SOONEST, _LATEST = 5.0, 3600.0
_FIRST = 30.0  # until the service has said how often
_FRESH = 600.0  # seconds: what jobs waited for ten minutes ago may be done
_FINAL = 3600.0  # seconds; one that was refused is let in again by people


class PoolPace:
    """One coordinator's asking. Each machine draws its own moments, so that a thousand do not ask at once."""

    def __init__(self, chance: Random) -> None:
        self._chance = chance
        self._waiting: Waiting | None = None
        self._told_at = 0.0
        self._poll, self._longest = _FIRST, _LATEST
        self._ask_at = 0.0
        self._asking = False
        self._wait = 0.0

    @property
    def waiting(self) -> Waiting | None:
        """The last answer."""
        return self._waiting

    def demands(self, now: float) -> tuple[Demand, ...]:
        """What jobs wait for, as far as anybody knows."""
        return self._waiting.demands if self._waiting and now - self._told_at < _FRESH else ()

    def names(self) -> list[str]:
        """The images that they waited for when the pool answered last."""
        return [demand.vm_name for demand in self._waiting.demands] if self._waiting else []

    def due(self, now: float) -> Act | None:
        """The question, when it is time for it."""
        if self._asking or now < self._ask_at:
            return None
        self._asking = True
        return AskPool()

    def told(self, waiting: Waiting, now: float) -> None:
        """The pool has answered."""
        self._waiting, self._told_at, self._asking, self._wait = waiting, now, False, 0.0
        self._poll = min(max(waiting.pace.poll, _SOONEST), _LATEST)
        self._longest = min(max(waiting.pace.longest, self._poll), _LATEST)
        self._ask_at = now + self._poll * self._chance.uniform(0.75, 1.25)

    def silent(self, now: float, *, final: bool, after: float = 0.0) -> None:
        """It has not: each time it is left alone for longer, by half or more of what it would be."""
        self._asking = False
        self._wait = _FINAL if final else min(max(self._poll, self._wait * 2), self._longest)
        self._ask_at = now + max(self._wait * self._chance.uniform(0.5, 1.0), min(after, _LATEST))

    def woke(self, now: float) -> None:
        """After a sleep all is old; and a whole office of machines may have woken at this moment."""
        self._ask_at = min(self._ask_at, now + self._poll * self._chance.uniform(0.0, 1.0))
