"""A session's life has one order, and its file is private and whole."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from sevenlbd.wire import state
from sevenlbd.wire.state import Phase, SessionState, StateError


def make() -> SessionState:
    return SessionState(
        id="a", user="u", host="h", image="i", accel="tcg", network="tap", pid=1, folder="/f", warnings=["w"]
    )


def test_a_life_in_order_is_timed() -> None:
    session = make()
    for phase in (Phase.BOOTING, Phase.GUEST_UP, Phase.READY, Phase.STOPPING, Phase.ENDED):
        session.advance(phase)
    assert list(session.phases) == ["booting", "guest-up", "ready", "stopping", "ended"]
    assert sorted(session.phases.values()) == list(session.phases.values())


@pytest.mark.parametrize("wrong", [Phase.READY, Phase.ENDED, Phase.PREPARING])
def test_a_leap_is_refused(wrong: Phase) -> None:
    with pytest.raises(StateError, match="cannot go from preparing"):
        make().advance(wrong)


def test_nothing_follows_the_end() -> None:
    session = make()
    session.advance(Phase.FAILED)
    for phase in Phase:
        with pytest.raises(StateError):
            session.advance(phase)


def test_the_file_is_private_and_reads_back(tmp_path: Path) -> None:
    path = tmp_path / "session.json"
    session = make()
    session.advance(Phase.BOOTING)
    before = os.umask(0)
    session.write(path)
    os.umask(before)
    assert path.stat().st_mode & 0o777 == 0o600
    assert state.read(path) == session
    assert [entry.name for entry in tmp_path.iterdir()] == ["session.json"]


def test_on_a_full_disk_the_file_is_written_over(tmp_path: Path) -> None:
    path = tmp_path / "session.json"
    session = make()
    session.warnings.append("long " * 50)
    session.write(path)
    session.warnings.clear()
    session.paused = "no space left"
    tmp_path.chmod(0o500)  # no other file can be made, as on a full disk
    session.write(path)
    tmp_path.chmod(0o700)
    assert state.read(path) == session
    assert [entry.name for entry in tmp_path.iterdir()] == ["session.json"]


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"phase": "no"}'])
def test_a_broken_file_is_said_to_be(tmp_path: Path, text: str) -> None:
    path = tmp_path / "session.json"
    path.write_text(text)
    with pytest.raises(ValueError):
        state.read(path)
