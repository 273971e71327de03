"""What crosses the wall: one plan inwards, events outwards, and orders.

SOCK_SEQPACKET socketpairs carry JSON, one message a packet: one between supervisor and keeper, one between
supervisor and gateway. File descriptors ride along with the plan (SCM_RIGHTS, unix(7)). The supervisor treats
what it receives as hostile: a broken-out guest could be the one who writes.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from ..base.errors import visible

MAX_MESSAGE = 128 * 1024
MAX_TEXT = 4096


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
    certificate: str
    """Fingerprint of the RDP server's certificate, which was frozen, too; empty when nobody knows it."""
    hook: tuple[str, ...]
    """What the agent runs in the guest after a warm start, with the session's credentials on its standard input."""


@dataclass(frozen=True)
class Forward:
    """One place inside that leads out: a listening socket, or a bound one for UDP."""

    kind: str
    """`tcp`, `udp` or `proxy`."""
    address: str
    port: int


@dataclass(frozen=True)
class Egress:
    """The ways out, as the keeper makes them appear inside. What they lead to is decided outside."""

    doors: tuple[Forward, ...]
    names: tuple[tuple[str, tuple[str, ...]], ...]
    """Each name that the session's DNS knows, with its addresses."""

    @property
    def has_ipv6(self) -> bool:
        """Whether one of them leads to an IPv6 address."""
        return any(":" in door.address for door in self.doors)


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
    notice_hook: tuple[str, ...] = ()
    """What the agent runs in the guest to show the desktop's user a text, which comes on its standard input."""
    egress: Egress | None = None
    """The ways out; None when the guest has none, and then neither DNS nor a route."""
    network_rate: int = 0
    """Most bits a second that the guest's link carries, each way; 0 is no limit."""
    protect_dot_files: bool = False
    """Whether names that begin with a dot are kept from the guest."""
    hidden: tuple[str, ...] = ()
    """Folders in shares that nobody inside may see."""


@dataclass(frozen=True)
class NativeTls:
    """Where RDP over mutual TLS is reached from outside the node."""

    port: int
    hosts: tuple[str, ...]


@dataclass(frozen=True)
class Front:
    """What the gateway must know to let somebody in, told anew whenever it changes. Holds the session's password."""

    session: str
    account: str
    password: str
    tokens: dict[str, str]
    """SHA-256 of each role's token, in hex."""
    cookie_key: str
    portals: tuple[str, ...]
    hosts: tuple[str, ...]
    console: bool
    clipboard: bool
    login: str
    host: str
    folder: str
    native: NativeTls | None
    screen: str = ""
    """The desktop's one size, WIDTHxHEIGHT; empty when it is as large as a client asks for."""


@dataclass(frozen=True)
class Event:
    """Something the keeper tells: `kind` is one of the constants below."""

    kind: str
    text: str = ""
    hint: str = ""


INSIDE = "inside"  # the keeper is behind the wall
NO_NAMESPACES = "no-namespaces"  # text: the errno
BOOTING = "booting"
MILESTONE = "milestone"  # text: one of MILESTONES
READY = "ready"
WARNING = "warning"
PAUSED = "paused"
RESUMED = "resumed"
NOT_READY = "not-ready"
BROKE = "broke"
ENDED = "ended"  # text: why, for instance GUEST_SHUT_DOWN
GUEST_SHUT_DOWN = "the guest shut down"


CERTIFICATE = "certificate"  # text: the fingerprint of the guest's RDP certificate

# Between supervisor and gateway, as {"kind": ...}.
HELLO = "hello"  # from a gateway that has just begun
FRONT = "front"  # to it: a Front
STATE = "state"  # to it: a SessionState
STOP = "stop"  # from it: the user pressed the button
BUNDLE = "bundle"  # from it: somebody wants the client's bundle; to it: here it is, in base64, or nothing
TOLD = "told"  # from it: every viewer has the final state


MILESTONES = frozenset(
    {"thawed", "clock", "session", "frozen", "dhcp", "ready-line", "agent", "password", "rdp", "notice"}
)


@dataclass(frozen=True)
class Stop:
    """An order: end within `grace` seconds; 0 is at once. A `notice` is shown to the desktop's user before that."""

    grace: float
    notice: str = ""


