"""The loop: what happens is told to the state machine, and what it wants done is begun.

One thread does all that must be in time: it looks every few seconds, and waits for nothing else. What may take long,
the network, a check of many gigabytes, a session, has a thread of its own and tells what it came to.
"""

from __future__ import annotations

import os
import queue
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from random import Random

from ....base.errors import Refusal
from ....config.settings import KeyPlace
from ....images.signing import signature
from ...cli.command import CommandContext, say
from ...console import terminal
from ...node import abilities
from .. import key_sources
from ..protocol import WorkerOrder, WorkerPass
from . import acts, bandwidth, leaving, overview, own_life, own_report, owner_socket
from .acts import Act
from .happenings import (
    Happening,
    ImageChecked,
    KeyTold,
    Looked,
    MachineEnds,
    NoPass,
    OwnerOrder,
    VmGone,
    VmReady,
    VmSaved,
)
from .image_fetch import ImageFetch
from .image_store import ImageStore
from .own_files import KnownState, OwnFiles
from .owner_look import OwnerLook, terms
from .owner_socket import OwnerCall
from .pool_talk import PoolService, PoolTalk
from .stages import RUNNING, STAYING, Vm
from .state_machine import StateMachine
from .terms import Terms
from .unforeseen import instead
from .vm_sessions import VmOrder, VmSessions

_LOOK_SECONDS = 2.0  # a look costs a millisecond; of the owner's time none is to be lost
_LONGEST_IDLE = 30 * 86400  # seconds; more a guest does not take (outside/grid/join_record.py)
_LONGEST_PAUSE = 10 * 365 * 86400.0  # seconds; a guess: whoever wants more says nothing of an end
_ANSWER_SECONDS = 4.0  # less than who asks waits
_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


@dataclass(frozen=True)
class Pool:
    """The pool that the machine belongs to."""

    service: PoolService
    machine: str
    url: str


