"""Where the proxy's hosts are: asked at the time, checked, and connected to by the very address that was checked.

So an answer that changes from one look-up to the next (DNS rebinding) changes nothing.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor

from .allowed import Allowed
from .resolve import Found, believed

_SECONDS = 10.0
_THREADS = 8
_MOST_ADDRESSES = 8


class Names:
    """The node's own resolver (getaddrinfo(3)), the site's word before it."""

    def __init__(self, allowed: Allowed) -> None:
        self._pinned: dict[str, tuple[str, ...]] = defaultdict(tuple)
        for host, address in allowed.pinned:
            self._pinned[host] += (address,)
        self._threads = ThreadPoolExecutor(_THREADS, "names")

    async def find(self, host: str) -> Found:
        """The addresses of a host that may be connected to. Raises TimeoutError when nobody answers in time."""
        if pinned := self._pinned.get(host):
            return Found(pinned)
        if _is_address(host):
            return Found((host,))  # on the list as it stands
        asked = asyncio.get_running_loop().run_in_executor(self._threads, _ask, host)
        return await asyncio.wait_for(asked, _SECONDS)


def _ask(host: str) -> Found:
    try:
        rows = socket.getaddrinfo(host.encode(), None, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG)
    except (OSError, UnicodeError):
        return Found(why="has no address")
    return believed(str(row[4][0]) for row in rows[:_MOST_ADDRESSES])


def _is_address(host: str) -> bool:
    try:
        return bool(ipaddress.ip_address(host))
    except ValueError:
        return False
