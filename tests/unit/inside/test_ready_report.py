"""Until a desktop is ready, told by a guest that stands in: its clock, its certificate, its account's first log-on."""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from sevenlbd.inside import ready_report
from sevenlbd.inside.net import network
from sevenlbd.inside.ready_report import ReadyReport
from sevenlbd.inside.vm import first_logon, readiness
from sevenlbd.inside.vm.agent import Agent, AgentError, ProgramFailed
from sevenlbd.inside.vm.ready_line import ReadyLine
from sevenlbd.outside.access.certificates import Maker, Pair
from sevenlbd.wire import tls
from sevenlbd.wire.keeper import EventKind
from sevenlbd.wire.plan import Guest, Plan, Warm

CONFIRM = bytes.fromhex("03000013 0ed0 0000 1234 00 02 1f 0800 02000000")
HOUR, YEAR = timedelta(hours=1), timedelta(days=365)

GUEST = Guest(
    os="windows",
    firmware="uefi",
    disk_bus="virtio",
    nic="virtio",
    display="std",
    machine="pc-q35-10.0",
    cpu="max",
    cpus=1,
    memory=1 << 20,
    agent=True,
    smbios=True,
    account="user1",
    variables="",
)
PLAN = Plan(
    session="abc",
    folder="/tmp/7lbd-1/abc",
    uid=1000,
    gid=1000,
    user="ann",
    password="Secret123",
    umask=0o022,
    accel="kvm",
    network="user",
    layers=(),
    guest=GUEST,
    shares=(),
    guest_access=False,
    wide_links=False,
    ready_timeout=20,
    connectors=(),
    console=False,
    web_tls=False,
)
WARM = Warm(disk="/d", memory="/m", state="/s", variables="", cpu="max", hook=("hook",))


def pair(begins: timedelta, ends: timedelta) -> Pair:
    now = datetime.now(UTC)
    return Maker("abc", now + begins, now + ends).for_page(["guest"])


def fingerprint(of: Pair) -> str:
    return tls.fingerprint(of.certificate.public_bytes(serialization.Encoding.DER))


class Machine:
    """A guest with RDP and an agent, and QEMU around it. What was done to it is in `done`, in its order."""

    def __init__(self, folder: Path, shown: Pair) -> None:
        self.agent: Any = self
        self.line = ReadyLine()
        self.done: list[str] = []
        self.program: Callable[[str], None] = lambda name: None
        self.silent = 0
        self._pem = folder / "rdp.pem"
        self.show(shown)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = self._listener.getsockname()
        threading.Thread(target=self._serve, daemon=True).start()

    def show(self, other: Pair) -> None:
        """From now on this certificate."""
        self._pem.write_bytes(other.pem())

    def _serve(self) -> None:
        while True:
            with suppress(OSError):
                connection = self._listener.accept()[0]
                connection.settimeout(5)
                connection.recv(19)
                connection.sendall(CONFIRM)
                context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
                context.load_cert_chain(self._pem)
                context.wrap_socket(connection, server_side=True).recv(1)

    async def answers(self) -> bool:
        self.silent -= 1
        return self.silent < 0

    async def set_clock(self) -> None:
        self.done.append("clock")

    async def set_password(self, account: str, password: str) -> None:
        self.done.append(f"password of {account}")

    async def run(self, command: Sequence[str], given: str, seconds: float) -> None:
        self.done.append(" ".join(command))
        self.program(given)

    async def shutdown(self, mode: str = "powerdown") -> None:
        self.done.append(mode)
        self.silent = 3

    async def idle(self, share: float, seconds: float) -> None:
        pass

    async def screenshot(self, path: Path) -> None:
        pass

    async def freeze(self) -> None:
        self.done.append("freeze")

    async def stop(self, grace: float) -> None:
        self.done.append("stop")

    async def reach(self, plan: Plan) -> list[tuple[str, str]]:
        """Report on the way to ready; what the supervisor was told of."""
        events: list[tuple[str, str]] = []

        class Heard:
            def tell(self, kind: str, text: str = "", hint: str = "") -> None:
                events.append((kind, text))

            def warn(self, text: str) -> None:
                events.append((EventKind.WARNING, text))

        served = asyncio.Event()
        served.set()
        report = ReadyReport(plan, self, Heard())  # type: ignore[arg-type]  # the parts of both that it asks
        await asyncio.wait_for(report.report(self.line, served), 30)
        return events


