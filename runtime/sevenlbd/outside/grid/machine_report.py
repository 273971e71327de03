"""What a machine tells of itself: whether its owner is there, its VMs, its images."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from ...wire.codec import MAX_TEXT, Printable
from .record_limits import MOST_IMAGES, MOST_SLOTS, need, need_counts, need_moment, need_version


class Owner(StrEnum):
    """Whether the machine's owner is there."""

    PRESENT = "present"
    ABSENT = "absent"
    UNKNOWN = "unknown"


class VmPhase(StrEnum):
    """How far a VM is."""

    STARTING = "starting"
    WAITING = "waiting"
    """It has joined the pool, and nobody has claimed it."""
    BUSY = "busy"
    SUSPENDING = "suspending"
    SUSPENDED = "suspended"
    RESUMING = "resuming"
    ENDING = "ending"


@dataclass(frozen=True)
class RunningVm:
    """One VM of a machine."""

    slot: int
    image: str
    version: str
    phase: VmPhase
    since: float
    """When this phase began, in seconds before the report."""
    cpus: int = 0
    memory: int = 0

    def __post_init__(self) -> None:
        need_version(self.image, self.version)
        need_counts(self.slot, self.cpus, self.memory)
        need_moment(self.since)


@dataclass(frozen=True)
class HeldImage:
    """A version in a machine's own repository."""

    name: str
    version: str
    size: int = 0
    whole: bool = True
    """False while it is being fetched."""

    def __post_init__(self) -> None:
        need_version(self.name, self.version)
        need_counts(self.size)


@dataclass(frozen=True)
class Report:
    """What a machine does. The counts are since its coordinator began."""

    owner: Owner
    lends: bool
    """Whether VMs may run on it now."""
    slots: int
    vms: tuple[RunningVm, ...] = ()
    images: tuple[HeldImage, ...] = ()
    reason: Printable = ""
    """Why it lends or does not, in its policy's words."""
    fetched: int = 0
    """Bytes of images."""
    started: int = 0
    """VMs that were."""
    evictions: int = 0
    failures: int = 0
    """VMs and fetches that failed."""
    appliance: Printable = ""
    """Its version."""

    def __post_init__(self) -> None:
        need(self.slots <= MOST_SLOTS and len(self.vms) <= MOST_SLOTS, "too many slots")
        need(len(self.images) <= MOST_IMAGES, "too many images")
        need(max(len(self.reason), len(self.appliance)) <= MAX_TEXT, "a text is too long")
        need_counts(self.slots, self.fetched, self.started, self.evictions, self.failures)
