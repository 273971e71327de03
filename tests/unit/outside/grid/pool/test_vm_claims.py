"""Who may begin a VM: claims and what is reported, against what jobs wait for."""

from __future__ import annotations

import pytest
from sevenlbd.outside.grid.machine_report import Owner, Report, RunningVm, VmPhase
from sevenlbd.outside.grid.pool.vm_claims import Claims
from sevenlbd.outside.grid.protocol import Demand, WorkerOrder

GIB = 1 << 30
ONE = (Demand("lab", 1, 1, GIB, 0),)


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def claims(clock: Clock) -> Claims:
    return Claims(30.0, clock=clock)


def report(*vms: RunningVm) -> Report:
    return Report(Owner.ABSENT, lends=True, slots=2, vms=vms)


def vm(phase: VmPhase, slot: int = 0, since: float = 60.0, memory: int = 2 * GIB, name: str = "lab") -> RunningVm:
    return RunningVm(slot, name, "1", phase, since, 2, memory)


def noted(claims: Claims, machine: str, seen: RunningVm) -> None:
    """A VM that was let begin."""
    assert claims.take((), machine, WorkerOrder(seen.image, seen.slot, resumes=True))
    claims.note(machine, report(seen))


def jobs(claims: Claims, machine: str, demands: tuple[Demand, ...] = ONE) -> list[int]:
    return [demand.jobs for demand in claims.left(demands, machine)]


def test_who_asks_first_has_it_and_the_image_stays_needed(claims: Claims) -> None:
    assert claims.take(ONE, "a", WorkerOrder("lab", 0))
    assert not claims.take(ONE, "b", WorkerOrder("lab", 0))
    assert jobs(claims, "b") == [0]
    assert jobs(claims, "a") == [1], "its own it counts itself"
    assert not claims.take(ONE, "a", WorkerOrder("lab", 1)), "nor another slot of the same machine"
    assert claims.take(ONE, "a", WorkerOrder("lab", 0)), "it asks once more for the same"


def test_a_claim_is_over_when_its_machine_says_what_came_of_it_or_nothing_any_more(
    claims: Claims, clock: Clock
) -> None:
    claims.take(ONE, "a", WorkerOrder("lab", 0))
    claims.note("a", report())
    assert claims.take(ONE, "b", WorkerOrder("lab", 0)), "it failed to start"
    clock.now += 121
    assert jobs(claims, "c") == [1]


@pytest.mark.parametrize(
    ("seen", "left"),
    [
        (vm(VmPhase.STARTING), 0),
        (vm(VmPhase.WAITING), 0),
        (vm(VmPhase.BUSY), 1),
        (vm(VmPhase.BUSY, since=3.0), 0),  # the queue may not have told yet that its job has begun
        (vm(VmPhase.SUSPENDED), 1),
        (vm(VmPhase.RESUMING), 0),
        (vm(VmPhase.ENDING), 1),
        (vm(VmPhase.WAITING, name="other"), 1),
        (vm(VmPhase.WAITING, memory=GIB // 2), 1),
    ],
)
def test_a_vm_counts_while_it_has_no_job_and_is_large_enough(claims: Claims, seen: RunningVm, left: int) -> None:
    noted(claims, "a", seen)
    assert jobs(claims, "b") == [left]


def test_a_large_vm_is_left_for_the_job_that_needs_it(claims: Claims) -> None:
    noted(claims, "a", vm(VmPhase.WAITING, memory=8 * GIB))
    noted(claims, "b", vm(VmPhase.WAITING, memory=GIB))
    wanted = (Demand("lab", 1, 1, GIB, 0), Demand("lab", 2, 1, 8 * GIB, 0))
    assert jobs(claims, "c", wanted) == [0, 1]
    assert not claims.take(wanted, "c", WorkerOrder("lab", 0, 2, 2 * GIB)), "too small for what is left"
    assert claims.take(wanted, "c", WorkerOrder("lab", 0, 2, 8 * GIB))


def test_one_that_goes_on_is_not_kept_from_that_and_takes_a_job_that_waits(claims: Claims) -> None:
    """Its own jobs were vacated before it was suspended."""
    assert claims.take((), "a", WorkerOrder("lab", 0, resumes=True))
    assert jobs(claims, "b") == [0], "nobody else begins one for the same job"


def test_nobody_begins_what_no_job_waits_for(claims: Claims) -> None:
    assert not claims.take((), "a", WorkerOrder("lab", 0))
    assert not claims.take((Demand("other", 1, 1, 1, 1),), "a", WorkerOrder("lab", 0))


def test_a_machine_that_is_away_is_not_counted_on(claims: Claims, clock: Clock) -> None:
    noted(claims, "a", vm(VmPhase.WAITING))
    clock.now += 119
    assert jobs(claims, "b") == [0]
    clock.now += 2
    assert jobs(claims, "b") == [1]


def test_a_machine_that_lies_hides_no_job_from_the_others(claims: Claims) -> None:
    """It has what nobody let it begin, of any size, in any slot."""
    claims.note("a", report(*(vm(VmPhase.STARTING, slot, memory=0) for slot in range(256))))
    assert jobs(claims, "b") == [1]
    assert claims.take(ONE, "b", WorkerOrder("lab", 0))


def test_a_vm_that_no_job_takes_keeps_none_from_the_others_for_long(claims: Claims, clock: Clock) -> None:
    noted(claims, "a", vm(VmPhase.STARTING))
    for _ in range(9):
        clock.now += 90
        claims.note("a", report(vm(VmPhase.WAITING)))
        assert jobs(claims, "b") == [0]
    clock.now += 90
    claims.note("a", report(vm(VmPhase.WAITING)))
    assert jobs(claims, "b") == [1]
    claims.note("a", report(vm(VmPhase.BUSY)))
    claims.note("a", report(vm(VmPhase.WAITING)))
    assert jobs(claims, "b") == [0], "its job has ended, and it takes the next one"


def test_what_runs_when_the_service_begins_is_believed_while_it_hears(clock: Clock) -> None:
    fresh = Claims(30.0, known=True, clock=clock)
    fresh.note("a", report(vm(VmPhase.WAITING)))
    clock.now += 46
    fresh.note("a", report(vm(VmPhase.WAITING), vm(VmPhase.WAITING, 1)))
    assert jobs(fresh, "b", (Demand("lab", 2, 1, GIB, 0),)) == [1]


def test_a_service_with_machines_hears_them_first_and_one_without_begins_at_once(clock: Clock) -> None:
    fresh = Claims(30.0, known=True, clock=clock)
    assert not fresh.take(ONE, "a", WorkerOrder("lab", 0))
    assert jobs(fresh, "a") == [0]
    clock.now += 46
    assert fresh.take(ONE, "a", WorkerOrder("lab", 0))
