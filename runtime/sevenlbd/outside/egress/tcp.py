"""TCP doors: takes connections from inside, reaches the one address that a door stands for, couples the two."""

from __future__ import annotations

import asyncio
import errno
import socket
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from . import pump
from .journal import Record

if TYPE_CHECKING:
    from .house import House

_CONNECT_SECONDS = 30.0
_SMALL_BUFFER = 128 * 1024
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


class Place(NamedTuple):
    """Where a connection leads to, as the journal tells it."""

    kind: str
    host: str
    address: str
    port: int


def spell(error: OSError) -> str:
    """How a connection ended that could not be made."""
    if isinstance(error, TimeoutError):
        return "timed out"
    return _ENDS.get(error.errno or 0, error.strerror or "failed")


async def reach(address: str, port: int, *, small: bool, seconds: float = _CONNECT_SECONDS) -> socket.socket:
    """Connect to the address, which is a number; `small` as for `prepare`. Raises OSError, also when it takes long."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    wire = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        wire.setblocking(False)
        prepare(wire, small=small)
        async with asyncio.timeout(seconds):
            await asyncio.get_running_loop().sock_connect(wire, (address, port))
    except BaseException:
        wire.close()
        raise
    return wire


def prepare(wire: socket.socket, *, small: bool) -> None:
    """Pass on small pieces at once, and notice a peer that is gone; `small` buffers do not grow to megabytes."""
    with suppress(OSError):
        wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        wire.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in _KEEPALIVE:
            wire.setsockopt(socket.IPPROTO_TCP, option, value)
        for option in (socket.SO_SNDBUF, socket.SO_RCVBUF) if small else ():
            wire.setsockopt(socket.SOL_SOCKET, option, _SMALL_BUFFER)


async def serve(house: House, listener: socket.socket, address: str, port: int) -> None:
    """Carry every connection of `listener` to the address, until cancelled."""
    place = Place("tcp", house.name(address), address, port)
    await accept_all(house, listener, place, lambda near: _carry(house, near, place))


async def accept_all(
    house: House, listener: socket.socket, place: Place, carry: Callable[[socket.socket], Coroutine[None, None, None]]
) -> None:
    """Have every connection carried by a task of its own, which owns it and a slot; one too many is reset."""
    with listener:
        listener.setblocking(False)
        while True:
            near = await _accepted(house, listener)
            if house.admit():
                house.spawn(carry(near))
            else:
                pump.reset(near)
                house.refuse(place, "too many connections")


async def _accepted(house: House, listener: socket.socket) -> socket.socket:
    """The next connection from inside, not before the pace of new ones allows it. Raises OSError for good only."""
    loop = asyncio.get_running_loop()
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
        prepare(near, small=house.crowded)
        return near


async def _carry(house: House, near: socket.socket, place: Place) -> None:
    start, began = time.time(), time.monotonic()
    up, down, reached, end = 0, 0, False, "session ended"
    try:
        far = await reach(place.address, place.port, small=house.crowded)
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
        house.journal.add(Record(start, time.monotonic() - began, *place, up, down, end, refused=not reached))
