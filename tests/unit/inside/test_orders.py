"""The supervisor's orders as the keeper obeys them: as soon as there is a machine, and the more urgent one at once."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import cast

import pytest
from sevenlbd.inside.orders import Orders
from sevenlbd.inside.reports import Reports
from sevenlbd.inside.vm.agent import AgentError, Ended
from sevenlbd.inside.vm.machine import Machine
from sevenlbd.inside.vm.migration import MachineError
from sevenlbd.wire import packets
from sevenlbd.wire.keeper import EVENTS, ORDERS, EventKind, GoOn, Hold, NewCertificates, Notice, Order, RunJob, Stop

HOOK = ("/usr/lib/notice",)
FLUSH = ("/usr/bin/sync",)


class Guest:
    """Stands for a machine with an agent: remembers what it is asked, and takes its time to stop."""

    def __init__(self, trouble: Exception | None = None) -> None:
        self.agent = self
        self.asked: list[object] = []
        self.patience = 0.0
        self._trouble = trouble

    async def run(self, hook: Sequence[str], text: str, seconds: float) -> None:
        if isinstance(self._trouble, AgentError):
            raise self._trouble
        self.asked.append((tuple(hook), text))
        self.patience = seconds

    async def hold(self) -> None:
        self.asked.append("hold")
        if isinstance(self._trouble, MachineError):
            raise self._trouble

    async def save_running(self) -> float:
        self.asked.append("save running")
        return 0.25

    async def go_on(self) -> None:
        self.asked.append("go on")

    async def set_clock(self) -> None:
        self.asked.append("clock")

    async def stop(self, grace: float) -> None:
        self.asked.append(round(grace))
        try:
            await asyncio.sleep(grace)
        except asyncio.CancelledError:
            self.asked.append("cut short")
            raise


def test_who_waits_for_a_machine_learns_that_none_is_wanted_any_more() -> None:
    async def listened() -> None:
        ours, theirs = packets.pair()
        with ours, theirs:
            for end in (ours, theirs):
                end.setblocking(False)
            orders = Orders(theirs, Reports(theirs), lambda _: None, (), ())
            listening = asyncio.create_task(orders.listen())
            await _send(ours, [Notice("soon")])
            assert not orders.told_to_end.is_set()
            await _send(ours, [Stop(0.0)])
            await asyncio.wait_for(orders.told_to_end.wait(), 10)
            listening.cancel()

    asyncio.run(listened())


class SlowGuest(Guest):
    """Writes for as long as it is left to."""

    async def run(self, hook: Sequence[str], text: str, seconds: float) -> None:
        await asyncio.sleep(seconds)


Obeyed = Callable[..., list[tuple[str, str]]]


@pytest.fixture
def obeyed(monkeypatch: pytest.MonkeyPatch) -> Iterator[Obeyed]:
    """Gives a machine these orders, and some `later`; returns what the supervisor is told."""
    monkeypatch.setattr(os, "_exit", lambda code: None)

    async def give(guest: Guest, early: Sequence[Order], later: Sequence[Order], heard: Orders) -> None:
        listening = asyncio.create_task(heard.listen())
        await _send(ours, early)
        assert guest.asked == []
        obeying = asyncio.create_task(heard.obey(cast("Machine", guest)))
        await _send(ours, later)
        for task in (obeying, listening):
            task.cancel()
        await asyncio.gather(obeying, listening, return_exceptions=True)

    def told() -> Iterator[tuple[str, str]]:
        with suppress(BlockingIOError):
            while event := EVENTS.unpack(ours.recv(packets.MAX_MESSAGE)):
                yield event.kind, event.text

    ours, theirs = packets.pair()
    with ours, theirs:
        for end in (ours, theirs):
            end.setblocking(False)

        def call(
            guest: Guest, *early: Order, later: Sequence[Order] = (), served: list[dict[str, str]] | None = None
        ) -> list[tuple[str, str]]:
            certificates = [] if served is None else served
            asyncio.run(give(guest, early, later, Orders(theirs, Reports(theirs), certificates.append, HOOK, FLUSH)))
            return list(told())

        yield call


async def _send(wire: socket.socket, orders: Sequence[Order]) -> None:
    """Send them, and give whoever hears them a moment."""
    await asyncio.sleep(0.05)
    for order in orders:
        await asyncio.get_running_loop().sock_sendall(wire, ORDERS.pack(order))
    await asyncio.sleep(0.05)


def test_a_notice_is_shown_by_the_images_hook_and_told(obeyed: Obeyed) -> None:
    guest = Guest()
    assert obeyed(guest, Notice("The job ends")) == [(EventKind.MILESTONE, "notice")]
    assert guest.asked == [(HOOK, "The job ends\n")]


def test_a_guest_that_cannot_be_told_is_a_warning_and_is_stopped_all_the_same(
    obeyed: Obeyed,
) -> None:
    guest = Guest(AgentError("no such program"))
    [(kind, text)] = obeyed(guest, Stop(20.0, "going"))
    assert kind == EventKind.WARNING
    assert "no such program" in text
    assert guest.asked[0] == 20


@pytest.mark.parametrize(("grace", "patience"), [(6.0, 3.0), (25.0, 4.0), (300.0, 30.0)])
def test_the_last_notice_has_a_part_of_the_guests_time(obeyed: Obeyed, grace: float, patience: float) -> None:
    guest = Guest()
    assert obeyed(guest, Stop(grace, "going")) == [(EventKind.MILESTONE, "notice")]
    assert guest.patience == patience


def test_a_machine_is_held_when_its_guest_has_written_what_it_held(obeyed: Obeyed) -> None:
    guest = Guest()
    assert obeyed(guest, Hold()) == [(EventKind.MILESTONE, "flushed"), (EventKind.HELD, "")]
    assert guest.asked == [(FLUSH, ""), "hold"]


def test_a_machine_that_is_saved_while_it_runs_does_not_stand_still(obeyed: Obeyed) -> None:
    guest = Guest()
    told = [(EventKind.MILESTONE, "flushed"), (EventKind.HELD, "it stood still for 0.25 s")]
    assert obeyed(guest, Hold(live=True)) == told
    assert guest.asked == [(FLUSH, ""), "save running"]


def test_a_guest_that_is_deaf_to_the_hook_is_held_all_the_same(obeyed: Obeyed) -> None:
    guest = Guest(AgentError("no such program"))
    warned, held = obeyed(guest, Hold())
    assert warned[0] == EventKind.WARNING
    assert "no such program" in warned[1]
    assert held == (EventKind.HELD, "")


def test_a_machine_that_cannot_be_held_is_told_and_one_that_was_goes_on_with_the_right_time(obeyed: Obeyed) -> None:
    *_, (kind, why) = obeyed(Guest(MachineError("no space")), Hold())
    assert (kind, "no space" in why) == (EventKind.NOT_HELD, True)
    guest = Guest()
    obeyed(guest, Hold(), later=[GoOn()])
    assert guest.asked[-3:] == ["hold", "go on", "clock"]


@pytest.mark.parametrize("after", [GoOn(), Stop(0.0)])
def test_what_comes_after_an_order_to_hold_is_not_undone_by_it(obeyed: Obeyed, after: Order) -> None:
    """The guest takes its time to write: held then, it would stand still for ever, or be switched off."""
    guest = SlowGuest()
    obeyed(guest, Hold(), later=[after])
    assert "hold" not in guest.asked
    assert guest.asked


def test_a_second_order_to_stop_cuts_the_first_one_short(obeyed: Obeyed) -> None:
    guest = Guest()
    obeyed(guest, Stop(60.0), later=[Stop(0.0)])
    assert guest.asked == [60, "cut short", 0]


def test_new_certificates_wait_for_no_machine(obeyed: Obeyed) -> None:
    served: list[dict[str, str]] = []
    obeyed(Guest(), NewCertificates({"server.pem": "x"}), served=served)
    assert served == [{"server.pem": "x"}]


def test_the_supervisors_end_is_the_keepers(monkeypatch: pytest.MonkeyPatch) -> None:
    codes: list[int] = []
    monkeypatch.setattr(os, "_exit", codes.append)

    async def listen() -> None:
        await Orders(theirs, Reports(theirs), lambda _: None, (), ()).listen()

    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    theirs.setblocking(False)
    ours.close()
    with theirs:
        asyncio.run(listen())
    assert codes == [0]


class JobGuest(Guest):
    """Runs the hook of a job."""

    async def follow(self, hook: Sequence[str], given: bytes, silent: float) -> Ended:
        self.asked.append((tuple(hook), given))
        return Ended(0, b"", b"")


@pytest.mark.parametrize("hook", [("/usr/lib/exec",), ()])
def test_a_job_is_run_by_the_images_hook_and_in_a_session_of_jobs_only(
    hook: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "_exit", lambda code: None)
    guest = JobGuest()

    async def give() -> None:
        orders = Orders(theirs, Reports(theirs), print, (), (), job_hook=hook, job_facts="user=a\npassword=b\n")
        both = [asyncio.create_task(orders.listen()), asyncio.create_task(orders.obey(cast("Machine", guest)))]
        await _send(ours, [RunJob(3, "71")])
        for task in both:
            task.cancel()
        await asyncio.gather(*both, return_exceptions=True)

    ours, theirs = packets.pair()
    with ours, theirs:
        for end in (ours, theirs):
            end.setblocking(False)
        asyncio.run(give())
        if hook:
            answer = EVENTS.unpack(ours.recv(packets.MAX_MESSAGE)).answer
            assert answer is not None
            assert (answer.number, answer.code) == (3, 0)
    assert guest.asked == ([(hook, b"user=a\npassword=b\njob=71\n")] if hook else [])
