"""Fairness among strangers: whoever stands for the most connections gives way first. Data structures only; no I/O.

A flood is many connections of one group (a neighbour on the node, an address); the user is another, or one among few.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field


def _nothing() -> None:
    pass


@dataclass(eq=False, slots=True)
class Visit:
    """One stranger's connection, in whatever state; `hang_up` ends it once it has a slot."""

    group: str
    hang_up: Callable[[], object] = _nothing
    since: float = field(default_factory=time.monotonic)

    def over(self) -> None:
        """Let go of what it was: nothing that has ended is to wait for the garbage collector."""
        self.hang_up = _nothing


class Crowd:
    """Visits by group; in each group the oldest first."""

    def __init__(self) -> None:
        self._groups: dict[str, dict[Visit, None]] = {}
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def __contains__(self, visit: Visit) -> bool:
        return visit in self._groups.get(visit.group, ())

    def add(self, visit: Visit) -> None:
        """One more, the newest of its group."""
        self._groups.setdefault(visit.group, {})[visit] = None
        self._size += 1

    def remove(self, visit: Visit) -> bool:
        """Whether it was there."""
        group = self._groups.get(visit.group)
        if not group or visit not in group:
            return False
        del group[visit]
        self._size -= 1
        if not group:
            del self._groups[visit.group]
        return True

    def size(self, group: str) -> int:
        """How many a group has."""
        return len(self._groups.get(group, ()))

    def largest(self) -> str:
        """The group with the most."""
        return max(self._groups, key=self.size)

    def oldest(self, group: str) -> Visit:
        """The oldest of a group that has some."""
        return next(iter(self._groups[group]))

    def in_turn(self) -> Iterator[Visit]:
        """The oldest of each group; a group whose visit was removed meanwhile goes to the end of the line."""
        for group in list(self._groups):
            visit = self.oldest(group)
            yield visit
            if visit not in self and group in self._groups:
                self._groups[group] = self._groups.pop(group)

    def before(self, moment: float) -> list[Visit]:
        """Those that are older than that."""
        visits = []
        for group in self._groups.values():
            for visit in group:
                if visit.since >= moment:
                    break
                visits.append(visit)
        return visits


class Slots:
    """A bounded number of strangers at a time.

    A newcomer takes the place of the largest group's oldest; of its own group's only when that has had its turn, so
    that a flood does not leave every one of its connections too little time to be of use.
    """

    def __init__(self, most: int, turn: float) -> None:
        """`turn` is in seconds."""
        self._most, self._turn = most, turn
        self._crowd = Crowd()

    def __len__(self) -> int:
        return len(self._crowd)

    def __contains__(self, visit: Visit) -> bool:
        return visit in self._crowd

    def take(self, visit: Visit) -> bool:
        """Whether there was a place; somebody may have been hung up on for it."""
        if len(self._crowd) >= self._most and not self._make_room(visit.group):
            return False
        visit.since = time.monotonic()
        self._crowd.add(visit)
        return True

    def force(self, visit: Visit) -> None:
        """The same for one that is too far to be turned away: somebody goes."""
        if not self.take(visit):
            self._end(self._crowd.oldest(self._crowd.largest()))
            self._crowd.add(visit)

    def leave(self, visit: Visit) -> None:
        """It has shown who it is, or went."""
        self._crowd.remove(visit)

    def _make_room(self, group: str) -> bool:
        largest = self._crowd.largest()
        victim = self._crowd.oldest(largest)
        fair = self._crowd.size(largest) > self._crowd.size(group) + 1
        if not fair and time.monotonic() - victim.since < self._turn:
            return False
        self._end(victim)
        return True

    def _end(self, visit: Visit) -> None:
        self._crowd.remove(visit)
        hang_up = visit.hang_up
        visit.over()
        hang_up()