def clock() -> float:
    """Seconds that go on while the machine sleeps (clock_gettime(2), CLOCK_BOOTTIME): no clock that people set."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Service:
    """One coordinator, from its begin to its end."""

    def __init__(self, context: CommandContext, files: OwnFiles, pool: Pool, look: OwnerLook) -> None:
        self._queue: queue.SimpleQueue[Happening | Callable[[], None]] = queue.SimpleQueue()
        self._context, self._files, self._pool, self._look = context, files, pool, look
        self._key_from = key_sources.holder(context.settings, context.here.environment)
        comes = self._key_from == KeyPlace.POOL
        self._key = b"" if comes else key_sources.of_coordinator(context.settings, context.here.environment)
        self._store = ImageStore(files.images, self._key or None)
        self._talk = PoolTalk(pool.service, self._queue.put, self._open if comes else None)
        self._sessions = VmSessions(files, self._queue.put, context.here.environment)
        self._rate = bandwidth.ChangingRate()
        self._fetch: ImageFetch | None = None
        self._awaited: set[str] = set()
        """VMs for which a token was asked: they begin when it has come, if they are still to."""
        self._kept = KnownState()
        look.read()
        self._machine = StateMachine(self._terms(), Random(os.urandom(16)))
        self._machine.locked = "it has not come from the pool yet" if comes else ""

    def run(self) -> None:
        """Until it is told to end, and nothing of it runs any more."""
        with self._files.held(), self._signals(), owner_socket.served(self._answer) as deaf:
            say(f"this machine is lent to the pool of {self._pool.url}, as its owner allows; to see it: 7lbd grid show")
            if deaf:
                terminal.warn(deaf)
            try:
                self._begin()
                while not self._machine.left:
                    self._turn()
            finally:
                self._sessions.close()

    def _turn(self) -> None:
        """Look, then take what happens until it is time for the next look."""
        busy = sum(vm.stage in RUNNING for vm in self._machine.vms.values())
        suspends = self._suspends()
        leads = leaving.lead(self._machine.vms.values()) if suspends else 0.0
        looked = replace(self._look.look(busy * self._machine.terms.slot_cpus, leads), suspends=suspends)
        self._machine.terms = self._terms()
        self._rate.set(bandwidth.of_images(self._look.grid.rate, self._machine.terms.slots, busy))
        self._handle(looked)
        until = time.monotonic() + _LOOK_SECONDS
        while not self._machine.left and (left := until - time.monotonic()) > 0:
            try:
                told = self._queue.get(timeout=left)
            except queue.Empty:
                return
            if callable(told):
                told()
            else:
                self._handle(told)

    def _suspends(self) -> dict[str, float]:
        """How long each VM would take to be written; nothing where none is suspended."""
        if not self._machine.terms.lease:
            return {}
        memory = self._machine.terms.slot_memory
        staying = [vm.id for vm in self._machine.vms.values() if vm.stage in STAYING]
        return {name: self._sessions.suspend_seconds(name, memory) for name in staying}

    def _handle(self, happening: Happening) -> None:
        for act in self._machine.handle(happening, clock()):
            self._do(act)
        match happening:
            case VmGone() | VmSaved():
                self._sessions.over(happening.vm)
            case VmReady():
                self._sessions.drop(happening.vm)  # what it has gone on from is old now
        self._tell()
        if not isinstance(happening, Looked):
            self._keep()

    def _open(self) -> None:
        """In the pool's thread: the key comes from there, and is in memory alone. Raises Refusal."""
        key = key_sources.of_coordinator(self._context.settings, self._context.here.environment)
        self._queue.put(lambda: self._unlocked(key))

    def _unlocked(self, key: bytes) -> None:
        self._key, self._key_from = key, key_sources.holder(self._context.settings, self._context.here.environment)
        self._store.open(key)
        self._handle(KeyTold())

    def _do(self, act: Act) -> None:
        match act:
            case acts.AskPool():
                self._talk.ask(own_report.of(self._machine, clock()))
                self._touch()
            case acts.FetchImage(image=image):
                self._fetch = ImageFetch(image, self._store, self._keys(), self._talk.get, self._rate)
                self._in_thread(self._fetch.run, self._fetch.broken)
            case acts.StopFetch() if self._fetch:
                self._fetch.over.set()
            case acts.DropImage(digest=digest):
                with suppress(OSError):
                    self._store.drop(digest)
            case acts.CheckImage(vm=vm):
                self._check(vm)
            case acts.StartVm(vm=vm):
                self._awaited.add(vm.id)
                terms = self._machine.terms
                order = WorkerOrder(vm.image.name, vm.slot, terms.slot_cpus, terms.slot_memory, resumes=vm.saved)
                self._talk.pass_for(vm.id, order, lambda got: self._queue.put(lambda: self._start(vm, got)))
            case acts.SuspendVm(vm=vm):
                self._sessions.suspend(vm.id)
            case acts.EndVm(vm=vm) | acts.KillVm(vm=vm):
                self._end(vm, hard=isinstance(act, acts.KillVm))
            case acts.DropSaved(vm=vm):
                self._sessions.drop(vm.id)

    def _end(self, vm: Vm, *, hard: bool) -> None:
        if vm.id in self._awaited:  # there is no session yet
            self._awaited.discard(vm.id)
            self._queue.put(VmGone(vm.id, failed=False, why="it had not begun"))
        elif hard:
            self._sessions.kill(vm.id)
        else:
            self._sessions.end(vm.id)

    def _check(self, vm: Vm) -> None:
        image, name, keys = vm.image, vm.id, self._keys()
        memory = self._files.place / "cache" / "7lbd" / "verified.json"
        self._in_thread(lambda: ImageChecked(name, self._store.check(image, keys, memory)), partial(ImageChecked, name))

    def _start(self, vm: Vm, got: WorkerPass | NoPass) -> None:
        """The token is there, or is not; and meanwhile the owner may have come."""
        if vm.id not in self._awaited:
            return
        self._awaited.discard(vm.id)
        if isinstance(got, NoPass):
            self._handle(got)  # at once: who is told to end meanwhile would have no session, and never end
            return
        machine_terms = self._machine.terms
        record = {
            "collector": got.pool.collector,
            "trust_domain": got.pool.trust_domain,
            "token": got.token,
            "vm_name": vm.image.name,
            "machine": self._pool.machine,
            "slot": vm.slot + 1,  # as people count
            "idle_seconds": min(int(machine_terms.idle), _LONGEST_IDLE),
        }
        self._sessions.start(
            VmOrder(
                vm=vm,
                repository=self._store.repository(vm.image),
                keys=self._keys(),
                cpus=machine_terms.slot_cpus,
                memory=machine_terms.slot_memory,
                megabits=bandwidth.of_vm(self._look.grid.rate, machine_terms.slots),
                memory_left=machine_terms.memory_left,
                record=record,
                image_key=self._key,
            )
        )

    def _in_thread[T: Happening](self, work: Callable[[], T], failed: Callable[[str], T]) -> None:
        threading.Thread(target=lambda: self._queue.put(instead(work, failed)), daemon=True).start()

    def _keys(self) -> tuple[str, ...]:
        """The coordinator's own, or else the site's; what is no key counts for nothing."""
        with suppress(Refusal):
            return signature.trusted(self._look.grid.trusted_keys or self._context.settings.trusted_keys)
        return ()

    def _terms(self) -> Terms:
        memory = min([_physical_memory(), *(limit.size for limit in abilities.cgroup_limits())])
        return terms(self._look.grid, self._look.owner, abilities.cpus(), memory)

    def _begin(self) -> None:
        """With what the last life has left. Neither of both is written without the other: it would be forgotten."""
        known, wall = self._files.known, time.time()
        left: list[Happening] = [own_life.began(known, self._sessions, self._store, wall)]
        if order := own_life.pause(known, wall):
            left.append(order)
        for happening in left:
            for act in self._machine.handle(happening, clock()):
                self._do(act)
        self._tell()
        self._keep()

    def _tell(self) -> None:
        changes, self._machine.decisions.changes = self._machine.decisions.changes, []
        for change in changes:
            terminal.say_on(str(change))
        if changes:
            self._files.log(changes, time.time())

    def _keep(self) -> None:
        """The state for the next life; a full disk must not end this one."""
        state = own_life.state(self._machine, clock(), time.time())
        if state != self._kept:
            with suppress(OSError):
                self._files.keep(state)
                self._kept = state

    def _touch(self) -> None:
        now, wall = clock(), time.time()
        for holding in self._machine.holdings.here:
            if holding.wanted:
                self._store.touch(holding.image.digest, wall - (now - holding.wanted))

    def _answer(self, call: OwnerCall, own: bool) -> dict[str, object]:
        """To the owner, from the thread that hears her: the machine is the main thread's."""
        answers: queue.SimpleQueue[dict[str, object]] = queue.SimpleQueue()
        self._queue.put(lambda: answers.put(self._obey(call, own=own)))
        try:
            return answers.get(timeout=_ANSWER_SECONDS)
        except queue.Empty:
            return {"trouble": "the coordinator is busy"}

    def _obey(self, call: OwnerCall, *, own: bool) -> dict[str, object]:
        paused = self._machine.paused
        match call.order:
            case "pause":
                who = call.who or ("the coordinator's user" if own else "the owner")
                seconds = min(max(0.0, call.seconds), _LONGEST_PAUSE)  # also of what is no number
                self._handle(OwnerOrder(True, who, call.at_once, seconds, own))
            case "resume" if paused and paused.own and not own:
                return {"trouble": f"{paused.who} took the machine, and lends it again"}
            case "resume":
                self._handle(OwnerOrder(False, call.who or "the owner"))
            case "show":
                pass
            case other:
                return {"trouble": f"there is no order {other!r}"}
        lender = overview.Lender(self._look.owner, self._look.grid, self._keys(), self._key_from, self._pool.url)
        seen = overview.of(self._machine, clock(), lender, self._files)
        return dict(seen)

    @contextmanager
    def _signals(self) -> Iterator[None]:
        before = {number: signal.getsignal(number) for number in _SIGNALS}
        for number in _SIGNALS:
            signal.signal(number, self._on_signal)
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _on_signal(self, number: int, _frame: object) -> None:
        """A SimpleQueue may be put to from a signal's handler."""
        self._queue.put(MachineEnds(f"the service is told to end ({signal.Signals(number).name})"))


def _physical_memory() -> int:
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
