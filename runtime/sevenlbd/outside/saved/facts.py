"""What a saved desktop is: what it needs to go on, for people and for whoever resumes it. No secret is in it."""

from __future__ import annotations

from dataclasses import dataclass, field

from ...wire.codec import Printable


@dataclass(frozen=True)
class LayerFact:
    """One file that the desktop stands on. `root` is the top of its hash tree (images/signing/digest), in hex."""

    name: Printable
    format: Printable
    size: int
    root: Printable = ""


@dataclass(frozen=True)
class HostCpu:
    """The CPU that it ran on; what counts when its model is the node's own (`host`)."""

    vendor: Printable = ""
    model: Printable = ""
    flags: Printable = ""
    """As /proc/cpuinfo has them."""


@dataclass(frozen=True)
class MachineFacts:
    """What QEMU must be told alike. Sizes in bytes."""

    qemu: Printable
    machine: Printable
    accel: Printable
    cpu: Printable
    cpus: int
    memory: int
    network: Printable
    mac: Printable
    firmware: Printable
    tpm: bool
    disk_bus: Printable
    nic: Printable
    display: Printable
    os: Printable
    clock: Printable
    disk_size: int
    logical_block_size: int = 512
    enforced: bool = False
    """Whether the node must have the CPU model with every feature, as after a warm start."""
    smbios: bool = False
    """Whether it was told its user and password by SMBIOS."""
    host: HostCpu = field(default_factory=HostCpu)


@dataclass(frozen=True)
class Facts:
    """What is readable at the begin of the file, and stands inside, too."""

    session: Printable
    image: Printable
    """The name by which it is looked up in repositories; or, of a bare folder or disk, its path."""
    version: Printable
    title: Printable
    account: Printable
    user: Printable
    """Whose it was, by name, on the node that it was suspended on."""
    machine: MachineFacts
    layers: tuple[LayerFact, ...]
    """From the top; of a session that began warm, the warm state's disk is the top."""
    memory: LayerFact | None = None
    """The image's warm memory, of which the file holds what differs."""
    memory_at: int = 0
    """Where in the part `state` the guest's memory begins, in bytes."""
    appliance: Printable = ""
    host: Printable = ""
    saved_at: float = 0.0
    """Seconds since the epoch."""
    desktop: Printable = ""
    """A random number in hex, the same in every file of this desktop and in every copy of one."""

    @property
    def image_name(self) -> str:
        """The image as `--image` takes it."""
        return f"{self.image}@{self.version}" if self.version else self.image


@dataclass(frozen=True)
class Secrets:
    """What only stands inside."""

    password: str
    share_user: str
    disk_key: str = field(default="", repr=False)
    """What opens the disk, of a session that was encrypted."""


@dataclass(frozen=True)
class Opening:
    """The first thing inside."""

    facts: Facts
    secrets: Secrets


@dataclass(frozen=True)
class PartFact:
    """One of the session's files. `stored` bytes of its `size` are in here; `sha256` is that of its records."""

    name: Printable
    size: int
    stored: int
    sha256: Printable


@dataclass(frozen=True)
class Closing:
    """The last thing inside: the parts, as they came to be."""

    parts: tuple[PartFact, ...]
    header: str
    """SHA-256 of the readable header with all of its room, in hex: whoever changes that is noticed."""


@dataclass(frozen=True)
class Lock:
    """A passphrase, as far as is needed to write a file that it opens."""

    recipient: str
    """Stands in no file: who knew it could make one that this passphrase opens."""
    how: str
    """How a key comes of it, for SavedHeader.passphrase."""


@dataclass(frozen=True)
class SavedHeader:
    """What is readable."""

    facts: Facts
    parts: tuple[PartFact, ...]
    passphrase: Printable = ""
    """How a key comes of the passphrase that closes the file (outside/saved/passphrases); empty when none does."""
