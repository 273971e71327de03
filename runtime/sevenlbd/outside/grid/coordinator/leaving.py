"""A VM that has to go: in which steps, each harder than the one before, so that it is off the machine in time."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ....wire.keeper import FLUSH_SECONDS
from .acts import Act, EndVm, KillVm, SuspendVm
from .stages import STAYING, Stage, Vm
from .terms import Terms

# Of the time that it has; what is left is enough for a shutdown in order.
_SUSPENDING = 0.7
_MOST_LEAD = 3600.0  # seconds; a guess: an owner's hours are not given up for a disk that is slower than this
# Of the time, and in seconds at most, for the hardest step: a killed session is gone in one.
_KILLING, _KILLING_SECONDS = 0.25, 10.0
_AGAIN = 5.0  # seconds until one that does not even die is killed once more


def lead(vms: Iterable[Vm]) -> float:
    """Seconds that these need to be suspended before their hours end; 0 where that cannot be had."""
    seconds = [vm.suspend_seconds for vm in vms if vm.stage in STAYING]
    # They leave their pool side by side; how long that takes is their jobs' to say. Then they are written to one disk.
    needed = (FLUSH_SECONDS + sum(seconds)) / _SUSPENDING if any(seconds) else 0.0
    return needed if needed <= _MOST_LEAD else 0.0


def fits(vm: Vm, others: Iterable[Vm], within: float) -> bool:
    """Whether it can be suspended in that time, beside those that are written to the same disk.

    If its jobs leave at once, as most do: whether they will shows when it is tried, and what does not come to its end
    is shut down in order all the same.
    """
    ahead = sum(one.suspend_seconds for one in others if one.stage is Stage.SUSPENDING)
    return ahead + vm.suspend_seconds <= within * _SUSPENDING


@dataclass(frozen=True)
class Eviction:
    """How a VM has to go: `within` so many seconds, for the owner's need or by its own, at once or as there is time."""

    within: float
    evicted: bool = True
    fits: bool = True
    """Whether the time is enough to suspend it."""
    at_once: bool = False


def begin(vm: Vm, terms: Terms, now: float, how: Eviction) -> Act | None:
    """Have it leave; None when it is on its way already. Only what has joined the pool is worth being suspended."""
    if vm.stage in STAYING:
        vm.leave_by = now + how.within
        vm.evicted = how.evicted
        if how.at_once:
            return _kill(vm, now)
        if how.evicted and how.fits and terms.lease and vm.stage is not Stage.STARTING:
            _enter(vm, Stage.SUSPENDING, now, now + how.within * _SUSPENDING)
            return SuspendVm(vm)
        return end(vm, terms, now)
    if how.at_once and vm.stage in (Stage.SUSPENDING, Stage.ENDING):
        return _kill(vm, now)
    if vm.stage is Stage.SUSPENDING:  # it began ahead of an end of hours, and now its owner has come before that
        vm.leave_by = min(vm.leave_by, now + how.within)
        vm.deadline = min(vm.deadline, now + how.within * _SUSPENDING)
    return None


def end(vm: Vm, terms: Terms, now: float) -> Act:
    """In order, until it is time for the hardest step."""
    _enter(vm, Stage.ENDING, now, vm.leave_by - min(terms.grace * _KILLING, _KILLING_SECONDS))
    return EndVm(vm)


def press(vm: Vm, terms: Terms, now: float) -> tuple[Act, str] | None:
    """The next step, and why, when it is due."""
    if now < vm.deadline:
        return None
    match vm.stage:
        case Stage.SUSPENDING:
            return end(vm, terms, now), "it was not suspended in time"
        case Stage.ENDING:
            return _kill(vm, now), "it did not end in time"
        case Stage.KILLING:
            return _kill(vm, now), "it refuses to end"
    return None


def _kill(vm: Vm, now: float) -> Act:
    _enter(vm, Stage.KILLING, now, now + _AGAIN)
    return KillVm(vm)


def _enter(vm: Vm, stage: Stage, now: float, deadline: float) -> None:
    vm.stage, vm.since, vm.deadline = stage, now, deadline
