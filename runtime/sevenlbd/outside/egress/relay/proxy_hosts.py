"""Where the proxy's hosts are: asked at the time, checked, and connected to by the very address that was checked.

So an answer that changes from one look-up to the next (DNS rebinding) changes nothing. A look-up cannot be called off:
a name that nobody answers for keeps one thread, however often it is asked for, and no other name waits for it.
"""

from __future__ import annotations

import asyncio
import threading
from collections import OrderedDict, defaultdict
from contextlib import suppress
from dataclasses import replace

from ....base import hostnames
from . import resolve
from .allowed import Allowed
from .reasons import NO_ANSWER, TOO_MANY, is_silence
from .resolve import Resolution

_SECONDS = 10.0  # resolv.conf(5): glibc asks a name server twice, for 5 s each
# glibc gives up after some 10 s for each of three name servers: a guest that asks for made-up names below a domain
# that does not answer has so many a minute, and the names that the list spells out have places of their own.
_THREADS, _THREADS_FOR_MADE_UP = 64, 48
_MOST_ADDRESSES = 8  # ten seconds each (broker.py) are less than dialer.py waits for them all
_MOST_KNOWN = 1024  # names; a guest may think of any number
# How long an answer holds. A desktop's programs ask again and again; a server that moves is found soon all the same.
_GOOD_SECONDS, _BAD_SECONDS, _SILENT_SECONDS = 10.0, 5.0, 30.0


class Names:
    """The node's own resolver, the site's word before it."""

    def __init__(self, allowed: Allowed) -> None:
        self._pinned: dict[str, tuple[str, ...]] = defaultdict(tuple)
        for host, address in allowed.pinned:
            self._pinned[host] += (address,)
        self._spelled = {pattern.host for pattern in allowed.proxy}
        self._known: OrderedDict[str, tuple[float, Resolution]] = OrderedDict()
        self._asking: dict[str, asyncio.Future[Resolution]] = {}
        self._loop = asyncio.get_running_loop()

    async def find(self, host: str) -> Resolution:
        """The addresses of a host that may be connected to, or why there are none."""
        if pinned := self._pinned.get(host):
            return Resolution(pinned)
        if hostnames.is_address(host):
            return Resolution((host,))  # on the list as it stands
        until, known = self._known.get(host, (0.0, Resolution()))
        if self._loop.time() < until:
            return known
        if not (answer := self._asking.get(host)):
            if len(self._asking) >= (_THREADS if host in self._spelled else _THREADS_FOR_MADE_UP):
                return Resolution(why=TOO_MANY)
            answer = self._ask(host)
        try:
            return await asyncio.wait_for(asyncio.shield(answer), _SECONDS)
        except TimeoutError:
            self._learn(host, silent := Resolution(why=NO_ANSWER))
            return silent

    def forget(self, host: str) -> None:
        """What is known of it has led nowhere: next time it is asked anew."""
        self._known.pop(host, None)

    def _ask(self, host: str) -> asyncio.Future[Resolution]:
        """By a thread of its own: one that hangs holds up nobody, not even our end."""
        answer = self._asking[host] = self._loop.create_future()

        def ask() -> None:
            resolution = resolve.asked(host)
            with suppress(RuntimeError):  # the loop is closed: nobody waits any more
                self._loop.call_soon_threadsafe(self._answered, host, answer, resolution)

        try:
            threading.Thread(target=ask, name="names", daemon=True).start()
        except RuntimeError:  # the user may have no more
            self._answered(host, answer, Resolution(why=TOO_MANY))
        return answer

    def _answered(self, host: str, answer: asyncio.Future[Resolution], resolution: Resolution) -> None:
        del self._asking[host]
        resolution = replace(resolution, addresses=resolution.addresses[:_MOST_ADDRESSES])
        self._learn(host, resolution)
        answer.set_result(resolution)

    def _learn(self, host: str, resolution: Resolution) -> None:
        seconds = (
            _GOOD_SECONDS if resolution.addresses else _SILENT_SECONDS if is_silence(resolution.why) else _BAD_SECONDS
        )
        self._known[host] = (self._loop.time() + seconds, resolution)
        self._known.move_to_end(host)
        if len(self._known) > _MOST_KNOWN:
            self._known.popitem(last=False)
