"""What a borrowed machine and the pool's service say to each other, over HTTPS: JSON, a record a message.

    POST /v1/enrol    Enrolling -> Enrolled      once, with a code instead of a token
    GET  /v1/waiting            -> Waiting       what is wanted, and where the pool is
    GET  /v1/images             -> Images        the current version of each image
    GET  /v1/images/NAME/VERSION/FILE            a file of a version, with Range; paid for with a ticket
    POST /v1/state    Report    -> Heard         what the machine does
    POST /v1/worker   WorkerOrder -> WorkerPass  a token for one VM that joins the pool
    POST /v1/key      KeyOrder -> MachineKey     what wraps the key of the machine's encrypted images

Neither side trusts the other: both read with the same code, and a record that exists is within its limits. A request
carries the machine's token as `Authorization: Bearer`; the answer's `RENEWED` header is the next one.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from ...images import names
from ...images.layout import MANIFEST
from ...wire.codec import Codec, Lenient, Printable
from .machine_report import Report
from .record_limits import (
    HASH,
    MOST_DEMANDS,
    MOST_FILES,
    MOST_IMAGES,
    MOST_SLOTS,
    is_file,
    is_machine,
    need,
    need_address,
    need_counts,
    need_moment,
    need_secret,
    need_version,
)

ENROL, WAITING, IMAGES, STATE, WORKER = "/v1/enrol", "/v1/waiting", "/v1/images", "/v1/state", "/v1/worker"
KEY = "/v1/key"
RENEWED = "X-7lbd-Token"
"""The header of an answer that has the machine's next token. The present one is good until that one was used."""

MOST_BYTES = {
    # Of a body. All that the limits below let through, and it is never held by more than one request of a machine.
    ENROL: 16 << 10,
    WAITING: 512 << 10,
    IMAGES: 4 << 20,
    STATE: 256 << 10,
    WORKER: 16 << 10,
    KEY: 4 << 10,
}


@dataclass(frozen=True)
class Problem:
    """The body of every answer that is a refusal."""

    what: Printable
    why: Printable = ""
    mend: Printable = ""


@dataclass(frozen=True)
class Enrolling:
    """A machine wants to belong to the pool."""

    code: str
    machine: str
    """How it wants to be called; the answer says how it is."""

    def __post_init__(self) -> None:
        need_secret(self.code)
        need(is_machine(self.machine), "a machine's name is none")


@dataclass(frozen=True)
class Enrolled:
    """It does now."""

    machine: str
    token: str

    def __post_init__(self) -> None:
        need(is_machine(self.machine), "a machine's name is none")
        need_secret(self.token)


@dataclass(frozen=True)
class Pace:
    """How often the service wants to be asked, in seconds. The machine keeps to limits of its own."""

    poll: float = 30.0
    """Between two questions, less or more by a part that each machine draws for itself."""
    longest: float = 900.0
    """The most that it waits when the service does not answer; it doubles up to there."""

    def __post_init__(self) -> None:
        need_moment(self.poll)
        need_moment(self.longest)


@dataclass(frozen=True)
class PoolAddress:
    """Where a VM joins the pool."""

    collector: str
    """`host:port`."""
    trust_domain: str

    def __post_init__(self) -> None:
        need_address(self.collector)
        need(re.fullmatch(r"[A-Za-z0-9._-]{1,253}", self.trust_domain), "a trust domain is none")


@dataclass(frozen=True)
class Demand:
    """Idle jobs that name one image and need the same, and that no other machine starts a VM for. A name may stand in
    several, and also while there is none of them left: its image is needed."""

    vm_name: str
    jobs: int
    cpus: int
    memory: int
    """Bytes."""
    disk: int
    """Bytes."""

    def __post_init__(self) -> None:
        need(names.is_name(self.vm_name), "an image's name is none")
        need_counts(self.jobs, self.cpus, self.memory, self.disk)


@dataclass(frozen=True)
class Waiting:
    """What is wanted now, the oldest jobs first."""

    pool: PoolAddress
    demands: tuple[Demand, ...]
    images: str
    """Changes whenever the answer of `IMAGES` does."""
    pace: Lenient[Pace] = Pace()

    def __post_init__(self) -> None:
        need(len(self.demands) <= MOST_DEMANDS, "too many demands")
        need(HASH.fullmatch(self.images), "a digest is none")


