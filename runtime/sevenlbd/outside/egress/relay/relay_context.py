"""What the relay's parts share: the orders, what may be taken, the journal, and the tasks under way."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Coroutine

from . import quotas
from .allowed import Allowed
from .destination import Destination
from .dialer import Dialer
from .health import Health
from .journal import ConnectionRecord, Journal
from .udp_flows import UdpFlows

log = logging.getLogger(__name__)

_GENEROUS = 32  # connections with the kernel's own buffers, of some megabytes each (tcp(7))
# New connections (docs/egress.md); a guest must not make us a scanner's or a flooder's hand.
_NEW_A_SECOND, _NEW_AT_ONCE = 100, 512


class RelayContext:
    """One session's relay."""

    def __init__(self, allowed: Allowed, journal: Journal, dialer: Dialer) -> None:
        self.allowed = allowed
        self.journal = journal
        self.dialer = dialer
        self.health = Health(allowed, dialer)
        forwards = len(allowed.tcp) + len(allowed.udp) + bool(allowed.proxy) + bool(allowed.project)
        most = quotas.connections(allowed.connections, forwards)
        if most < allowed.connections:
            log.warning("the node allows descriptors for %d connections only", most)
        self.slots, self.crowd = quotas.ConnectionSlots(most), UdpFlows(most)
        self.pace = quotas.Bucket(_NEW_A_SECOND, burst=_NEW_AT_ONCE, quantum=1)
        self.up, self.down = quotas.Bucket(allowed.rate), quotas.Bucket(allowed.rate)
        self._names = {address: name for name, addresses in reversed(allowed.names) for address in addresses}
        if allowed.project:
            self._names.setdefault(allowed.project.address, allowed.project.host)
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def crowded(self) -> bool:
        """Whether a connection more should be content with small buffers: the kernel's memory is charged to the job."""
        return self.slots.taken > _GENEROUS

    def name(self, address: str) -> str:
        """The name that the guest knows an address by; empty when it has none."""
        return self._names.get(address, "")

    def refuse(self, destination: Destination, why: str, limit: str = "") -> None:
        """Write down that something was not carried, and which limit it met, if it was one."""
        self.journal.add(ConnectionRecord(time.time(), 0.0, *destination, 0, 0, why, refused=True))
        if limit:
            self.health.met(limit)

    def spawn(self, work: Coroutine[None, None, None]) -> None:
        """Run something on its own; a fault of ours ends that, and nothing else."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()):
            log.error("a task failed", exc_info=error)

    async def end(self) -> None:
        """End all that is under way; each still has its record in the journal."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
