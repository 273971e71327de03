"""A VM that has to go: in which steps, each harder than the one before, so that it is off the machine in time."""

from __future__ import annotations

from .acts import Act, EndVm, KillVm, SuspendVm
from .stages import STAYING, Stage, Vm
from .terms import Terms

# Of the time that it has: writing 2 GiB takes some ten seconds of ten minutes; what is left is enough for a shutdown.
_SUSPENDING = 0.7
# Of the time, and in seconds at most, for the hardest step: a killed session is gone in one.
_KILLING, _KILLING_SECONDS = 0.25, 10.0
_AGAIN = 5.0  # seconds until one that does not even die is killed once more


def begin(vm: Vm, terms: Terms, now: float, *, evicted: bool, at_once: bool = False) -> Act | None:
    """Have it leave; None when it is on its way already. Only what has joined the pool is worth being suspended."""
    if vm.stage in STAYING:
        vm.leave_by = now + terms.grace
        vm.evicted = evicted
        if at_once:
            return _kill(vm, now)
        if evicted and terms.lease and vm.stage is not Stage.STARTING:
            _enter(vm, Stage.SUSPENDING, now, now + terms.grace * _SUSPENDING)
            return SuspendVm(vm)
        return end(vm, terms, now)
    if at_once and vm.stage in (Stage.SUSPENDING, Stage.ENDING):
        return _kill(vm, now)
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
