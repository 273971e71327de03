"""All that is gathered of an image before anything is judged."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from ....images.description import Description
from ....wire.state import SessionState
from .node_facts import NodeFacts


@dataclass(frozen=True)
class GuestFacts:
    """What a guest said of itself: names with one or more values. All of it is the guest's word."""

    values: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    failure: str = ""
    """Why it could not be asked; empty when it was."""

    def all(self, name: str) -> tuple[str, ...]:
        """Every value of a name."""
        return self.values.get(name, ())

    def one(self, name: str) -> str | None:
        """The first value; None when the guest said nothing of it."""
        return next(iter(self.all(name)), None)

    def number(self, name: str) -> float | None:
        """The first value as a number; None when it is none. No limit holds `nan`, so that it would pass each."""
        try:
            number = float(self.one(name) or "")
        except ValueError:
            return None
        return number if math.isfinite(number) else None


@dataclass(frozen=True)
class ClockReading:
    """The guest's clock, asked between two looks at the node's; all in seconds since the epoch."""

    before: float
    guest: float
    after: float

    @property
    def offset(self) -> float:
        """How far it is off at least, forward or back: what the question itself took does not count."""
        if self.guest < self.before:
            return self.guest - self.before
        return max(self.guest - self.after, 0.0)


@dataclass(frozen=True)
class Certificate:
    """What an RDP server shows. Times in seconds since the epoch."""

    fingerprint: str
    """SHA-256, `AA:BB:...`."""
    begins: float
    ends: float


@dataclass
class SessionRecord:
    """What was gathered of one session."""

    warm: bool
    began: float = 0.0
    state: SessionState | None = None
    """As it was last heard of."""
    facts: dict[str, GuestFacts] = field(default_factory=dict)
    """By the name of the script that asked."""
    clocks: dict[str, ClockReading] = field(default_factory=dict)
    """By occasion: `start`, `restart`, `drift-before`, `drift-after`."""
    certificate: Certificate | None = None
    qemu_log: str = ""
    failure: str = ""
    """Why it did not become ready; empty when it did."""
    end_asked: str = ""
    """By which way alone it was asked to shut down: `agent` or `button`."""
    end_seconds: float | None = None
    """How long that took; None when it did not."""
    notice: str | None = None
    """Why a notice could not be shown; empty when it was, None when there is no way to."""
    idle_cpu: float | None = None
    """Share of one CPU that the machine used while nobody used it."""
    secrets: tuple[str, ...] = field(default=(), repr=False)
    """The session's password and tokens: a guest may print them anywhere, and no report may hold them."""
    more: dict[str, object] = field(default_factory=dict)
    """What other gatherers found, by their names."""

    @property
    def ready_after(self) -> float | None:
        """Seconds from the session's start to the desktop; None when there was none."""
        return self.state.phases.get("ready") if self.state else None

    def facts_of(self, script: str) -> GuestFacts:
        """What a script found."""
        return self.facts.get(script, GuestFacts(failure=self.failure or "it was not asked"))


@dataclass
class Evidence:
    """Everything a check may look at."""

    description: Description
    node: NodeFacts
    quick: bool
    cold: list[SessionRecord] = field(default_factory=list)
    warm: list[SessionRecord] = field(default_factory=list)
    no_warm: str = ""
    """Why no session was warm; empty when some were."""

    @property
    def is_windows(self) -> bool:
        """Whether the guest is one."""
        return self.description.os == "windows"

    def first_cold(self) -> SessionRecord:
        """The session that is asked most; one of which nothing is known when there is none."""
        return self.cold[0] if self.cold else SessionRecord(warm=False, failure="no session was started")
