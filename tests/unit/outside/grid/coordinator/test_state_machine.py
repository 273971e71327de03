"""What a coordinator decides, by a model that plays owner, pool, network, disk and VMs in any order."""

from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import replace
from random import Random
from typing import TypeVar

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from sevenlbd.outside.grid.coordinator import acts, leaving
from sevenlbd.outside.grid.coordinator.happenings import (
    Began,
    FetchEnded,
    FetchOutcome,
    Happening,
    HeldVersion,
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
from sevenlbd.outside.grid.coordinator.holdings import ImageStage
from sevenlbd.outside.grid.coordinator.stages import STAYING, Stage
from sevenlbd.outside.grid.coordinator.state_machine import StateMachine
from sevenlbd.outside.grid.coordinator.terms import Terms
from sevenlbd.outside.grid.protocol import Demand, OfferedFile, OfferedImage, Pace, PoolAddress, Waiting
from sevenlbd.wire.keeper import FLUSH_SECONDS

GIB = 1 << 30
TERMS = Terms(
    slots=2, slot_cpus=2, slot_memory=2 * GIB, memory_left=GIB, grace=60.0, idle=600.0, lease=3600.0, quota=10 * GIB
)
POOL = PoolAddress("pool.example.edu:9618", "pool.example.edu")
LENT = Looked(lent=True, may_begin=True, why="nobody is logged in", memory=16 * GIB)
OWNED = Looked(lent=False, may_begin=False, why="ada is logged in", owner=True, memory=16 * GIB)


def image(name: str, version: str = "1", size: int = GIB) -> OfferedImage:
    digest = f"{sum(map(ord, name + version)):064x}"
    return OfferedImage(name, version, digest, (OfferedFile("manifest.json", 0), OfferedFile("disk.qcow2", size)))


def waiting(*names: str, jobs: int = 1, pace: Pace = Pace(poll=30.0)) -> PoolTold:  # noqa: B008  # it is frozen
    demands = tuple(Demand(name, jobs, 1, GIB, GIB) for name in names)
    return PoolTold(Waiting(POOL, demands, "0" * 64, pace))


class World:
    """A state machine, the clock, and what it has asked for."""

    def __init__(self, terms: Terms = TERMS) -> None:
        self.machine = StateMachine(terms, Random(7))
        self.now = 1000.0
        self.acts: list[acts.Act] = []

    def tell(self, *happenings: Happening) -> list[acts.Act]:
        found = [act for one in happenings for act in self.machine.handle(one, self.now)]
        self.acts += found
        return found

    def later(self, seconds: float, look: Looked = LENT) -> list[acts.Act]:
        self.now += seconds
        return self.tell(look)

    def lent(self, *names: str, jobs: int = 1) -> list[acts.Act]:
        return self.tell(LENT, ImagesTold(tuple(map(image, names))), waiting(*names, jobs=jobs))

    def held(self, *names: str, jobs: int = 1) -> list[acts.Act]:
        found = self.lent(*names, jobs=jobs)
        for _ in names:
            digest = of(found, acts.FetchImage)[0].image.manifest
            found = self.tell(FetchEnded(digest, FetchOutcome.WHOLE, bytes=GIB))
        return found

    def running(self, name: str = "win11") -> str:
        vm = of(self.held(name), acts.CheckImage)[0].vm.id
        self.tell(ImageChecked(vm), VmReady(vm))
        return vm

    def suspended(self) -> str:
        """One that ran until the owner came, and waits for its slot."""
        vm = self.running()
        self.later(1, OWNED)
        self.tell(VmSaved(vm))
        return vm

    def stage(self, vm: str) -> Stage:
        return self.machine.vms[vm].stage


T = TypeVar("T")


def of(found: list[acts.Act], kind: type[T]) -> list[T]:
    return [act for act in found if isinstance(act, kind)]


@pytest.fixture
def world() -> World:
    return World()


def test_what_jobs_wait_for_is_fetched_verified_and_started(world: World) -> None:
    fetch = of(world.lent("win11"), acts.FetchImage)
    assert [one.image.name for one in fetch] == ["win11"]
    check = of(world.tell(FetchEnded(fetch[0].image.manifest, FetchOutcome.WHOLE)), acts.CheckImage)
    assert of(world.acts, acts.StartVm) == []
    started = of(world.tell(ImageChecked(check[0].vm.id)), acts.StartVm)
    assert [one.vm.image.name for one in started] == ["win11"]


def test_a_vm_begins_for_each_job_up_to_the_slots(world: World) -> None:
    assert len(of(world.held("win11", jobs=5), acts.CheckImage)) == 2


def test_the_owners_memory_stays_hers_while_several_begin(world: World) -> None:
    world.tell(Looked(lent=True, may_begin=True, why="", memory=4 * GIB))
    world.tell(ImagesTold((image("win11"),)))
    world.machine.holdings.found([HeldVersion("win11", "1", image("win11").manifest, GIB, whole=True)], world.now)
    assert len(of(world.tell(waiting("win11", jobs=2)), acts.CheckImage)) == 1


def test_why_no_vm_begins_though_the_machine_is_lent_is_told_once(world: World) -> None:
    world.tell(Began(held=(HeldVersion("win11", "1", image("win11").manifest, GIB, whole=True),)))
    world.tell(replace(LENT, memory=2 * GIB), ImagesTold((image("win11"),)), waiting("win11"))
    for megabytes in range(5):
        world.later(2, replace(LENT, memory=2 * GIB + (megabytes << 20)))
    assert [change.why for change in world.machine.decisions.changes if change.what == "gets no VM here"] == [
        "2.0 GiB for a VM and 1.0 GiB that are the owner's are not free"
    ]
    assert of(world.later(2), acts.CheckImage)


def test_an_image_that_is_not_what_was_signed_starts_nothing_and_goes(world: World) -> None:
    check = of(world.held("win11"), acts.CheckImage)[0]
    found = world.tell(ImageChecked(check.vm.id, "was altered"))
    assert of(found, acts.StartVm) == []
    assert [one.digest for one in of(found, acts.DropImage)] == [check.vm.image.digest]
    assert world.machine.vms == {}


def test_a_tampered_image_is_tried_again_later_and_each_time_later(world: World) -> None:
    tried = []
    found = world.lent("win11")
    for _ in range(4):
        while not (fetch := of(found, acts.FetchImage)):
            found = [*world.later(1.0), *world.tell(waiting("win11"))]
        tried.append(world.now)
        found = world.tell(FetchEnded(fetch[0].image.manifest, FetchOutcome.ALTERED, "was altered"))
        assert of(found, acts.DropImage)
    waits = [later - earlier for earlier, later in itertools.pairwise(tried)]
    assert waits == sorted(waits)
    assert waits[-1] > 2 * waits[0]


def test_when_the_owner_comes_a_vm_that_jobs_could_go_on_in_is_suspended_and_another_ends(world: World) -> None:
    vm = world.running()
    assert [act.vm.id for act in of(world.later(1, OWNED), acts.SuspendVm)] == [vm]

    other = World(Terms(**(vars(TERMS) | {"lease": 0.0})))
    vm = other.running()
    assert [act.vm.id for act in of(other.later(1, OWNED), acts.EndVm)] == [vm]


def test_one_that_refuses_every_step_is_killed_within_the_grace(world: World) -> None:
    vm = world.running()
    began = world.now
    steps = []
    while not (killed := of(world.later(1, OWNED), acts.KillVm)):
        steps.append(world.stage(vm))
    assert [act.vm.id for act in killed] == [vm]
    assert world.now - began < TERMS.grace
    assert list(dict.fromkeys(steps)) == [Stage.SUSPENDING, Stage.ENDING]
    assert of([act for _ in range(20) for act in world.later(1, OWNED)], acts.KillVm), "and again"


def test_when_the_owner_leaves_the_suspended_vm_goes_on_in_its_slot(world: World) -> None:
    vm = world.suspended()
    assert of(world.later(60), acts.CheckImage)[0].vm.id == vm
    assert [act.vm.saved for act in of(world.tell(ImageChecked(vm)), acts.StartVm)] == [True]


def test_a_suspended_vm_that_gets_no_token_waits_on_with_its_job_and_asks_again(world: World) -> None:
    vm = world.suspended()
    world.later(60)
    world.tell(ImageChecked(vm))
    found = world.tell(NoPass(vm, "the pool's service does not answer"))
    assert not of(found, acts.DropSaved)
    assert not of(found, acts.CheckImage)
    assert world.stage(vm) is Stage.SUSPENDED
    assert of(world.later(5), acts.CheckImage) == []
    assert [act.vm.id for act in of(world.later(30), acts.CheckImage)] == [vm]
    assert [act.vm.saved for act in of(world.tell(ImageChecked(vm)), acts.StartVm)] == [True]


def test_a_vm_that_others_have_begun_is_nobodys_failure_and_is_wanted_again_when_the_pool_says_so(world: World) -> None:
    vm = of(world.held("win11"), acts.CheckImage)[0].vm.id
    world.tell(ImageChecked(vm))
    found = world.tell(NoPass(vm, "other machines have begun as many as jobs wait", enough=True))
    assert world.machine.vms == {}
    assert of([*found, *world.later(5)], acts.CheckImage) == []
    assert (world.machine.decisions.counts["failures"], world.machine.decisions.counts["started"]) == (0, 0)
    assert of(world.tell(waiting("win11")), acts.CheckImage)


def test_when_the_lease_is_over_the_suspended_vm_is_dropped(world: World) -> None:
    vm = world.suspended()
    dropped = of(world.later(TERMS.lease, OWNED), acts.DropSaved)
    assert [act.vm.id for act in dropped] == [vm]
    assert vm not in world.machine.vms


def test_one_order_of_the_owner_ends_all_at_once(world: World) -> None:
    vm = world.running()
    found = world.tell(OwnerOrder(pause=True, who="ada"))
    assert [act.vm.id for act in of(found, acts.KillVm)] == [vm]
    world.tell(VmGone(vm, failed=False))
    assert of(world.later(30), acts.CheckImage) == []
    assert of(world.tell(OwnerOrder(pause=False, who="ada")), acts.CheckImage)


def test_an_order_for_an_hour_ends_by_itself(world: World) -> None:
    world.held("win11")
    world.tell(OwnerOrder(pause=True, who="ada", seconds=3600))
    assert world.machine.vms == {}
    world.later(3599)
    assert world.machine.vms == {}
    world.later(2)
    world.tell(waiting("win11"))
    assert len(world.machine.vms) == 1


def test_the_owner_who_comes_while_an_image_is_verified_finds_no_vm(world: World) -> None:
    vm = of(world.held("win11"), acts.CheckImage)[0].vm.id
    world.later(1, OWNED)
    assert world.tell(ImageChecked(vm)) == []
    assert world.machine.vms == {}


def test_the_owner_who_comes_while_one_goes_on_leaves_it_suspended(world: World) -> None:
    vm = world.suspended()
    world.later(1)
    world.later(1, OWNED)
    assert of(world.tell(ImageChecked(vm)), acts.StartVm) == []
    assert world.stage(vm) is Stage.SUSPENDED


def test_one_that_had_not_gone_on_yet_when_the_owner_came_back_is_as_it_was(world: World) -> None:
    vm = world.suspended()
    world.later(1)
    world.tell(ImageChecked(vm))
    assert of(world.later(1, OWNED), acts.EndVm)
    assert of(world.tell(VmGone(vm, failed=False)), acts.DropSaved) == []
    assert world.stage(vm) is Stage.SUSPENDED
    world.later(1)
    world.tell(ImageChecked(vm))
    assert of(world.tell(VmGone(vm, failed=True, why="it is damaged")), acts.DropSaved), "one that cannot is not kept"


def test_one_that_had_gone_on_before_it_heard_of_the_owner_has_no_file_to_go_on_from_once_more(world: World) -> None:
    vm = world.suspended()
    world.later(1)
    world.tell(ImageChecked(vm))
    assert of(world.later(1, OWNED), acts.EndVm)
    world.tell(VmReady(vm), VmGone(vm, failed=False))
    assert vm not in world.machine.vms, "whoever runs the sessions drops the file when one is up"


def test_when_the_owner_grants_fewer_slots_the_last_ones_are_left(world: World) -> None:
    first, second = [act.vm.id for act in of(world.held("win11", jobs=2), acts.CheckImage)]
    world.tell(ImageChecked(first), ImageChecked(second))
    world.machine.terms = Terms(**(vars(TERMS) | {"slots": 1}))
    assert [act.vm.id for act in of(world.later(1), acts.EndVm)] == [second]
    assert world.stage(first) is Stage.STARTING


def test_the_owner_who_comes_while_a_vm_starts_has_it_ended(world: World) -> None:
    vm = of(world.held("win11"), acts.CheckImage)[0].vm.id
    world.tell(ImageChecked(vm))
    assert [act.vm.id for act in of(world.later(1, OWNED), acts.EndVm)] == [vm]


def test_a_fetch_stops_while_the_owner_is_there_and_goes_on(world: World) -> None:
    digest = of(world.lent("win11"), acts.FetchImage)[0].image.manifest
    assert [act.digest for act in of(world.later(1, OWNED), acts.StopFetch)] == [digest]
    world.tell(FetchEnded(digest, FetchOutcome.STOPPED))
    assert of(world.later(1, OWNED), acts.FetchImage) == []
    assert [act.image.manifest for act in of(world.later(1), acts.FetchImage)] == [digest]


def test_a_vm_that_nobody_claims_ends_and_one_that_cannot_tell_is_let_be(world: World) -> None:
    vm = world.running()
    world.later(2 * TERMS.idle)
    assert world.stage(vm) is Stage.JOINED, "nobody knows whether a job has it"
    world.tell(VmClaimed(vm, claimed=True))
    world.later(30)
    world.tell(VmClaimed(vm, claimed=False))
    ended = [act.vm.id for _ in range(25) for act in of(world.later(30), acts.EndVm)]
    assert ended == [vm]


def test_the_youngest_goes_when_memory_is_short_and_one_at_a_time(world: World) -> None:
    first, second = [act.vm.id for act in of(world.held("win11", jobs=2), acts.CheckImage)]
    for vm in (first, second):
        world.tell(ImageChecked(vm))
        world.now += 1
        world.tell(VmReady(vm))
    short = Looked(lent=True, may_begin=False, why="", memory=GIB // 2)
    world.later(1, short)
    assert (world.stage(first), world.stage(second)) == (Stage.JOINED, Stage.SUSPENDING)
    world.later(1, short)
    assert world.stage(first) is Stage.JOINED
    world.tell(VmSaved(second))
    world.later(1, short)
    assert world.stage(first) is Stage.SUSPENDING


def test_after_an_hour_with_the_lid_closed_what_is_overdue_is_done_at_once(world: World) -> None:
    vm = world.running()
    found = world.later(3600, OWNED)
    assert of(found, acts.SuspendVm)
    world.later(3600, OWNED)
    assert world.stage(vm) is Stage.ENDING
    assert any("asleep" in change.what for change in world.machine.decisions.changes)
    assert world.later(3600, OWNED)
    assert world.stage(vm) is Stage.KILLING


def test_a_network_that_is_gone_for_a_day_is_asked_for_ever_more_rarely_and_never_in_step() -> None:
    asked: list[list[float]] = []
    for seed in (1, 2):
        machine, now, times = StateMachine(TERMS, Random(seed)), 0.0, []
        while now < 86400:
            if of(machine.handle(LENT, now), acts.AskPool):
                times.append(now)
                machine.handle(PoolSilent("no route"), now)
            now += 2
        asked.append(times)
    assert all(len(times) < 60 for times in asked)
    assert not set(asked[0][1:]) & set(asked[1][1:40]) or asked[0] != asked[1]
    assert asked[0] != asked[1]


def test_a_pool_that_wants_to_be_asked_all_the_time_or_never_is_not_obeyed(world: World) -> None:
    for pace, least, most in ((Pace(0.0, 0.0), 3.0, 7.0), (Pace(1e9, 1e9), 2600.0, 4600.0)):
        world.tell(waiting(pace=pace))
        began = world.now
        while not of(world.later(1), acts.AskPool):
            pass
        assert least <= world.now - began <= most


def test_a_pool_that_is_overrun_is_left_alone_for_as_long_as_it_says(world: World) -> None:
    world.lent()
    world.tell(PoolSilent("busy", after=300.0))
    began = world.now
    while not of(world.later(1), acts.AskPool):
        pass
    assert world.now - began >= 300


def test_jobs_of_an_answer_that_is_old_start_nothing(world: World) -> None:
    world.lent("win11")
    world.later(700)
    digest = image("win11").manifest
    assert of(world.tell(FetchEnded(digest, FetchOutcome.WHOLE)), acts.CheckImage) == []


def test_what_nobody_wants_makes_room_the_least_recently_wanted_first(world: World) -> None:
    old = [
        HeldVersion(name, "1", image(name).manifest, 4 * GIB, whole=True, wanted=age)
        for name, age in (("a", 10.0), ("b", 900.0))
    ]
    world.tell(Began(held=tuple(old)))
    found = world.lent("win11")
    assert of(found, acts.DropImage) == []
    world.tell(FetchEnded(image("win11").manifest, FetchOutcome.WHOLE))
    found = world.tell(ImagesTold((image("win11"), image("mac", size=2 * GIB))), waiting("mac"))
    assert [one.digest for one in of(found, acts.DropImage)] == [image("b").manifest]


def test_an_image_that_never_fits_is_told_once_and_not_fetched(world: World) -> None:
    world.tell(LENT, ImagesTold((image("huge", size=99 * GIB),)))
    found = [act for _ in range(5) for act in world.tell(waiting("huge"))]
    assert of(found, acts.FetchImage) == []
    assert len([change for change in world.machine.decisions.changes if "quota" in change.why]) == 1


def test_a_full_disk_costs_the_least_wanted_image_and_the_fetch_goes_on_at_once_or_else_later(world: World) -> None:
    world.tell(Began(held=(HeldVersion("a", "1", image("a").manifest, GIB, whole=True),)))
    digest = of(world.lent("win11"), acts.FetchImage)[0].image.manifest
    found = world.tell(FetchEnded(digest, FetchOutcome.FULL, "No space left on device"))
    assert [one.digest for one in of(found, acts.DropImage)] == [image("a").manifest]
    assert [one.image.manifest for one in of(found, acts.FetchImage)] == [digest], "there is room now"
    found = world.tell(FetchEnded(digest, FetchOutcome.FULL, "No space left on device"))
    assert not of(found, acts.DropImage)
    assert not of(world.later(2), acts.FetchImage)
    assert [one.image.manifest for one in of(world.later(90), acts.FetchImage)] == [digest]


def test_a_newer_version_that_finds_no_room_on_the_disk_is_not_fetched_again_and_again(world: World) -> None:
    world.tell(Began(held=(HeldVersion("win11", "1", image("win11").manifest, GIB, whole=True),)))
    newer = image("win11", "2")
    found = world.tell(LENT, ImagesTold((newer,)))
    assert of(found, acts.FetchImage), "ahead of need: no job waits"
    for _ in range(3):
        if of(found, acts.FetchImage):
            found = world.tell(FetchEnded(newer.manifest, FetchOutcome.FULL, "No space left on device"))
    assert not of(found, acts.FetchImage)
    assert newer.manifest not in [one.digest for one in of(world.acts, acts.DropImage)], "what has come stays"


def test_a_newer_version_is_fetched_ahead_of_need_and_new_vms_get_it(world: World) -> None:
    first = world.running()
    found = world.tell(ImagesTold((image("win11", "2"),)), waiting("win11", jobs=2))
    assert [one.image.version for one in of(found, acts.FetchImage)] == ["2"]
    found = world.tell(FetchEnded(image("win11", "2").manifest, FetchOutcome.WHOLE))
    assert [one.vm.image.version for one in of(found, acts.CheckImage)] == ["2"]
    assert world.stage(first) is Stage.JOINED


def test_jobs_that_need_more_than_a_slot_has_start_nothing_and_are_told_of_once(world: World) -> None:
    world.held("win11")
    world.machine.vms.clear()
    world.machine.decisions.changes.clear()
    demand = Waiting(POOL, (Demand("win11", 1, 64, GIB, GIB),), "0" * 64)
    assert of([act for _ in range(3) for act in world.tell(PoolTold(demand))], acts.CheckImage) == []
    assert len(world.machine.decisions.changes) == 1


def test_no_vm_begins_for_jobs_that_ask_for_all_of_its_memory_as_its_own_system_has_some(world: World) -> None:
    world.held("win11")
    world.machine.vms.clear()
    whole, less = TERMS.slot_memory, TERMS.slot_memory * 9 // 10
    found = world.tell(PoolTold(Waiting(POOL, (Demand("win11", 1, 1, whole, GIB),), "0" * 64)))
    assert of(found, acts.CheckImage) == []
    found = world.tell(PoolTold(Waiting(POOL, (Demand("win11", 1, 1, less, GIB),), "0" * 64)))
    assert len(of(found, acts.CheckImage)) == 1


def test_jobs_of_several_sizes_that_are_too_large_are_told_of_once_as_long_as_they_wait(world: World) -> None:
    world.held("win11")
    world.machine.vms.clear()
    world.machine.decisions.changes.clear()
    demands = tuple(Demand("win11", jobs, cpus, GIB, GIB) for jobs, cpus in ((1, 64), (0, 1), (1, 32)))
    world.tell(PoolTold(Waiting(POOL, demands, "0" * 64)))
    for _ in range(5):
        world.later(2)
    (change,) = world.machine.decisions.changes
    assert change.why.startswith("its jobs ask for 64 CPUs and 1.0 GiB, and a VM has 2 and ")


def test_a_pool_that_gives_one_image_two_names_ends_no_coordinator_and_starts_nothing_else(world: World) -> None:
    worker = image("worker")
    named_otherwise = replace(worker, name="other")
    world.tell(LENT, ImagesTold((named_otherwise,)), waiting("other"))
    world.tell(FetchEnded(worker.manifest, FetchOutcome.ALTERED, "it was signed as another"))
    world.tell(ImagesTold((worker,)))
    found = [*world.tell(waiting("worker")), *world.later(60), *world.tell(waiting("worker"))]
    assert [str(one.image.name) for one in of(found, acts.FetchImage)] == ["worker"]
    world.tell(FetchEnded(worker.manifest, FetchOutcome.WHOLE))
    found = world.tell(ImagesTold((worker, named_otherwise)), waiting("other"))
    assert not of(found, acts.CheckImage), "nobody has signed an image that is called so"


def test_no_number_of_jobs_keeps_the_owner_waiting(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.machine.terms = replace(TERMS, slots=1)
    vm = world.suspended()
    world.later(1)
    world.tell(ImageChecked(vm), NoPass(vm, "not now"))
    may_begin, asked = world.machine._may_begin, itertools.count()

    def counted(now: float) -> bool:
        assert next(asked) < 100, "it looks again for each of the jobs"
        return may_begin(now)

    monkeypatch.setattr(world.machine, "_may_begin", counted)
    world.tell(waiting("win11", jobs=1 << 50))
    assert world.stage(vm) is Stage.SUSPENDED, "its slot is its own until it goes on"


def test_a_machine_that_shuts_down_suspends_what_it_may_and_then_leaves(world: World) -> None:
    vm = world.running()
    found = world.tell(MachineEnds("SIGTERM"))
    assert of(found, acts.SuspendVm)
    assert of(found, acts.Leave) == []
    assert of(world.tell(VmSaved(vm)), acts.Leave)


def test_a_killed_coordinators_suspended_vms_go_on_and_its_others_are_told_as_lost(world: World) -> None:
    saved = SavedVm("g0-0000beef", 0, "win11", "1", image("win11").manifest, age=60.0)
    held = HeldVersion("win11", "1", image("win11").manifest, GIB, whole=True)
    world.tell(Began(held=(held,), saved=(saved,), lost=("g1-00000bad",)))
    assert [act.vm.id for act in of(world.tell(LENT), acts.CheckImage)] == ["g0-0000beef"]
    assert [change.what for change in world.machine.decisions.changes if change.subject == "vm g1-00000bad"] == [
        "is lost"
    ]


def test_every_change_has_its_reason(world: World) -> None:
    world.suspended()
    assert [change for change in world.machine.decisions.changes if not change.why] == [
        change for change in world.machine.decisions.changes if change.what == ImageStage.WHOLE
    ]


_NAMES = st.sampled_from(["win11", "mac", "lin"])
_VERSIONS = st.sampled_from(["1", "2"])
_WORDS_OF_A_VM = ["ready", "claimed", "free", "saved", "not saved", "ended", "failed", "no token", "enough"]


def hours_end(seconds: float, **suspends: float) -> Looked:
    return Looked(False, False, "the hours end", memory=16 * GIB, time_left=seconds, suspends=suspends)


def test_what_has_dirtied_more_than_the_grace_takes_to_write_leaves_that_much_before_the_hours_end(
    world: World,
) -> None:
    vm = world.running()
    world.tell(replace(LENT, suspends={vm: 180.0}))
    assert leaving.lead(world.machine.vms.values()) == pytest.approx(300.0), "and half a minute for its jobs to end in"
    assert of(world.later(1, hours_end(300.0, **{vm: 180.0})), acts.SuspendVm)
    world.later(209, hours_end(91.0))
    assert world.stage(vm) == Stage.SUSPENDING, "its time is longer than the grace, for it began as much earlier"
    assert of(world.later(2, hours_end(89.0)), acts.EndVm)


def test_an_owner_who_comes_before_the_hours_end_has_her_grace_all_the_same(world: World) -> None:
    vm = world.running()
    world.later(1, hours_end(300.0, **{vm: 180.0}))
    world.later(10, OWNED)
    assert world.machine.vms[vm].leave_by == world.now + TERMS.grace
    assert of(world.later(43, OWNED), acts.EndVm)


def test_what_cannot_be_written_in_the_owners_grace_is_ended_in_order_at_once_and_says_why(world: World) -> None:
    vm = world.running()
    found = world.later(1, replace(OWNED, suspends={vm: 43.0}))
    assert of(found, acts.EndVm)
    assert "suspending it would take 43 s" in world.machine.decisions.changes[-1].why


def test_vms_that_are_written_to_one_disk_share_its_time(world: World) -> None:
    one, two = (act.vm.id for act in of(world.held("win11", jobs=2), acts.CheckImage))
    for vm in (one, two):
        world.tell(ImageChecked(vm), VmReady(vm))
    found = world.later(1, replace(OWNED, suspends={one: 30.0, two: 30.0}))
    assert [act.vm.id for act in of(found, acts.SuspendVm)] == [one]
    assert [act.vm.id for act in of(found, acts.EndVm)] == [two]


def test_vms_leave_their_pool_side_by_side_and_are_written_one_after_the_other(world: World) -> None:
    one, two = (act.vm.id for act in of(world.held("win11", jobs=2), acts.CheckImage))
    for vm in (one, two):
        world.tell(ImageChecked(vm), VmReady(vm))
    world.tell(replace(LENT, suspends={one: 5.0, two: 5.0}))
    assert leaving.lead(world.machine.vms.values()) == pytest.approx((FLUSH_SECONDS + 5 + 5) / 0.7)


def test_a_disk_that_would_take_hours_costs_the_owner_none(world: World) -> None:
    vm = world.running()
    world.tell(replace(LENT, suspends={vm: 9000.0}))
    assert leaving.lead(world.machine.vms.values()) == 0.0


def test_without_the_key_of_its_images_nothing_is_fetched_or_started_and_the_pool_is_asked_all_the_same(
    world: World,
) -> None:
    world.machine.locked = "it has not come yet"
    found = world.lent("win11")
    assert of(found, acts.AskPool)
    assert not of(found, acts.FetchImage)
    found = world.tell(KeyTold())
    assert of(found, acts.FetchImage)
    world.tell(FetchEnded(of(found, acts.FetchImage)[0].image.manifest, FetchOutcome.WHOLE, bytes=GIB))
    world.tell(KeyTold("the pool's service says: the machine is revoked"))
    assert "revoked" in world.machine.decisions.changes[-1].why


def test_a_suspended_vm_waits_for_the_key(world: World) -> None:
    world.machine.locked = "it has not come yet"
    held = HeldVersion("win11", "1", image("win11").manifest, GIB, True, 0.0)
    saved = SavedVm("g0-1", 0, "win11", "1", image("win11").manifest, 10.0)
    assert not of(world.tell(Began((held,), (saved,), ()), LENT), acts.CheckImage)
    assert world.stage("g0-1") == Stage.SUSPENDED
    assert of(world.tell(KeyTold()), acts.CheckImage)


class Coordinated(RuleBasedStateMachine):
    """Everything that can happen, in any order; the VMs of this world do what they like."""

    @initialize(lease=st.sampled_from([0.0, 500.0, 1e6]), slots=st.integers(1, 3))
    def begin(self, lease: float, slots: int) -> None:
        self.terms = Terms(**(vars(TERMS) | {"lease": lease, "slots": slots, "quota": 3 * GIB}))
        self.world = World(self.terms)
        self.sessions: set[str] = set()
        self.approved: set[str] = set()
        self.trusted: dict[str, bool] = {}
        self.ended: Counter[str] = Counter()
        self.fetching: str | None = None
        self.unwelcome_since: float | None = None
        self.killed: dict[str, float] = {}

    def do(self, happening: Happening) -> None:
        for act in self.world.tell(happening):
            match act:
                case acts.StartVm(vm=vm):
                    assert vm.id in self.approved, "it was not verified for this start"
                    assert vm.id not in self.sessions, "it runs already"
                    self.approved.discard(vm.id)
                    self.sessions.add(vm.id)
                case acts.FetchImage(image=wanted):
                    assert self.fetching is None, "one at a time"
                    self.fetching = wanted.manifest
                case acts.KillVm(vm=vm):
                    self.killed.setdefault(vm.id, self.world.now)
                case acts.EndVm(vm=vm) | acts.SuspendVm(vm=vm):
                    assert vm.id in self.sessions
                case acts.DropImage(digest=digest):
                    assert digest not in {vm.image.digest for vm in self.world.machine.vms.values()}, "it is in use"
        free = not self.world.machine.why_not(self.world.now)
        if free:
            self.unwelcome_since = None
        elif self.unwelcome_since is None:
            self.unwelcome_since = self.world.now

    @rule(
        seconds=st.sampled_from([0.5, 2.0, 30.0, 3600.0]), lent=st.booleans(), memory=st.sampled_from([None, 0, 8, 64])
    )
    def time_passes(self, seconds: float, lent: bool, memory: int | None) -> None:
        self.world.now += seconds
        size = None if memory is None else memory * GIB
        self.do(Looked(lent=lent, may_begin=lent, why="the owner", memory=size))

    @rule(names=st.lists(_NAMES, max_size=3), jobs=st.integers(1, 4))
    def pool_wants(self, names: list[str], jobs: int) -> None:
        self.do(waiting(*names, jobs=jobs))

    @rule(versions=st.dictionaries(_NAMES, _VERSIONS))
    def pool_offers(self, versions: dict[str, str]) -> None:
        self.do(ImagesTold(tuple(image(name, version) for name, version in versions.items())))

    @rule(final=st.booleans())
    def pool_is_silent(self, final: bool) -> None:
        self.do(PoolSilent("no route", final=final))

    @precondition(lambda self: self.fetching)
    @rule(outcome=st.sampled_from(list(FetchOutcome)))
    def fetch_ends(self, outcome: FetchOutcome) -> None:
        digest, self.fetching = self.fetching, None
        assert digest
        self.do(FetchEnded(digest, outcome, "so it was"))

    @precondition(lambda self: self.in_stage(Stage.CHECKING))
    @rule(good=st.booleans(), data=st.data())
    def check_ends(self, good: bool, data: st.DataObject) -> None:
        vm = data.draw(st.sampled_from(self.in_stage(Stage.CHECKING)))
        if good:
            self.approved.add(vm)
        self.do(ImageChecked(vm, "" if good else "was altered"))

    @precondition(lambda self: self.sessions)
    @rule(data=st.data(), what=st.sampled_from(_WORDS_OF_A_VM))
    def vm_does(self, data: st.DataObject, what: str) -> None:
        vm = data.draw(st.sampled_from(sorted(self.sessions)))
        stage = self.world.stage(vm)
        if what == "saved" and stage not in (Stage.SUSPENDING, Stage.ENDING, Stage.KILLING):
            return
        if what in ("no token", "enough") and stage is not Stage.STARTING:
            return
        if what in ("ended", "failed"):
            self.sessions.discard(vm)
        happened: dict[str, Happening] = {
            "ready": VmReady(vm),
            "claimed": VmClaimed(vm, claimed=True),
            "free": VmClaimed(vm, claimed=False),
            "saved": VmSaved(vm),
            "not saved": VmNotSaved(vm, "the disk is full"),
            "ended": VmGone(vm, failed=False),
            "failed": VmGone(vm, failed=True, why="QEMU died"),
            "no token": NoPass(vm, "no route"),
            "enough": NoPass(vm, "others have begun", enough=True),
        }
        if what in ("saved", "no token", "enough"):
            self.sessions.discard(vm)
        self.do(happened[what])
        self.ended[vm] += vm not in self.world.machine.vms

    @rule(slots=st.integers(1, 3))
    def owner_grants(self, slots: int) -> None:
        self.terms = Terms(**(vars(self.terms) | {"slots": slots}))
        self.world.machine.terms = self.terms

    @rule(vm=st.sampled_from(["g0-0", "g1-1"]))
    def word_of_one_that_is_not_ours(self, vm: str) -> None:
        self.do(VmGone(vm, failed=True))

    @rule(pause=st.booleans(), at_once=st.booleans(), seconds=st.sampled_from([0.0, 100.0]))
    def owner_orders(self, pause: bool, at_once: bool, seconds: float) -> None:
        self.do(OwnerOrder(pause, "ada", at_once, seconds))

    def in_stage(self, stage: Stage) -> list[str]:
        return sorted(vm.id for vm in self.world.machine.vms.values() if vm.stage is stage)

    @invariant()
    def never_more_than_the_slots(self) -> None:
        if not hasattr(self, "world"):
            return
        vms = self.world.machine.vms.values()
        assert len({vm.slot for vm in vms}) == len(vms)
        staying = [vm for vm in vms if vm.stage in STAYING and vm.slot < self.terms.slots]
        assert len(staying) <= self.terms.slots

    @invariant()
    def every_session_is_known_and_no_slot_is_lost(self) -> None:
        if not hasattr(self, "world"):
            return
        running = {vm.id for vm in self.world.machine.vms.values() if vm.stage not in (Stage.CHECKING, Stage.SUSPENDED)}
        assert running == self.sessions

    @invariant()
    def no_vm_ends_twice(self) -> None:
        assert all(number == 1 for number in getattr(self, "ended", Counter()).values())

    @invariant()
    def beyond_the_grace_every_vm_was_killed(self) -> None:
        """Killed as soon as anybody looks then: a VM that has not gone by then does not obey the kernel."""
        if getattr(self, "unwelcome_since", None) is None or self.unwelcome_since is None:
            return
        looked = self.world.machine._looked_at
        if looked - self.unwelcome_since > 3 * 3600 + self.terms.grace:
            stages = {vm.stage for vm in self.world.machine.vms.values()}
            assert stages <= {Stage.KILLING, Stage.SUSPENDED}

    @invariant()
    def the_quota_holds(self) -> None:
        if hasattr(self, "world"):
            assert sum(one.size for one in self.world.machine.holdings.here) <= self.terms.quota

    def teardown(self) -> None:
        """Whatever has happened: when the machine is lent, and all sessions have ended, every slot is used again."""
        if not hasattr(self, "world"):
            return
        self.do(OWNED)
        for vm in sorted(self.sessions):
            self.sessions.discard(vm)
            self.do(VmGone(vm, failed=False))
        if self.fetching:
            digest, self.fetching = self.fetching, None
            self.do(FetchEnded(digest, FetchOutcome.STOPPED))
        self.world.now += 2e6
        self.do(OWNED)
        assert self.world.machine.vms == {}, "a slot is lost"
        self.do(OwnerOrder(pause=False, who="ada"))
        self.world.held("new", jobs=9)
        assert len(self.world.machine.vms) == self.terms.slots


TestCoordinated = Coordinated.TestCase
TestCoordinated.settings = settings(
    max_examples=40,
    stateful_step_count=50,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=(Phase.explicit, Phase.generate),  # a story of fifty steps is read as it is; to shorten it takes minutes
)
