"""The coordinator's loop, with a pool and sessions in the test's hand; store, checks, owner and files are real."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pool_service
import pytest
import signed_image
from sevenlbd.base import process
from sevenlbd.base.errors import ExitCode, Refusal
from sevenlbd.config import sources
from sevenlbd.config.settings import KeyPlace, Settings
from sevenlbd.images import layout
from sevenlbd.outside.cli.command import CommandContext
from sevenlbd.outside.console import printed_events
from sevenlbd.outside.grid import membership
from sevenlbd.outside.grid.coordinator import holdings, overview, pool_pace
from sevenlbd.outside.grid.coordinator import service as services
from sevenlbd.outside.grid.coordinator.happenings import Happening, VmGone, VmReady, VmSaved
from sevenlbd.outside.grid.coordinator.image_store import ImageStore
from sevenlbd.outside.grid.coordinator.own_files import OwnFiles
from sevenlbd.outside.grid.coordinator.owner_look import OwnerLook
from sevenlbd.outside.grid.coordinator.owner_socket import OwnerCall
from sevenlbd.outside.grid.coordinator.service import Pool, Service
from sevenlbd.outside.grid.coordinator.stages import ImageVersion, Stage, Vm
from sevenlbd.outside.grid.coordinator.vm_sessions import VmOrder, VmSessions
from sevenlbd.outside.grid.machine_report import Report
from sevenlbd.outside.grid.membership import Membership
from sevenlbd.outside.grid.pool import members
from sevenlbd.outside.grid.protocol import (
    Demand,
    Images,
    OfferedImage,
    Pace,
    PoolAddress,
    Waiting,
    WorkerOrder,
    WorkerPass,
)
from sevenlbd.outside.owner.lending import Person, Seen
from test_image_fetch import Pool as Offering

GIB = 1 << 30
ADDRESS = PoolAddress("pool.example.edu:9618", "pool.example.edu")


class FakePool:
    """A pool's service in this process."""

    def __init__(self, offering: Offering) -> None:
        self.offering = offering
        self.wanted, self.poll = 1, 5.0
        self.reports: list[Report] = []
        self.orders: list[WorkerOrder] = []
        self.gives_passes = True
        self.answers = threading.Event()
        self.answers.set()

    def waiting(self) -> Waiting:
        demands = (Demand("lab", self.wanted, 1, 1, 1),) if self.wanted else ()
        return Waiting(ADDRESS, demands, "0" * 64, Pace(self.poll, self.poll))

    def images(self) -> Images:
        return Images((self.offering.offered,), "a-ticket", 60.0)

    def report(self, report: Report) -> None:
        self.reports.append(report)

    def worker(self, order: WorkerOrder) -> WorkerPass:
        self.orders.append(order)
        self.answers.wait(30)
        if not self.gives_passes:
            raise Refusal(ExitCode.NODE, "there are workers enough")
        return WorkerPass(ADDRESS, "a.b.c", 60.0)

    def file(self, image: OfferedImage, name: str, begin: int, end: int, _ticket: str) -> Iterator[bytes]:
        return self.offering.get(image, name, begin, end)


class FakeSessions(VmSessions):
    """VMs that come up at once, and do what they are told."""

    started: list[VmOrder]

    def start(self, order: VmOrder) -> None:
        self.started.append(order)
        self._tell(VmReady(order.vm.id))

    def suspend(self, vm: str) -> None:
        self.saved_file(vm).parent.mkdir(parents=True, exist_ok=True)
        self.saved_file(vm).touch()
        self._tell(VmSaved(vm))

    def end(self, vm: str) -> None:
        if vm in {order.vm.id for order in self.started}:  # as a real one: nobody says that what never was is gone
            self._tell(VmGone(vm, failed=False))

    kill = end


