"""Between supervisor and keeper, after the plan: events come out, orders go in.

The supervisor treats what it receives as hostile: a broken-out guest could be the one who writes.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from .codec import Codec, Printable, Tagged


class EventKind(StrEnum):
    """What a keeper has to tell."""

    INSIDE = "inside"
    """It is behind the wall."""
    NO_NAMESPACES = "no-namespaces"
    """The text is the errno."""
    BOOTING = "booting"
    MILESTONE = "milestone"
    """The text is one of MILESTONES."""
    READY = "ready"
    CERTIFICATE = "certificate"
    """The text is the fingerprint of the guest's RDP certificate."""
    WARNING = "warning"
    PAUSED = "paused"
    RESUMED = "resumed"
    HELD = "held"
    """The machine's state is in its files; it stands still, unless it is saved while it runs."""
    NOT_HELD = "not-held"
    """It could not be written, and the guest goes on. The text says why."""
    NOT_READY = "not-ready"
    BROKE = "broke"
    ENDED = "ended"
    """The text says why, for instance GUEST_SHUT_DOWN."""
    WORKER = "worker"
    """What a guest that joins a pool says of itself: a WorkerPhase, and why."""
    PROJECT = "project"
    """The text is what `private_network.UP` and `private_network.DOWN` say."""
    ANSWER = "answer"
    """What became of a GuestCommand, or of a RunJob."""


NO_PROC = "it has no /proc of its own"
GUEST_SHUT_DOWN = "the guest shut down"
MILESTONES = frozenset(
    {"thawed", "clock", "session", "logon", "flushed", "frozen", "told-pool"}
    | {"dhcp", "ready-line", "agent", "password", "rdp", "notice"}
)


@dataclass(frozen=True)
class GuestAnswer:
    """What a program in the guest came to. All of it is the guest's word."""

    number: int
    """Of the order that it answers."""
    code: int = 0
    """The program's exit code; -1 for one that was ended by a signal."""
    out: bytes = b""
    err: bytes = b""
    failure: Printable = ""
    """Why it could not be run, or did not end in time; empty when it has."""


@dataclass(frozen=True)
class Event:
    """Something the keeper tells: `kind` is an EventKind, when it is the keeper who tells it."""

    kind: Printable
    text: Printable = ""
    hint: Printable = ""
    answer: GuestAnswer | None = None


@dataclass(frozen=True)
class Stop:
    """An order: end within `grace` seconds; 0 is at once. A `notice` is shown to the desktop's user before that."""

    grace: float
    notice: str = ""


@dataclass(frozen=True)
class Notice:
    """An order: show the desktop's user a text."""

    text: str


FLUSH_SECONDS = 30.0
"""What a guest's `suspend_hook` has before its machine is held without it. A guess: what a guest holds back for a share
is written within a few, on a busy server more; a worker's jobs have twenty to end in."""


@dataclass(frozen=True)
class Hold:
    """An order: let the guest write what it holds, then write the machine's state, and stop it unless it is `live`."""

    live: bool = False


@dataclass(frozen=True)
class GoOn:
    """An order: let a machine that was held run again, and forget its state."""


@dataclass(frozen=True)
class Restored:
    """An order: the files of the machine that goes on are whole, so that it may."""


@dataclass(frozen=True)
class NewCertificates:
    """An order: who serves with the session's certificates must do it with these from now on."""

    certificates: dict[str, str]


@dataclass(frozen=True)
class GuestCommand:
    """An order: run a program in the guest. Taken only by a session that was planned for acceptance."""

    number: int
    command: tuple[str, ...]
    given: bytes
    """For its standard input."""
    seconds: float
    """How long it may take."""


@dataclass(frozen=True)
class ShutDown:
    """An order: ask the guest to shut down in one way alone, `agent` or `button`. Taken as the one above."""

    by: str


@dataclass(frozen=True)
class RunJob:
    """An order: have the guest run the job that lies in a folder of the share `job`. For a session of jobs only."""

    number: int
    folder: str


Order = Stop | Notice | NewCertificates | Hold | GoOn | Restored | GuestCommand | ShutDown | RunJob
EVENTS: Codec[Event] = Codec(Event)
ORDERS: Tagged[Order] = Tagged(
    {
        "stop": Stop,
        "notice": Notice,
        "new-certificates": NewCertificates,
        "hold": Hold,
        "go-on": GoOn,
        "restored": Restored,
        "guest-command": GuestCommand,
        "shut-down": ShutDown,
        "run-job": RunJob,
    }
)
