"""TCP forwards: takes connections from inside, reaches the one address that a forward stands for, couples the two."""

from __future__ import annotations

import asyncio
import errno
import socket
import time
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING

from . import pump, reach, reasons
from .destination import Destination
from .dialer import Unreached
from .journal import ConnectionRecord

if TYPE_CHECKING:
    from .relay_context import RelayContext

_NO_DESCRIPTORS_SECONDS = 0.5  # until a connection has ended, perhaps


async def serve(context: RelayContext, listener: socket.socket, address: str, port: int) -> None:
    """Carry every connection of `listener` to the address, until cancelled."""
    destination = Destination("tcp", context.name(address), address, port)
    await accept_all(context, listener, destination, lambda near: _carry(context, near, destination))


async def accept_all(
    context: RelayContext,
    listener: socket.socket,
    destination: Destination,
    carry: Callable[[socket.socket], Coroutine[None, None, None]],
) -> None:
    """Have every connection carried by a task of its own, which owns it and a slot; one too many is reset."""
    with listener:
        listener.setblocking(False)
        while True:
            near = await _accepted(context, listener)
            if context.slots.take():
                context.spawn(carry(near))
            else:
                pump.reset(near)
                context.refuse(destination, "too many connections", reasons.CONNECTIONS)


async def _accepted(context: RelayContext, listener: socket.socket) -> socket.socket:
    """The next connection from inside, not before the pace of new ones allows it. Raises OSError for good only."""
    loop = asyncio.get_running_loop()
    while True:
        await context.pace.taken(1)
        try:
            near, _ = await loop.sock_accept(listener)
        except OSError as error:
            if error.errno in (errno.EINVAL, errno.EBADF, errno.ENOTSOCK, errno.EOPNOTSUPP):
                raise
            # Out of descriptors or memory, or a connection that was given up before we took it.
            await asyncio.sleep(_NO_DESCRIPTORS_SECONDS if error.errno in (errno.EMFILE, errno.ENFILE) else 0.01)
            continue
        near.setblocking(False)
        reach.prepare(near, small=context.crowded)
        return near


async def _carry(context: RelayContext, near: socket.socket, destination: Destination) -> None:
    start, began = time.time(), time.monotonic()
    up, down, reached, end = 0, 0, False, "session ended"
    try:
        far, _ = await context.dialer.connect("tcp", destination.address, destination.port, small=context.crowded)
        reached = True
        context.health.worked(destination)
        coupled = pump.Pump(near, far, context.up, context.down, context.allowed.idle)
        try:
            end = await coupled.run()
        finally:
            up, down = coupled.up, coupled.down
    except Unreached as error:
        end = error.why
        context.health.failed(destination, error.why)
    finally:
        pump.reset(near)
        context.slots.give_back()
        context.journal.add(
            ConnectionRecord(start, time.monotonic() - began, *destination, up, down, end, refused=not reached)
        )
