"""Connections to the outside: how one is made, what is set on it, and how one is called that could not be made."""

from __future__ import annotations

import asyncio
import errno
import socket
from contextlib import suppress

CONNECT_SECONDS = 30.0  # TCP tries five times in them: at once, and after 1, 3, 7 and 15 s (RFC 6298, 5)
_SMALL_BUFFER = 128 * 1024  # bytes, of which the kernel makes twice as many (socket(7)), and not megabytes (tcp(7))
# Between the guest's system and us no time-out of the network comes in between; outside a firewall may forget.
_KEEPALIVE = ((socket.TCP_KEEPIDLE, 120), (socket.TCP_KEEPINTVL, 30), (socket.TCP_KEEPCNT, 4))
_IP_MTU_DISCOVER, _IPV6_MTU_DISCOVER, _PMTUDISC_DONT = 10, 23, 0  # <linux/in.h>, <linux/in6.h>
_ENDS = {
    errno.ECONNREFUSED: "refused",
    errno.ECONNRESET: "reset by server",
    errno.ENETUNREACH: "unreachable",
    errno.EHOSTUNREACH: "unreachable",
    errno.ETIMEDOUT: "timed out",
}


def spell(error: OSError) -> str:
    """How a connection ended that could not be made."""
    if isinstance(error, TimeoutError):
        return "timed out"
    return _ENDS.get(error.errno or 0, error.strerror or "failed")


def family(address: str) -> socket.AddressFamily:
    """Of an address that is a number."""
    return socket.AF_INET6 if ":" in address else socket.AF_INET


async def tcp(address: str, port: int, *, small: bool = False, seconds: float = CONNECT_SECONDS) -> socket.socket:
    """Connect to the address, which is a number; `small` as for `prepare`. Raises OSError, also when it takes long."""
    wire = socket.socket(family(address), socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        wire.setblocking(False)
        prepare(wire, small=small)
        async with asyncio.timeout(seconds):
            await asyncio.get_running_loop().sock_connect(wire, (address, port))
    except BaseException:
        wire.close()
        raise
    return wire


def udp(address: str, port: int) -> socket.socket:
    """A socket that only the server's own answers come back to. Raises OSError."""
    wire = socket.socket(family(address), socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
    try:
        wire.setblocking(False)
        let_routers_split(wire)
        wire.connect((address, port))
    except BaseException:
        wire.close()
        raise
    return wire


def prepare(wire: socket.socket, *, small: bool) -> None:
    """Pass on small pieces at once, urgent ones in their place, and notice a peer that is gone.

    `small` buffers do not grow to megabytes.
    """
    with suppress(OSError):
        wire.setsockopt(socket.SOL_SOCKET, socket.SO_OOBINLINE, 1)
        wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        wire.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in _KEEPALIVE:
            wire.setsockopt(socket.IPPROTO_TCP, option, value)
        for option in (socket.SO_SNDBUF, socket.SO_RCVBUF) if small else ():
            wire.setsockopt(socket.SOL_SOCKET, option, _SMALL_BUFFER)


def let_routers_split(wire: socket.socket) -> None:
    """A datagram is passed on in its size; whether it must be split is the network's affair (ip(7))."""
    with suppress(OSError):
        if wire.family == socket.AF_INET6:
            wire.setsockopt(socket.IPPROTO_IPV6, _IPV6_MTU_DISCOVER, _PMTUDISC_DONT)
        else:
            wire.setsockopt(socket.IPPROTO_IP, _IP_MTU_DISCOVER, _PMTUDISC_DONT)
