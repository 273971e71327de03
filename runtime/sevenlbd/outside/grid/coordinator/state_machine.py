"""What follows from what: a happening and the time go in, acts come out. No clock, no I/O, no chance of its own.

After each happening all is looked at anew, so that no order of them leaves anything undone: who has to go goes first,
then suspended VMs go on, then new ones begin, then images are fetched, then the pool is asked.
"""

from __future__ import annotations

from collections import Counter
from random import Random

from ....base import units
from . import leaving
from .acts import Act, CheckImage, DropImage, DropSaved, FetchImage, Leave, StartVm, StopFetch
from .change_log import Change
from .happenings import (
    Began,
    FetchEnded,
    FetchOutcome,
    Happening,
    ImageChecked,
    ImagesTold,
    Looked,
    MachineEnds,
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
from .pool_pace import PoolPace
from .stages import STAYING, ImageVersion, Stage, Vm
from .terms import Terms

_MOST_TOLD = 1000  # names that are remembered; as many as a pool may ask for
_SLEPT = 60.0  # seconds without a look: thirty looks that were missed; the machine was asleep, or we were stopped


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
        self.left = False
        self.counts: Counter[str] = Counter()
        self.changes: list[Change] = []
        """What has changed since somebody has taken them."""
        self._chance = chance
        self._looked_at = 0.0
        self._told: dict[tuple[str, str], str] = {}
        """Why a name gets no VM, as it was told last."""
        self._acts: list[Act] = []

    def handle(self, happening: Happening, now: float) -> list[Act]:
        """What is to be done now."""
        self._acts = []
        self._take(happening, now)
        self._depart(now)
        self._lapse(now)
        self._go_on(now)
        self._begin(now)
        self._fetch(now)
        self._ask(now)
        return self._acts

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
            case PoolTold():
                self.pace.told(happening.waiting, now)
                for demand in happening.waiting.demands:
                    if holding := self.holdings.current(demand.vm_name):
                        holding.wanted = now
            case ImagesTold():
                self.holdings.told(happening.images)
            case PoolSilent():
                self.pace.silent(now, final=happening.final, after=happening.after)
                self._tell("pool", "does not answer", happening.why)
            case FetchEnded():
                self._fetched(happening, now)
            case OwnerOrder():
                self.paused = happening if happening.pause else None
                self.paused_until = now + happening.seconds
                self._tell("machine", "is the owner's" if happening.pause else "is lent again", happening.who)
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
        self._tell("machine", "was asleep, or this service was stopped", units.duration(gap))
        self.pace.woke(now)
        for vm in self.vms.values():
            if vm.stage is Stage.JOINED:  # it slept, too: nobody could have claimed it
                vm.since = now

    def _found(self, began: Began, now: float) -> None:
        self.holdings.found(began.held, now)
        for name in began.lost:
            self._tell(f"vm {name}", "is lost", "the coordinator was killed, and its VMs with it")
        for one in began.saved:
            if one.slot < self.terms.slots and self._slot_is_free(one.slot):
                self.vms[one.vm] = _suspended(one, now)
                self._tell(f"vm {one.vm}", "is suspended", "by an earlier life of this service")
            else:
                self._act(DropSaved(_suspended(one, now)))

    def _fetched(self, ended: FetchEnded, now: float) -> None:
        self.counts["fetched"] += ended.bytes
        holding = self.holdings.by_digest.get(ended.digest)
        if holding is None or holding.stage is not ImageStage.FETCHING:
            return
        match ended.outcome:
            case FetchOutcome.WHOLE:
                holding.stage, holding.tries = ImageStage.WHOLE, 0
            case FetchOutcome.STOPPED:
                holding.stage = ImageStage.PARTIAL
            case FetchOutcome.ALTERED:
                self._refuse_image(holding, ended.why, now)
                return
            case _:
                self.counts["failures"] += 1
                holding.stage = ImageStage.PARTIAL
                holding.failed(now, ended.why)
                if ended.outcome is FetchOutcome.FULL and (going := self.holdings.may_go(self._needed())):
                    self._drop(going[0], "the disk is full")
        self._tell(f"image {holding.image}", holding.stage, ended.why)

    def _refuse_image(self, holding: Holding, why: str, now: float) -> None:
        """It is not what we trust. Its files go as soon as nothing runs from them."""
        self.counts["failures"] += 1
        holding.stage = ImageStage.BAD
        holding.failed(now, why)
        self._tell(f"image {holding.image}", holding.stage, why)

    def _of_vm(self, happening: ImageChecked | VmReady | VmClaimed | VmSaved | VmNotSaved | VmGone, now: float) -> None:
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
            case VmClaimed() if vm.stage in (Stage.JOINED, Stage.BUSY):
                stage = Stage.BUSY if happening.claimed else Stage.JOINED
                if not vm.tells or stage is not vm.stage:
                    self._enter(vm, stage, now, "a job has it" if happening.claimed else "no job has it")
                vm.tells = True
            case VmSaved() if vm.stage in (Stage.SUSPENDING, Stage.ENDING, Stage.KILLING):
                vm.saved, vm.saved_at, vm.tells = True, now, False
                self._enter(vm, Stage.SUSPENDED, now, "its job can go on later")
            case VmNotSaved() if vm.stage is Stage.SUSPENDING:
                self._act(leaving.end(vm, self.terms, now))
                self._tell(f"vm {vm.id}", vm.stage, happening.why)
            case VmGone() if vm.stage not in (Stage.CHECKING, Stage.SUSPENDED):
                self._gone(vm, happening, now)

    def _checked(self, vm: Vm, why_not: str, now: float) -> None:
        if not why_not:
            self.counts["started"] += 1
            self._enter(vm, Stage.STARTING, now, "its image is whole, and signed by a key that is trusted")
            self._act(StartVm(vm))
            return
        if holding := self.holdings.by_digest.get(vm.image.digest):
            self._refuse_image(holding, why_not, now)
        self._forget(vm, why_not)

    def _gone(self, vm: Vm, gone: VmGone, now: float) -> None:
        if gone.failed and vm.stage in STAYING:
            self.counts["failures"] += 1
            if holding := self.holdings.by_digest.get(vm.image.digest):
                holding.failed(now, gone.why)
        self.counts["evictions"] += vm.evicted
        if vm.saved and vm.evicted:  # it was going on, and had not yet: its file is as it was
            vm.evicted, vm.leave_by = False, 0.0
            self._enter(vm, Stage.SUSPENDED, now, gone.why or "it had not gone on yet")
            return
        self._forget(vm, gone.why or "its session has ended")

    def _forget(self, vm: Vm, why: str) -> None:
        del self.vms[vm.id]
        if vm.saved:
            self._act(DropSaved(vm))
        self._tell(f"vm {vm.id}", "gone", why)

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
                self._act(pressed[0])
                self._tell(f"vm {vm.id}", vm.stage, pressed[1])
        self._relieve(now)
        if self.ending and not self.left and all(vm.stage is Stage.SUSPENDED for vm in self.vms.values()):
            self.left = True
            self._act(Leave())

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
        elif act := leaving.begin(vm, self.terms, now, evicted=evicted, at_once=at_once):
            self._act(act)
            self._tell(f"vm {vm.id}", vm.stage, why)

    def _lapse(self, now: float) -> None:
        """A job does not wait for ever for its VM; nor does one go on without its image."""
        for vm in [vm for vm in self.vms.values() if vm.stage is Stage.SUSPENDED]:
            holding = self.holdings.by_digest.get(vm.image.digest)
            if vm.slot >= self.terms.slots:
                self._forget(vm, "the owner grants fewer slots")
            elif now - vm.saved_at >= self.terms.lease:
                self._forget(vm, "its job's lease is over: the job begins anew elsewhere")
            elif holding is None or holding.stage is not ImageStage.WHOLE:
                self._forget(vm, "its image is not here any more")

    def _go_on(self, now: float) -> None:
        for vm in sorted(self.vms.values(), key=lambda one: one.saved_at):
            if vm.stage is Stage.SUSPENDED and self._may_begin(now):
                self._enter(vm, Stage.CHECKING, now, "the machine is lent again")
                self._act(CheckImage(vm))

    def _begin(self, now: float) -> None:
        """New VMs for jobs that name an image which is here."""
        fresh = (Stage.CHECKING, Stage.STARTING, Stage.JOINED, Stage.SUSPENDED)
        covered = Counter(vm.image.name for vm in self.vms.values() if vm.stage in fresh)
        for demand in self.pace.demands(now):
            name = demand.vm_name
            jobs, covered[name] = demand.jobs - covered[name], max(0, covered[name] - demand.jobs)
            if demand.cpus > self.terms.slot_cpus or demand.memory > self.terms.slot_memory:
                self._tell_once(name, "size", f"its jobs ask for {demand.cpus} CPUs and {units.size(demand.memory)}")
                continue
            self._told.pop((name, "size"), None)
            holding = self.holdings.current(name)
            while jobs > 0 and holding and self._can_start(holding, now):
                self._new(holding, now)
                jobs -= 1

    def _can_start(self, holding: Holding, now: float) -> bool:
        return holding.stage is ImageStage.WHOLE and now >= holding.not_before and self._may_begin(now)

    def _may_begin(self, now: float) -> bool:
        """Whether there is a slot, and the owner's memory stays hers when all that begins has what it asked for."""
        if self.why_not(now) or not (self.look and self.look.may_begin):
            return False
        beginning = sum(vm.stage in (Stage.CHECKING, Stage.STARTING) for vm in self.vms.values())
        need = self.terms.memory_left + (beginning + 1) * self.terms.slot_memory
        running = sum(vm.stage is not Stage.SUSPENDED for vm in self.vms.values())
        return running < self.terms.slots and (self.look.memory is None or self.look.memory >= need)

    def _new(self, holding: Holding, now: float) -> None:
        slot = next((slot for slot in range(self.terms.slots) if self._slot_is_free(slot)), None)
        if slot is None:
            return
        vm = Vm(f"g{slot}-{self._chance.getrandbits(32):08x}", slot, holding.image, Stage.CHECKING, now)
        self.vms[vm.id] = vm
        self._tell(f"vm {vm.id}", vm.stage, f"jobs wait for {holding.image.name}")
        self._act(CheckImage(vm))

    def _slot_is_free(self, slot: int) -> bool:
        return all(vm.slot != slot for vm in self.vms.values())

    def _fetch(self, now: float) -> None:
        """One image at a time, while the machine is lent. What is refused goes; what nobody wants makes room."""
        self._tidy(now)
        fetching = self.holdings.fetching
        if self.why_not(now):
            if fetching:
                self._act(StopFetch(fetching.image.digest))
            return
        if fetching:
            return
        needed = self._needed()
        for holding in self._missing(now):
            going = self.holdings.room_for(holding, self.terms.quota, needed)
            if going is None:
                self._tell_once(holding.image.name, "quota", f"{units.size(holding.size)} do not fit into the quota")
                continue
            for one in going:
                self._drop(one, f"room for {holding.image}")
            holding.stage, holding.lies = ImageStage.FETCHING, True
            self._tell(f"image {holding.image}", holding.stage, "jobs wait for it, or it is to be held")
            self._act(FetchImage(self.holdings.offered[holding.image.name]))
            return

    def _missing(self, now: float) -> list[Holding]:
        """What is wanted and not here: first for jobs, then what is to be held, or is, in an older version."""
        names = [demand.vm_name for demand in self.pace.demands(now)] + list(self.terms.keep)
        names += [one.image.name for one in self.holdings.here if one.stage is ImageStage.WHOLE]
        current = [holding for name in dict.fromkeys(names) if (holding := self.holdings.current(name))]
        absent = (ImageStage.ABSENT, ImageStage.PARTIAL)
        return [one for one in current if one.stage in absent and now >= one.not_before]

    def _tidy(self, now: float) -> None:
        used = {vm.image.digest for vm in self.vms.values()}
        for holding in list(self.holdings.by_digest.values()):
            if holding.stage is not ImageStage.BAD:
                continue
            if holding.lies and holding.image.digest not in used:
                self._act(DropImage(holding.image.digest))
                holding.lies = False
            if not holding.lies and now >= holding.not_before:
                holding.stage = ImageStage.ABSENT

    def _drop(self, holding: Holding, why: str) -> None:
        holding.stage, holding.lies = ImageStage.ABSENT, False
        self._act(DropImage(holding.image.digest))
        self._tell(f"image {holding.image}", "dropped", why)

    def _needed(self) -> set[str]:
        """Images that have to stay: a VM's, and the current ones of what is waited for or to be held."""
        names = [*self.pace.names(), *self.terms.keep]
        current = {holding.image.digest for name in names if (holding := self.holdings.current(name))}
        return current | {vm.image.digest for vm in self.vms.values()}

    def _ask(self, now: float) -> None:
        if self.look and not self.left and (act := self.pace.due(now)):
            self._act(act)

    def _enter(self, vm: Vm, stage: Stage, now: float, why: str) -> None:
        vm.stage, vm.since = stage, now
        self._tell(f"vm {vm.id}", stage, why)

    def _act(self, act: Act) -> None:
        self._acts.append(act)

    def _tell(self, subject: str, what: str, why: str = "") -> None:
        self.changes.append(Change(subject, str(what), why))

    def _tell_once(self, name: str, kind: str, why: str) -> None:
        if self._told.get((name, kind)) != why:
            self._told = dict(list(self._told.items())[-_MOST_TOLD:]) | {(name, kind): why}
            self._tell(f"image {name}", "gets no VM here", why)


def _suspended(one: SavedVm, now: float) -> Vm:
    image = ImageVersion(one.name, one.version, one.digest)
    return Vm(one.vm, one.slot, image, Stage.SUSPENDED, now, saved=True, saved_at=now - one.age)
