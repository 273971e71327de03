"""What goes inside once, with the listening sockets as descriptors (SCM_RIGHTS, unix(7)): the plan."""

from __future__ import annotations

from dataclasses import dataclass, field

from .codec import Codec
from .forwards import Egress
from .private_network import Project
from .worker_words import Join


@dataclass(frozen=True)
class Share:
    """A folder served to the guest as `\\\\169.254.100.2\\name`."""

    name: str
    path: str
    read_only: bool
    cached: bool = False
    """Whether the guest may keep what it has read and written: nothing else works in there."""


@dataclass(frozen=True)
class Layer:
    """One file of the disk: resolved path, and the format that is used without a look inside."""

    path: str
    format: str


@dataclass(frozen=True)
class Guest:
    """What the machine is made of, from the image's description and the settings. Sizes in bytes."""

    os: str
    firmware: str
    disk_bus: str
    nic: str
    display: str
    machine: str
    cpu: str
    cpus: int
    memory: int
    agent: bool
    smbios: bool
    account: str
    variables: str
    logical_block_size: int = 512
    """The sector size that the disk shows, in bytes."""
    portable: bool = False
    """Whether the node must have the CPU model with every feature, so that another node that has it is as good."""
    clock: str = "utc"
    """What the machine's clock shows when it starts: `utc`, or the node's `localtime`."""
    vendor: str = ""
    """Whose CPU it runs on under KVM, as that calls itself; empty in emulation, where there is none."""


@dataclass(frozen=True)
class Warm:
    """A frozen machine to go on from: paths of its files on the node."""

    disk: str
    """The frozen disk (qcow2), on top of the image's layers."""
    memory: str
    """The guest's memory as one file; mapped privately, shared by all sessions of the node through the page cache."""
    state: str
    """QEMU's migration stream of the devices."""
    variables: str
    """The frozen UEFI variable store; empty for a BIOS."""
    cpu: str
    """The CPU model that it was frozen with."""
    hook: tuple[str, ...]
    """What the agent runs in the guest after a warm start, with the session's credentials on its standard input."""


@dataclass(frozen=True)
class Resumed:
    """A machine that goes on from the files in the session's folder: its disk, its state, its UEFI variables."""

    hook: tuple[str, ...]
    """What the agent runs in the guest when it goes on: the image's `warm_hook`."""
    smbios: bool
    """Whether its SMBIOS told it its user and password."""


@dataclass(frozen=True)
class Batch:
    """What a session needs that runs commands, as jobs, instead of showing a desktop."""

    hook: tuple[str, ...]
    """What the agent runs in the guest for each: the image's `exec_hook`."""
    job: str
    """The node's folder that is the share `job`: orders, streams and ends."""
    work: str = ""
    """The node's folder that is the share `work`; empty where that is one of the plan's shares."""


@dataclass(frozen=True)
class Plan:
    """All that the keeper needs to know, checked by the supervisor. Holds the session's password."""

    session: str
    folder: str
    uid: int
    gid: int
    user: str
    password: str
    umask: int
    accel: str
    network: str
    layers: tuple[Layer, ...]
    guest: Guest
    shares: tuple[Share, ...]
    guest_access: bool
    wide_links: bool
    ready_timeout: float
    connectors: tuple[str, ...]
    """Names of the sockets, in the order of the descriptors that come with the plan."""
    console: bool
    web_tls: bool
    """Whether `web-tcp` speaks HTTPS."""
    certificates: dict[str, str] = field(default_factory=dict)
    """The session's own, with their keys, by the names that `tls` gives them: whoever serves with them is inside."""
    overlay: str = ""
    """The disk (qcow2) that is written to, on top of `layers`."""
    cdroms: tuple[str, ...] = ()
    """ISO files in the machine's drives; the first one is booted from when the disk is blank."""
    keys_at_boot: bool = False
    """Whether to press keys until the machine reads from its first drive: "Press any key to boot from CD or DVD"."""
    lasting: bool = False
    """Whether what is written outlives the session: then a flush is a flush."""
    freeze: bool = False
    """Whether the machine is to be frozen into the session's folder as soon as it is ready, instead of being used."""
    warm: Warm | None = None
    """What to go on from, instead of a cold boot."""
    resumed: Resumed | None = None
    """The same of a saved desktop, from which there is no boot instead."""
    suspend_hook: tuple[str, ...] = ()
    """What the agent runs in the guest before it is suspended: it writes what is not on the shares yet."""
    notice_hook: tuple[str, ...] = ()
    """What the agent runs in the guest to show the desktop's user a text, which comes on its standard input."""
    timezone_command: tuple[str, ...] = ()
    """What the agent runs in the guest to set its user's time zone, the zone's name included; empty: as it is."""
    logon_hook: tuple[str, ...] = ()
    """What the agent runs in a guest that is to be frozen, so that its account has been logged on once."""
    egress: Egress | None = None
    """The ways out; None when the guest has none, and then neither DNS nor a route."""
    project: Project | None = None
    """The private network that the guest joins."""
    network_rate: int = 0
    """Most bits a second that the guest's link carries, each way; 0 is no limit."""
    protect_dot_files: bool = False
    """Whether names that begin with a dot are kept from the guest."""
    hidden: tuple[str, ...] = ()
    """Folders in shares that nobody inside may see."""
    administrator: str = ""
    """An account that gets the session's password, too, by the agent: whoever maintains an image installs by it."""
    acceptance: bool = False
    """Whether the supervisor may have programs run in the guest, to examine it."""
    batch: Batch | None = None
    """That it runs commands; None for a desktop."""
    headless: bool = False
    """Whether its system has no desktop at all."""
    join: Join | None = None
    """The pool that the guest joins when it is ready."""

    background: bool = False
    """Whether all of it gives way to whatever else the node does."""
    direct_disk: bool = False
    """Whether the guest's disk goes past the node's cache."""
    disk_key: str = field(default="", repr=False)
    """What opens the overlay, which is encrypted; empty where it is not. Crosses the wall in memory, as all of this."""

    layer_keys: dict[str, str] = field(default_factory=dict, repr=False)
    """What opens those of the image's files that lie encrypted on the node, by path."""

    @property
    def encrypted(self) -> bool:
        """Whether nothing of the guest's comes to the node's disks in the clear."""
        return bool(self.disk_key)

    @property
    def goes_on(self) -> bool:
        """Whether the guest is there already, and need not boot."""
        return self.warm is not None or self.resumed is not None

    @property
    def shows_desktop(self) -> bool:
        """Whether there is a desktop that somebody comes for."""
        return not (self.batch or self.headless)

    @property
    def hook(self) -> tuple[str, ...]:
        """What the agent runs in a guest that goes on."""
        begun = self.warm or self.resumed
        return begun.hook if begun else ()


PLANS: Codec[Plan] = Codec(Plan)
