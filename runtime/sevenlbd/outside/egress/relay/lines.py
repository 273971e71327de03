"""What the relay tells the supervisor, a line each. It is taken with care: a guest's bytes came to whoever says it."""

from __future__ import annotations

from dataclasses import dataclass

from ....base import units
from ....wire.codec import Sieved, Tagged


@dataclass(frozen=True)
class Beat:
    """It runs, and so does the broker: which limits were met so far, and which servers are down."""

    met: Sieved[tuple[str, ...]]
    down: Sieved[tuple[str, ...]]


@dataclass(frozen=True)
class Trouble:
    """Why it ends."""

    text: str


@dataclass(frozen=True)
class Caution:
    """Something that the user must know, and that it goes on with."""

    text: str


@dataclass(frozen=True)
class Summary:
    """What went out and came in, all in all. Bytes of payload."""

    connections: int
    refused: int
    up: int
    down: int

    def spelled(self) -> str:
        """For people."""
        if not self.connections and not self.refused:
            return "the guest used none of its ways out"
        refused = f", {self.refused} refused or failed" if self.refused else ""
        sizes = f"{units.size(self.up)} out, {units.size(self.down)} in"
        some = f"{self.connections} connection{'' if self.connections == 1 else 's'}"
        return f"the guest's ways out: {some}{refused}, {sizes}"


Line = Beat | Trouble | Caution | Summary
LINES: Tagged[Line] = Tagged({"beat": Beat, "trouble": Trouble, "warning": Caution, "summary": Summary})
