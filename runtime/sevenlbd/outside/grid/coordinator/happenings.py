"""What is told to the state machine. Each says what is so now, or what an act has come to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from ..protocol import OfferedImage, Waiting


@dataclass(frozen=True)
class Looked:
    """How it is on the machine: told every few seconds, whatever else happens."""

    lent: bool
    """Whether VMs may be there: false also when the time that is left suffices just to leave."""
    may_begin: bool
    why: str
    owner: bool | None = False
    memory: int | None = None
    """Bytes that could be had."""
    time_left: float | None = None
    """Seconds until the hours end for which VMs have to go: it is lent until then."""
    suspends: Mapping[str, float] = field(default_factory=dict)
    """How many seconds each VM that runs takes to be written when it is suspended, by what it has dirtied."""


@dataclass(frozen=True)
class PoolTold:
    """What jobs wait for."""

    waiting: Waiting


@dataclass(frozen=True)
class ImagesTold:
    """What the pool offers, of which nothing is believed."""

    images: tuple[OfferedImage, ...]


@dataclass(frozen=True)
class PoolSilent:
    """A question was not answered."""

    why: str
    final: bool = False
    """Whether the pool does not want us any more: it is asked again, rarely."""
    after: float = 0.0
    """Seconds that it wants to be left alone for, at least."""


@dataclass(frozen=True)
class KeyTold:
    """The key of the images is here; or is not, and why."""

    why_not: str = ""


class FetchOutcome(StrEnum):
    """What became of a fetch."""

    WHOLE = "whole"
    STOPPED = "stopped"
    BROKEN = "broken"
    """The network or the pool: what has arrived stays."""
    FULL = "full"
    ALTERED = "altered"
    """It is not what a trusted key has signed."""


@dataclass(frozen=True)
class FetchEnded:
    """A fetch is over."""

    digest: str
    outcome: FetchOutcome
    why: str = ""
    bytes: int = 0


@dataclass(frozen=True)
class ImageChecked:
    """An image was verified, all of it, for a VM that is to start."""

    vm: str
    why_not: str = ""


@dataclass(frozen=True)
class VmReady:
    """A VM is up, and was told how to join the pool."""

    vm: str


@dataclass(frozen=True)
class VmClaimed:
    """Whether a job has it now."""

    vm: str
    claimed: bool


@dataclass(frozen=True)
class VmSaved:
    """A VM is suspended, and off the machine."""

    vm: str


@dataclass(frozen=True)
class VmNotSaved:
    """It could not be suspended, and runs."""

    vm: str
    why: str


@dataclass(frozen=True)
class VmGone:
    """Its session is over, by itself or because it was told to."""

    vm: str
    failed: bool
    why: str = ""


@dataclass(frozen=True)
class NoPass:
    """The pool gave no token for a VM, so it has not begun."""

    vm: str
    why: str
    enough: bool = False
    """Whether other machines have begun what jobs wait for: nobody has failed."""


@dataclass(frozen=True)
class OwnerOrder:
    """The owner wants the machine for herself, or lends it again."""

    pause: bool
    who: str
    at_once: bool = True
    seconds: float = 0.0
    """For how long; 0: until she says otherwise."""
    own: bool = False
    """Whether it is the coordinator's own user who says so."""


@dataclass(frozen=True)
class MachineEnds:
    """The machine is shut down, or the service is stopped."""

    why: str


@dataclass(frozen=True)
class HeldVersion:
    """An image that lies in the store."""

    name: str
    version: str
    digest: str
    size: int
    whole: bool
    wanted: float = 0.0
    """How long ago it was wanted last, in seconds."""


@dataclass(frozen=True)
class SavedVm:
    """A VM that an earlier life of ours has suspended. `age` in seconds."""

    vm: str
    slot: int
    name: str
    version: str
    digest: str
    age: float


@dataclass(frozen=True)
class Began:
    """The first: what an earlier life has left. VMs die with their coordinator, so there are none that run."""

    held: tuple[HeldVersion, ...] = ()
    saved: tuple[SavedVm, ...] = ()
    lost: tuple[str, ...] = ()
    """VMs that it had when it was killed."""


type Happening = (
    Looked
    | PoolTold
    | ImagesTold
    | PoolSilent
    | KeyTold
    | FetchEnded
    | ImageChecked
    | VmReady
    | VmClaimed
    | VmSaved
    | VmNotSaved
    | VmGone
    | NoPass
    | OwnerOrder
    | MachineEnds
    | Began
)
