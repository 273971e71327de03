"""What one coordinator has decided: acts to be done, changes with their reasons, and how often what happened."""

from __future__ import annotations

from collections import Counter

from .acts import Act
from .change_log import Change

_MOST_TOLD = 1000  # names that are remembered; as many as a pool may ask for


class Decisions:
    """Of a state machine and its parts. Acts are those of the happening that is being handled."""

    def __init__(self) -> None:
        self.acts: list[Act] = []
        self.counts: Counter[str] = Counter()
        self.changes: list[Change] = []
        """What has changed since somebody has taken them."""
        self._told: dict[tuple[str, str], str] = {}
        """Why a name gets no VM, as it was told last."""

    def act(self, act: Act) -> None:
        """Have this done."""
        self.acts.append(act)

    def tell(self, subject: str, what: str, why: str = "") -> None:
        """Have this written down."""
        self.changes.append(Change(subject, str(what), why))

    def tell_once(self, name: str, kind: str, why: str) -> None:
        """That jobs which ask for `name` get no VM; once, as long as the reason is the same."""
        if self._told.get((name, kind)) != why:
            self._told = dict(list(self._told.items())[-_MOST_TOLD:]) | {(name, kind): why}
            self.tell(f"image {name}", "gets no VM here", why)

    def told_otherwise(self, name: str, kind: str) -> None:
        """The reason is gone; should it come again, it is news."""
        self._told.pop((name, kind), None)