def texts(events: list[tuple[str, str]], kind: str) -> list[str]:
    return [text for one, text in events if one == kind]


OLD, NEW = pair(-HOUR, HOUR), pair(-HOUR, HOUR)


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    made = Machine(tmp_path, OLD)
    monkeypatch.setattr(network, "rdp_address", lambda mode: made.address)
    monkeypatch.setattr(ready_report, "_CERTIFICATE_PAUSE", 0.1)
    yield made
    made._listener.close()


def after_a_while(machine: Machine, shown: Pair) -> Callable[[], None]:
    """The image's start-up task: RDP answers already, and it gives it another certificate before its ready line."""

    def task() -> None:
        machine.show(shown)
        machine.line.came.set()

    return lambda: (asyncio.get_running_loop().call_later(0.6, task), None)[1]


@pytest.mark.parametrize("freeze", [False, True])
def test_the_certificate_is_the_one_after_the_ready_line(machine: Machine, freeze: bool) -> None:
    async def reach() -> list[tuple[str, str]]:
        after_a_while(machine, NEW)()
        return await machine.reach(replace(PLAN, freeze=freeze))

    events = asyncio.run(reach())
    assert texts(events, EventKind.CERTIFICATE) == [fingerprint(NEW)]
    assert ("freeze" in machine.done) == freeze


def test_an_image_that_says_nothing_without_a_password_is_frozen_all_the_same(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readiness, "_LINE_OF_NOBODY_SECONDS", 0.3)
    events = asyncio.run(machine.reach(replace(PLAN, freeze=True)))
    assert "freeze" in machine.done
    assert ["no ready line" in text for text in texts(events, EventKind.WARNING)] == [True]


def test_a_warm_state_that_has_outlived_its_certificate_is_taken_with_its_new_one(machine: Machine) -> None:
    machine.show(pair(-YEAR, -HOUR))
    machine.program = lambda given: machine.show(NEW)  # the hook knows the time and sees that it has lapsed
    events = asyncio.run(machine.reach(replace(PLAN, warm=WARM)))
    assert texts(events, EventKind.CERTIFICATE) == [fingerprint(NEW)]
    assert texts(events, EventKind.READY) == [""]
    assert machine.done.index("clock") < machine.done.index("hook")


def test_a_certificate_that_has_lapsed_is_told_and_refused_by_nobody(machine: Machine) -> None:
    lapsed = pair(-YEAR, -HOUR)
    machine.show(lapsed)
    events = asyncio.run(machine.reach(replace(PLAN, warm=WARM)))
    assert texts(events, EventKind.CERTIFICATE) == [fingerprint(lapsed)]
    assert not texts(events, EventKind.WARNING)


@pytest.mark.parametrize("warm", [None, WARM])
def test_zone_and_clock_are_set_before_a_desktop_is_ready_cold_and_warm(machine: Machine, warm: Warm | None) -> None:
    machine.line.came.set()
    zone = ("tzutil.exe", "/s", "Nepal Standard Time")
    events = asyncio.run(machine.reach(replace(PLAN, warm=warm, timezone_command=zone)))
    assert machine.done[:2] == ["tzutil.exe /s Nepal Standard Time", "clock"]
    assert "password of user1" in machine.done
    assert texts(events, EventKind.READY) == [""]


def test_a_guest_without_an_agent_keeps_what_its_machine_shows(machine: Machine) -> None:
    machine.line.came.set()
    events = asyncio.run(machine.reach(replace(PLAN, guest=replace(GUEST, agent=False))))
    assert machine.done == []
    assert texts(events, EventKind.READY) == [""]


