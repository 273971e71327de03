"""What follows from what: a happening and the time go in, acts come out. No clock, no I/O, no chance of its own.

After each happening all is looked at anew, so that no order of them leaves anything undone: who has to go goes first,
then suspended VMs go on, then new ones begin, then images are fetched, then the pool is asked.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from random import Random

from ....base import units
from . import leaving
from .acts import Act, CheckImage, DropSaved, Leave, StartVm
from .decisions import Decisions
from .happenings import (
    Began,
    FetchEnded,
    Happening,
    ImageChecked,
    ImagesTold,
    KeyTold,
    Looked,
    MachineEnds,
    NoPass,
    OwnerOrder,
    PoolSilent,
    PoolTold,
    SavedVm,
    VmClaimed,
    VmGone,
    VmNotSaved,
    VmReady,
    VmSaved,
)
from .holdings import Holding, Holdings, ImageStage
from .leaving import Eviction
from .pool_pace import PoolPace
from .stages import STAYING, ImageVersion, Stage, Vm
from .stock import ImageNeeds, Stock
from .terms import Terms

_AGAIN = 30.0  # seconds until a token for a suspended VM is asked for again; a guess: as often as a pool is asked
_SLEPT = 60.0  # seconds without a look: thirty looks that were missed; the machine was asleep, or we were stopped


type _OfVm = ImageChecked | VmReady | VmClaimed | VmSaved | VmNotSaved | NoPass | VmGone


class StateMachine:
    """One coordinator's. Times are seconds of a clock that goes on while the machine sleeps."""

    def __init__(self, terms: Terms, chance: Random) -> None:
        self.terms = terms
        self.vms: dict[str, Vm] = {}
        self.holdings = Holdings()
        self.pace = PoolPace(chance)
        self.look: Looked | None = None
        self.paused: OwnerOrder | None = None
        self.paused_until = 0.0
        self.ending = ""
        self.locked = ""
        """Why the key of the images is not here: nothing of them can be read or written."""
        self.left = False
        self.decisions = Decisions()
        self._stock = Stock(self.holdings, self.decisions)
        self._chance = chance
        self._looked_at = 0.0
        self._enough: set[str] = set()
        """Names that others have begun enough VMs of, until the pool says what is wanted then."""

    def handle(self, happening: Happening, now: float) -> list[Act]:
        """What is to be done now."""
        self.decisions.acts = []
        self._take(happening, now)
        self._depart(now)
        self._lapse(now)
        self._go_on(now)
        self._begin(now)
        self._fetch(now)
        self._ask(now)
        return self.decisions.acts

    def why_not(self, now: float) -> str:
        """Why no VM may be here; empty when it may."""
        if self.ending:
            return self.ending
        if self.is_paused(now):
            assert self.paused
            return f"{self.paused.who} wants the machine"
        if self.look is None:
            return "nobody has looked yet"
        return "" if self.look.lent else self.look.why

    def is_paused(self, now: float) -> bool:
        """Whether the owner has said so."""
        return self.paused is not None and (not self.paused.seconds or now < self.paused_until)

    def _take(self, happening: Happening, now: float) -> None:
        match happening:
            case Looked():
                self._notice_sleep(now)
                self.look, self._looked_at = happening, now
                for name, seconds in happening.suspends.items():
                    if vm := self.vms.get(name):
                        vm.suspend_seconds = seconds
            case PoolTold():
                self.pace.told(happening.waiting, now)
                self._enough.clear()
                for demand in happening.waiting.demands:
                    if holding := self.holdings.current(demand.vm_name):
                        holding.wanted = now
            case ImagesTold():
                self.holdings.told(happening.images)
            case PoolSilent():
                self.pace.silent(now, final=happening.final, after=happening.after)
                self.decisions.tell("pool", "does not answer", happening.why)
            case KeyTold():
                if happening.why_not != self.locked:
                    state = "is not here" if happening.why_not else "is here"
                    self.decisions.tell("key of the images", state, happening.why_not)
                self.locked = happening.why_not
            case FetchEnded():
                self._stock.fetched(happening, self._needs(now), now)
            case OwnerOrder():
                self.paused = happening if happening.pause else None
                self.paused_until = now + happening.seconds
                self.decisions.tell("machine", "is the owner's" if happening.pause else "is lent again", happening.who)
            case MachineEnds():
                self.ending = self.ending or happening.why
            case Began():
                self._found(happening, now)
            case _:
                self._of_vm(happening, now)

    def _notice_sleep(self, now: float) -> None:
        gap = now - self._looked_at
        if self.look is None or gap <= _SLEPT:
            return
        self.decisions.tell("machine", "was asleep, or this service was stopped", units.duration(gap))
        self.pace.woke(now)
        for vm in self.vms.values():
            if vm.stage is Stage.JOINED:  # it slept, too: nobody could have claimed it
                vm.since = now

    def _found(self, began: Began, now: float) -> None:
        self.holdings.found(began.held, now)
        for name in began.lost:
            self.decisions.tell(f"vm {name}", "is lost", "the coordinator was killed, and its VMs with it")
        for one in began.saved:
            if one.slot < self.terms.slots and self._slot_is_free(one.slot):
                self.vms[one.vm] = _suspended(one, now)
                self.decisions.tell(f"vm {one.vm}", "is suspended", "by an earlier life of this service")
            else:
                self.decisions.act(DropSaved(_suspended(one, now)))

    def _of_vm(self, happening: _OfVm, now: float) -> None:
        """Word of a VM. What comes late, of one that is gone or further, changes nothing."""
        vm = self.vms.get(happening.vm)
        if vm is None:
            return
        match happening:
            case ImageChecked() if vm.stage is Stage.CHECKING:
                self._checked(vm, happening.why_not, now)
            case VmReady() if vm.stage is Stage.STARTING:
                vm.saved = False
                if holding := self.holdings.by_digest.get(vm.image.digest):
                    holding.tries = 0
                self._enter(vm, Stage.JOINED, now, "it is up")
            case VmReady() if vm.stage in (Stage.ENDING, Stage.KILLING):
                vm.saved = False  # it had gone on before it heard that it has to leave: its file is old
            case VmClaimed() if vm.stage in (Stage.JOINED, Stage.BUSY):
                stage = Stage.BUSY if happening.claimed else Stage.JOINED
                if not vm.tells or stage is not vm.stage:
                    self._enter(vm, stage, now, "a job has it" if happening.claimed else "no job has it")
                vm.tells = True
            case VmSaved() if vm.stage in (Stage.SUSPENDING, Stage.ENDING, Stage.KILLING):
                vm.saved, vm.saved_at, vm.tells = True, now, False
                self._enter(vm, Stage.SUSPENDED, now, "it can go on later")
            case VmNotSaved() if vm.stage is Stage.SUSPENDING:
                self.decisions.act(leaving.end(vm, self.terms, now))
                self.decisions.tell(f"vm {vm.id}", vm.stage, happening.why)
            case NoPass() if vm.stage is Stage.STARTING:
                self._without_pass(vm, happening, now)
            case VmGone() if vm.stage not in (Stage.CHECKING, Stage.SUSPENDED):
                self._gone(vm, happening, now)

    def _checked(self, vm: Vm, why_not: str, now: float) -> None:
        if not why_not:
            self.decisions.counts["started"] += 1
            self._enter(vm, Stage.STARTING, now, "its image is whole, and signed by a key that is trusted")
            self.decisions.act(StartVm(vm))
            return
        if holding := self.holdings.by_digest.get(vm.image.digest):
            self._stock.refuse(holding, why_not, now)
        self._forget(vm, why_not)

    def _without_pass(self, vm: Vm, refused: NoPass, now: float) -> None:
        """A suspended one has its job, and waits on; a new one was for whatever job there is."""
        self.decisions.counts["started"] -= 1
        if vm.saved:
            vm.not_before = now + _AGAIN
            self._enter(vm, Stage.SUSPENDED, now, refused.why)
            return
        if refused.enough:
            self._enough.add(vm.image.name)
        else:
            self._failed(vm, refused.why, now)
        self._forget(vm, refused.why)

    def _failed(self, vm: Vm, why: str, now: float) -> None:
        self.decisions.counts["failures"] += 1
        if holding := self.holdings.by_digest.get(vm.image.digest):
            holding.failed(now, why)

    def _gone(self, vm: Vm, gone: VmGone, now: float) -> None:
        if gone.failed and vm.stage in STAYING:
            self._failed(vm, gone.why, now)
        self.decisions.counts["evictions"] += vm.evicted
        if vm.saved and vm.evicted:  # it was going on, and had not yet: its file is as it was
            vm.evicted, vm.leave_by = False, 0.0
            self._enter(vm, Stage.SUSPENDED, now, gone.why or "it had not gone on yet")
            return
        self._forget(vm, gone.why or "its session has ended")

    def _forget(self, vm: Vm, why: str) -> None:
        del self.vms[vm.id]
        if vm.saved:
            self.decisions.act(DropSaved(vm))
        self.decisions.tell(f"vm {vm.id}", "gone", why)

    def _depart(self, now: float) -> None:
        """Whoever has to go begins to, and whoever does not get there is pressed."""
        why = self.why_not(now)
        at_once = bool(self.is_paused(now) and self.paused and self.paused.at_once)
        for vm in list(self.vms.values()):
            if why:
                self._send_away(vm, why, now, evicted=True, at_once=at_once)
            elif vm.slot >= self.terms.slots:
                self._send_away(vm, f"the owner grants {self.terms.slots} slots", now, evicted=True)
            elif vm.stage is Stage.JOINED and vm.tells and self.terms.idle and now - vm.since >= self.terms.idle:
                why_idle = f"nobody has claimed it for {units.duration(self.terms.idle)}"
                self._send_away(vm, why_idle, now, evicted=False)
            if pressed := leaving.press(vm, self.terms, now):
                self.decisions.act(pressed[0])
                self.decisions.tell(f"vm {vm.id}", vm.stage, pressed[1])
        self._relieve(now)
        if self.ending and not self.left and all(vm.stage is Stage.SUSPENDED for vm in self.vms.values()):
            self.left = True
            self.decisions.act(Leave())

    def _relieve(self, now: float) -> None:
        """The youngest goes when memory is short; the next one only when that one has left."""
        memory = self.look.memory if self.look else None
        if memory is None or memory >= self.terms.memory_left:
            return
        live = [vm for vm in self.vms.values() if vm.stage is not Stage.SUSPENDED]
        if live and all(vm.stage in (*STAYING, Stage.CHECKING) for vm in live):
            left = f"{units.size(memory)} of memory are free, and {units.size(self.terms.memory_left)} are the owner's"
            self._send_away(max(live, key=lambda vm: vm.since), left, now, evicted=True)

    def _send_away(self, vm: Vm, why: str, now: float, *, evicted: bool, at_once: bool = False) -> None:
        if vm.stage is Stage.CHECKING:
            if vm.saved:
                self._enter(vm, Stage.SUSPENDED, now, why)
            else:
                self._forget(vm, why)
            return
        within = self._within(now)
        how = Eviction(within, evicted, leaving.fits(vm, self.vms.values(), within), at_once)
        if act := leaving.begin(vm, self.terms, now, how):
            self.decisions.act(act)
            large = "" if how.fits or not evicted else f"; suspending it would take {vm.suspend_seconds:.0f} s"
            self.decisions.tell(f"vm {vm.id}", vm.stage, why + large)

    def _within(self, now: float) -> float:
        """The owner's grace; or longer where hours end, which is known ahead: what takes long has begun before that."""
        soon = self.look.time_left if self.look else None
        return max(self.terms.grace, soon or 0.0) if not self.ending and not self.is_paused(now) else self.terms.grace

    def _lapse(self, now: float) -> None:
        """A suspended VM is not kept for ever; nor does one go on without its image."""
        for vm in [vm for vm in self.vms.values() if vm.stage is Stage.SUSPENDED]:
            holding = self.holdings.by_digest.get(vm.image.digest)
            if vm.slot >= self.terms.slots:
                self._forget(vm, "the owner grants fewer slots")
            elif now - vm.saved_at >= self.terms.lease:
                self._forget(vm, "its lease is over")
            elif holding is None or holding.stage is not ImageStage.WHOLE:
                self._forget(vm, "its image is not here any more")

    def _go_on(self, now: float) -> None:
        for vm in sorted(self.vms.values(), key=lambda one: one.saved_at):
            if vm.stage is Stage.SUSPENDED and now >= vm.not_before and self._may_begin(now):
                self._enter(vm, Stage.CHECKING, now, "the machine is lent again")
                self.decisions.act(CheckImage(vm))

    def _begin(self, now: float) -> None:
        """New VMs for jobs that name an image which is here."""
        fresh = (Stage.CHECKING, Stage.STARTING, Stage.JOINED, Stage.SUSPENDED)
        covered = Counter(vm.image.name for vm in self.vms.values() if vm.stage in fresh)
        large = dict[str, str]()
        for demand in self.pace.demands(now):
            name = demand.vm_name
            jobs, covered[name] = demand.jobs - covered[name], max(0, covered[name] - demand.jobs)
            if demand.cpus > self.terms.slot_cpus or demand.memory > self.terms.job_memory:
                has = f"a VM has {self.terms.slot_cpus} and {units.size(self.terms.job_memory)} for them"
                asked = f"its jobs ask for {demand.cpus} CPUs and {units.size(demand.memory)}"
                large.setdefault(name, f"{asked}, and {has}")
                continue
            holding = self.holdings.current(name)
            while jobs > 0 and name not in self._enough and holding and self._can_start(holding, now):
                if not self._new(holding, now):
                    break
                jobs -= 1
            if jobs > 0 and holding and holding.stage is ImageStage.WHOLE and self._lacks_memory_alone(now):
                needs = f"{units.size(self.terms.slot_memory)} for a VM and {units.size(self.terms.memory_left)}"
                self.decisions.tell_once(name, "memory", f"{needs} that are the owner's are not free")
        self._tell_large(large, now)

    def _tell_large(self, large: Mapping[str, str], now: float) -> None:
        """One reason for each name, though its jobs are of several sizes, and some of them may fit."""
        for name in {demand.vm_name for demand in self.pace.demands(now)} - large.keys():
            self.decisions.told_otherwise(name, "size")
        for name, why in large.items():
            self.decisions.tell_once(name, "size", why)

    def _can_start(self, holding: Holding, now: float) -> bool:
        return holding.stage is ImageStage.WHOLE and now >= holding.not_before and self._may_begin(now)

    def _may_begin(self, now: float) -> bool:
        """Whether there is a slot, and the owner's memory stays hers when all that begins has what it asked for."""
        return self._has_place(now) and not self._lacks_memory()

    def _has_place(self, now: float) -> bool:
        if self.why_not(now) or self.locked or not (self.look and self.look.may_begin):
            return False
        return sum(vm.stage is not Stage.SUSPENDED for vm in self.vms.values()) < self.terms.slots

    def _lacks_memory_alone(self, now: float) -> bool:
        return self._has_place(now) and self._lacks_memory()

    def _lacks_memory(self) -> bool:
        memory = self.look.memory if self.look else None
        beginning = sum(vm.stage in (Stage.CHECKING, Stage.STARTING) for vm in self.vms.values())
        need = self.terms.memory_left + (beginning + 1) * self.terms.slot_memory
        return memory is not None and memory < need

    def _new(self, holding: Holding, now: float) -> bool:
        """Whether there is a slot for one: a suspended VM has its own until it goes on."""
        slot = next((slot for slot in range(self.terms.slots) if self._slot_is_free(slot)), None)
        if slot is None:
            return False
        vm = Vm(f"g{slot}-{self._chance.getrandbits(32):08x}", slot, holding.image, Stage.CHECKING, now)
        self.vms[vm.id] = vm
        self.decisions.told_otherwise(vm.image.name, "memory")
        self.decisions.tell(f"vm {vm.id}", vm.stage, f"jobs wait for {holding.image.name}")
        self.decisions.act(CheckImage(vm))
        return True

    def _slot_is_free(self, slot: int) -> bool:
        return all(vm.slot != slot for vm in self.vms.values())

    def _fetch(self, now: float) -> None:
        """Images come while the machine is lent."""
        needs = self._needs(now)
        self._stock.tidy(needs, now)
        if self.why_not(now):
            self._stock.stop()
        elif not self.locked:
            self._stock.fetch(needs, now)

    def _needs(self, now: float) -> ImageNeeds:
        used = {vm.image.digest for vm in self.vms.values()}
        waited = [demand.vm_name for demand in self.pace.demands(now)]
        return ImageNeeds(self.terms, used, waited, self.pace.names())

    def _ask(self, now: float) -> None:
        if self.look and not self.left and (act := self.pace.due(now)):
            self.decisions.act(act)

    def _enter(self, vm: Vm, stage: Stage, now: float, why: str) -> None:
        vm.stage, vm.since = stage, now
        self.decisions.tell(f"vm {vm.id}", stage, why)


def _suspended(one: SavedVm, now: float) -> Vm:
    image = ImageVersion(one.name, one.version, one.digest)
    return Vm(one.vm, one.slot, image, Stage.SUSPENDED, now, saved=True, saved_at=now - one.age)
