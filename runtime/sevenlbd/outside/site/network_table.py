"""`[network.project.NAME]`, tables of the site's file: the private networks that sessions may join."""

from __future__ import annotations

import ipaddress
import re
from typing import Annotated

from pydantic import AfterValidator, Field

from ...base import hostnames
from ...config.settings import Network
from ...config.tables import Line, Lines, Place, Table, key
from ...config.value_kinds import Words

_SERVER = re.compile(r"(?P<host>[^\[\]/@?#:\s]+|\[[0-9a-fA-F:.]+\]):(?P<port>[0-9]{1,5})")
_INBOUND = re.compile(r"icmp|(?P<protocol>tcp|udp):(?P<first>[0-9]{1,5})(?:-(?P<last>[0-9]{1,5}))?")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,31}")
# RFC 1918, 3, and RFC 6598, 7: what is nobody's on the Internet.
_PRIVATE = tuple(map(ipaddress.ip_network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10")))
_LARGEST, _SMALLEST = 8, 30  # of a prefix: all of 10.0.0.0/8, and two hosts
_MAX_PORT = 65535  # RFC 9293, 3.1: 16 bits


def _server(value: str) -> str:
    match = _SERVER.fullmatch(value.lower())
    if not match or not 1 <= int(match["port"]) <= _MAX_PORT:
        raise ValueError("it must be HOST:PORT, for instance vpn.example.edu:1194")
    host = match["host"].strip("[]")
    if not (hostnames.is_name(host) or hostnames.is_address(host)):
        raise ValueError(f"`{host}` is neither a host's name nor an address")
    return value.lower()


def _prefix(value: str) -> str:
    try:
        network = ipaddress.IPv4Network(value)
    except ValueError:
        raise ValueError("it must be an IPv4 network, for instance 10.77.0.0/16") from None
    if not any(network.subnet_of(private) for private in _PRIVATE if isinstance(private, ipaddress.IPv4Network)):
        raise ValueError(
            "a project's network is private: within 10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16 or 100.64/10"
        )
    if not _LARGEST <= network.prefixlen <= _SMALLEST:
        raise ValueError(f"its length must be between /{_LARGEST} and /{_SMALLEST}")
    return str(network)


def _inbound(values: tuple[str, ...]) -> tuple[str, ...]:
    for value in values:
        match = _INBOUND.fullmatch(value)
        ports = match and match["protocol"] and range(int(match["first"]), int(match["last"] or match["first"]) + 1)
        if not match or (match["protocol"] and not (ports and ports[0] >= 1 and ports[-1] <= _MAX_PORT)):
            raise ValueError("each is tcp:PORT[-LAST], udp:PORT[-LAST] or icmp")
    return values


def _hosts(values: tuple[str, ...]) -> tuple[str, ...]:
    for value in values:
        name, _, written = value.lower().partition("=")
        if not hostnames.is_name(name) or not isinstance(hostnames.address(written), ipaddress.IPv4Address):
            raise ValueError("each is NAME=ADDRESS, for instance submit.project.example.edu=10.77.0.1")
    return values


def _common_name(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_.@:-]*", value):
        raise ValueError("it must be the common name of a certificate: letters, digits and _ . @ : -")
    return value


def _keys(values: tuple[str, ...]) -> tuple[str, ...]:
    for value in values:
        if not value.startswith("/") or not value.isprintable():
            raise ValueError("each is a path from the root, in which {node} and {user} stand for their names")
    if not values:
        raise ValueError("it must name one file at least")
    return values


class ProjectTable(Table):
    """`[network.project.NAME]`: a private network of a project's, which a session joins by OpenVPN."""

    server: Annotated[str, AfterValidator(_server)] = key(
        ..., "The site's end point: one address and port, by TCP, which nodes can reach.", metavar="HOST:PORT"
    )
    prefix: Annotated[str, AfterValidator(_prefix)] = key(
        ..., "The network that the guest may reach there, and in which its own address is.", metavar="NETWORK"
    )
    ca: Place = key(..., "Certificate of the authority that the server must have its own from (PEM).", metavar="FILE")
    keys: Annotated[Words, AfterValidator(_keys)] = key(
        ...,
        "Files (PEM), each with a client's certificate and its private key; {node} and {user} in a path stand for "
        "their names. A session takes the first that no other session on its machine has.",
        metavar="FILE",
    )
    tls_crypt: Place = key(
        "", "The key that wraps the channel (tls-crypt), where the server wants one.", metavar="FILE"
    )
    server_name: Annotated[str, AfterValidator(_common_name)] = key(
        "", "Common name of the server's certificate; empty: any server's of that authority.", metavar="NAME"
    )
    groups: Lines = key(
        (), "Unix groups whose members may join; empty: everybody who can read a file of `keys`.", metavar="GROUP"
    )
    inbound: Annotated[Words, AfterValidator(_inbound)] = key(
        (), "What others in the network may open in the guest: tcp:PORT[-LAST], udp:PORT[-LAST], icmp.", metavar="PORTS"
    )
    hosts: Annotated[Words, AfterValidator(_hosts)] = key(
        (), "Names in the network that the guest can look up: NAME=ADDRESS.", metavar="NAME=ADDRESS"
    )
    note: Line = key("", "What the network is for; people read it.")

    @property
    def host(self) -> str:
        """The server's name or address."""
        return self.server.rpartition(":")[0].strip("[]")

    @property
    def port(self) -> int:
        return int(self.server.rpartition(":")[2])


def _names(values: dict[str, ProjectTable]) -> dict[str, ProjectTable]:
    for name in values:
        if not _NAME.fullmatch(name):
            raise ValueError(f"`{name}` cannot be a project's name: up to 32 letters, digits, _ and -")
    return values


class NetworkTable(Table):
    """`[network]`: in this shape where there are private networks; `mode` is then the setting `network`."""

    mode: Network = key(Network.AUTO, "The setting `network`, which cannot stand beside a table of its name.")
    project: Annotated[dict[str, ProjectTable], AfterValidator(_names)] = Field(
        default={},
        description="Private networks that sessions may join (`project`), a table each: [network.project.NAME].",
        json_schema_extra={"metavar": ""},
    )
