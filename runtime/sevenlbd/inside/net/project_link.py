"""The link to a project's network: a tunnel's device, what may pass between it and the guest, its address.

    guest -- tap0 (or host0) -- forwarded, by the rules below -- tun0 -- OpenVPN, which has no rights of its own

The rules are there before the device is, and stay when whatever reads the device is gone. So nothing passes but what
they name: without OpenVPN the device loses all that goes to it, and no other route leads anywhere. Sources: nft(8);
Linux, Documentation/networking/tuntap; netdevice(7).
"""

from __future__ import annotations

import fcntl
import ipaddress
import os
import socket
import struct
from contextlib import suppress
from pathlib import Path

from . import network

TUN = "tun0"
_TUNSETIFF, _TUNSETPERSIST, _TUNSETOWNER = 0x400454CA, 0x400454CB, 0x400454CC  # <linux/if_tun.h>
_IFF_TUN, _IFF_NO_PI = 0x0001, 0x1000  # <linux/if_tun.h>
_SIOCSIFADDR, _SIOCSIFNETMASK = 0x8916, 0x891C  # <linux/sockios.h>
MOST_CONNECTIONS = 4096  # a guess: more than a desktop has; each costs the node's kernel some hundred bytes


class ProjectError(Exception):
    """The project's network cannot be had here; the text says why."""


def build(ruleset: str, owner: int) -> None:
    """Rules (nft(8)), a device for a reader of `owner`'s, and only then forwarding. Raises ProjectError.

    It takes the right to administer this network.
    """
    _obey(ruleset)
    try:
        _make_tun(owner)
        network.switch_ipv6(TUN, on=False)
        # What claims to come from the guest, or from us, does not come through the tunnel.
        network.believe_only_routes(TUN)
        Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
    except OSError as error:
        raise ProjectError(f"the project's network needs a TUN device and forwarding: {error}") from None


def _obey(ruleset: str) -> None:
    import nftables  # not every session has a project's network

    context = nftables.Nftables()
    code, _, error = context.cmd(ruleset)
    if code:
        raise ProjectError(
            f"the project's network needs the kernel's nftables, with nat and conntrack: {error.strip() or code}"
        )


def _make_tun(owner: int) -> None:
    """A device that stays without a reader, for a reader of `owner`'s."""
    tun = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC)
    try:
        fcntl.ioctl(tun, _TUNSETIFF, struct.pack("16sH22x", TUN.encode(), _IFF_TUN | _IFF_NO_PI))
        fcntl.ioctl(tun, _TUNSETOWNER, owner)
        fcntl.ioctl(tun, _TUNSETPERSIST, 1)
    finally:
        os.close(tun)


def set_address(address: str, prefix: str) -> None:
    """Make the device's end ours, and with it the one route, to `prefix`. Raises OSError."""
    mask = str(ipaddress.ip_network(prefix).netmask)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, _SIOCSIFADDR, _request(address))
        fcntl.ioctl(any_socket, _SIOCSIFNETMASK, _request(mask))


def take_address() -> None:
    """No address, no route: the guest hears at once that nobody is to be reached."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket, suppress(OSError):
        fcntl.ioctl(any_socket, _SIOCSIFADDR, _request("0.0.0.0"))


def _request(address: str) -> bytes:
    """struct ifreq with a struct sockaddr_in (netdevice(7))."""
    return struct.pack("16sHH4s16x", TUN.encode(), socket.AF_INET, 0, socket.inet_aton(address))
