"""How the ways out are: which listed servers are down, and which limits were met. Told with every heartbeat.

A server is known to be down when the guest's connection to it fails, and is tried again by ourselves from then on,
so that it is also known when it is back. Nobody is tried whom the guest has not called: a licence server is not to hear
from all sessions of a cluster twice a minute.
"""

from __future__ import annotations

import asyncio

from .allowed import Allowed
from .destination import Destination
from .dialer import Dialer, Unreached
from .lines import Beat
from .reasons import OURS

_AGAIN_SECONDS = 20.0  # docs/egress.md; soon for people, and seldom for a server that is in trouble
_MOST_DOWN = 16  # a guess: what people read of a list; relay_report.py takes no more
_SCHEMES = {"tcp": "tcp", "connect": "https", "http": "http"}


class Health:
    """One session's ways out."""

    def __init__(self, allowed: Allowed, dialer: Dialer) -> None:
        self._dialer = dialer
        # A name that only a pattern with a star lets through is the guest's choice, and no server of the list.
        self._spelled = {pattern.host for pattern in allowed.proxy}
        self._met: set[str] = set()
        self._down: dict[Destination, str] = {}

    def met(self, limit: str) -> None:
        """A limit was in the guest's way."""
        self._met.add(limit)

    def failed(self, destination: Destination, why: str) -> None:
        """A connection could not be made."""
        destination = _without_address(destination)
        is_theirs = why not in OURS and (destination.kind == "tcp" or destination.host in self._spelled)
        if is_theirs and (destination in self._down or len(self._down) < _MOST_DOWN):
            self._down[destination] = why

    def worked(self, destination: Destination) -> None:
        """A connection was made."""
        self._down.pop(_without_address(destination), None)

    def told(self) -> Beat:
        """As the supervisor reads it."""
        down = [
            f"{destination.host or destination.address}, port {destination.port}: {why}"
            for destination, why in self._down.items()
        ]
        return Beat(tuple(sorted(self._met)), tuple(down))

    async def watch(self) -> None:
        """Try those again that are down, until cancelled."""
        while True:
            await asyncio.sleep(_AGAIN_SECONDS)
            await asyncio.gather(*map(self._try, list(self._down)))

    async def _try(self, destination: Destination) -> None:
        host = destination.address if destination.kind == "tcp" else destination.host
        try:
            wire, _ = await self._dialer.connect(_SCHEMES[destination.kind], host, destination.port)
        except Unreached as error:
            self.failed(destination, error.why)
        else:
            wire.close()
            self.worked(destination)


def _without_address(destination: Destination) -> Destination:
    """A proxy's host is one server, wherever it was found this time."""
    return destination if destination.kind == "tcp" else destination._replace(address="")
