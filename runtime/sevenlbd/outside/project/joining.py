"""Whether and how a session joins a project's network: the site's table, held against the user, the node and the rest.

Connects to nothing; looks up the one server.
"""

from __future__ import annotations

import grp
import ipaddress
import os
import pwd
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from ...base import hostnames
from ...base.addresses import SUBNET
from ...base.errors import ExitCode, Refusal
from ...config import sources, tables
from ...config.settings import NETWORK, nearest, tables_of
from ...wire.plan import Share
from ...wire.private_network import Inbound, Project
from ..egress.relay import resolve
from ..egress.relay.allowed import ProjectServer
from ..site.network_table import NetworkTable, ProjectTable
from . import client_keys
from .joined import JoinedProject

if TYPE_CHECKING:
    from ...config.settings import Settings


def decide(settings: Settings, environment: Mapping[str, str], network: str, shares: Sequence[Share]) -> JoinedProject:
    """The project's network that `settings.project` names. Raises Refusal."""
    name, table = settings.project, _table(settings.project, environment)
    _check_member(name, table)
    if network != "tap":
        # QEMU would open the guest's connections itself, as a process that nothing tells from the session's others.
        what = f"project = {name}: with user-mode networking a project's network cannot be held apart"
        raise Refusal(ExitCode.NODE, what, hint="--network tap; it needs /dev/net/tun on the node: 7lbd doctor")
    if ipaddress.ip_network(table.prefix).overlaps(ipaddress.ip_network(SUBNET)):
        raise Refusal(ExitCode.USAGE, f"[network.project.{name}] `prefix` is the guest's own link", hint="another one")
    files = readable(name, table)
    _check_files(settings, files, shares)
    server = ProjectServer(table.host, address_of(name, table.host), table.port)
    project = Project(
        name=name,
        server=server.address,
        port=server.port,
        prefix=table.prefix,
        server_name=table.server_name,
        inbound=tuple(map(_inbound, table.inbound)),
        hosts=_hosts(table.hosts),
    )
    return JoinedProject(project, server, files)


def projects(environment: Mapping[str, str]) -> dict[str, ProjectTable]:
    """All that the site has, by name. Raises Refusal."""
    file, content = sources.site_tables(sources.look_around(environment))
    return dict(tables.checked(NetworkTable, NETWORK, said(content), file).project)


def said(content: Mapping[str, object]) -> object:
    """The table `network` of a site's file, unchecked; empty where that name is the setting's."""
    return tables_of(content).get(NETWORK, {})


def _table(name: str, environment: Mapping[str, str]) -> ProjectTable:
    known = projects(environment)
    if name not in known:
        what = f"project = {name}: the site has no private network of that name{nearest(name, known)}"
        hint = f"it has {', '.join(sorted(known))}" if known else "the site adds one: [network.project.NAME]"
        raise Refusal(ExitCode.USAGE, what, hint=hint)
    return known[name]


def _check_member(name: str, table: ProjectTable) -> None:
    """The files' modes are what holds; this says so in words."""
    if table.groups and not set(table.groups) & set(_our_groups()):
        what = f"project = {name}: its network is for members of {', '.join(table.groups)}, and you are in none of them"
        raise Refusal(ExitCode.USAGE, what, hint="ask the site to let you join; `id -Gn` shows your groups")


def _our_groups() -> list[str]:
    """A container without root shows the numbers of most groups as nobody's, but names us as their member."""
    user, numbers = _user(), {os.getgid(), *os.getgroups()}
    return [one.gr_name for one in grp.getgrall() if one.gr_gid in numbers or user in one.gr_mem]


def _user() -> str:
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return f"uid{os.getuid()}"


def readable(name: str, table: ProjectTable) -> client_keys.KeyFiles:
    """With those of `keys` that are there for this user on this node. Raises Refusal when there is none."""
    node = os.uname().nodename.partition(".")[0]
    named = [path.replace("{node}", node).replace("{user}", _user()) for path in table.keys]
    ours = tuple(path for path in named if os.access(path, os.R_OK))
    if not ours:
        what = f"project = {name}: there is no key of its network that you can read here: {', '.join(named)}"
        hint = "the site makes one for each machine or user; a folder that the container does not show: --bind"
        raise Refusal(ExitCode.USAGE, what, hint=hint)
    return client_keys.KeyFiles(ours, table.ca, table.tls_crypt)


def _check_files(settings: Settings, files: client_keys.KeyFiles, shares: Sequence[Share]) -> None:
    if settings.wide_links:
        what = "`wide_links` lets the guest follow links to whatever you can read, the key of a project's network, too"
        raise Refusal(ExitCode.SHARE, what, hint="a session has one of the two: the site's file decides")
    for path in files.keys:
        client_keys.check_private(path, [share.path for share in shares])
        client_keys.credentials(path, files)


def address_of(name: str, host: str) -> str:
    """Where the server is. What a name server says is believed as that of a way out is. Raises Refusal."""
    if hostnames.is_address(host):
        return host
    found = resolve.look_up([host])[host]
    usable = [one for one in found.addresses if ":" not in one or resolve.has_ipv6()]
    if not usable:
        what = f"[network.project.{name}] `server`: {host}: {found.why or 'it has no address'}"
        raise Refusal(ExitCode.NODE, what, hint="ask the site; an address instead of the name needs no name server")
    return usable[0]


def _inbound(text: str) -> Inbound:
    protocol, _, ports = text.partition(":")
    first, _, last = ports.partition("-")
    return Inbound(protocol, int(first or 0), int(last or first or 0))


def _hosts(entries: Sequence[str]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    addresses: dict[str, tuple[str, ...]] = {}
    for entry in entries:
        name, _, address = entry.lower().partition("=")
        addresses[name] = (*addresses.get(name, ()), address)
    return tuple(addresses.items())
