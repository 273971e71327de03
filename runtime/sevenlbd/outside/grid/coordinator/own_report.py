"""What the pool is told of this machine. Nobody's name is in it."""

from __future__ import annotations

from .... import __version__
from ..machine_report import HeldImage, Owner, Report, RunningVm, VmPhase
from ..record_limits import MOST_IMAGES
from .holdings import ImageStage
from .stages import Stage, Vm
from .state_machine import StateMachine

_PHASES = {
    Stage.CHECKING: VmPhase.STARTING,
    Stage.STARTING: VmPhase.STARTING,
    Stage.JOINED: VmPhase.WAITING,
    Stage.BUSY: VmPhase.BUSY,
    Stage.SUSPENDING: VmPhase.SUSPENDING,
    Stage.SUSPENDED: VmPhase.SUSPENDED,
    Stage.ENDING: VmPhase.ENDING,
    Stage.KILLING: VmPhase.ENDING,
}
_OWNERS = {True: Owner.PRESENT, False: Owner.ABSENT, None: Owner.UNKNOWN}


def of(machine: StateMachine, now: float) -> Report:
    """As it is now."""
    look, counts = machine.look, machine.decisions.counts
    refused = machine.why_not(now)
    return Report(
        owner=_OWNERS[look.owner if look else None],
        lends=not refused,
        slots=machine.terms.slots,
        vms=tuple(_vm(vm, machine, now) for vm in machine.vms.values()),
        images=tuple(_images(machine))[:MOST_IMAGES],
        reason=_reason(machine, refused),
        fetched=counts["fetched"],
        started=counts["started"],
        evictions=counts["evictions"],
        failures=counts["failures"],
        appliance=__version__,
    )


def _reason(machine: StateMachine, refused: str) -> str:
    """Why it is not lent, but for who is there: that is the machine's own affair."""
    if not refused:
        return ""
    if machine.ending:
        return "the coordinator ends"
    return "the owner has the machine"


def _vm(vm: Vm, machine: StateMachine, now: float) -> RunningVm:
    phase = VmPhase.RESUMING if vm.saved and vm.stage in (Stage.CHECKING, Stage.STARTING) else _PHASES[vm.stage]
    since = max(0.0, now - vm.since)
    terms = machine.terms
    return RunningVm(vm.slot, vm.image.name, vm.image.version, phase, since, terms.slot_cpus, terms.slot_memory)


def _images(machine: StateMachine) -> list[HeldImage]:
    return [
        HeldImage(one.image.name, one.image.version, one.size, one.stage is ImageStage.WHOLE)
        for one in machine.holdings.here
        if one.stage is not ImageStage.BAD
    ]
