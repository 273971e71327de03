"""Programs in the guest of a session that is examined, and of no other."""

from __future__ import annotations

import asyncio
import base64
import socket
from pathlib import Path
from typing import Any

import pytest
from sevenlbd.base.errors import Refusal
from sevenlbd.outside.folders.session_folders import CONTROL
from sevenlbd.outside.session import control
from sevenlbd.outside.session.guest_calls import GuestCalls
from sevenlbd.wire.job_files import JOB, KILL
from sevenlbd.wire.keeper import ORDERS, GuestAnswer, GuestCommand, RunJob, ShutDown


class Link:
    """The wire to a keeper, as far as orders go."""

    def __init__(self) -> None:
        self.sent: list[Any] = []

    def send(self, order: Any) -> None:
        self.sent.append(ORDERS.unpack(ORDERS.pack(order)))


def calls(*, allowed: bool) -> tuple[Link, GuestCalls]:
    link = Link()
    return link, GuestCalls(link, allowed=allowed)  # type: ignore[arg-type]  # as far as orders go


def test_a_desktops_session_takes_none() -> None:
    link, guest = calls(allowed=False)
    with pytest.raises(Refusal, match="not started for an acceptance"):
        asyncio.run(guest.run(GuestCommand(0, ("id",), b"", 1.0)))
    with pytest.raises(Refusal, match="not started for an acceptance"):
        guest.shut_down("agent")
    assert link.sent == []


def test_each_answer_finds_its_question_and_others_are_passed_over() -> None:
    link, guest = calls(allowed=True)

    async def ask() -> list[GuestAnswer]:
        both = [asyncio.create_task(guest.run(GuestCommand(7, (word,), b"", 5.0))) for word in ("a", "b")]
        await asyncio.sleep(0)
        first, second = (order.number for order in link.sent)
        guest.answered(GuestAnswer(99, out=b"nobody's"))
        guest.answered(GuestAnswer(second, out=b"b"))
        guest.answered(GuestAnswer(first, out=b"a"))
        guest.answered(GuestAnswer(first, out=b"again"))
        return await asyncio.gather(*both)

    assert [answer.out for answer in asyncio.run(ask())] == [b"a", b"b"]
    guest.shut_down("button")
    assert link.sent[-1] == ShutDown("button")


def test_a_command_and_its_answer_cross_the_control_socket(tmp_path: Path) -> None:
    link, guest = calls(allowed=True)
    every_byte = bytes(range(256)) * 100

    async def nothing(*_: object) -> Any:
        raise AssertionError

    async def both() -> GuestAnswer:
        async with control.serve(tmp_path, lambda _why, _now: None, nothing, nothing, guest):
            asking = asyncio.create_task(
                asyncio.to_thread(control.send_guest_command, tmp_path, ["sh", "-s"], every_byte, 5.0)
            )
            while not link.sent:
                await asyncio.sleep(0.01)
            order = link.sent[0]
            assert (order.command, order.given) == (("sh", "-s"), every_byte)
            guest.answered(GuestAnswer(order.number, 3, every_byte, base64.b64encode(b"x")))
            return await asking

    answer = asyncio.run(both())
    assert (answer.code, answer.out) == (3, every_byte)


def test_a_session_that_is_not_examined_says_so_on_its_socket(tmp_path: Path) -> None:
    _, guest = calls(allowed=False)

    async def nothing(*_: object) -> Any:
        raise AssertionError

    async def both() -> GuestAnswer:
        async with control.serve(tmp_path, lambda _why, _now: None, nothing, nothing, guest):
            return await asyncio.to_thread(control.send_guest_command, tmp_path, ["id"], b"", 5.0)

    assert "not started for an acceptance" in asyncio.run(both()).failure


def jobs() -> tuple[Link, GuestCalls]:
    link = Link()
    return link, GuestCalls(link, allowed=False, jobs=True)  # type: ignore[arg-type]  # as far as orders go


def test_a_desktop_runs_no_job_and_a_session_of_jobs_no_program_of_an_acceptance() -> None:
    link, guest = calls(allowed=True)
    with pytest.raises(Refusal, match="not started for commands"):
        asyncio.run(guest.run_job("1"))
    _, guest = jobs()
    with pytest.raises(Refusal, match="not started for an acceptance"):
        asyncio.run(guest.run(GuestCommand(0, ("id",), b"", 1.0)))
    assert link.sent == []


@pytest.mark.parametrize("folder", ["", "..", "1/../2", "/", "\u0661", "a"])
def test_a_jobs_folder_is_a_number_and_leads_nowhere_else(folder: str) -> None:
    link, guest = jobs()
    with pytest.raises(Refusal, match="no job's folder"):
        asyncio.run(guest.run_job(folder))
    assert link.sent == []


def test_who_waits_for_a_job_is_told_that_the_session_has_ended() -> None:
    link, guest = jobs()

    async def ask() -> GuestAnswer:
        waiting = asyncio.create_task(guest.run_job("7"))
        await asyncio.sleep(0)
        assert link.sent == [RunJob(1, "7")]
        guest.over()
        return await waiting

    assert asyncio.run(ask()).failure == "the session has ended"


def test_a_job_whose_caller_has_gone_is_killed(tmp_path: Path) -> None:
    link, guest = jobs()
    (tmp_path / JOB / "7").mkdir(parents=True)

    async def nothing(*_: object) -> Any:
        raise AssertionError

    async def go() -> None:
        async with control.serve(tmp_path, lambda _why, _now: None, nothing, nothing, guest):
            with socket.socket(socket.AF_UNIX) as wire:
                await asyncio.to_thread(wire.connect, str(tmp_path / CONTROL))
                wire.sendall(b'{"order": "job", "job": "7"}\n')
                while not link.sent:
                    await asyncio.sleep(0.01)
                assert not (tmp_path / JOB / "7" / KILL).exists()
            async with asyncio.timeout(10):
                while not (tmp_path / JOB / "7" / KILL).exists():
                    await asyncio.sleep(0.01)

    asyncio.run(go())