class Desk:
    """One machine: its coordinator's lives, and who is logged in."""

    def __init__(self, folder: Path, offering: Offering) -> None:
        self.folder = folder
        self.people: list[Person] = []
        self.key_source = KeyPlace.AUTO
        self.pool = FakePool(offering)
        (folder / "7lbd.sif").touch()
        self.grants("")

    def grants(self, more: str) -> None:
        key = self.pool.offering.key
        text = f'[owner]\nwhen_used = []\nmemory = "1M"\n[grid]\ntrusted_keys = ["{key}"]\nmemory = "1G"\n{more}\n'
        (self.folder / "7lbd.toml").write_text(text)

    def live(self) -> Service:
        here = sources.Places(str(self.folder / "7lbd.sif"), (self.folder / "7lbd.toml",), None, {})
        settings = Settings(state_dir=str(self.folder / "state"), image_key_source=self.key_source)
        context = SimpleNamespace(here=here, settings=settings)
        look = OwnerLook(here, lambda: (Seen(self.people, memory=64 * GIB), datetime.now(UTC)))
        files = OwnFiles(self.folder / "grid")
        files.place.mkdir(parents=True, exist_ok=True)
        life = Service(cast(CommandContext, context), files, Pool(self.pool, "lab-01", "https://pool"), look)
        self.sessions = FakeSessions(files, life._queue.put, {})
        self.sessions.started = []
        life._sessions = self.sessions
        life._begin()
        return life


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    monkeypatch.setattr(services, "_LOOK_SECONDS", 0.05)
    offering = Offering(tmp_path)
    (offering.folder / layout.DESCRIPTION).write_text('os = "linux"\nformat = "raw"\n')  # its disk is only bytes
    signed_image.sign(offering.folder, tmp_path / "key")
    return Desk(tmp_path, offering)


def until(life: Service, is_so: Callable[[], Any], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline, life._files.last_changes()
        life._turn()


def changes(life: Service) -> str:
    return " ".join(f"{one['subject'].split()[0]}:{one['what']}" for one in cast(Any, life._files.last_changes()))


def test_from_a_waiting_job_to_a_vm_with_its_token_and_off_again_when_the_owner_comes(desk: Desk) -> None:
    life = desk.live()
    until(life, lambda: desk.sessions.started)
    (order,) = desk.sessions.started
    record = {"collector": ADDRESS.collector, "trust_domain": ADDRESS.trust_domain, "token": "a.b.c", "vm_name": "lab"}
    assert order.record == {**record, "machine": "lab-01", "slot": 1, "idle_seconds": 1200}
    assert order.keys == (desk.pool.offering.key,)
    assert (order.repository / "lab" / "1" / "image.toml").is_file()
    assert (order.memory, order.memory_left) == (GIB, 1 << 20)
    until(life, lambda: "vm:joined" in changes(life))
    desk.people = [Person("ada")]
    until(life, lambda: not life._machine.vms)
    assert changes(life).endswith("vm:joined vm:ending vm:gone")
    assert all("a.b.c" not in path.read_text(errors="replace") for path in life._files.place.glob("*.*"))


class NobodyForesaw(Exception):
    """A fault of ours, wherever it is."""


@pytest.mark.parametrize(
    ("where", "told"),
    [
        ("waiting", "pool:does not answer"),
        ("file", "image:in part"),
        ("worker", "vm:gone"),
    ],
)
def test_a_fault_in_a_thread_is_told_and_the_next_try_goes_its_way(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], where: str, told: str
) -> None:
    """Otherwise the pool was never asked again, an image was on its way for ever, and a VM waited for its token."""
    monkeypatch.setattr(pool_pace, "_SOONEST", 0.05)
    monkeypatch.setattr(pool_pace, "_FIRST", 0.05)
    desk.pool.poll = 0.05
    monkeypatch.setattr(holdings, "_FIRST_WAIT", 0.05)
    real, tries = getattr(desk.pool, where), 0

    def once(*given: Any) -> Any:
        nonlocal tries
        tries += 1
        if tries == 1:
            raise NobodyForesaw("here")
        return real(*given)

    monkeypatch.setattr(desk.pool, where, once)
    life = desk.live()
    until(life, lambda: told in changes(life))
    until(life, lambda: desk.sessions.started)
    assert "NobodyForesaw: here" in capfd.readouterr().err
    whys = [str(one["why"]) for one in cast(Any, life._files.last_changes())]
    assert any("a fault of 7lbd's: NobodyForesaw: here" in why for why in whys)


