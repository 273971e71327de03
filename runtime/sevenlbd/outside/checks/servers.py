"""The servers of the ways out, tried from this node as a session would: who answers, who refuses, who is silent."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise

from ...base import hostnames
from ..egress.policy import rules
from ..egress.policy.rules import EgressEntry
from ..egress.relay import reach, resolve, target
from ..egress.relay.allowed import Allowed
from .checked_site import CheckedSite
from .doctor import Finding

_SECONDS = 3.0  # TCP sends a lost first packet again after one (RFC 6298, 2); a person waits for the answer
_AT_ONCE = 128  # sockets; a process has 1024 descriptors by default (getrlimit(2), RLIMIT_NOFILE)
FINE, _SILENT = "fine", "silent"
MEND = {
    "refused": "nobody listens there: start the server, or mend the port",
    _SILENT: "the host is off, or a firewall drops what comes from here",
}
Place = tuple[str, int]


def tried(site: CheckedSite, allowed: Allowed) -> Iterator[Finding]:
    """Each entry of `egress_allow`, in its order, and what of `egress_hosts` is for none of them."""
    ways = [rules.parse(text) for text in site.settings.egress_allow]
    names = dict(allowed.names)
    doors = {
        way: [(address, port) for address in _addresses(way, names, allowed) for port in way.ports] for way in ways
    }
    outcomes = asyncio.run(_try_all(dict.fromkeys(endpoint for endpoints in doors.values() for endpoint in endpoints)))
    pinned = rules.hosts(site.settings.egress_hosts)
    looked_up = resolve.look_up(way.host for way in ways if way.by_proxy and _is_name(way.host, pinned))
    for way in ways:
        if way.by_proxy:
            yield from _by_proxy(way, looked_up)
        elif way.scheme == "udp":
            yield Finding("ways out", "ok", f"{way.text}: not tried, as a datagram without an answer says nothing")
        elif doors[way]:
            yield _server(way, {endpoint: outcomes[endpoint] for endpoint in doors[way]})
    for name in pinned:
        if not any(_is_for(name, way) for way in ways):
            text = f"`egress_hosts`: {name} is in no entry of egress_allow, so it is not used"
            yield Finding("ways out", "warning", text, "allow it, or leave it out")


def _addresses(way: EgressEntry, names: Mapping[str, tuple[str, ...]], allowed: Allowed) -> Sequence[str]:
    """Of an entry for TCP; none when it has no address, which is told elsewhere."""
    if way.scheme != "tcp":
        return ()
    return names.get(way.host, (way.host,) if (way.host, way.first) in allowed.tcp else ())


def _is_name(host: str, pinned: Mapping[str, tuple[str, ...]]) -> bool:
    """Whether the proxy would ask a name server for it, and for no other name."""
    return not host.startswith("*.") and host not in pinned and not hostnames.is_address(host)


def _is_for(name: str, way: EgressEntry) -> bool:
    destination = target.Target(way.scheme, name, way.first)
    return way.host == name or way.by_proxy and target.is_listed(destination, [way.pattern])


def _by_proxy(way: EgressEntry, looked_up: Mapping[str, resolve.Resolution]) -> Iterator[Finding]:
    if (answer := looked_up.get(way.host)) is None:
        return
    if answer.addresses:
        yield Finding("ways out", "ok", f"{way.text}: {', '.join(answer.addresses)}")
    else:
        mend = "mend the name, the name server, or say where it is: egress_hosts"
        yield Finding("ways out", "warning", f"{way.text}: {way.host}: {answer.why}", mend)


def _server(way: EgressEntry, outcomes: Mapping[Place, str]) -> Finding:
    """One entry: a range is well when one of its ports is, because a vendor daemon has one of them."""
    kinds: dict[str, list[Place]] = {}
    for endpoint, outcome in outcomes.items():
        kinds.setdefault(outcome, []).append(endpoint)
    text = "; ".join(f"{outcome}: {', '.join(_spelled(endpoints))}" for outcome, endpoints in kinds.items())
    if FINE in kinds:
        return Finding("ways out", "ok", f"{way.text}: {text}")
    mend = "; ".join(MEND[outcome] for outcome in kinds if outcome in MEND)
    return Finding("ways out", "warning", f"{way.text}: {text}", mend or "see whether this node has a way there")


def _spelled(endpoints: Iterable[Place]) -> Iterator[str]:
    """Each address with its ports, those in a row as a range."""
    by_address: dict[str, list[int]] = {}
    for address, port in endpoints:
        by_address.setdefault(address, []).append(port)
    for address, ports in by_address.items():
        starts = [ports[0], *(second for first, second in pairwise(ports) if second != first + 1)]
        ends = [*(first for first, second in pairwise(ports) if second != first + 1), ports[-1]]
        spelled = ", ".join(
            str(one) if one == last else f"{one}-{last}" for one, last in zip(starts, ends, strict=True)
        )
        yield f"{address} port {spelled}"


def answer(address: str, port: int) -> str:
    """What one server comes to, in a word: `fine`, or what MEND mends."""
    return asyncio.run(_try(address, port))


async def _try_all(endpoints: Iterable[Place]) -> dict[Place, str]:
    some = asyncio.Semaphore(_AT_ONCE)

    async def one(endpoint: Place) -> tuple[Place, str]:
        async with some:
            return endpoint, await _try(*endpoint)

    return dict(await asyncio.gather(*map(one, endpoints)))


async def _try(address: str, port: int) -> str:
    try:
        wire = await reach.tcp(address, port, seconds=_SECONDS)
    except TimeoutError:
        return _SILENT
    except OSError as error:
        return reach.spell(error)
    wire.close()
    return FINE
