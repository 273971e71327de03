"""The session's network as the guest knows it: the contract's addresses, the tap, DHCP and DNS. No route leads out.

With user-mode networking QEMU plays the other end itself, in this same namespace.
"""

from __future__ import annotations

import fcntl
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ...base.addresses import GUEST, HOST
from ...wire.inner_files import PRIVATE
from ...wire.plan import Plan

HOST_MAC = "52:54:00:07:1b:02"
"""The same in every session: a guest that goes on from a warm state remembers it."""
TAP = "tap0"
SLOWED = "host0"
"""Our end of the guest's link when a bridge that slows it down is between."""
READY_PORT = 54321  # docs/images.md: the contract with every image
LEASES = PRIVATE / "dnsmasq.leases"
DNSMASQ_CONF = PRIVATE / "dnsmasq.conf"
DOMAIN = "7lbd.internal"
"""Whom short names belong to: a guest asks for none without a domain of its own."""
NAMES = PRIVATE / "dnsmasq.hosts"

USER_NET_RDP = ("127.0.0.3", 3389)
"""Where the guest's RDP is found with user-mode networking: a loopback address that no guest packet names."""

_TUNSETIFF = 0x400454CA  # <linux/if_tun.h>
_IFF_TAP, _IFF_NO_PI, _IFF_VNET_HDR = 0x0002, 0x1000, 0x4000  # <linux/if_tun.h>


@contextmanager
def tap_descriptor(mode: str) -> Iterator[int | None]:
    """Make the guest's link, not yet up: a descriptor of it for QEMU; None with user-mode networking. Raises OSError.

    It lasts as long as somebody has it open. Source: Linux, Documentation/networking/tuntap.
    """
    if mode != "tap":
        yield None
        return
    tap = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC)
    try:
        fcntl.ioctl(tap, _TUNSETIFF, struct.pack("16sH22x", TAP.encode(), _IFF_TAP | _IFF_NO_PI | _IFF_VNET_HDR))
        yield tap
    finally:
        os.close(tap)


def interface(plan: Plan) -> str:
    """The device with the host's address; with user-mode networking QEMU leads the guest to our loopback."""
    if plan.network != "tap":
        return "lo"
    return SLOWED if plan.network_rate else TAP


def host_address(mode: str) -> str:
    """What the guest knows as the host's address, as we have it."""
    return HOST if mode == "tap" else "127.0.0.1"


def switch_ipv6(name: str, *, on: bool) -> None:
    """Whether a device speaks IPv6. On: at once, since nobody else can have its addresses (RFC 4862, 5.4)."""
    for setting, value in (("disable_ipv6", not on), ("accept_dad", False), ("accept_ra", False)):
        switch = Path(f"/proc/sys/net/ipv6/conf/{name}/{setting}")
        if switch.exists():
            switch.write_text(str(int(value)))


def believe_only_routes(name: str) -> None:
    """Take by a device only what comes from where it leads to, ARP's questions too (RFC 3704; rp_filter)."""
    Path(f"/proc/sys/net/ipv4/conf/{name}/rp_filter").write_text("1")


def appear_as_router(name: str) -> None:
    """Let a device call itself a router when a neighbour asks: a guest drops the route through one that does not.

    RFC 4861 7.2.5. Packets are forwarded only where `all/forwarding` says so, too, which stays off.
    """
    Path(f"/proc/sys/net/ipv6/conf/{name}/forwarding").write_text("1")


def dnsmasq() -> list[str]:
    """The command of the DHCP and DNS server."""
    return ["/usr/sbin/dnsmasq", "--keep-in-foreground", f"--conf-file={DNSMASQ_CONF}"]


def rdp_address(mode: str) -> tuple[str, int]:
    """Where the guest's RDP server is found inside."""
    return (GUEST, 3389) if mode == "tap" else USER_NET_RDP


def has_lease() -> bool:
    """Whether the guest has taken its address."""
    try:
        return GUEST in LEASES.read_text()
    except OSError:
        return False
