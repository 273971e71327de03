"""What a guest that joins a pool says of itself: taken as its word, and as no more."""

from __future__ import annotations

from sevenlbd.outside.session import worker_standing
from sevenlbd.wire.state import SessionState
from sevenlbd.wire.worker_words import Join


def state() -> SessionState:
    joins = worker_standing.joined_as(Join(("/join",), "token=t\nmachine=lab-7\nslot=2\n"))
    return SessionState("a1", "me", "node", "worker", "tcg", "tap", 1, "/nowhere", joins=joins)


def test_a_worker_is_called_by_its_machine_and_slot() -> None:
    assert state().joins == "lab-7/2"
    assert worker_standing.joined_as(None) == ""


def test_each_change_is_told_once_and_what_is_no_phase_never() -> None:
    ours = state()
    assert worker_standing.hear(ours, "joining")
    assert not worker_standing.hear(ours, "joining")
    assert not worker_standing.hear(ours, "root \x1b[2J")
    assert not worker_standing.hear(ours, "")
    assert worker_standing.hear(ours, "idle")
    assert worker_standing.has_joined(ours)
    assert worker_standing.hear(ours, "joining: no answer")
    assert (ours.worker, ours.worker_why) == ("joining", "no answer")
    assert worker_standing.has_joined(ours)


def test_why_is_one_harmless_line() -> None:
    ours = state()
    worker_standing.hear(ours, "refused: \x1b[31m" + "x" * 5000)
    assert len(ours.worker_why) < 400
    assert ours.worker_why.isprintable()
    assert "the pool has not let worker lab-7/2 in: " in worker_standing.spelled(ours)


def test_a_guest_that_joins_nothing_says_nothing() -> None:
    ours = SessionState("a1", "me", "node", "worker", "tcg", "tap", 1, "/nowhere")
    assert not worker_standing.hear(ours, "busy")
    assert worker_standing.parting(ours) == ""


def test_one_that_has_left_says_why_its_machine_ends() -> None:
    ours = state()
    worker_standing.hear(ours, "left: no job for 60 s")
    assert worker_standing.parting(ours) == "worker lab-7/2 has left its pool: no job for 60 s"
