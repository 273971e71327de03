"""Where hosts are: the node's own look-up, bounded in time, and which of its answers are believed.

A name server that is not ours could lead a session to the node itself. What an answer must not be here, a site can
still name: as an address in `egress_allow`, or for a name in `egress_hosts`.
"""

from __future__ import annotations

import ipaddress
import socket
import threading
import time
from collections import deque
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ....base import hostnames
from ....base.addresses import SUBNET, SUBNET_V6
from .reasons import NO_ANSWER

_INSIDE = (ipaddress.ip_network(SUBNET), ipaddress.ip_network(SUBNET_V6))
_THIS_NETWORK, _RESERVED = ipaddress.ip_network("0.0.0.0/8"), ipaddress.ip_network("240.0.0.0/4")

SECONDS = 5.0
"""Time that all names together get: a name server that is down must not hold up a session for long."""
_TRANSLATED = tuple(ipaddress.ip_network(text) for text in ("64:ff9b::/96", "64:ff9b:1::/48", "::/96"))
_MOST_THREADS = 32  # look-ups at a time; a guess: lists have some dozens of names
_IPV6 = Path("/proc/sys/net/ipv6")
_HOSTS = Path("/etc/hosts")
# getaddrinfo(3): what each of its failures says of a name.
_WHY = {
    socket.EAI_NONAME: "there is no such name",
    socket.EAI_NODATA: "it has no address",
    socket.EAI_ADDRFAMILY: "it has no address of a kind that this node has",
    socket.EAI_AGAIN: NO_ANSWER,
    socket.EAI_FAIL: "the name server failed",
}


@dataclass(frozen=True)
class Resolution:
    """What a name came to. `why` says what is wrong when there is no address, or some were left out."""

    addresses: tuple[str, ...] = ()
    why: str = ""


def look_up(names: Iterable[str], seconds: float = SECONDS) -> dict[str, Resolution]:
    """Each name with its believable addresses, many asked at once."""
    answers: dict[str, Resolution] = {}
    unique_names = list(dict.fromkeys(names))
    left = deque(unique_names)

    def ask() -> None:
        with suppress(IndexError):
            while True:
                name = left.popleft()
                answers[name] = asked(name)

    # A look-up cannot be called off: a thread that still waits is left behind.
    threads = [threading.Thread(target=ask, daemon=True) for _ in unique_names[:_MOST_THREADS]]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + seconds
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    late = Resolution(why=f"{NO_ANSWER} within {seconds:g} s")
    return {name: answers.get(name, late) for name in unique_names}


def believed(answers: Iterable[str]) -> Resolution:
    """The addresses among a name's `answers` that may be connected to."""
    reasons = {answer: unbelievable(answer) for answer in dict.fromkeys(answers)}
    good = tuple(answer for answer, why in reasons.items() if not why)
    return Resolution(good, "; ".join(f"{answer} {why}" for answer, why in reasons.items() if why))


def unbelievable(answer: str) -> str:
    """Why an address that a name server gave is not connected to; empty when it may be."""
    address = hostnames.address(answer)
    if address is None:
        return "is not an address of a host"
    if why := unusable(address):
        return why
    if address.is_loopback:
        return "is a loopback address"
    if address.is_link_local:
        return "is a link-local address"
    if (carried := _carried(address)) and (why := unbelievable(str(carried))):
        return f"leads to {carried}, which {why}"
    return "is this node itself" if is_own(address) else ""


def is_own(address: hostnames.IpAddress) -> bool:
    """Whether `address` is one of this node's: a packet to it would come from it (ip(7), connect on a UDP socket)."""
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((str(address), 9))
            return ipaddress.ip_address(probe.getsockname()[0]) == address
    except OSError:
        return False  # there is no way to it


def _carried(address: hostnames.IpAddress) -> ipaddress.IPv4Address | None:
    """The IPv4 address that a translator or a tunnel on the way would go on to: NAT64, 6to4, Teredo, and ::a.b.c.d.

    RFC 6052 2.1, RFC 8215, RFC 3056 2, RFC 4380 4, RFC 4291 2.5.5.1.
    """
    if address.version == 4:
        return None
    if address.teredo:
        return address.teredo[1]
    if any(address in network for network in _TRANSLATED):
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.sixtofour


def has_ipv6() -> bool:
    """Whether this node's kernel speaks IPv6 at all."""
    return _IPV6.exists()


def asked(name: str) -> Resolution:
    """The believable addresses of a name, by /etc/hosts, then DNS (getaddrinfo(3)).

    The name is whole: with the node's search domain, a wildcard there would stand for every name that is missing, and
    all that is asked for would be told there, too.
    """
    if listed := _in_hosts_file(name):
        return believed(listed)
    try:
        # A family that the node has no address of would be a forward to nowhere.
        whole = f"{name}.".encode("ascii")
        rows = socket.getaddrinfo(whole, None, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG)
    except socket.gaierror as error:
        return Resolution(why=_WHY.get(error.errno or 0) or error.strerror or str(error))
    except (OSError, UnicodeError) as error:
        return Resolution(why=getattr(error, "strerror", None) or str(error))
    return believed(str(row[4][0]) for row in rows)


def _in_hosts_file(name: str) -> list[str]:
    """Its addresses in hosts(5). By ourselves, because the C library does not know a name with its last dot there."""
    try:
        lines = _HOSTS.read_text("ascii", "replace").lower().splitlines()
    except OSError:
        return []
    rows = [line.partition("#")[0].split() for line in lines]
    return [row[0] for row in rows if name.lower() in row[1:]]


def unusable(address: hostnames.IpAddress) -> str:
    """Why no way out can lead to `address`, not even by the site's word; empty when one can."""
    if any(address in network for network in _INSIDE if network.version == address.version):
        return f"is on the guest's own link ({' and '.join(map(str, _INSIDE))}), which every session uses"
    if address.is_multicast:
        return "is a multicast address"
    if address.is_unspecified or address in _THIS_NETWORK or address in _RESERVED:
        return "is the address of no host"
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped:
            return f"is an IPv4 address in disguise: write {address.ipv4_mapped}"
        if address.is_link_local or address.scope_id:
            return "is an IPv6 link-local address, which means another host on every link"
    return ""