def test_a_check_that_meets_a_fault_runs_no_vm(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    def check(*_given: Any) -> str:
        raise NobodyForesaw("here")

    monkeypatch.setattr(ImageStore, "check", check)
    life = desk.live()
    until(life, lambda: "vm:gone" in changes(life))
    assert desk.sessions.started == []
    assert life._machine.vms == {}


def test_a_session_that_cannot_be_heard_any_more_is_ended_and_gone(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    def read(_lines: object) -> Iterator[str]:
        raise NobodyForesaw("here")
        yield ""

    told: list[Happening] = []
    sessions = VmSessions(OwnFiles(desk.folder / "grid"), told.append, {})
    monkeypatch.setattr(sessions, "words", lambda *_: ["-c", "import time; time.sleep(600)"])
    monkeypatch.setattr(process, "python", lambda _module: [sys.executable])
    monkeypatch.setattr(printed_events, "read", read)
    vm = Vm("g0-1", 0, ImageVersion("lab", "1", "0"), Stage.STARTING, 0.0)
    sessions.start(VmOrder(vm, desk.folder, (), 1, GIB, 0, 0, {}))
    pid = sessions._running["g0-1"].process.pid
    deadline = time.monotonic() + 30
    while not told:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert told == [VmGone("g0-1", failed=True, why="a fault of 7lbd's: NobodyForesaw: here")]
    assert not Path(f"/proc/{pid}").exists()


def test_the_owner_who_comes_while_the_token_is_awaited_finds_no_session(desk: Desk) -> None:
    desk.pool.answers.clear()
    life = desk.live()
    until(life, lambda: desk.pool.orders)
    desk.people = [Person("ada")]
    until(life, lambda: not life._machine.vms)
    desk.pool.answers.set()
    for _ in range(3):
        life._turn()
    assert desk.sessions.started == []


def test_the_owner_who_comes_just_when_no_token_came_finds_no_vm_that_never_ends(desk: Desk) -> None:
    desk.pool.gives_passes = False
    desk.pool.answers.clear()
    life = desk.live()
    until(life, lambda: desk.pool.orders)
    while life._queue.qsize():
        life._turn()
    desk.pool.answers.set()
    waited = time.monotonic() + 30
    while not life._queue.qsize():
        assert time.monotonic() < waited
        time.sleep(0.01)

    def pause() -> None:
        life._obey(OwnerCall("pause"), own=False)

    life._queue.put(pause)
    until(life, lambda: life._machine.paused)
    life._turn()
    assert life._machine.vms == {}


def test_a_pool_that_gives_no_token_starts_nothing_and_is_not_pressed(desk: Desk) -> None:
    desk.pool.gives_passes = False
    life = desk.live()
    until(life, lambda: "vm:gone" in changes(life))
    for _ in range(10):
        life._turn()
    assert desk.sessions.started == []
    assert len(desk.pool.orders) == 1


def test_what_was_suspended_goes_on_in_the_next_life_and_what_ran_is_told_as_lost(desk: Desk) -> None:
    desk.grants('lease = "1h"')
    life = desk.live()
    until(life, lambda: any(vm.stage == "joined" for vm in life._machine.vms.values()))
    (name,) = life._machine.vms
    desk.people = [Person("ada")]
    until(life, lambda: life._machine.vms[name].stage == "suspended")

    desk.people = []
    next_life = desk.live()
    until(next_life, lambda: desk.sessions.started)
    assert [order.vm.id for order in desk.sessions.started] == [name]
    until(next_life, lambda: next_life._machine.vms[name].stage == "joined")
    assert not desk.sessions.saved_file(name).exists()

    desk.pool.wanted = 0
    last = desk.live()
    assert f"vm {name}" in {one["subject"] for one in last._files.last_changes() if one["what"] == "is lost"}
    assert last._machine.vms == {}


def test_what_the_owner_has_said_holds_when_the_coordinator_is_killed(desk: Desk) -> None:
    life = desk.live()
    until(life, lambda: life._machine.vms)
    shown = life._obey(OwnerCall("pause", "ada"), own=False)
    assert (shown["paused"], shown["lent"]) == (True, False)
    until(life, lambda: not life._machine.vms)
    next_life = desk.live()
    for _ in range(5):
        next_life._turn()
    assert next_life._machine.vms == {}
    assert next_life._obey(OwnerCall("resume", "bob"), own=False)["paused"] is False
    until(next_life, lambda: next_life._machine.vms)


def test_what_the_owner_has_said_holds_also_where_a_vm_is_suspended(desk: Desk) -> None:
    desk.grants('lease = "1h"')
    life = desk.live()
    until(life, lambda: any(vm.stage == "joined" for vm in life._machine.vms.values()))
    (name,) = life._machine.vms
    life._obey(OwnerCall("pause", "ada", at_once=False), own=False)
    until(life, lambda: life._machine.vms[name].stage == "suspended")
    for _ in range(2):  # the next life, and the one after it
        next_life = desk.live()
        for _ in range(5):
            next_life._turn()
        assert next_life._obey(OwnerCall("show"), own=False)["paused"] is True
        assert next_life._machine.vms[name].stage == "suspended"


@pytest.mark.parametrize("seconds", [float("inf"), float("nan"), -1.0, 1e300])
def test_no_number_of_a_strangers_ends_the_coordinator(desk: Desk, seconds: float) -> None:
    life = desk.live()
    assert life._obey(OwnerCall("pause", "ada", seconds=seconds), own=False)["paused"]
    life._turn()
    assert desk.live()._machine.is_paused(services.clock())


def test_what_the_coordinators_own_user_took_no_other_lends_again(desk: Desk) -> None:
    life = desk.live()
    life._obey(OwnerCall("pause", "ada"), own=True)
    assert "lends it again" in str(life._obey(OwnerCall("resume", "bob"), own=False)["trouble"])
    assert desk.live()._obey(OwnerCall("resume", "bob"), own=False)["trouble"]


def test_who_is_there_is_not_told_to_the_pool(desk: Desk) -> None:
    desk.people = [Person("ada")]
    life = desk.live()
    until(life, lambda: desk.pool.reports)
    assert "ada" not in str(desk.pool.reports)
    assert desk.pool.reports[-1].lends is False


def test_with_the_pools_key_nothing_begins_before_it_has_come_and_no_disk_has_it_then(
    desk: Desk, tmp_path: Path
) -> None:
    desk.key_source = KeyPlace.POOL
    place = membership.folder(str(tmp_path / "state"), {})
    membership.write(place, Membership("https://127.0.0.1:1", "lab-01", "A" * 43), "token")
    life = desk.live()
    until(life, lambda: "pool:does not answer" in changes(life))
    shown = life._obey(OwnerCall("show"), own=True)
    assert shown["image_key"] == "pool"
    assert "has not come from the pool yet" in "\n".join(overview.lines(cast(Any, shown)))
    assert desk.sessions.started == []

    (tmp_path / "service").mkdir()
    with pool_service.serving_pool(tmp_path / "service") as pool:
        member = pool.machine("lab-01")
        token = (member._place / "token").read_text().strip()
        membership.write(place, Membership(pool.url, "lab-01", pool.pin), token)
        life._machine.pace.woke(services.clock() - 30)
        until(life, lambda: desk.sessions.started)
        (wrapping,) = (path.read_text().strip() for path in (pool.state / "keys").iterdir())
    key = desk.sessions.started[0].image_key
    assert len(key) == 32
    shown = life._obey(OwnerCall("show"), own=True)
    assert "with the pool, and here in memory alone" in "\n".join(overview.lines(cast(Any, shown)))
    secrets = (key, key.hex().encode(), wrapping.encode(), bytes.fromhex(wrapping))
    for path in (one for top in ("state", "grid") for one in (tmp_path / top).rglob("*") if one.is_file()):
        assert not any(secret in path.read_bytes() for secret in secrets), path


def test_a_machine_that_was_revoked_is_told_that_its_key_is_gone(desk: Desk, tmp_path: Path) -> None:
    desk.key_source = KeyPlace.POOL
    (tmp_path / "service").mkdir()
    with pool_service.serving_pool(tmp_path / "service") as pool:
        member = pool.machine("lab-01")
        place = membership.folder(str(tmp_path / "state"), {})
        token = (member._place / "token").read_text().strip()
        membership.write(place, Membership(pool.url, "lab-01", pool.pin), token)
        members.revoke(pool.state, members.load(pool.state)["lab-01"], "stolen from the lab")
        life = desk.live()
        until(life, lambda: "stolen from the lab" in life._machine.locked)
        assert "NOT HERE" in "\n".join(overview.lines(cast(Any, life._obey(OwnerCall("show"), own=True))))
        assert desk.sessions.started == []
