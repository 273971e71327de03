"""TCP doors: takes connections from inside, reaches the one address that a door stands for, couples the two."""

from __future__ import annotations

import asyncio
import errno
import socket
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from . import pump
from .journal import Record

if TYPE_CHECKING:
    from .house import House

CONNECT_SECONDS = 30.0
_NO_DESCRIPTORS_SECONDS = 0.5
# Between the guest's system and us no time-out of the network comes in between; outside a firewall may forget.
_KEEPALIVE = ((socket.TCP_KEEPIDLE, 120), (socket.TCP_KEEPINTVL, 30), (socket.TCP_KEEPCNT, 4))
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


async def reach(address: str, port: int) -> socket.socket:
    """Connect to the address, which is a number. Raises OSError, also when it takes too long."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    wire = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        wire.setblocking(False)
        prepare(wire)
        async with asyncio.timeout(CONNECT_SECONDS):
            await asyncio.get_running_loop().sock_connect(wire, (address, port))
    except BaseException:
        wire.close()
        raise
    return wire


def prepare(wire: socket.socket) -> None:
    """Pass on small pieces at once, and notice a peer that is gone."""
    with suppress(OSError):
        wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        wire.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in _KEEPALIVE:
            wire.setsockopt(socket.IPPROTO_TCP, option, value)


async def accepted(house: House, listener: socket.socket) -> socket.socket:
    """The next connection from inside, not before the pace of new ones allows it. Raises OSError for good only."""
    loop = asyncio.get_running_loop()
    listener.setblocking(False)
    while True:
        await house.pace.taken(1)
        try:
            near, _ = await loop.sock_accept(listener)
        except OSError as error:
            if error.errno in (errno.EINVAL, errno.EBADF, errno.ENOTSOCK, errno.EOPNOTSUPP):
                raise
            # Out of descriptors or memory, or a connection that was given up before we took it.
            await asyncio.sleep(_NO_DESCRIPTORS_SECONDS if error.errno in (errno.EMFILE, errno.ENFILE) else 0.01)
            continue
        near.setblocking(False)
        prepare(near)
        return near


async def serve(house: House, listener: socket.socket, address: str, port: int) -> None:
    """Carry every connection of `listener` to the address, until cancelled."""
    with listener:
        while True:
            near = await accepted(house, listener)
            if house.slots.take():
                house.spawn(_carry(house, near, address, port))
            else:
                pump.reset(near)
                house.refuse("tcp", house.name(address), address, port, "too many connections")


async def _carry(house: House, near: socket.socket, address: str, port: int) -> None:
    start, began = time.time(), time.monotonic()
    up = down = 0
    reached = False
    end = "session ended"
    try:
        far = await reach(address, port)
        reached = True
        coupled = pump.Pump(near, far, house.up, house.down, house.allowed.idle)
        try:
            end = await coupled.run()
        finally:
            up, down = coupled.up, coupled.down
    except OSError as error:
        end = spell(error)
    finally:
        pump.reset(near)
        house.slots.give_back()
        record = Record(
            start, time.monotonic() - began, "tcp", house.name(address), address, port, up, down, end, not reached
        )
        house.journal.add(record)
