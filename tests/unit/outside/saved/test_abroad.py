"""What killed writers left is found wherever it was, and what a living one has stays."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from sevenlbd.outside.commands import node_verbs, session_verbs
from sevenlbd.outside.node import orphans
from sevenlbd.outside.saved import abroad, places, writing


def writer(folder: Path, target: Path) -> int:
    """The number of a process that writes there until it is killed."""
    pid = os.fork()
    if pid == 0:
        with abroad.noted(folder, target.parent), writing.new_file(target) as file:
            file.write(b"half of it")
            file.flush()
            time.sleep(60)
        os._exit(1)
    deadline = time.monotonic() + 10
    while not any(path.stat().st_size for path in places.under_way(target.parent)):
        assert time.monotonic() < deadline, "it does not begin"
        time.sleep(0.01)
    return pid


def killed(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def test_gc_finds_what_a_killed_writer_left_in_any_folder_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    elsewhere, saved = tmp_path / "x", tmp_path / "state" / "saved"
    elsewhere.mkdir()
    killed(writer(saved, elsewhere / "win.7lbd"))
    killed(writer(saved, saved / "win.7lbd"))
    left = [*places.under_way(elsewhere), *places.under_way(saved)]
    assert len(left) == 2
    seat = SimpleNamespace(bases=(), lookout=SimpleNamespace(sweep=lambda _: []))
    monkeypatch.setattr(session_verbs, "seat", lambda _: seat)
    monkeypatch.setattr(orphans, "end_all", lambda: 0)
    context: Any = SimpleNamespace(
        options=SimpleNamespace(all=False),
        settings=SimpleNamespace(state_dir=str(tmp_path / "state")),
        here=SimpleNamespace(environment={}),
    )
    assert node_verbs.collect(context) == 0
    said = capsys.readouterr().out
    assert all(f"removed {path}" in said for path in left)
    assert "2 removed" in said
    assert not any(path.exists() for path in left)
    assert not list((saved / abroad.NOTES).iterdir()), "what it led to is gone"


def test_what_a_living_writer_has_stays_and_its_end_leaves_nothing(tmp_path: Path) -> None:
    elsewhere, saved = tmp_path / "x", tmp_path / "saved"
    elsewhere.mkdir()
    pid = writer(saved, elsewhere / "win.7lbd")
    try:
        assert abroad.tidied(saved) == []
        assert len(places.under_way(elsewhere)) == len(list((saved / abroad.NOTES).iterdir())) == 1
    finally:
        killed(pid)
    with abroad.noted(saved, elsewhere), writing.new_file(elsewhere / "other.7lbd") as file:
        file.write(b"x")
    assert (elsewhere / "other.7lbd").exists()
    assert abroad.tidied(saved)
    assert [path.name for path in elsewhere.iterdir()] == ["other.7lbd"]
    assert not list((saved / abroad.NOTES).iterdir())


def notes(saved: Path) -> list[Path]:
    return list((saved / abroad.NOTES).iterdir())


def test_a_note_is_kept_while_somebody_writes_there_or_its_folder_is_not_seen(tmp_path: Path) -> None:
    elsewhere, saved = tmp_path / "x", tmp_path / "saved"
    elsewhere.mkdir()
    killed(writer(saved, elsewhere / "win.7lbd"))
    with writing.new_file(elsewhere / "other.7lbd"):
        assert len(abroad.tidied(saved)) == 1
        assert notes(saved)
    assert abroad.tidied(saved) == []
    assert not notes(saved)
    killed(writer(saved, elsewhere / "win.7lbd"))
    elsewhere.rename(tmp_path / "not mounted")
    assert abroad.tidied(saved) == []
    assert notes(saved)
    (tmp_path / "not mounted").rename(elsewhere)
    assert len(abroad.tidied(saved)) == 1
    assert not notes(saved)


def on(node: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "uname", lambda: SimpleNamespace(nodename=node))


def test_another_node_whose_folder_is_called_alike_leaves_the_note(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    local, saved = tmp_path / "tmp", tmp_path / "saved"
    local.mkdir()
    on("node", monkeypatch)
    killed(writer(saved, local / "win.7lbd"))
    local.rename(tmp_path / "tmp of node")
    local.mkdir()
    for other in ("login", "node.example", "nod"):
        on(other, monkeypatch)
        assert abroad.tidied(saved) == []
        assert notes(saved)
    local.rmdir()
    (tmp_path / "tmp of node").rename(local)
    on("node", monkeypatch)
    assert len(abroad.tidied(saved)) == 1
    assert not notes(saved)


def test_another_node_that_sees_the_folder_removes_what_was_left_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project, saved = tmp_path / "project", tmp_path / "saved"
    project.mkdir()
    on("node", monkeypatch)
    killed(writer(saved, project / "win.7lbd"))
    on("login", monkeypatch)
    assert len(abroad.tidied(saved)) == 1
    assert notes(saved), "it cannot know that this was all"
    on("node", monkeypatch)
    assert abroad.tidied(saved) == []
    assert not notes(saved)


def test_a_note_of_before_names_no_node_and_goes_with_what_it_led_to(tmp_path: Path) -> None:
    elsewhere, saved = tmp_path / "x", tmp_path / "saved"
    elsewhere.mkdir()
    killed(writer(saved, elsewhere / "win.7lbd"))
    (note,) = notes(saved)
    note.rename(note.with_name(f".place.{'0' * 16}.new"))
    half = elsewhere.rename(tmp_path / "on its node")
    elsewhere.mkdir()
    assert abroad.tidied(saved) == []
    assert notes(saved)
    elsewhere.rmdir()
    half.rename(elsewhere)
    assert len(abroad.tidied(saved)) == 1
    assert not notes(saved)


@pytest.mark.parametrize("note", [b"", b"relative", b"\0", b"/\0", b"/none/such"])
def test_a_note_that_makes_no_sense_leads_nowhere(tmp_path: Path, note: bytes) -> None:
    folder = tmp_path / abroad.NOTES
    folder.mkdir()
    (folder / ".place.0000000000000000.new").write_bytes(note)
    assert abroad.tidied(tmp_path) == []


def test_a_home_that_takes_no_note_keeps_nobody_from_saving_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "saved").write_text("no folder")
    for folder in (None, tmp_path / "saved"):
        with abroad.noted(folder, tmp_path), writing.new_file(tmp_path / "one.7lbd") as file:
            file.write(b"x")
