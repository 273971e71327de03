"""The ways in and the ways out: addresses and ports of this node, hosts of others."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress

from ...base.errors import Refusal
from ..access import connectors, listeners
from ..egress.policy import decide
from . import servers
from .checked_site import CheckedSite, refused
from .doctor import Finding


def inward(site: CheckedSite) -> Iterator[Finding]:
    try:
        ways = connectors.check(site.settings, clipboard=True)
    except Refusal as refusal:
        yield refused("ways in", refusal)
        return
    for path in filter(None, (ways.certificate, ways.key)):
        if not os.access(path, os.R_OK):
            yield Finding("web_certificate", "error", f"{path} is not readable for you", "each session's user reads it")
    endpoints = {"web": ways.web, "rdp_tls": ways.rdp_tls}
    if "ondemand" in site.said:
        with suppress(Refusal):  # which `amiss` tells
            endpoints["[ondemand] web"] = listeners.parse("web", site.ondemand.web)
    for name, endpoint in endpoints.items():
        if endpoint:
            yield _port(name, endpoint)


def _port(name: str, endpoint: listeners.ListenAddress) -> Finding:
    try:
        with listeners.tcp(name, endpoint) as socket:
            free = socket.getsockname()[1]
    except Refusal as refusal:
        return refused("ways in", refusal)
    first = "any free port" if endpoint.first == 0 else f"port {free} is free"
    return Finding("ways in", "ok", f"{name}: {endpoint.address}, {first}")


def outward(site: CheckedSite) -> Iterator[Finding]:
    """Each host is looked up and tried. One that is not found is an error here: no user could mend it."""
    settings = site.settings
    if not settings.egress_allow:
        return
    try:
        decision = decide.decide(settings.model_copy(update={"egress": True}))
    except Refusal as refusal:
        yield refused("ways out", refusal)
        return
    for note in decision.notes:
        level = "error" if decide.UNREACHABLE in note else "warning"
        yield Finding("ways out", level, note, "mend the name, the name server, or say where it is: egress_hosts")
    if allowed := decision.allowed:
        for name, addresses in allowed.names:
            yield Finding("ways out", "ok", f"{name}: {', '.join(addresses)}")
        forwards, patterns = len(allowed.tcp) + len(allowed.udp), len(allowed.proxy)
        yield Finding("ways out", "ok", f"{forwards} ports of servers, {patterns} patterns of the proxy")
        yield from servers.tried(site, allowed)
