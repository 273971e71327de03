"""All UDP flows of a session: how many there may be, and which one makes room for a new one.

A guest can pretend to be many, and an honest one may take a new port for each question: whoever was never answered goes
first, then the one that has been silent longest. TCP's connections are counted elsewhere: none is lost to datagrams.
"""

from __future__ import annotations

from typing import Protocol


class Member(Protocol):
    """What a crowd is made of."""

    def give_way(self) -> None:
        """Close, and leave the crowd."""


class UdpFlows:
    """At most `most` members."""

    def __init__(self, most: int) -> None:
        self._most = most
        # Each with the one that has been silent longest first.
        self._unanswered: dict[Member, None] = {}
        self._answered: dict[Member, None] = {}

    def __len__(self) -> int:
        return len(self._unanswered) + len(self._answered)

    def make_room(self) -> bool:
        """See that one more can be there; returns whether another had to go for it."""
        if len(self) < self._most:
            return False
        next(iter(self._unanswered or self._answered)).give_way()
        return True

    def touch(self, member: Member, *, answered: bool) -> None:
        """It is there, and something has moved."""
        self.leave(member)
        (self._answered if answered else self._unanswered)[member] = None

    def leave(self, member: Member) -> None:
        self._unanswered.pop(member, None)
        self._answered.pop(member, None)
