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

    def failed(self, place: Destination, why: str) -> None:
        """A connection could not be made."""
        place = _without_address(place)
        is_theirs = why not in OURS and (place.kind == "tcp" or place.host in self._spelled)
        if is_theirs and (place in self._down or len(self._down) < _MOST_DOWN):
            self._down[place] = why

    def worked(self, place: Destination) -> None:
        """A connection was made."""
        self._down.pop(_without_address(place), None)

    def told(self) -> Beat:
        """As the supervisor reads it."""
        down = [f"{place.host or place.address}, port {place.port}: {why}" for place, why in self._down.items()]
        return Beat(tuple(sorted(self._met)), tuple(down))

    async def watch(self) -> None:
        """Try those again that are down, until cancelled."""
        while True:
            await asyncio.sleep(_AGAIN_SECONDS)
            await asyncio.gather(*map(self._try, list(self._down)))

    async def _try(self, place: Destination) -> None:
        host = place.address if place.kind == "tcp" else place.host
        try:
            wire, _ = await self._dialer.connect(_SCHEMES[place.kind], host, place.port)
        except Unreached as error:
            self.failed(place, error.why)
        else:
            wire.close()
            self.worked(place)


def _without_address(place: Destination) -> Destination:
    """A proxy's host is one server, wherever it was found this time."""
    return place if place.kind == "tcp" else place._replace(address="")
