"""What leads out: sockets inside, as the plan orders them, and as they go to the relay, past the supervisor."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .codec import Codec, Sieved


@dataclass(frozen=True)
class Forward:
    """One place inside that leads out: a listening socket, or a bound one for UDP."""

    kind: str
    """`tcp`, `udp`, `proxy`, or `project`: that for the session's own client of a project's network."""
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


FORWARDS: Codec[Sequence[Forward]] = Codec(Sieved[tuple[Forward, ...]])
"""What the descriptors of a packet are, in their order; the last packet of a keeper has none.

What is none is left out, so that the count tells.
"""