@dataclass(frozen=True)
class Notice:
    """An order: show the desktop's user a text."""

    text: str


@dataclass(frozen=True)
class NewCertificates:
    """An order: who serves with the session's certificates must do it with these from now on."""

    certificates: dict[str, str]


def _printable(text: object) -> str:
    """Text from inside, made harmless for a terminal and bounded."""
    return visible(" ".join(str(text)[:MAX_TEXT].split("\n")))[:MAX_TEXT]


def pack_plan(plan: Plan) -> bytes:
    """The plan as one message."""
    return json.dumps(asdict(plan)).encode()


def unpack_plan(data: bytes) -> Plan:
    """The plan of a message made by `pack_plan`."""
    raw: dict[str, Any] = json.loads(data)
    raw["guest"] = Guest(**raw["guest"])
    raw["layers"] = tuple(Layer(**layer) for layer in raw["layers"])
    raw["shares"] = tuple(Share(**share) for share in raw["shares"])
    for name in ("connectors", "cdroms", "notice_hook", "hidden"):
        raw[name] = tuple(raw[name])
    if raw["egress"]:
        doors = tuple(Forward(**door) for door in raw["egress"]["doors"])
        raw["egress"] = Egress(doors, tuple((name, tuple(found)) for name, found in raw["egress"]["names"]))
    if raw["warm"]:
        raw["warm"] = Warm(**raw["warm"] | {"hook": tuple(raw["warm"]["hook"])})
    return Plan(**raw)


def pack(event: Event) -> bytes:
    """An event as one message."""
    return json.dumps(asdict(event)).encode()


Order = Stop | Notice | NewCertificates
_ORDERS: dict[str, type[Order]] = {kind.__name__: kind for kind in (Stop, Notice, NewCertificates)}


def pack_order(order: Order) -> bytes:
    """An order as one message."""
    return json.dumps({"order": type(order).__name__, **asdict(order)}).encode()


def unpack_event(data: bytes) -> Event | None:
    """The event of a message, its texts made harmless; None when it is no event."""
    try:
        raw = json.loads(data)
    except (ValueError, RecursionError):
        return None
    if not isinstance(raw, dict) or "kind" not in raw:
        return None
    known = {one.name for one in fields(Event)}
    return Event(**{name: _printable(value) for name, value in raw.items() if name in known})


def pack_front(front: Front) -> bytes:
    """What the gateway must know as one message."""
    return json.dumps({"kind": FRONT, **asdict(front)}).encode()


def unpack_front(raw: dict[str, Any]) -> Front:
    """The front of a message made by `pack_front`."""
    fields_of = {name: value for name, value in raw.items() if name != "kind"}
    native = NativeTls(raw["native"]["port"], tuple(raw["native"]["hosts"])) if raw["native"] else None
    return Front(**fields_of | {"native": native, "portals": tuple(raw["portals"]), "hosts": tuple(raw["hosts"])})


def pack_forwards(doors: Sequence[Forward]) -> bytes:
    """What the descriptors of a message are, in their order; the last message of a keeper has none."""
    return json.dumps([asdict(door) for door in doors]).encode()


def unpack_forwards(data: bytes) -> list[Forward]:
    """The forwards of a message made by `pack_forwards`; what is none is left out, so that the count tells."""
    try:
        raw = json.loads(data)
    except (ValueError, RecursionError):
        return []
    rows = [row for row in raw if isinstance(row, dict)] if isinstance(raw, list) else []
    return [
        Forward(row["kind"], row["address"], row["port"])
        for row in rows
        if isinstance(row.get("kind"), str) and isinstance(row.get("address"), str) and type(row.get("port")) is int
    ]


def unpack_order(data: bytes) -> Order:
    """The order of a message made by `pack_order`."""
    raw: dict[str, Any] = json.loads(data)
    return _ORDERS[raw.pop("order")](**raw)


def pair() -> tuple[socket.socket, socket.socket]:
    """The supervisor's and the keeper's end of the wire."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    for end in (ours, theirs):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2 * MAX_MESSAGE)
    return ours, theirs
