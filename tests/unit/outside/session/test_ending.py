"""When a session ends by itself, and what its user is told."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from typing import Any

import pytest
from sevenlbd.outside.job.leads import AFTER_GUEST_SECONDS
from sevenlbd.outside.session.ending import Ending
from sevenlbd.outside.session.preflight.prepared import SessionOptions


def wishes(**changes: Any) -> SessionOptions:
    usual = SessionOptions(0.0, 25.0, exit_when_ready=False, end_notice=300.0, signal_lead=120.0)
    return replace(usual, **changes)


class Watched:
    """What an ending has called."""

    def __init__(self, ending: Ending) -> None:
        self.ending = ending
        self.told: list[str] = []
        self.stopped = ""
        ending.watch(self.tell, self.stop)

    def tell(self) -> None:
        if text := self.ending.notice():
            self.told.append(text)

    def stop(self, why: str) -> None:
        self.stopped = why


def test_nothing_is_known_of_an_end_without_a_limit_and_a_job() -> None:
    assert Ending(time.time(), wishes(), 0.0).at == 0.0


def test_the_shutdown_begins_before_the_job_ends_by_as_much_as_it_takes() -> None:
    now = time.time()
    assert Ending(now, wishes(), now + 3600).at == now + 3600 - 25 - AFTER_GUEST_SECONDS


def test_the_earlier_of_limit_and_job_counts() -> None:
    now = time.time()
    assert Ending(now, wishes(time_limit=60), now + 3600).at == now + 60
    assert Ending(now, wishes(time_limit=7200), now + 3600).why == "the job ends"


def test_a_notice_comes_once_in_its_time_then_the_end() -> None:
    async def live() -> Watched:
        seen = Watched(Ending(time.time(), wishes(time_limit=0.6, end_notice=0.3), 0.0))
        await asyncio.sleep(0.1)
        assert seen.told == []
        await asyncio.sleep(0.35)
        assert len(seen.told) == 1
        seen.tell()
        assert not seen.stopped
        await asyncio.sleep(0.3)
        return seen

    seen = asyncio.run(live())
    assert len(seen.told) == 1
    assert "in a minute: its time is up" in seen.told[0]
    assert seen.stopped == "its time is up"


def test_a_second_notice_comes_when_a_minute_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sevenlbd.outside.session.ending.LAST_NOTICE", 0.3)

    async def live() -> list[str]:
        seen = Watched(Ending(time.time(), wishes(time_limit=0.9, end_notice=0.7), 0.0))
        await asyncio.sleep(0.45)
        assert len(seen.told) == 1
        await asyncio.sleep(0.3)
        seen.ending.unwatch()
        return seen.told

    assert len(asyncio.run(live())) == 2


@pytest.mark.parametrize("end_notice", [0.0])
def test_who_wants_no_notice_gets_none(end_notice: float) -> None:
    ending = Ending(time.time(), wishes(time_limit=60, end_notice=end_notice), 0.0)
    assert ending.notice() == ""


def hastened(job_ends: float, **changes: float) -> Ending:
    async def live() -> Ending:
        ending = Ending(time.time(), wishes(**changes), job_ends)
        Watched(ending)
        ending.hasten()
        ending.unwatch()
        return ending

    return asyncio.run(live())


def test_the_walltime_signal_tells_the_end_where_nobody_else_does() -> None:
    ending = hastened(0.0)
    assert ending.at == pytest.approx(time.time() + 120 - 25 - AFTER_GUEST_SECONDS, abs=1)
    assert "the job ends" in ending.notice()


def test_a_known_end_holds_when_the_signal_comes_a_minute_early() -> None:
    ends = time.time() + 175
    assert hastened(ends).at == ends - 25 - AFTER_GUEST_SECONDS


def test_a_signal_long_before_the_known_end_speaks_of_another() -> None:
    """Preemption with PreemptParameters=send_user_signal (slurm.conf(5))."""
    assert hastened(time.time() + 3600).at == pytest.approx(time.time() + 120 - 25 - AFTER_GUEST_SECONDS, abs=1)


def test_a_signal_with_no_time_left_ends_it_at_once() -> None:
    async def live() -> bool:
        ending = Ending(time.time(), wishes(signal_lead=30), 0.0)
        Watched(ending)
        return ending.hasten()

    assert not asyncio.run(live())


def test_a_desktop_that_is_suspended_at_the_end_begins_earlier_and_says_so() -> None:
    now = time.time()
    ending = Ending(now, wishes(suspend_seconds=60.0, end_notice=7200.0), now + 3600)
    assert ending.at == now + 3600 - 60 - 25 - AFTER_GUEST_SECONDS
    assert "will be suspended at" in ending.notice()


def test_a_desktop_that_takes_longer_to_suspend_than_its_job_has_is_its_users_for_half_of_it() -> None:
    """But for the shutdown. What it takes is reckoned on the long side; what is not written by then is shut down."""
    now = time.time()
    half = (3600 - 25 - AFTER_GUEST_SECONDS) / 2
    ending = Ending(now, wishes(suspend_seconds=7200.0), now + 3600)
    assert ending.at == pytest.approx(now + half)
    assert ending.suspend_seconds == pytest.approx(half)
    assert Ending(now, wishes(suspend_seconds=7200.0), 0.0).suspend_seconds == 7200
    short = Ending(now, wishes(suspend_seconds=60.0), now + 40)
    assert short.at == pytest.approx(now + 2.5)
    assert short.suspend_seconds == pytest.approx(2.5)
    none = Ending(now, wishes(suspend_seconds=60.0), now + 30)
    assert (none.at, none.suspend_seconds) == (now + 30 - 25 - AFTER_GUEST_SECONDS, 0.0)
    assert "will be shut down at" in none.notice()


def test_a_long_shutdown_takes_nothing_of_a_suspension_that_fits_beside_it() -> None:
    now = time.time()
    ending = Ending(now, wishes(stop_grace=600.0, suspend_seconds=30.0), now + 1200)
    assert ending.suspend_seconds == 30
    assert ending.at == now + 1200 - 30 - 600 - AFTER_GUEST_SECONDS
