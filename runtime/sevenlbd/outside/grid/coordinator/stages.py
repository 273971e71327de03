"""One VM of the coordinator's, and how far it is."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Stage(StrEnum):
    """The life of a VM, in order; a suspended one begins again with its check."""

    CHECKING = "checking"
    """Its image is being verified: there is no session yet."""
    STARTING = "starting"
    JOINED = "joined"
    BUSY = "busy"
    SUSPENDING = "suspending"
    SUSPENDED = "suspended"
    ENDING = "ending"
    KILLING = "killing"
    """It was told to end, and has not."""


RUNNING = frozenset({Stage.STARTING, Stage.JOINED, Stage.BUSY, Stage.SUSPENDING, Stage.ENDING, Stage.KILLING})
"""There is a session, or may be."""
STAYING = frozenset({Stage.STARTING, Stage.JOINED, Stage.BUSY})
"""It was not told to go."""


@dataclass(frozen=True)
class ImageVersion:
    """What a VM runs: `digest` is that of its manifest, and says all."""

    name: str
    version: str
    digest: str

    def __str__(self) -> str:
        return f"{self.name}@{self.version}"


@dataclass
class Vm:
    """Times are the state machine's: seconds of a clock that goes on while the machine sleeps."""

    id: str
    slot: int
    image: ImageVersion
    stage: Stage
    since: float
    saved: bool = False
    """Whether it goes on from a file."""
    saved_at: float = 0.0
    deadline: float = 0.0
    """When the next, harder step is due."""
    not_before: float = 0.0
    """When a suspended one may go on."""
    leave_by: float = 0.0
    """When it has to be off the machine; 0 while it need not leave."""
    evicted: bool = False
    """Whether the owner's need ends it, and not its own."""
    suspend_seconds: float = 0.0
    """How long it takes to be written when it is suspended, by what it has dirtied; 0 while nobody knows."""
    tells: bool = False
    """Whether it is known when a job has it; otherwise the guest alone knows when nobody does, and leaves."""
