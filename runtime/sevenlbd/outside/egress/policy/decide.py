"""What a session may reach: the site's list, narrowed by the image's, each host found and each address checked."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ....base import hostnames
from ....base.addresses import HOST
from ....base.errors import ExitCode, Refusal
from ....base.paths import is_folder, user_path
from ....wire import codec
from ....wire.packets import MAX_MESSAGE
from ..relay import resolve
from ..relay.allowed import Allowed
from . import rules
from .rules import EgressEntry

if TYPE_CHECKING:
    from ....config.settings import Settings

MAX_FORWARDS = 512  # a descriptor each in the relay, which may have no more than 1024, and needs six for a connection
ALL = "all"
UNREACHABLE = "it cannot be reached from the guest"
"""What a note says of a host that has no address left."""
Place = tuple[str, int]


@dataclass(frozen=True)
class Decision:
    """What a session may reach; None is nothing. `notes` say what of the site's list is left out, and why."""

    allowed: Allowed | None
    notes: tuple[str, ...] = ()


def decide(settings: Settings, image: Sequence[str] = (ALL,), session: str = "") -> Decision:
    """The ways out of a session whose image asks for those in `image`. Raises Refusal for what is no way out.

    `session` names the file that its connections are written to, where the site has a folder for such files.
    """
    pinned = rules.hosts(settings.egress_hosts)
    _check_limits(settings)
    ways = [rules.parse(text) for text in settings.egress_allow]
    if not settings.egress:
        return Decision(None)
    ways, notes = _narrowed(ways, image)
    addresses_of, more = _places([way for way in ways if not way.by_proxy], pinned)
    tcp, udp = (tuple(_forwards(ways, scheme, addresses_of)) for scheme in ("tcp", "udp"))
    _check_number(len(tcp) + len(udp))
    allowed = Allowed(
        tcp=tcp,
        udp=udp,
        names=tuple((name, addresses) for name, addresses in addresses_of.items() if not hostnames.is_address(name)),
        proxy=tuple(dict.fromkeys(way.pattern for way in ways if way.by_proxy)),
        pinned=tuple((name, address) for name, addresses in pinned.items() for address in addresses),
        connections=settings.egress_connections,
        rate=settings.egress_rate,
        idle=settings.egress_idle,
        log=_log(settings.egress_log, session),
    )
    if not (allowed.tcp or allowed.udp or allowed.proxy):
        return Decision(None, (*notes, *more))
    _check_size(allowed)
    return Decision(allowed, (*notes, *more))


def _narrowed(ways: Sequence[EgressEntry], image: Sequence[str]) -> tuple[list[EgressEntry], list[str]]:
    """The ways that the image gets, each named as it stands in the site's list."""
    if ALL in image:
        return list(ways), []
    requested = {text.strip() for text in image}
    strange = sorted(requested - {way.text for way in ways})
    notes = [f"the image asks for the way out `{text}`, which is not in the site's egress_allow" for text in strange]
    return [way for way in ways if way.text in requested], notes


def _places(
    ways: Sequence[EgressEntry], pinned: Mapping[str, tuple[str, ...]]
) -> tuple[dict[str, tuple[str, ...]], list[str]]:
    """Each host with its addresses, and what there is to say of those that have none."""
    hosts = list(dict.fromkeys(way.host for way in ways))
    resolutions = {host: resolve.Resolution((host,)) for host in hosts if hostnames.is_address(host)}
    resolutions |= {host: _pinned(pinned[host]) for host in hosts if host in pinned}
    resolutions |= resolve.look_up(host for host in hosts if host not in resolutions)
    addresses_of, notes = {}, []
    for host in hosts:
        usable, why = resolutions[host].addresses, resolutions[host].why
        if not resolve.has_ipv6() and any(":" in address for address in usable):
            usable = tuple(address for address in usable if ":" not in address)
            why = why or "this node has no IPv6"
        if usable:
            addresses_of[host] = usable
        if why:
            notes.append(f"egress_allow: {host}: {why}" + ("" if usable else f"; {UNREACHABLE}"))
    return addresses_of, notes


def _pinned(addresses: Sequence[str]) -> resolve.Resolution:
    """The site's own word, but for what in the guest would be the guest: only the proxy can lead there."""
    own = [address for address in addresses if ipaddress.ip_address(address).is_loopback]
    why = f"egress_hosts says {', '.join(own)}, which in the guest is the guest itself" if own else ""
    return resolve.Resolution(tuple(address for address in addresses if address not in own), why)


def _forwards(ways: Sequence[EgressEntry], scheme: str, addresses_of: Mapping[str, tuple[str, ...]]) -> Iterator[Place]:
    yielded: set[Place] = set()
    for way in ways:
        if way.scheme == scheme:
            for address in addresses_of.get(way.host, ()):
                for port in way.ports:
                    if (address, port) not in yielded:
                        yielded.add((address, port))
                        yield address, port
                        _check_number(len(yielded))


def _log(folder: str, session: str) -> str:
    """How the session's file in the site's folder begins. Raises Refusal: it cannot be left out unseen."""
    if not folder:
        return ""
    path = user_path(folder).absolute()
    if not is_folder(path) or not os.access(path, os.W_OK | os.X_OK):
        why = "you cannot write there" if is_folder(path) else "is not a folder that the container shows"
        hint = f"as the site: chmod 1733 {path}; or show it: apptainer run --bind {path} ..."
        raise Refusal(ExitCode.USAGE, f"`egress_log` = {folder}: {why}", hint=hint)
    return str(path / f"{os.uname().nodename}-{os.getuid()}-{session}")


def _check_number(forwards: int) -> None:
    """Raises Refusal for more forwards than there are descriptors to spare."""
    if forwards > MAX_FORWARDS:
        raise Refusal(
            ExitCode.USAGE,
            f"`egress_allow` leads to more than {MAX_FORWARDS} pairs of address and port",
            hint="give narrower ranges of ports: a vendor daemon can be told its one port (VENDOR name PORT=...)",
        )


def _check_size(allowed: Allowed) -> None:
    """Raises Refusal when the plan would not fit into one message."""
    size = len(codec.pack(allowed.inside(HOST)))
    if size > MAX_MESSAGE // 2:
        raise Refusal(
            ExitCode.USAGE, "`egress_allow` is too long", hint="name fewer hosts, or whole domains by the proxy"
        )


def _check_limits(settings: Settings) -> None:
    if settings.egress_connections < 1:
        what = f"`egress_connections` = {settings.egress_connections}: a session with ways out needs one connection"
        raise Refusal(ExitCode.USAGE, what, hint="egress = false switches them off")
