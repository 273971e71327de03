"""Between supervisor and gateway: who may come in and how the session is goes in, what the gateway asks for comes out.

The supervisor treats what it receives as hostile: a broken-out guest could be the one who writes.
"""

from __future__ import annotations

from dataclasses import dataclass

from .codec import Lenient, Tagged
from .state import SessionState


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
class Bundle:
    """The client's bundle; empty when there is none any more."""

    packed: bytes


@dataclass(frozen=True)
class Hello:
    """From a gateway that has just begun."""


@dataclass(frozen=True)
class StopPressed:
    """The user pressed the button."""

    now: Lenient[bool] = False


@dataclass(frozen=True)
class SuspendPressed:
    """The user wants the desktop in a file."""


@dataclass(frozen=True)
class BundleWanted:
    """Somebody wants the client's bundle."""


@dataclass(frozen=True)
class FarewellSaid:
    """Every viewer has the final state."""


Told = Front | SessionState | Bundle
Asked = Hello | StopPressed | SuspendPressed | BundleWanted | FarewellSaid
INWARDS: Tagged[Told] = Tagged({"front": Front, "state": SessionState, "bundle": Bundle})
OUTWARDS: Tagged[Asked] = Tagged(
    {"hello": Hello, "stop": StopPressed, "suspend": SuspendPressed, "bundle": BundleWanted, "told": FarewellSaid}
)
