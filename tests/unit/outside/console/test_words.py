"""What a session's steps and its end are called, for people."""

from __future__ import annotations

import time
from pathlib import Path

from sevenlbd.inside.vm import machine
from sevenlbd.outside.commands import session_verbs
from sevenlbd.outside.console import words
from sevenlbd.outside.session import worker_standing
from sevenlbd.wire.keeper import MILESTONES
from sevenlbd.wire.state import SessionState


def state(**more: object) -> SessionState:
    return SessionState("s", "ann", "node7", "win11@7", "kvm", "tap", 1, "/tmp/s", **more)  # type: ignore[arg-type]


def test_every_milestone_of_the_wire_has_plain_words() -> None:
    assert set(words.MILESTONES) == {*MILESTONES, worker_standing.JOINED}


def test_status_says_the_title_the_milestones_in_words_and_when_it_ends() -> None:
    told = "\n".join(
        session_verbs._described(
            state(title="Windows 11 of the lab", milestones={"rdp": 4.0}, ends_at=time.time() + 605), ""
        )
    )
    assert "Windows 11 of the lab" in told
    assert "rdp: the remote desktop answers" in told
    assert "ends at " in told
    assert "in 10 min" in told


def test_status_says_that_it_is_suspended_at_its_end_and_how_long_that_takes() -> None:
    told = words.ends(state(ends_at=time.time() + 605, suspend_seconds=62.0))
    assert "in 10 min" in told
    assert told.endswith(", and is suspended, for which 1 min 02 s are reckoned")


def test_a_desktop_without_a_limit_has_no_end_and_one_without_a_title_its_name() -> None:
    told = "\n".join(session_verbs._described(state(), ""))
    assert "win11@7" in told
    assert "ends" not in told


def test_a_machine_that_said_nothing_has_no_last_words(tmp_path: Path) -> None:
    log = tmp_path / "qemu.log"
    assert machine._last_words(log) == ""
    log.write_text("\n")
    assert machine._last_words(log) == ""
    log.write_text("qemu: no room\n")
    assert machine._last_words(log) == "; its last words: qemu: no room"
