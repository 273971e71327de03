"""Between the supervisor and the processes that write and read saved desktops: one JSON message a packet."""

from __future__ import annotations

from dataclasses import dataclass, field

from ...wire.codec import Tagged
from .facts import Facts, Lock, Secrets


@dataclass(frozen=True)
class LayerFile:
    """A file that the desktop stands on: where it is here, and how it is called."""

    path: str
    name: str
    format: str
    sealed: bool = False
    """Whether it lies encrypted, so that nobody compares with what is in it."""


@dataclass(frozen=True)
class InMemory:
    """Descriptors that the process inherits, of an encrypted session: memory that stands for these files of it."""

    memory: int
    state: int
    variables: int

    def numbers(self) -> tuple[int, ...]:
        """All of them."""
        return (self.memory, self.state, self.variables)


@dataclass(frozen=True)
class Write:
    """To the writer, first: what is to be written, and where. The session still runs."""

    target: str
    folder: str
    """The session's."""
    overlay: str
    facts: Facts
    secrets: Secrets
    layers: tuple[LayerFile, ...]
    memory: LayerFile | None
    """The image's warm memory, if the session began there."""
    keys: str
    """The folder with the user's own key, and with what is known of images; empty for none."""
    recipients: tuple[str, ...] = ()
    lock: Lock | None = None
    """The passphrase that opens it, and no key."""
    in_memory: InMemory | None = None
    known: str = ""
    """The digest of the header of what this session has read or written there last, in hex; empty for nothing."""


@dataclass(frozen=True)
class Go:
    """To the writer, when the machine stands still and its state is in its file."""


@dataclass(frozen=True)
class Commit:
    """To the writer, when all was read: the file may have its name."""


@dataclass(frozen=True)
class Read:
    """To the reader: which desktop goes into which session's folder. Sizes in bytes."""

    source: str
    folder: str
    facts: Facts
    """What the check has seen."""
    digest: str
    """Of the header that it has seen, in hex: another file, or a changed one, is not taken."""
    keys: str
    memory: str
    """The image's warm memory here; empty for none."""
    most: tuple[int, ...]
    """How long each part may become, in the order of saved_format.PARTS."""
    identity: str = field(default="", repr=False)
    """The key that came of a passphrase; empty for the user's own."""
    in_memory: InMemory | None = None
    """Of a desktop that was encrypted: where all but its disk goes."""


@dataclass(frozen=True)
class WriterReady:
    """From the writer: the machine may stand still now."""


@dataclass(frozen=True)
class HowFar:
    """How much is done, of how much, in bytes."""

    done: int
    total: int


@dataclass(frozen=True)
class AllRead:
    """From the writer: it needs nothing more of the session, and the file has not its name yet."""

    digest: str
    """Of the file's header, in hex."""


@dataclass(frozen=True)
class SetAside:
    """From the writer: what lay there was another session's, and has this path now."""

    path: str


@dataclass(frozen=True)
class Written:
    """All is well; the file has so many bytes."""

    size: int


@dataclass(frozen=True)
class CannotDo:
    """It cannot be done: an exit code, what is wrong, and what mends it."""

    code: int
    what: str
    hint: str


Order = Write | Go | Commit | Read
Report = WriterReady | HowFar | AllRead | SetAside | Written | CannotDo
ORDERS: Tagged[Order] = Tagged({"write": Write, "go": Go, "commit": Commit, "read": Read})
REPORTS: Tagged[Report] = Tagged(
    {
        "prepared": WriterReady,
        "progress": HowFar,
        "all-read": AllRead,
        "kept": SetAside,
        "done": Written,
        "failed": CannotDo,
    }
)