def test_a_zone_that_the_guest_refuses_is_told_and_fails_nothing(machine: Machine) -> None:
    def program(given: str) -> None:
        raise ProgramFailed("tzutil.exe", 1, "unknown")

    machine.program = program
    machine.line.came.set()
    events = asyncio.run(machine.reach(replace(PLAN, timezone_command=("tzutil.exe", "/s", "X"))))
    assert texts(events, EventKind.WARNING) == [
        "the guest's time zone stays the image's own (--timezone image wants no other): "
        "tzutil.exe in the guest ended with 1: unknown"
    ]
    assert texts(events, EventKind.READY) == [""]


FREEZE = replace(PLAN, freeze=True, logon_hook=("logon",))


def test_the_account_is_logged_on_before_its_machine_is_frozen(machine: Machine) -> None:
    machine.line.came.set()
    given: list[str] = []
    machine.program = given.append
    events = asyncio.run(machine.reach(FREEZE))
    assert given == ["user=user1\npassword=Secret123\n"]
    assert machine.done.index("password of user1") < machine.done.index("logon") < machine.done.index("freeze")
    assert "logon" in texts(events, EventKind.MILESTONE)


def test_a_guest_that_must_start_anew_for_it_is_ready_again_before_it_is_frozen(machine: Machine) -> None:
    runs = 0

    def program(given: str) -> None:
        nonlocal runs
        runs += 1
        if runs == 1:
            asyncio.get_running_loop().call_later(0.2, after_a_while(machine, NEW))
            raise ProgramFailed("logon", 75, "")

    machine.program = program
    machine.line.came.set()
    events = asyncio.run(machine.reach(FREEZE))
    assert [what for what in machine.done if what in ("logon", "reboot", "freeze")] == [
        "logon",
        "reboot",
        "logon",
        "freeze",
    ]
    assert texts(events, EventKind.CERTIFICATE) == [fingerprint(NEW)], "the one of the last start"


@pytest.mark.parametrize("code", [1, 75, -1])
def test_a_log_on_that_fails_is_told_and_the_machine_is_frozen_without(
    machine: Machine, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def program(given: str) -> None:
        machine.line.came.set()
        raise ProgramFailed("logon", code, "no such account")

    async def shutdown(mode: str) -> None:
        raise AgentError("the guest agent does not answer")

    machine.program = program
    monkeypatch.setattr(machine, "shutdown", shutdown)
    machine.line.came.set()
    events = asyncio.run(machine.reach(FREEZE))
    assert machine.done[-2:] == ["freeze", "stop"]
    (warning,) = texts(events, EventKind.WARNING)
    assert "first log-on makes the account's profile" in warning


def test_a_guest_that_does_not_come_back_from_its_new_start_is_not_frozen(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def program(given: str) -> None:
        machine.silent = 1 << 30
        raise ProgramFailed("logon", 75, "")

    machine.program = program
    machine.line.came.set()
    monkeypatch.setattr(first_logon, "_SECONDS", 0.5)
    events = asyncio.run(machine.reach(FREEZE))
    assert "freeze" not in machine.done
    assert texts(events, EventKind.NOT_READY)


class Clock:
    """An agent whose guest's clock is `late` by so many nanoseconds until it is set."""

    def __init__(self, late: int) -> None:
        self.late = late
        self.orders: list[str] = []

    async def execute(self, command: str, arguments: Callable[[], dict[str, object]] = dict) -> object:
        self.orders.append(command)
        if command == "guest-set-time":
            self.late = 0
            return {}
        return time.time_ns() - self.late


@pytest.mark.parametrize(("late", "is_set"), [(0, False), (5 * 3600 * 10**9, True), (-(10**9), True)])
def test_a_clock_that_is_right_is_let_alone(late: int, is_set: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    async def set_clock() -> list[str]:
        ours, _theirs = socket.socketpair()
        agent, clock = Agent(ours), Clock(late)
        monkeypatch.setattr(agent, "_execute", clock.execute)
        await agent.set_clock()
        await agent.close()
        return clock.orders

    assert ("guest-set-time" in asyncio.run(set_clock())) == is_set
