"""What a session may reach, fully decided: addresses instead of names, but for the proxy's patterns."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ....wire.codec import Codec
from ....wire.forwards import Egress, Forward

PROXY_PORT = 3128
"""Where the session's proxy is, on the host's address inside."""


@dataclass(frozen=True)
class Pattern:
    """What the proxy lets through: `*.example.edu` is every name below it, ports from `first` to `last`."""

    scheme: str
    """`https` is CONNECT, `http` a request with an absolute address (RFC 9110 9.3.6, RFC 9112 3.2.2)."""
    host: str
    first: int
    last: int


@dataclass(frozen=True)
class ProjectServer:
    """The one server that the session's own client of a project's network speaks to. The guest has no way there."""

    host: str
    """As the site calls it."""
    address: str
    port: int


@dataclass(frozen=True)
class Allowed:
    """The relay's orders. Rates in bytes a second (0: no limit), times in seconds."""

    tcp: tuple[tuple[str, int], ...] = ()
    udp: tuple[tuple[str, int], ...] = ()
    names: tuple[tuple[str, tuple[str, ...]], ...] = ()
    """What the session's DNS answers."""
    proxy: tuple[Pattern, ...] = ()
    pinned: tuple[tuple[str, str], ...] = ()
    """Where the proxy finds a host, instead of what DNS says (egress_hosts)."""
    project: ProjectServer | None = None
    connections: int = 256
    rate: int = 0
    idle: float = 7200.0
    log: str = ""
    """How the name of the site's file begins, where each connection is written when it ends; empty: there is none."""

    @property
    def places(self) -> frozenset[tuple[str, int]]:
        """All addresses and ports that TCP may be connected to by their numbers."""
        more = {(self.project.address, self.project.port)} if self.project else set()
        return frozenset({*self.tcp, *more})

    def inside(self, host: str) -> Egress:
        """What the keeper has to make of it; `host` is the host's address on the guest's link."""
        return Egress(tuple(self._forwards(host)), self.names)

    def _forwards(self, host: str) -> Iterator[Forward]:
        for kind, endpoints in (("tcp", self.tcp), ("udp", self.udp)):
            for address, port in endpoints:
                yield Forward(kind, address, port)
        if self.proxy:
            yield Forward("proxy", host, PROXY_PORT)


ORDERS: Codec[Allowed] = Codec(Allowed)
"""For the relay's and the broker's process, one line each."""
