"""A session on the outside, with a keeper that only says what one says: who is told of what, and what is left."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest
from sevenlbd.base import syscalls
from sevenlbd.base.errors import ExitCode, Refusal
from sevenlbd.outside.access import credentials
from sevenlbd.outside.access.connectors import Connectors
from sevenlbd.outside.folders import session_folders
from sevenlbd.outside.presence import announcer
from sevenlbd.outside.presence.announcer import Announcer
from sevenlbd.outside.session import control, supervisor
from sevenlbd.outside.session.early_calls import EarlyCalls
from sevenlbd.outside.session.keeper_link import KeeperLink
from sevenlbd.outside.session.life import Session
from sevenlbd.outside.session.preflight.prepared import Prepared, SessionOptions
from sevenlbd.wire.keeper import Event, EventKind
from sevenlbd.wire.plan import Guest, Plan
from sevenlbd.wire.state import Phase, SessionState
from sevenlbd.wire.worker_words import Join

NORMAL = (EventKind.BOOTING, EventKind.MILESTONE, EventKind.READY, EventKind.ENDED)


class Keeper:
    """Stands for the wire to a keeper that says `kinds`, and after the order to stop nothing any more."""

    def __init__(self, *kinds: str | Event) -> None:
        self.plan: Plan | None = None
        self.sockets: dict[str, bool] = {}
        self.stops: list[float] = []
        self.renewed = 0
        self.left = False
        self._events: asyncio.Queue[Event | None] = asyncio.Queue()
        for kind in kinds:
            self._events.put_nowait(kind if isinstance(kind, Event) else Event(kind, "dhcp"))

    def send_plan(self, plan: Plan, listeners: Sequence[socket.socket]) -> None:
        self.plan = plan
        self.sockets = {name: one.fileno() >= 0 for name, one in zip(plan.connectors, listeners, strict=True)}

    def send_stop(self, grace: float, notice: str = "") -> None:
        self.stops.append(grace)
        self._events.put_nowait(None)

    def send_new_certificates(self, certificates: dict[str, str]) -> None:
        assert certificates == {}
        self.renewed += 1

    async def events(self) -> AsyncIterator[Event]:
        while event := await self._events.get():
            yield event

    def kill(self) -> None:
        pass

    async def leave(self) -> bool:
        self.left = True
        return True


class Shown:
    """A display that remembers."""

    def __init__(self) -> None:
        self.phases: list[Phase] = []
        self.last: SessionState | None = None
        self.end: Phase | None = None
        self.worker_phases: list[str] = []

    def update(self, state: SessionState) -> None:
        self.last = state
        if state.phase not in self.phases:
            self.phases.append(state.phase)

    def finished(self, state: SessionState) -> None:
        self.end = state.phase

    def ready(self, state: SessionState) -> None:
        assert (Path(state.folder) / session_folders.STATE).exists()

    def warn(self, text: str) -> None:
        pass

    def note(self, text: str) -> None:
        pass

    def worker(self, state: SessionState) -> None:
        self.worker_phases.append(state.worker)

    def kept(self, place: Path) -> None:
        pass

    def refused(self, refusal: Refusal) -> None:
        pass

    def unheard(self) -> str:
        return ""


@pytest.fixture(autouse=True)
def not_the_tests_parent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(syscalls, "signal_when_parent_dies", lambda number: None)


def prepared(tmp_path: Path) -> Prepared:
    overlay = tmp_path / "repository" / "overlay.qcow2"
    overlay.parent.mkdir()
    guest = Guest(
        os="linux",
        firmware="bios",
        disk_bus="virtio",
        nic="virtio",
        display="std",
        machine="q35",
        cpu="max",
        cpus=1,
        memory=1 << 30,
        agent=True,
        smbios=False,
        account="user1",
        variables="",
    )
    where = tmp_path / f"7lbd-{os.getuid()}"
    plan = Plan(
        session="a1",
        folder=str(where / "a1"),
        uid=os.getuid(),
        gid=os.getgid(),
        user="me",
        password="a-password",
        umask=0o022,
        accel="tcg",
        network="user",
        layers=(),
        guest=guest,
        shares=(),
        guest_access=False,
        wide_links=False,
        ready_timeout=60.0,
        connectors=(),
        console=True,
        web_tls=False,
        overlay=str(overlay),
    )
    ways = Connectors(
        web=None, web_tls=False, certificate=None, key=None, rdp_tls=None, portals=(), console=True, clipboard=True
    )
    return Prepared(
        login="me",
        plan=plan,
        image_title="win11",
        disk_size=1 << 30,
        where=where,
        connectors=ways,
        options=SessionOptions(time_limit=0.0, stop_grace=5.0, exit_when_ready=False),
        warnings=("it is slow",),
    )


def test_a_session_goes_from_its_folder_to_its_end_and_leaves_nothing(tmp_path: Path) -> None:
    async def session() -> tuple[ExitCode, Keeper]:
        keeper = Keeper(*NORMAL)
        return await supervisor.run(cast("KeeperLink", keeper), made, shown), keeper

    made, shown = prepared(tmp_path), Shown()
    code, keeper = asyncio.run(session())
    assert code is ExitCode.OK
    assert shown.phases == [
        *(Phase.PREPARING, Phase.BOOTING, Phase.GUEST_UP, Phase.READY, Phase.STOPPING, Phase.ENDED),
    ]
    assert shown.end is Phase.ENDED
    assert keeper.left
    assert keeper.plan
    assert keeper.plan.overlay == made.plan.overlay
    assert {"web", "rdp", "vnc", "link"} & set(keeper.sockets) == {"web", "rdp", "vnc", "link"}
    assert all(keeper.sockets.values())
    assert not made.where.exists()


def test_who_says_without_end_that_the_machine_stands_still_does_not_fill_the_jobs_log(tmp_path: Path) -> None:
    """One inside that was taken over."""

    class Log(Shown):
        def __init__(self) -> None:
            super().__init__()
            self.warned: list[str] = []

        def warn(self, text: str) -> None:
            self.warned.append(text)

    async def session() -> ExitCode:
        came_and_went = [Event(EventKind.PAUSED, "no space"), Event(EventKind.RESUMED, "there is room")] * 500
        keeper = Keeper(*NORMAL[:-1], *came_and_went, Event(EventKind.PAUSED, "at last"), Event(EventKind.ENDED, "end"))
        return await supervisor.run(cast("KeeperLink", keeper), made, shown)

    made, shown = prepared(tmp_path), Log()
    assert asyncio.run(session()) is ExitCode.OK
    assert 2 < len(shown.warned) < 100
    assert shown.last
    assert shown.last.paused.startswith("at last"), "who looks sees how it is all the same"


def worker_session(tmp_path: Path, *said: str) -> tuple[ExitCode, Shown]:
    """What becomes of a session whose guest joins a pool and says this of itself."""

    async def session() -> ExitCode:
        events = [Event(EventKind.WORKER, text) for text in said]
        keeper = Keeper(*NORMAL[:-1], *events, Event(EventKind.ENDED, "the guest shut down"))
        return await supervisor.run(cast("KeeperLink", keeper), joining, shown)

    made, shown = prepared(tmp_path), Shown()
    joining = replace(made, plan=replace(made.plan, join=Join(("/join",), "machine=lab-7\nslot=2\n")))
    return asyncio.run(session()), shown


def test_a_worker_that_leaves_by_itself_is_a_good_end_and_each_of_its_words_is_told(tmp_path: Path) -> None:
    code, shown = worker_session(tmp_path, "joining", "idle", "busy", "idle", "left: no job for 60 s")
    assert code is ExitCode.OK
    assert shown.worker_phases == ["joining", "idle", "busy", "idle", "left"]
    assert shown.last
    assert shown.last.reason == "worker lab-7/2 has left its pool: no job for 60 s"


def test_a_worker_that_the_pool_never_let_in_is_a_failure_that_says_so(tmp_path: Path) -> None:
    code, shown = worker_session(tmp_path, "joining", "refused: the token is not taken")
    assert code is ExitCode.NOT_READY
    assert shown.last
    assert shown.last.reason == "the pool has not let worker lab-7/2 in: the token is not taken"


def test_a_worker_that_is_refused_later_keeps_its_jobs(tmp_path: Path) -> None:
    code, shown = worker_session(tmp_path, "idle", "busy", "refused: the token is not taken")
    assert code is ExitCode.OK
    assert shown.worker_phases == ["idle", "busy", "refused"]


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, ExitCode.TERMINATED), (signal.SIGINT, ExitCode.INTERRUPTED)]
)
def test_a_signal_that_comes_before_there_is_a_session_ends_it(
    number: signal.Signals, code: ExitCode, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    announced = announcer.announced

    @contextmanager
    def with_signal(*arguments: object) -> Iterator[Announcer]:
        with announced(*arguments) as found:  # type: ignore[arg-type]  # passed on as they are
            signal.raise_signal(number)
            yield found

    monkeypatch.setattr(announcer, "announced", with_signal)

    async def session() -> tuple[ExitCode, Keeper]:
        keeper = Keeper()
        return await supervisor.run(cast("KeeperLink", keeper), prepared(tmp_path), shown), keeper

    shown = Shown()
    ended, keeper = asyncio.run(session())
    assert ended is code
    assert shown.phases == [Phase.PREPARING, Phase.STOPPING, Phase.ENDED]
    assert shown.last
    assert shown.last.reason == f"{number.name} came"
    assert keeper.stops == [0.0]


def test_orders_come_by_its_socket_new_locks_and_the_end(tmp_path: Path) -> None:
    async def session() -> ExitCode:
        keeper = Keeper(*NORMAL[:-1])
        life = asyncio.create_task(supervisor.run(cast("KeeperLink", keeper), made, shown))
        while Phase.READY not in shown.phases:
            await asyncio.sleep(0.01)
        place = made.where / "a1"
        before = credentials.read(place)
        assert not await asyncio.to_thread(control.send_renew, place)
        after = credentials.read(place)
        assert after.password == before.password
        assert not set(after.tokens.values()) & set(before.tokens.values())
        assert keeper.renewed == 1
        await asyncio.to_thread(control.send_stop, place, now=False)
        assert keeper.stops == [5.0]
        return await life

    made, shown = prepared(tmp_path), Shown()
    assert asyncio.run(asyncio.wait_for(session(), 30)) is ExitCode.OK
    assert shown.last
    assert shown.last.reason == "stopped by its user"
    assert not made.where.exists()


class Called:
    """The part of a session that may be called early."""

    def __init__(self) -> None:
        self.calls: list[object] = []
        self.public = self

    def on_signal(self, number: int) -> None:
        self.calls.append(number)

    def stop(self, why: str, now: bool) -> None:
        self.calls.append((why, now))

    def warn(self, text: str) -> None:
        self.calls.append(text)


def test_what_comes_early_waits_in_order_and_what_comes_later_does_not() -> None:
    async def calls() -> list[object]:
        early, session = EarlyCalls(), Called()
        await asyncio.to_thread(early.warn_from_thread, "the file server is away")
        early.on_signal(signal.SIGTERM)
        early.stop_from_page(True)
        await asyncio.sleep(0)
        assert session.calls == []
        early.put_through(cast("Session", session))
        assert len(session.calls) == 3
        early.on_signal(signal.SIGHUP)
        return session.calls

    found = asyncio.run(calls())
    assert found == ["the file server is away", signal.SIGTERM, ("stopped from its page", True), signal.SIGHUP]


def test_a_thread_that_warns_too_late_is_not_hurt() -> None:
    async def made() -> EarlyCalls:
        return EarlyCalls()

    asyncio.run(made()).warn_from_thread("too late")
