"""Which jobs nobody starts a VM for yet: many machines are idle, and a job needs one of them.

A machine is told of the jobs less the VMs that others have on their way. Before it begins one it asks for a token, and
that is its claim: who asks first has it, and a later one is declined. A claim lasts until the machine's next report,
which says what came of it, or until it expires; what is reported lasts until the machine is away. A VM for which no
token was given counts for nothing, and one that has no job for long for nothing any more: a machine that lies, or has
VMs that no job takes, would else hide the queue from all others. All of it is kept in memory: a service that has just
begun hears what there is before it lets anybody begin.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from ..machine_report import Report, VmPhase
from ..protocol import Demand, WorkerOrder
from .fleet import SILENT_POLLS

_SHORTEST = 60.0  # seconds that a claim lasts at least: a guess, twice what a start's first report takes
_HEARING_POLLS = 1.5  # within which every machine has asked once, by its own dice
_SETTLES = 20.0  # seconds: the queue is asked every ten, and a job that has begun was idle in its last answer
_LONGEST = 900.0  # seconds that a VM without a job counts: a guess, more than a boot in emulation takes
_COMING = frozenset({VmPhase.STARTING, VmPhase.RESUMING, VmPhase.WAITING})
"""Phases of a VM that has no job. One that goes on has none either: they were vacated before it was suspended."""


@dataclass(frozen=True)
class _Coming:
    """A VM without a job. What it has of CPUs and bytes of memory is 0 where nobody has said."""

    cpus: int
    memory: int
    until: float

    def fits(self, demand: Demand) -> bool:
        return (not self.cpus or demand.cpus <= self.cpus) and (not self.memory or demand.memory <= self.memory)


class Claims:
    """Of all machines. `poll` is how often these ask; `known`: whether there are machines already."""

    def __init__(self, poll: float, *, known: bool = False, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lasts = max(_SHORTEST, poll * SILENT_POLLS)
        self._hears_until = clock() + poll * _HEARING_POLLS if known else 0.0
        self._coming: defaultdict[str, dict[tuple[str, int], _Coming]] = defaultdict(dict)
        """By the image's name, then by machine and slot."""
        self._names: dict[str, set[str]] = {}
        """Under which a machine has any."""
        self._given: dict[tuple[str, int], tuple[str, float]] = {}
        """By machine and slot: the image for which a token was given, and since when that VM has had no job."""

    @property
    def hears(self) -> bool:
        """Whether it is too early to say what is on its way."""
        return self._clock() < self._hears_until

    def note(self, machine: str, report: Report) -> None:
        """All that a machine has claimed before has come to this."""
        for name in self._names.pop(machine, set()):
            self._drop(name, [key for key in self._coming[name] if key[0] == machine])
        now, there = self._clock(), {vm.slot for vm in report.vms}
        for key in [key for key in self._given if key[0] == machine and key[1] not in there]:
            if now - self._given[key][1] > self._lasts:  # one that has just been given is in the next report
                del self._given[key]
        for vm in report.vms:
            lasts = self._lasts if vm.phase in _COMING else 0.0
            if vm.phase is VmPhase.BUSY:
                lasts = _SETTLES - vm.since
            since = self._since((machine, vm.slot), vm.image, now)
            if vm.phase not in _COMING and since is not None:
                self._given[machine, vm.slot] = (vm.image, now)
            if lasts > 0 and since is not None and now - since < _LONGEST:
                self._add(machine, vm.slot, vm.image, _Coming(vm.cpus, vm.memory, now + lasts))

    def _since(self, key: tuple[str, int], image: str, now: float) -> float | None:
        """Since when a VM has been without a job, as far as we know; None for one that nobody let begin."""
        if self.hears:  # its token was given before we began
            self._given.setdefault(key, (image, now))
        name, since = self._given.get(key, ("", now))
        return since if name == image else None

    def left(self, demands: Sequence[Demand], machine: str) -> tuple[Demand, ...]:
        """What a machine may begin VMs for. Its own ones it knows better; a name stays, for its image is needed."""
        if self.hears:
            return tuple(replace(demand, jobs=0) for demand in demands)
        return self._less(demands, lambda key: key[0] == machine)

    def take(self, demands: Sequence[Demand], machine: str, order: WorkerOrder) -> bool:
        """Let a machine begin this VM, unless there are enough of them."""
        fresh = _Coming(order.cpus, order.memory, self._clock() + self._lasts)
        own = (machine, order.slot)
        left = self._less([one for one in demands if one.vm_name == order.vm_name], lambda key: key == own)
        # One that goes on is there already, and a new one begins for a job only.
        if not order.resumes and (self.hears or not any(demand.jobs and fresh.fits(demand) for demand in left)):
            return False
        self._given[machine, order.slot] = order.vm_name, self._clock()
        self._add(machine, order.slot, order.vm_name, fresh)
        return True

    def _less(self, demands: Sequence[Demand], is_own: Callable[[tuple[str, int]], bool]) -> tuple[Demand, ...]:
        coming = {name: self._others(name, is_own) for name in {demand.vm_name for demand in demands}}
        found = []
        for demand in demands:
            free = coming[demand.vm_name]
            used = [one for one in free if one.fits(demand)][: demand.jobs]
            for one in used:
                free.remove(one)
            found.append(replace(demand, jobs=demand.jobs - len(used)) if used else demand)
        return tuple(found)

    def _others(self, name: str, is_own: Callable[[tuple[str, int]], bool]) -> list[_Coming]:
        """The smallest first: a large one is left for a job that needs it."""
        now = self._clock()
        self._drop(name, [key for key, one in self._coming.get(name, {}).items() if one.until <= now])
        there = [one for key, one in self._coming.get(name, {}).items() if not is_own(key)]
        return sorted(there, key=lambda one: (one.memory, one.cpus))

    def _add(self, machine: str, slot: int, name: str, one: _Coming) -> None:
        self._coming[name][machine, slot] = one
        self._names.setdefault(machine, set()).add(name)

    def _drop(self, name: str, keys: Sequence[tuple[str, int]]) -> None:
        for key in keys:
            del self._coming[name][key]
        if name in self._coming and not self._coming[name]:
            del self._coming[name]
