"""A project's private network, as the keeper makes it appear inside, and what it tells of it.

Who decides is outside (`outside/project`); what the other end of the tunnel says is held against this in here.
"""

from __future__ import annotations

from dataclasses import dataclass

UP, DOWN = "up", "down"
"""The first word of what the keeper tells of it: `up ADDRESS`, or `down REASON`."""


@dataclass(frozen=True)
class Inbound:
    """What others in the project's network may open in the guest: `icmp`, or ports of `tcp` or `udp`."""

    protocol: str
    first: int = 0
    last: int = 0


@dataclass(frozen=True)
class Project:
    """The network that the guest joins: `prefix` and nothing else, through one server."""

    name: str
    server: str
    """The server's address; the session's own client finds it at a loopback address, by the relay."""
    port: int
    prefix: str
    """`10.77.0.0/16`: all that the guest may reach there, and all that its own address there is taken from."""
    credentials: str = ""
    """OpenVPN's inline blocks: the authority, the certificate, its private key, the wrapping key."""
    server_name: str = ""
    """The common name that the server's certificate must have; empty: any server's by that authority."""
    inbound: tuple[Inbound, ...] = ()
    hosts: tuple[tuple[str, tuple[str, ...]], ...] = ()
    """Names in the network, with their addresses, which the session's DNS answers."""
