"""Whether the machine is lent now: the site's table [owner], read again when its file has changed, and a look around.

Who cannot tell does not lend: a file that makes no sense any more is not the old one.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from ....base.errors import Refusal
from ....config import sources
from ...owner import advertised, lending
from ...owner.lending import Seen
from ...site import site_tables
from ...site.grid_table import GridTable
from ...site.owner_table import OwnerTable
from .happenings import Looked
from .terms import Terms

_SYSTEM, _LEAST_SYSTEM = 8, 1 << 30  # a guess: a part of the memory, and bytes, of a system at which nobody works

type Look = Callable[[], tuple[Seen, datetime]]
_Stamp = tuple[tuple[str, int, int, int], ...]


class OwnerLook:
    """One coordinator's eyes on its machine."""

    def __init__(self, here: sources.Places, look: Look = advertised.looked) -> None:
        self._here = here
        self._look = look
        self._stamp: _Stamp | None = None
        self._trouble = ""
        self._left_for: float | None = None
        """The end of the hours that it was left for; who has gone needs no time any more, and must not come back."""
        self.owner = OwnerTable()
        self.grid = GridTable()

    def look(self, running_cpus: int, lead: float = 0.0) -> Looked:
        """As it is now. `running_cpus` are those of VMs that run, whose load is not the owner's; `lead` is how many
        seconds they take to leave."""
        self.read()
        seen, now = self._look()
        memory = seen.memory
        if self._trouble:
            return Looked(lent=False, may_begin=False, why=self._trouble, owner=None, memory=memory)
        policy = self.owner.policy()
        seen = replace(seen, load=_load(running_cpus))
        verdict = lending.decide(policy, seen, now)
        begins = lending.may_begin(policy, seen, now)
        leaves = lending.must_leave(policy, verdict, now.timestamp(), lead)
        leaves = leaves or (verdict.until is not None and verdict.until == self._left_for)
        self._left_for = verdict.until if leaves and verdict.allowed else None
        left = verdict.until - now.timestamp() if leaves and verdict.allowed and verdict.until is not None else None
        why = verdict.why if begins.allowed or leaves else begins.why
        begins_here = begins.allowed and not leaves
        return Looked(not leaves, begins_here, why, owner=verdict.owner, memory=memory, time_left=left)

    def read(self) -> bool:
        """Read the site's file again if it is another one. Whether it was."""
        stamp = _stamp(self._here)
        if stamp == self._stamp:
            return False
        self._stamp = stamp
        try:
            site = site_tables.read(self._here)
        except Refusal as refusal:
            self._trouble = f"what the owner grants cannot be read: {refusal.what}"
            return True
        self.owner, self.grid, self._trouble = site.owner, site.grid, ""
        return True


def terms(grid: GridTable, owner: OwnerTable, cpus: int, memory: int) -> Terms:
    """The site's words as numbers, on a machine with so many CPUs and bytes of memory."""
    slots, granted = grid.slots, max(0, memory - owner.memory)
    # The owner's part is what she could have at once: what the system itself has in use is never free.
    shared = min(grid.memory, granted) if grid.memory else max(0, granted - max(_LEAST_SYSTEM, memory // _SYSTEM))
    return Terms(
        slots=slots,
        slot_cpus=max(1, (grid.cpus or max(1, cpus - owner.cpus)) // slots),
        slot_memory=shared // slots >> 20 << 20,  # whole MiB, as QEMU has it
        memory_left=owner.memory,
        grace=owner.grace,
        idle=grid.idle,
        lease=grid.lease,
        quota=grid.quota,
        keep=grid.images,
    )


def _load(running_cpus: int) -> float:
    """Of the owner's own work, for each CPU: what VMs could have made of it at most is taken out."""
    return max(0.0, os.getloadavg()[0] - running_cpus) / (os.cpu_count() or 1)


def _stamp(here: sources.Places) -> _Stamp:
    """What tells the files from changed ones."""
    return tuple(found for file in here.site_files if (found := _stamp_of(file)))


def _stamp_of(file: Path) -> tuple[str, int, int, int] | None:
    try:
        status = file.stat()
    except OSError:
        return None
    return str(file), status.st_ino, status.st_mtime_ns, status.st_size
