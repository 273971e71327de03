"""The relay's end of the broker: asks for a connection, and gets it or the reason why there is none."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable

from ....wire import packets
from .dialing import OUTCOMES, PING, WISHES, Wish
from .reasons import BUSY, GONE

log = logging.getLogger(__name__)

# Longer than the broker takes for all of a host's addresses.
_SECONDS = 90.0


class Unreached(Exception):
    """There is no connection. `address` is the last one that was tried, if one was."""

    def __init__(self, why: str, address: str = "") -> None:
        super().__init__(why)
        self.why = why
        self.address = address


class Dialer:
    """Many may ask at the same time. `gone` is called once, when there is nobody to ask any more."""

    def __init__(self, wire: socket.socket, gone: Callable[[], object]) -> None:
        self._wire, self._gone = wire, gone
        self._loop = asyncio.get_running_loop()
        self._asked: dict[int, asyncio.Future[tuple[str, socket.socket | None]]] = {}
        self._last = 0
        wire.setblocking(False)
        self._loop.add_reader(wire, self._take)

    async def connect(self, want: str, host: str, port: int, *, small: bool = False) -> tuple[socket.socket, str]:
        """A connection, and the address that it leads to; `want` as in the orders' schemes. Raises Unreached."""
        address, given = await self._ask(want, host, port, small=small)
        if given is None:
            raise Unreached("failed", address)
        return given, address

    async def ping(self) -> None:
        """Come back when the broker has answered."""
        await self._ask(PING)

    def close(self) -> None:
        """Ask no more; who waits is told."""
        if self._wire.fileno() < 0:
            return
        self._loop.remove_reader(self._wire)
        self._wire.close()
        for waiting in self._asked.values():
            if not waiting.done():
                waiting.set_exception(Unreached(GONE))

    async def _ask(
        self, want: str, host: str | None = None, port: int | None = None, *, small: bool = False
    ) -> tuple[str, socket.socket | None]:
        self._last += 1
        number, answer = self._last, self._loop.create_future()
        self._asked[number] = answer
        try:
            if self._wire.fileno() < 0:
                raise Unreached(GONE)
            self._wire.send(WISHES.pack(Wish(number, want, host, port, small)))
            async with asyncio.timeout(_SECONDS):
                result: tuple[str, socket.socket | None] = await answer
            return result
        except TimeoutError:
            _drop(answer)
            raise Unreached("timed out") from None
        except OSError:
            raise Unreached(BUSY) from None
        except asyncio.CancelledError:
            _drop(answer)
            raise
        finally:
            self._asked.pop(number, None)

    def _take(self) -> None:
        try:
            data, numbers, _, _ = socket.recv_fds(self._wire, packets.MAX_MESSAGE, 1)
        except BlockingIOError:
            return
        except OSError:
            data, numbers = b"", []
        given = socket.socket(fileno=numbers[0]) if numbers else None
        if not data:
            log.error(GONE)
            self.close()
            self._gone()
            return
        outcome = OUTCOMES.unpack(data)
        answer = self._asked.get(outcome.id)
        if answer is None or answer.done():
            if given:
                given.close()
        elif outcome.why is not None:
            answer.set_exception(Unreached(outcome.why, outcome.address))
        else:
            answer.set_result((outcome.address, given))


def _drop(answer: asyncio.Future[tuple[str, socket.socket | None]]) -> None:
    """A connection that came in the moment in which nobody waited any more."""
    if answer.done() and not answer.cancelled() and not answer.exception() and (given := answer.result()[1]):
        given.close()
