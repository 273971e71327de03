"""The network: ways into the guest beside its RDP, and what it sends though nobody asks it to."""

from __future__ import annotations

import ipaddress
import re

from ....base.addresses import GUEST, HOST, NAME_SERVER, SUBNET
from .criterion import Criterion, Judgement, cannot_tell, fail, ok
from .evidence import Evidence
from .observations import NetworkSeen

_RDP = 3389  # MS-RDPBCGR 1.9
# What Windows itself listens with where its firewall lets it: RPC, file sharing, discovery, delivery.
_SYSTEM = frozenset({135, 139, 445, 5040, 5357, 7680, *range(49664, 49676)})
_MOST = 60.0  # packets a minute to where nothing is; a guess: a service that keeps trying makes more
_MAX_TOLD = 6  # destinations in a line of the report


def _seen(evidence: Evidence) -> NetworkSeen | None:
    found = evidence.first_cold().more.get("network")
    return found if isinstance(found, NetworkSeen) and not found.failure else None


def _why(evidence: Evidence) -> str:
    found = evidence.first_cold().more.get("network")
    told = found.failure if isinstance(found, NetworkSeen) else ""
    return evidence.first_cold().failure or told or "nobody looked"


def _ports(evidence: Evidence) -> Judgement:
    seen = _seen(evidence)
    if seen is None:
        return cannot_tell(_why(evidence))
    value = ", ".join(map(str, seen.ports)) or "none"
    value += "" if seen.scanned.endswith("65535") else " (of those that are usual)"
    limit = f"{_RDP}, and the system's own"
    if _RDP not in seen.ports:
        return fail("the guest does not answer at its port for RDP", value, limit)
    if more := [port for port in seen.ports if port != _RDP and port not in _SYSTEM]:
        return fail(f"there are more ways in than RDP: {', '.join(map(str, more))}", value, limit)
    return ok("ports that the guest answers at", value, limit)


def _sent(evidence: Evidence) -> Judgement:
    seen = _seen(evidence)
    if seen is None or not seen.seconds:
        return cannot_tell(_why(evidence))
    elsewhere = {where: count for where, count in seen.packets.items() if not is_local(where)}
    rate = 60 * sum(elsewhere.values()) / seen.seconds
    told = sorted(elsewhere.items(), key=lambda one: -one[1])[:_MAX_TOLD]
    value = f"{sum(seen.packets.values())} packets in {seen.seconds:.0f} s, {rate:.0f} a minute elsewhere"
    value += f": {', '.join(f'{where} ({count})' for where, count in told)}" if told else ""
    limit = f"{_MOST:.0f} a minute"
    return (ok if rate <= _MOST else fail)("what the guest sends to where there is nothing", value, limit)


def is_local(where: str) -> bool:
    """Whether a destination is the session's own, or everybody on the link: neither leads anywhere."""
    found = re.search(r"\[?([0-9a-f.:]+?)\]?(?::\d+)?$", where)
    try:
        address = ipaddress.ip_address(found[1] if found else "")
    except ValueError:
        return False
    if address.is_multicast or address.is_link_local and address.version == 6:
        return True
    known = (
        HOST,
        GUEST,
        NAME_SERVER,
        str(ipaddress.ip_network(SUBNET).broadcast_address),
        "255.255.255.255",
        "0.0.0.0",
    )
    return str(address) in known


CRITERIA = (
    Criterion("network.ports", "RDP is the only way in", _ports),
    Criterion("network.sent", "nothing keeps on looking for the world", _sent),
)
