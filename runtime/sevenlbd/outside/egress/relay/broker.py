"""The process that opens connections for the relay: python -I -m sevenlbd.outside.egress.relay.broker CONTROL WIRE.

CONTROL brings the orders on one line; its end is ours. WIRE brings what the relay wishes for, and takes what came of
it, with the connected socket where there is one. The relay reads a guest's bytes and can open nothing; we open what the
orders list, and read of a guest's no more than the name of a host. Whoever has taken over the relay gets connections to
what is on the list, and nothing else.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress

from ....base import logs
from ....wire import packets
from . import confine, quotas, reach, syscall_filter, target
from .allowed import ORDERS, Allowed
from .courier import Courier
from .dialing import OUTCOMES, PING, WISHES, Outcome, Wish
from .proxy_hosts import Names
from .reasons import BUSY

log = logging.getLogger(__name__)

_EACH_ADDRESS_SECONDS = 10.0  # a third of CONNECT_SECONDS: a host may have several addresses
_MOST_AT_ONCE = 2048  # a guess: far more than descriptors allow; bounds what a relay that was taken over can make it do
# A look-up's thread: the usual 8 MiB, 64 times, would count against a job's limit of address space.
_STACK = 512 * 1024
Answer = tuple[Outcome, socket.socket | None]


class Broker:
    """Serves one relay."""

    def __init__(self, allowed: Allowed, wire: socket.socket) -> None:
        self._allowed = allowed
        self._tcp, self._udp = allowed.places, frozenset(allowed.udp)
        self._wire = wire
        self._names = Names(allowed)
        self._loop = asyncio.get_running_loop()
        self._tasks: set[asyncio.Task[None]] = set()
        self._couriers: set[Courier] = set()

    async def serve(self) -> None:
        """Until the relay is gone."""
        self._wire.setblocking(False)
        try:
            while data := await self._loop.sock_recv(self._wire, packets.MAX_MESSAGE):
                self._take(data)
        except OSError:
            return
        finally:
            for task in list(self._tasks):
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            for courier in list(self._couriers):
                courier.close()

    def _take(self, data: bytes) -> None:
        wish = WISHES.unpack_or_none(data)
        if wish is None:
            return
        if len(self._tasks) >= _MOST_AT_ONCE:
            with suppress(OSError):
                self._wire.send(OUTCOMES.pack(Outcome(wish.id, why=BUSY)))
            return
        task = self._loop.create_task(self._answer(wish))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _answer(self, wish: Wish) -> None:
        outcome, given = await self._done(wish)
        try:
            await self._send(OUTCOMES.pack(outcome), given)
        except OSError as error:
            log.warning("an answer is lost: %s", error.strerror)
        finally:
            if given:
                given.close()

    async def _send(self, data: bytes, given: socket.socket | None) -> None:
        while True:
            try:
                socket.send_fds(self._wire, [data], [given.fileno()] if given else [])
                return
            except BlockingIOError:
                await asyncio.sleep(0.01)

    async def _done(self, wish: Wish) -> Answer:
        """What it comes to: never more than the orders say, whatever the message has in it."""
        want, host, port, small = wish.want, wish.host, wish.port, wish.small
        if want == PING:
            return Outcome(wish.id), None
        if host is None or port is None:
            return _failed(wish, "malformed")
        try:
            if want == "tcp" and (host, port) in self._tcp:
                return Outcome(wish.id, host), await reach.tcp(host, port, small=small)
            if want == "udp" and (host, port) in self._udp:
                return Outcome(wish.id, host), self._carried(host, port)
            if want in ("http", "https"):
                return await self._by_name(wish, host, port)
        except OSError as error:
            return _failed(wish, reach.spell(error), host)
        return _failed(wish, "not on this site's list")

    def _carried(self, address: str, port: int) -> socket.socket:
        """The relay's end of a correspondence; the other is ours, because a UDP socket could be sent anywhere from."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            courier = Courier(ours, reach.udp(address, port), self._couriers.discard)
        except BaseException:
            ours.close()
            theirs.close()
            raise
        self._couriers.add(courier)
        return theirs

    async def _by_name(self, wish: Wish, host: str, port: int) -> Answer:
        spelled = f"[{host}]" if ":" in host else host
        try:
            parsed = target.of_connect(f"{spelled}:{port}".encode("ascii"))
        except (target.MalformedTarget, UnicodeError):
            return _failed(wish, "malformed")
        requested = target.Target(wish.want, parsed.host, parsed.port)
        if parsed.host != host or not target.is_listed(requested, self._allowed.proxy):
            return _failed(wish, "not on this site's list")
        resolution = await self._names.find(host)
        if not resolution.addresses:
            return _failed(wish, resolution.why)
        why, address = "", ""
        for address in resolution.addresses:
            try:
                given = await reach.tcp(address, port, small=wish.small, seconds=_EACH_ADDRESS_SECONDS)
                return Outcome(wish.id, address), given
            except OSError as error:
                why = reach.spell(error)
        self._names.forget(host)
        return _failed(wish, why, address)


def _failed(wish: Wish, why: str, address: str = "") -> Answer:
    return Outcome(wish.id, address, why), None


def main(arguments: Sequence[str]) -> int:
    """Serve until the relay or the supervisor hangs up; returns the exit code."""
    control, wire = (socket.socket(fileno=int(descriptor)) for descriptor in arguments)
    try:
        allowed = ORDERS.unpack(control.makefile("rb").readline())
    except (OSError, ValueError):
        return 1
    quotas.connections(allowed.connections, 0)
    threading.stack_size(_STACK)
    confine.broker(allowed)
    asyncio.run(_serve(allowed, control, wire))
    return 0


async def _serve(allowed: Allowed, control: socket.socket, wire: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    control.setblocking(False)
    confine.filtered(syscall_filter.broker)
    serving = asyncio.create_task(Broker(allowed, wire).serve())
    hearing = asyncio.create_task(_until_end(loop, control))
    await asyncio.wait([serving, hearing], return_when=asyncio.FIRST_COMPLETED)


async def _until_end(loop: asyncio.AbstractEventLoop, control: socket.socket) -> None:
    with suppress(OSError):
        while await loop.sock_recv(control, 4096):
            pass


if __name__ == "__main__":
    logs.begin(logging.INFO)
    code = main(sys.argv[1:])
    # A thread that hangs in a name server's answer must not keep us.
    logging.shutdown()
    os._exit(code)
