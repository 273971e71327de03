"""Set-up: makes the network and writes the servers' configuration. Runs in the builder's fork, once."""

from __future__ import annotations

import asyncio
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from pyroute2 import AsyncIPRoute

from .. import messages
from ..messages import Plan
from ..tls import AUTHORITY, SERVER
from . import files, network, tls
from .root import LOGS, SESSION

_templates = Environment(
    loader=PackageLoader("sevenlbd.inside"), undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
)


async def bring_up(mode: str) -> None:
    """lo, and for `tap` the host's address on the guest's link, which is there. Raises OSError or NetlinkError."""
    _lower_unprivileged_ports()
    async with AsyncIPRoute() as ip:
        await ip.link("set", ifname="lo", state="up")
        if mode != "tap":
            return
        _without_ipv6()
        (index,) = await ip.link_lookup(ifname=network.TAP)
        await ip.addr("add", index=index, address=network.HOST, prefixlen=network.PREFIX_LENGTH)
        await ip.link("set", index=index, address=network.HOST_MAC, state="up")


def _lower_unprivileged_ports() -> None:
    """Let the user's smbd listen on 445, in this network namespace only (ip(7))."""
    Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").write_text("0")


def _without_ipv6() -> None:
    """The guest's link speaks IPv4 only: one address, three ports, nothing that configures itself."""
    switch = Path(f"/proc/sys/net/ipv6/conf/{network.TAP}/disable_ipv6")
    if switch.exists():
        switch.write_text("1")


def write_configuration(plan: Plan) -> None:
    """dnsmasq.conf, smb.conf and stunnel.conf, in the private tmpfs."""
    dnsmasq = _templates.get_template("dnsmasq.conf").render(
        tap=network.TAP, guest=network.GUEST, mac=network.MAC, leases=network.LEASES, user=plan.user
    )
    network.DNSMASQ_CONF.write_text(dnsmasq)
    files.CONFIGURATION.write_text(render_smb_conf(plan))
    tls.CONFIGURATION.write_text(render_stunnel_conf(plan.network, SESSION))


def render_smb_conf(plan: Plan) -> str:
    """smb.conf for the plan's shares."""
    return _templates.get_template("smb.conf").render(
        user=plan.user,
        private=files.SAMBA,
        log=LOGS / "smbd.log",
        interface=network.TAP if plan.network == "tap" else "lo",
        create_mask=f"{0o666 & ~plan.umask:04o}",
        directory_mask=f"{0o777 & ~plan.umask:04o}",
        guest_access=plan.guest_access,
        wide_links=plan.wide_links,
        shares=plan.shares,
    )


def render_stunnel_conf(mode: str, folder: Path) -> str:
    """stunnel.conf, for certificates in the session's `folder`."""
    address, port = network.rdp_address(mode)
    return _templates.get_template("stunnel.conf").render(
        address=address, port=port, server=folder / SERVER, authority=folder / AUTHORITY
    )


def build(packed: bytes) -> None:
    """Build for the packed plan; an empty one means that there will be no session."""
    if packed:
        plan = messages.unpack_plan(packed)
        asyncio.run(bring_up(plan.network))
        write_configuration(plan)
