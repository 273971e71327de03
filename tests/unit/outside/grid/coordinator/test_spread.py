"""Many machines and few jobs: real coordinators' state machines and the service's claims, in a world of one clock.

What HTCondor does is played: an idle job takes a VM that waits for one.
"""

from __future__ import annotations

from random import Random

import pytest
from sevenlbd.outside.grid.coordinator import acts, own_report
from sevenlbd.outside.grid.coordinator.happenings import (
    Happening,
    HeldVersion,
    ImageChecked,
    ImagesTold,
    NoPass,
    PoolTold,
    VmClaimed,
    VmReady,
)
from sevenlbd.outside.grid.coordinator.stages import Stage
from sevenlbd.outside.grid.coordinator.state_machine import StateMachine
from sevenlbd.outside.grid.pool.vm_claims import Claims
from sevenlbd.outside.grid.protocol import Demand, Pace, Waiting, WorkerOrder
from test_state_machine import GIB, LENT, POOL, TERMS, image

STEP, BOOTS, POLL = 2.0, 20.0, 30.0  # seconds


class Machine:
    """One that is lent, with the image."""

    def __init__(self, world: World, number: int) -> None:
        self.world, self.name = world, f"lab-{number}"
        self.state = StateMachine(TERMS, Random(number))
        self.state.holdings.found([HeldVersion("win11", "1", image("win11").manifest, GIB, whole=True)], 0.0)
        self.state.handle(ImagesTold((image("win11"),)), 0.0)
        self.dead = False

    def step(self) -> None:
        self.tell(LENT)
        for vm in list(self.state.vms.values()):
            if vm.stage is Stage.STARTING and self.world.now - vm.since >= BOOTS:
                self.tell(VmReady(vm.id))
                self.tell(VmClaimed(vm.id, claimed=False))
            elif vm.stage is Stage.JOINED and self.world.idle:
                self.world.idle -= 1
                self.tell(VmClaimed(vm.id, claimed=True))

    def tell(self, happening: Happening) -> None:
        for act in self.state.handle(happening, self.world.now):
            match act:
                case acts.AskPool():
                    self.ask()
                case acts.CheckImage(vm=vm):
                    self.tell(ImageChecked(vm.id))
                case acts.StartVm(vm=vm):
                    self.start(vm.id, WorkerOrder("win11", vm.slot, TERMS.slot_cpus, TERMS.slot_memory))

    def ask(self) -> None:
        """As the coordinator does: what it says was so when it began to ask."""
        world, report = self.world, own_report.of(self.state, self.world.now)
        demands = world.claims.left(world.demands, self.name)
        world.claims.note(self.name, report)
        self.tell(PoolTold(Waiting(POOL, demands, "0" * 64, Pace(POLL, POLL))))

    def start(self, vm: str, order: WorkerOrder) -> None:
        if self.world.claims.take(self.world.demands, self.name, order):
            self.world.started.append(self.name)
        else:
            self.world.declined += 1
            self.tell(NoPass(vm, "others have", enough=True))


class World:
    """All machines, a queue with so many idle jobs, and the service."""

    def __init__(self, machines: int, jobs: int) -> None:
        self.now, self.idle, self.declined = 0.0, jobs, 0
        self.started: list[str] = []
        self.claims = Claims(POLL, clock=lambda: self.now)
        self.machines = [Machine(self, number) for number in range(machines)]

    @property
    def demands(self) -> tuple[Demand, ...]:
        return (Demand("win11", self.idle, 1, GIB, GIB),) if self.idle else ()

    def until(self, seconds: float) -> None:
        while self.now < seconds:
            self.now += STEP
            for machine in self.machines:
                if not machine.dead:
                    machine.step()


@pytest.mark.parametrize(("machines", "jobs"), [(200, 1), (200, 7), (60, 120), (60, 1000)])
def test_as_many_vms_begin_as_jobs_wait_wherever_they_can(machines: int, jobs: int) -> None:
    world = World(machines, jobs)
    world.until(300.0)
    assert len(world.started) == min(jobs, machines * TERMS.slots)
    assert world.idle == max(0, jobs - machines * TERMS.slots)
    assert world.declined <= machines, "nobody presses"


def test_a_job_that_comes_while_a_vm_waits_for_one_starts_none() -> None:
    world = World(50, 2)
    world.until(100.0)
    first = next(machine for machine in world.machines if machine.state.vms)
    next(iter(first.state.vms.values())).stage = Stage.JOINED  # its job is done
    world.until(200.0)
    world.idle = 1
    world.until(300.0)
    assert len(world.started) == 2


def test_a_machine_that_dies_with_its_claim_keeps_a_job_waiting_for_two_minutes_at_most() -> None:
    world = World(50, 1)
    while not world.started:
        world.until(world.now + STEP)
    next(machine for machine in world.machines if machine.name == world.started[0]).dead = True
    world.until(world.now + 100.0)
    assert len(world.started) == 1
    world.until(world.now + 20.0 + 1.25 * POLL + BOOTS + STEP)
    assert len(world.started) == 2
    assert world.idle == 0


def test_a_service_that_begins_anew_hears_what_there_is_before_it_lets_anybody_begin() -> None:
    world = World(50, 1)
    while not world.started:
        world.until(world.now + STEP)
    world.claims = Claims(POLL, known=True, clock=lambda: world.now)
    world.until(300.0)
    assert len(world.started) == 1
