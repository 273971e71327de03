"""A connection with the guest that is begun with the question for the log-in's secret.

On a slow line that question is here a round trip before the client's WebSocket, which has a handshake of its own: long
enough for the guest's TLS. It is what that WebSocket would open, for the same visitor and the same request, and nothing
is said on it before that one comes. It takes the desktop from nobody.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable

from .authentication import Visitor
from .bridge import Far
from .gate import Gate

_HELD_SECONDS = 4.0  # a guess: the slowest lines take a second or two there and back
_MOST = 4  # a guess: browsers that come at the same moment; the guest is not to hold many
_ESTABLISHED = 1  # Linux, include/net/tcp_states.h

Connect = Callable[[bytes, Gate], Awaitable[tuple[Far, bytes]]]


class Begun:
    """One connection: made or being made, and not yet used."""

    def __init__(self, gate: Gate, visitor: Visitor, x224: bytes, connect: Connect) -> None:
        self.x224 = x224
        self._kept, self._nonce = gate.begun, visitor.nonce
        self._made = asyncio.ensure_future(connect(x224, gate))
        # Who comes hears of a failure by trying again: it may be over by then.
        self._made.add_done_callback(lambda made: made.cancelled() or made.exception())
        self._end = asyncio.get_running_loop().call_later(_HELD_SECONDS, self.drop)
        self._kept[self._nonce] = self

    def _release(self) -> None:
        self._end.cancel()
        if self._kept.get(self._nonce) is self:
            del self._kept[self._nonce]

    def drop(self) -> None:
        """Nobody wants it."""
        self._release()
        self._made.cancel()
        self._made.add_done_callback(_close)

    async def take(self) -> tuple[Far, bytes] | None:
        """The connection and the answer for its client; None when it has failed or died before it was wanted.

        Raises what connecting does, while it still goes on.
        """
        self._release()
        try:
            if not self._made.done():
                return await self._made
        except asyncio.CancelledError:
            self.drop()
            raise
        if self.lives:
            return self._made.result()
        _close(self._made)
        return None

    @property
    def lives(self) -> bool:
        """Whether it is made, and the guest has not hung up."""
        return self._made.done() and not self._made.exception() and _is_established(self._made.result()[0])


def begin(gate: Gate, visitor: Visitor, x224: bytes, connect: Connect) -> None:
    """Begin one, unless this visitor has one or there are enough."""
    if gate.over or visitor.nonce in gate.begun or visitor.nonce in gate.unused or len(gate.begun) >= _MOST:
        return
    Begun(gate, visitor, x224, connect)


async def taken(gate: Gate, visitor: Visitor, x224: bytes) -> tuple[Far, bytes] | None:
    """What was begun for this visitor with just this request, if it is of use. Raises what connecting does."""
    begun: Begun | None = gate.begun.get(visitor.nonce)
    if begun and begun.x224 != x224:
        begun.drop()
        begun = None
    return await begun.take() if begun else None


def _close(made: asyncio.Future[tuple[Far, bytes]]) -> None:
    if not made.cancelled() and not made.exception():
        made.result()[0].close()


def _is_established(far: Far) -> bool:
    """What the kernel says: nothing is read yet, so nobody else would hear of the connection's end."""
    if not far.transport or far.gone.done():
        return False
    try:
        info = far.transport.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)
        return bool(info[0] == _ESTABLISHED)
    except OSError:
        return False  # closed, and not yet told
