"""Set-up: makes the network and writes the servers' configuration. Runs in the builder's fork, once."""

from __future__ import annotations

import asyncio
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from ..base.addresses import GUEST, HOST, HOST_V6, MAC, PREFIX_LENGTH, PREFIX_LENGTH_V6
from ..wire import shared_files
from ..wire.forwards import Egress
from ..wire.inner_files import PRIVATE, SMB_CONFIGURATION
from ..wire.plan import PLANS, Plan
from ..wire.private_network import Project
from ..wire.tls import AUTHORITY, SERVER
from .init.root import SESSION, all_shares
from .net import network, project_link, shaping
from .net.netlink import AsyncIPRoute
from .services import filenames, native_rdp, samba

_IFA_F_NODAD = 0x02  # <linux/if_addr.h>: nobody else can have it (RFC 4862, 5.4)
_templates = Environment(
    loader=PackageLoader("sevenlbd.inside"), undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
)


async def bring_up(plan: Plan) -> None:
    """lo, the host's address on the guest's link, which is there, those of the ways out, and a project's tunnel.

    Raises OSError, NetlinkError, ShapingError or ProjectError.
    """
    _lower_unprivileged_ports()
    async with AsyncIPRoute() as ip:
        await ip.link("set", ifname="lo", state="up")
        if plan.egress:
            network.switch_ipv6("lo", on=True)
            await _addresses(ip, plan.egress)
        if plan.network == "tap":
            await _link(ip, plan)
        elif plan.network_rate:
            await shaping.add_bucket(ip, "lo", plan.network_rate)
        if plan.project:
            project_link.build(render_rules(plan, plan.project), plan.uid)
            (index,) = await ip.link_lookup(ifname=project_link.TUN)
            await ip.link("set", index=index, state="up")


async def _addresses(ip: AsyncIPRoute, egress: Egress) -> None:
    """Every address that a way out has is ours in here, on `lo`, where the guest's packets to it end."""
    (index,) = await ip.link_lookup(ifname="lo")
    for address in dict.fromkeys(forward.address for forward in egress.doors):
        if ":" in address:
            await _own(ip, index, address, 128)
        elif address != HOST:
            await ip.addr("add", index=index, address=address, prefixlen=32)


async def _own(ip: AsyncIPRoute, index: int, address: str, prefix_length: int) -> None:
    """An IPv6 address that can be bound to from now on.

    Without the flag it is tentative until a worker of the kernel's comes to it, on `lo`, too: later, on a busy node,
    than we want to listen there, and `bind` then says that there is no such address.
    """
    await ip.addr("add", index=index, address=address, prefixlen=prefix_length, flags=_IFA_F_NODAD)


async def _link(ip: AsyncIPRoute, plan: Plan) -> None:
    """IPv4 only, one address, unless a way out is IPv6: nothing that configures itself."""
    if plan.network_rate:
        await shaping.add_bridge(ip, plan.network_rate)
    name = network.interface(plan)
    with_ipv6 = plan.egress is not None and plan.egress.has_ipv6
    network.switch_ipv6(name, on=with_ipv6)
    (index,) = await ip.link_lookup(ifname=name)
    await ip.addr("add", index=index, address=HOST, prefixlen=PREFIX_LENGTH)
    if with_ipv6:
        network.appear_as_router(name)
        await _own(ip, index, HOST_V6, PREFIX_LENGTH_V6)
    await ip.link("set", index=index, address=network.HOST_MAC, state="up")


def _lower_unprivileged_ports() -> None:
    """Let the user's smbd listen on 445, in this network namespace only (ip(7))."""
    Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").write_text("0")


def write_configuration(plan: Plan) -> None:
    """dnsmasq.conf, smb.conf and stunnel.conf, in the private tmpfs."""
    network.DNSMASQ_CONF.write_text(render_dnsmasq_conf(plan))
    if plan.egress:
        network.NAMES.write_text(render_names(plan.egress))
    SMB_CONFIGURATION.write_text(render_smb_conf(plan))
    native_rdp.CONFIGURATION.write_text(render_stunnel_conf(plan.network, PRIVATE))


def render_dnsmasq_conf(plan: Plan) -> str:
    """dnsmasq.conf: DHCP on the guest's link; with ways out DNS, too, and a route to them."""
    egress = plan.egress
    return _templates.get_template("dnsmasq.conf").render(
        dhcp=plan.network == "tap",
        interface=network.interface(plan),
        guest=GUEST,
        host=HOST,
        address=network.host_address(plan.network),
        mac=MAC,
        leases=network.LEASES,
        user=plan.user,
        egress=egress,
        names=network.NAMES,
        domain=network.DOMAIN,
        proxy=next((forward.port for forward in egress.doors if forward.kind == "proxy"), 0) if egress else 0,
    )


def render_rules(plan: Plan, project: Project) -> str:
    """What passes between the guest and the project's network, as nft(8) reads it."""
    return _templates.get_template("project.nft").render(
        link=network.interface(plan),
        tun=project_link.TUN,
        bridge=shaping.BRIDGE,
        guest=GUEST,
        prefix=project.prefix,
        inbound=project.inbound,
        most=project_link.MOST_CONNECTIONS,
    )


def render_names(egress: Egress) -> str:
    """What the session's DNS knows, as a file of hosts (hosts(5))."""
    return "".join(f"{address}\t{name}\n" for name, addresses in egress.names for address in addresses)


def render_smb_conf(plan: Plan) -> str:
    """smb.conf for the plan's shares."""
    return _templates.get_template("smb.conf").render(
        user=plan.user,
        private=samba.SAMBA,
        log=SESSION / shared_files.SMBD_LOG,
        # An address, not a device: what else is on the device is not for the shares.
        interface=f"{HOST}/{PREFIX_LENGTH}" if plan.network == "tap" else "127.0.0.1/8",
        mapped_names=filenames.mapping(plan.guest.os),
        guest_access=plan.guest_access,
        wide_links=plan.wide_links,
        protect_dot_files=plan.protect_dot_files,
        shares=list(all_shares(plan)),
    )


def render_stunnel_conf(mode: str, folder: Path) -> str:
    """stunnel.conf, for certificates in `folder`."""
    address, port = network.rdp_address(mode)
    return _templates.get_template("stunnel.conf").render(
        address=address, port=port, server=folder / SERVER, authority=folder / AUTHORITY
    )


def build(packed: bytes) -> None:
    """Build for the packed plan; an empty one means that there will be no session."""
    if packed:
        plan = PLANS.unpack(packed)
        asyncio.run(bring_up(plan))
        write_configuration(plan)
