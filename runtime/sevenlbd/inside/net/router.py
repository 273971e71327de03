"""Router advertisements on the guest's link, so that it makes itself an IPv6 address and a route (RFC 4861, RFC 4862).

What they lead to is the wall: nothing in here forwards a packet. It takes a raw socket, which only the keeper may open;
of what comes in it sees solicitations only (RFC 3542 3.2), and looks into none.
"""

from __future__ import annotations

import asyncio
import ipaddress
import itertools
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from ...base.addresses import PREFIX_LENGTH_V6, SUBNET_V6
from . import network

_SOLICITATION, _ADVERTISEMENT = 133, 134  # RFC 4861, 4.1 and 4.2
_ICMP6_FILTER = 1  # <linux/icmpv6.h>
_ALL_NODES, _ALL_ROUTERS = "ff02::1", "ff02::2"
_HOP_LIMIT = 255  # RFC 4861, 6.1.2: with any other it came from another link
_ROUTER_LIFETIME, _FOR_EVER = 9000, 0xFFFFFFFF  # RFC 4861, 6.2.1: the longest; 4.6.2: for ever
_LEAST_PAUSE = 3.0  # RFC 4861 10, MIN_DELAY_BETWEEN_RAS
# The first ones come soon after each other (RFC 4861 6.2.4): a guest that has just been thawed may miss one.
_FIRST_PERIODS, _PERIOD = (0.0, 3.0, 10.0), 200.0
_ON_LINK_AND_AUTONOMOUS = 0xC0  # RFC 4861, 4.6.2: L and A


def advertisement() -> bytes:
    """The one message: this is a router, and addresses of this prefix are free to take."""
    head = struct.pack("!BBHBBHII", _ADVERTISEMENT, 0, 0, 64, 0, _ROUTER_LIFETIME, 0, 0)
    our_card = struct.pack("!BB6s", 1, 1, bytes.fromhex(network.HOST_MAC.replace(":", "")))
    prefix = ipaddress.IPv6Network(SUBNET_V6).network_address.packed
    lifetimes = (_FOR_EVER, _FOR_EVER, 0)
    return (
        head
        + our_card
        + struct.pack("!BBBBIII16s", 3, 4, PREFIX_LENGTH_V6, _ON_LINK_AND_AUTONOMOUS, *lifetimes, prefix)
    )


@asynccontextmanager
async def advertised(interface: str) -> AsyncIterator[None]:
    """Advertise on `interface` for as long as this lasts. Raises OSError."""
    with _socket(interface) as wire:
        repeating = asyncio.create_task(_repeat(wire))
        try:
            yield
        finally:
            repeating.cancel()


async def _repeat(wire: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    for period in itertools.chain(_FIRST_PERIODS, itertools.repeat(_PERIOD)):
        with suppress(OSError):
            await loop.sock_sendto(wire, advertisement(), (_ALL_NODES, 0))
        await asyncio.sleep(_LEAST_PAUSE)
        with suppress(TimeoutError, OSError):
            async with asyncio.timeout(period):
                await loop.sock_recv(wire, 1)


def _socket(interface: str) -> socket.socket:
    wire = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6)
    try:
        wire.setblocking(False)
        wire.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, interface.encode())
        blocked = bytearray(b"\xff" * 32)
        blocked[_SOLICITATION // 8] &= ~(1 << _SOLICITATION % 8)
        wire.setsockopt(socket.IPPROTO_ICMPV6, _ICMP6_FILTER, bytes(blocked))
        index = socket.if_nametoindex(interface)
        wire.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, index)
        wire.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, _HOP_LIMIT)
        group = socket.inet_pton(socket.AF_INET6, _ALL_ROUTERS) + struct.pack("@I", index)
        wire.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, group)
    except OSError:
        wire.close()
        raise
    return wire
