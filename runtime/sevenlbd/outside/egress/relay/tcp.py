"""TCP doors: takes connections from inside, reaches the one address that a door stands for, couples the two."""

from __future__ import annotations

import asyncio
import errno
import socket
import time
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING

from . import pump, reach, reasons
from .destination import Place
from .dialer import Unreached
from .journal import Record

if TYPE_CHECKING:
    from .relay_context import House

_NO_DESCRIPTORS_SECONDS = 0.5


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
            if house.slots.take():
                house.spawn(carry(near))
            else:
                pump.reset(near)
                house.refuse(place, "too many connections", reasons.CONNECTIONS)


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
        reach.prepare(near, small=house.crowded)
        return near


async def _carry(house: House, near: socket.socket, place: Place) -> None:
    start, began = time.time(), time.monotonic()
    up, down, reached, end = 0, 0, False, "session ended"
    try:
        far, _ = await house.dialer.connect("tcp", place.address, place.port, small=house.crowded)
        reached = True
        house.health.worked(place)
        coupled = pump.Pump(near, far, house.up, house.down, house.allowed.idle)
        try:
            end = await coupled.run()
        finally:
            up, down = coupled.up, coupled.down
    except Unreached as error:
        end = error.why
        house.health.failed(place, error.why)
    finally:
        pump.reset(near)
        house.slots.give_back()
        house.journal.add(Record(start, time.monotonic() - began, *place, up, down, end, refused=not reached))
