"""The guest's link made slower: a token bucket each way.

A token bucket (tc-tbf(8)) shapes what leaves a device. Towards the guest that is what leaves our end of the link; from
the guest nothing of ours leaves anywhere, so a bridge takes it in and a pair of devices carries it on:

    guest -- tap0 == bridge == wire0 -- host0, with the host's address
                               bucket    bucket

QEMU's own network has no device of its own: all of it, both ways together, leaves by `lo`.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from . import network
from .netlink import AsyncIPRoute, NetlinkError

BRIDGE, WIRE = "bridge0", "wire0"
# The largest segment that QEMU hands on at once passes whole; at high rates, what comes between two looks.
_LEAST_BURST, _BURST_SECONDS = 128 << 10, 0.01
_QUEUE_SECONDS = 0.1  # of the rate; a guess between lost packets and long delays


class ShapingError(Exception):
    """The link cannot be made slower here; the text says why."""


async def add_bridge(ip: AsyncIPRoute, bits: int) -> None:
    """Put bridge and buckets between the tap and a new device for the host's address. Raises ShapingError."""
    try:
        # No spanning tree, no wait before it forwards, nothing to learn of multicast: there are two ports.
        options = {"br_stp_state": 0, "br_forward_delay": 0, "br_mcast_snooping": 0}
        await ip.link("add", ifname=BRIDGE, kind="bridge", **options)
        await ip.link("add", ifname=network.SLOWED, kind="veth", peer=WIRE)
        (bridge,) = await ip.link_lookup(ifname=BRIDGE)
        for name in (BRIDGE, WIRE, network.TAP, network.SLOWED):
            network.switch_ipv6(name, on=False)
        # The bridge's own end must not answer for the host's address: what comes in there has passed no bucket.
        for name in (BRIDGE, WIRE):
            network.believe_only_routes(name)
        _leave_frames_alone()
        for name in (network.TAP, WIRE):
            (port,) = await ip.link_lookup(ifname=name)
            await ip.link("set", index=port, master=bridge, state="up")
        await ip.link("set", index=bridge, state="up")
    except NetlinkError as error:
        raise ShapingError(f"network_rate needs the kernel's bridge and veth devices: {error}") from None
    await add_bucket(ip, WIRE, bits)
    await add_bucket(ip, network.SLOWED, bits)


def _leave_frames_alone() -> None:
    """Rules for what is routed are not for what is bridged; a kernel with br_netfilter would ask them."""
    for table in Path("/proc/sys/net/bridge").glob("bridge-nf-call-*"):
        with suppress(OSError):  # one switch for the whole node, before Linux 5.3; a rule of project.nft is for that
            table.write_text("0")


async def add_bucket(ip: AsyncIPRoute, name: str, bits: int) -> None:
    """Let no more than so many bits a second leave by a device. Raises ShapingError."""
    rate = bits // 8
    burst = max(_LEAST_BURST, int(rate * _BURST_SECONDS))
    (index,) = await ip.link_lookup(ifname=name)
    try:
        await ip.tc("add", "tbf", index, rate=rate, burst=burst, limit=burst + int(rate * _QUEUE_SECONDS))
    except NetlinkError as error:
        raise ShapingError(f"network_rate needs the kernel's token bucket (sch_tbf): {error}") from None
