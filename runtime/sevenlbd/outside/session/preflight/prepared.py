"""A session that is checked and can begin: what the checker hands to the supervisor. Loads no settings model."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

from ....base.errors import ExitCode
from ....images.image_lock import Identity
from ....images.names import Reference
from ....wire.plan import Plan
from ...access.connectors import Connectors
from ...egress.relay.allowed import Allowed
from ...job.allocation import Allocation
from ...presence.records import PresenceTarget
from ...project.client_keys import KeyFiles
from ...saved.facts import Facts, Lock
from ...saved.messages import LayerFile, Read


@dataclass(frozen=True)
class SessionOptions:
    """What the settings want of the supervisor itself. Durations in seconds; a time limit of 0 is none."""

    time_limit: float
    stop_grace: float
    exit_when_ready: bool
    end_notice: float = 0.0
    """How long before a known end the desktop's user is told; 0 is not at all."""
    signal_lead: float = 0.0
    """How long before the end SIGUSR1 comes, where the scheduler does not say when that is."""
    evict_seconds: float = 0.0
    """What a scheduler that wants it gone leaves it to be suspended, before a shutdown; 0 is within `stop_grace`."""
    suspend_seconds: float = 0.0
    """How long it takes to suspend the desktop when its time is up; 0 when it is shut down then."""
    checkpoint_every: float = 0.0
    """How often the running desktop is saved, in seconds; 0 is never."""
    least_memory: int = 0
    """Bytes of the node's memory that it leaves to others, in the background; 0 is no such limit."""
    suspended_code: int = ExitCode.SUSPENDED
    """The exit code of one that was suspended for that reason."""


@dataclass(frozen=True)
class Savable:
    """What the session is written down as when it is suspended."""

    facts: Facts
    """Without digests."""
    layers: tuple[LayerFile, ...]
    """What its disk stands on, from the top."""
    memory: LayerFile | None
    """The image's warm memory, if it began there."""
    folder: str
    """Where the user's saved desktops and key are; empty when there is no such place."""
    target: str = ""
    """The file that it is suspended into when nobody says another; empty for one in `folder`."""
    hook: tuple[str, ...] = ()
    """What the agent runs in the guest when it goes on."""
    lock: Lock | None = None
    """The passphrase that opens it, where it is not the user's key."""


# Why a session cannot be suspended: it is warned of when it begins, and is the refusal of whoever wants it later.
ON_NVME = "its disk is on NVMe, whose state QEMU cannot save"
NO_KEY = "there is no folder for your key and your saved desktops (state_dir is off)"
NO_FOLDER = "there is no folder for your saved desktops (state_dir is off)"


@dataclass(frozen=True)
class WorkerImage:
    """How an image joins a pool."""

    hook: tuple[str, ...]
    status: str
    digest: str = ""
    """SHA-256 of its manifest, in hexadecimal; empty when it has none."""


@dataclass(frozen=True)
class Prepared:
    """A checked session: its plan, without connectors yet, its disk, and what the user should be told."""

    login: str
    plan: Plan
    image_title: str
    disk_size: int
    where: Path
    connectors: Connectors
    options: SessionOptions
    warnings: tuple[str, ...]
    notes: tuple[str, ...] = ()
    """What the user may like to know, and need not mend."""
    job: Allocation | None = None
    """The scheduler's job that the session runs in."""
    identities: dict[str, Identity] = field(default_factory=dict)
    """The image's files as they were when they were checked."""
    lease: tuple[Path, Reference] | None = None
    """The repository that is told, and of which version, that this session uses it."""
    egress: Allowed | None = None
    """What the relay may connect to; None when there is no way out, and no relay."""
    project_keys: KeyFiles | None = None
    """Where the credentials for the project's network are, which the session takes when it begins."""
    presence: tuple[PresenceTarget, ...] = ()
    """Where the session leaves a record of itself, for other nodes and for a portal."""
    savable: Savable | None = None
    """What it would be as a saved desktop; None when it cannot be one: a session that makes an image."""
    resume: Read | None = None
    """The saved desktop that it goes on from."""
    started_again: bool = False
    """Whether an earlier life of the same job, which may have gone on from there, is surely over."""
    background: str = ""
    """How it gives way to others on the node, in a sentence; empty when it does not."""
    title: str = ""
    """How the image's description calls it in front of people; empty when it does not."""
    exec_hook: tuple[str, ...] = ()
    exec_desktop: bool = False
    """What the agent runs in the guest for a command; empty where the image has none, or no agent."""
    worker: WorkerImage | None = None
    """How its guest joins a pool; None where the image has no hook for that, or no agent."""
    warm_keys: dict[str, str] = field(default_factory=dict, repr=False)
    """What opens the files of the warm state that lie encrypted, by path: out here only."""
    warm_state_size: int = 0
    """Bytes of the warm state's devices, in the clear."""
    copied: bool = False
    """Whether another session may go on from the same one."""


def without_project(prepared: Prepared) -> Prepared:
    """The same, whose guest has the route of a project's network, and is not in it: an image is made, and nobody's."""
    egress = replace(prepared.egress, project=None) if prepared.egress else None
    return replace(prepared, plan=replace(prepared.plan, project=None), egress=egress, project_keys=None)