@dataclass(frozen=True)
class OfferedFile:
    """One file of a version, the signature's among them."""

    name: str
    """Its path in the version's folder."""
    size: int

    def __post_init__(self) -> None:
        need(is_file(self.name), "a file's name is none")
        need_counts(self.size)


@dataclass(frozen=True)
class OfferedImage:
    """The current version of an image. What it is worth is told by its signature, not by who offers it."""

    name: str
    version: str
    manifest: str
    """SHA-256 of manifest.json, in hexadecimal."""
    files: tuple[OfferedFile, ...]

    def __post_init__(self) -> None:
        need_version(self.name, self.version)
        need(HASH.fullmatch(self.manifest), "a digest is none")
        there = [file.name for file in self.files]
        need(len(there) <= MOST_FILES and len({name.lower() for name in there}) == len(there), "too many files")
        need(MANIFEST in there, "a version without a manifest")
        folders = {name[:at] for name in there for at, letter in enumerate(name) if letter == "/"}
        need(not folders & set(there), "a file is a folder, too")
        need_counts(self.size)

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files)


@dataclass(frozen=True)
class Images:
    """All that the pool offers, and what a file is fetched with."""

    images: tuple[OfferedImage, ...]
    ticket: str
    """The bearer's token of requests for files: it lets nothing else be done, and is not renewed by them."""
    expires: float
    """When the ticket does, in seconds from now."""

    def __post_init__(self) -> None:
        there = {image.name for image in self.images}
        need(len(self.images) <= MOST_IMAGES and len(there) == len(self.images), "too many images")
        need_secret(self.ticket)
        need_moment(self.expires)


@dataclass(frozen=True)
class Heard:
    """The service has noted a report."""

    pace: Lenient[Pace] = Pace()


@dataclass(frozen=True)
class WorkerOrder:
    """A machine is about to start a VM of this name in this slot."""

    vm_name: str
    slot: int
    cpus: int = 0
    """What the VM will have; 0 is not said."""
    memory: int = 0
    resumes: bool = False
    """Whether it goes on from where it was suspended."""

    def __post_init__(self) -> None:
        need(names.is_name(self.vm_name), "an image's name is none")
        need_counts(self.slot, self.cpus, self.memory)
        need(self.slot < MOST_SLOTS, "too many slots")  # each has its place in the pool's memory


@dataclass(frozen=True)
class WorkerPass:
    """What the VM joins the pool with. It is never written to a disk of the machine."""

    pool: PoolAddress
    token: str
    """An IDTOKEN of HTCondor's, which lets its bearer advertise a startd, and no more."""
    lifetime: float
    """Seconds from now."""

    def __post_init__(self) -> None:
        need_secret(self.token)
        need_moment(self.lifetime)


@dataclass(frozen=True)
class KeyOrder:
    """A machine wants the key that the pool keeps for it; or, with `keep`, that one to be kept from now on."""

    keep: str = field(default="", repr=False)
    """256 bits in hexadecimal."""

    def __post_init__(self) -> None:
        need(not self.keep or HASH.fullmatch(self.keep), "a key is none")


@dataclass(frozen=True)
class MachineKey:
    """The key that is kept. The machine has it in memory alone."""

    key: str = field(repr=False)

    def __post_init__(self) -> None:
        need(HASH.fullmatch(self.key), "a key is none")


PROBLEM = Codec[Problem](Problem)
ENROLLING, ENROLLED = Codec[Enrolling](Enrolling), Codec[Enrolled](Enrolled)
WAITING_ANSWER, IMAGES_ANSWER = Codec[Waiting](Waiting), Codec[Images](Images)
REPORT, HEARD = Codec[Report](Report), Codec[Heard](Heard)
WORKER_ORDER, WORKER_PASS = Codec[WorkerOrder](WorkerOrder), Codec[WorkerPass](WorkerPass)
KEY_ORDER, MACHINE_KEY = Codec[KeyOrder](KeyOrder), Codec[MachineKey](MachineKey)
