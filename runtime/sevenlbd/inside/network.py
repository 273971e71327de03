"""The session's network as the guest knows it: the contract's addresses, the tap, DHCP. There is no route out.

With user-mode networking QEMU plays the other end itself, in this same namespace.
"""

from __future__ import annotations

import fcntl
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager

from .root import PRIVATE

HOST = "169.254.100.2"
GUEST = "169.254.100.15"
SUBNET = "169.254.100.0/24"
PREFIX_LENGTH = 24
MAC = "52:54:00:07:1b:d0"
HOST_MAC = "52:54:00:07:1b:02"
"""The same in every session: a guest that goes on from a warm state remembers it."""
TAP = "tap0"
READY_PORT = 54321
LEASES = PRIVATE / "dnsmasq.leases"
DNSMASQ_CONF = PRIVATE / "dnsmasq.conf"

USER_NET_RDP = ("127.0.0.3", 3389)
"""Where the guest's RDP is found with user-mode networking: a loopback address that no guest packet names."""

_TUNSETIFF = 0x400454CA
_IFF_TAP, _IFF_NO_PI, _IFF_VNET_HDR = 0x0002, 0x1000, 0x4000


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


def dnsmasq() -> list[str]:
    """The command of the DHCP server."""
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
