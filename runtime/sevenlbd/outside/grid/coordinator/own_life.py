"""From one life of a coordinator to the next: what the state's file says, and what lies there beside that."""

from __future__ import annotations

from contextlib import suppress

from ...saved import places
from .happenings import Began, OwnerOrder, SavedVm
from .image_store import ImageStore
from .own_files import KnownState, KnownVm
from .stages import Stage
from .state_machine import StateMachine
from .vm_sessions import VmSessions


def began(known: KnownState, sessions: VmSessions, store: ImageStore, wall: float) -> Began:
    """What an earlier life has left; what it has left running or half made goes. `wall` in seconds since the epoch."""
    running = set(sessions.sweep())
    saved = []
    for vm in known.vms:
        if vm.saved_at and sessions.saved_file(vm.id).is_file():
            age = max(0.0, wall - vm.saved_at)
            saved.append(SavedVm(vm.id, vm.slot, vm.name, vm.version, vm.digest, age))
    lost = {vm.id for vm in known.vms if not vm.saved_at} | running
    _remove_unknown(sessions, {one.vm for one in saved})
    return Began(store.held(), tuple(saved), tuple(sorted(lost)))


def _remove_unknown(sessions: VmSessions, known: set[str]) -> None:
    """Saved VMs that no state tells of: nobody would ever go on from them."""
    folder = sessions.saved_file("x").parent
    with suppress(OSError):
        for path in folder.iterdir():
            if path.name.startswith(".") or (path.suffix == places.SUFFIX and path.stem not in known):
                path.unlink()


def pause(known: KnownState, wall: float) -> OwnerOrder | None:
    """What the owner has said, which holds though the coordinator was killed or the machine started anew."""
    left = known.paused_until - wall if known.paused_until else 0.0
    if not known.paused or left < 0:
        return None
    return OwnerOrder(pause=True, who=known.paused_by, seconds=left, own=known.paused_own)


def state(machine: StateMachine, now: float, wall: float) -> KnownState:
    """For the next life. `now` is the state machine's."""
    paused = machine.paused
    return KnownState(
        vms=tuple(
            KnownVm(
                *(vm.id, vm.slot, vm.image.name, vm.image.version, vm.image.digest),
                saved_at=round(wall - (now - vm.saved_at)) if vm.saved else 0.0,
            )
            for vm in machine.vms.values()
            if vm.stage is not Stage.CHECKING or vm.saved
        ),
        paused=machine.is_paused(now),
        paused_by=paused.who if paused else "",
        paused_own=bool(paused and paused.own),
        paused_until=round(wall + machine.paused_until - now) if paused and paused.seconds else 0.0,
    )
