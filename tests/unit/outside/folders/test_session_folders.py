"""Session folders: private, locked while alive, gone afterwards."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from sevenlbd.base.errors import ExitCode, Refusal
from sevenlbd.outside.folders import bases, folder_lock, session_folders


def test_a_folder_lives_as_long_as_its_session(tmp_path: Path) -> None:
    base = tmp_path / "base"
    with session_folders.session_folder(base, "one") as place:
        assert place.stat().st_mode & 0o777 == 0o700
        assert folder_lock.is_alive(place)
        assert session_folders.find([base], "") == place
        with pytest.raises(Refusal, match="is running already"):
            session_folders.check_name(base, "one")
    assert not base.exists()


def test_a_folder_that_somebody_removed_but_for_the_last_file_written_is_gone_at_the_end(tmp_path: Path) -> None:
    base = tmp_path / "base"
    with session_folders.session_folder(base, "one") as place:
        shutil.rmtree(place / "logs")
        (place / folder_lock.LOCK).unlink()
        (place / session_folders.STATE).write_text("{}")
    assert not base.exists()


def test_another_folder_in_its_place_stays(tmp_path: Path) -> None:
    base = tmp_path / "base"
    with session_folders.session_folder(base, "one") as place:
        place.rename(tmp_path / "moved")
        place.mkdir()
        (place / "thesis").write_text("of somebody's")
    assert (place / "thesis").read_text() == "of somebody's"


def test_a_folder_that_the_container_does_not_show_is_told_and_not_taken(tmp_path: Path) -> None:
    hidden = {"SLURM_TMPDIR": "/scratch/job 7", "TMPDIR": str(tmp_path)}
    assert bases.temporary(hidden) == tmp_path
    [told] = bases.hidden(hidden)
    assert told == (
        f"SLURM_TMPDIR=/scratch/job 7 is not a folder that the container shows, so {tmp_path} is used: "
        "apptainer run --bind '/scratch/job 7' ..."
    )
    both = bases.hidden({"SLURM_TMPDIR": "/a", "TMPDIR": "/b"})
    assert [text.partition("=")[0] for text in both] == ["SLURM_TMPDIR", "TMPDIR"]
    assert all("so /tmp is used" in text for text in both)
    assert bases.hidden({"SLURM_TMPDIR": str(tmp_path), "TMPDIR": "/b"}) == []
    assert bases.hidden({}) == []


def test_what_a_killed_session_left_is_removed_by_the_next(tmp_path: Path) -> None:
    dead = tmp_path / "dead"
    dead.mkdir()
    (dead / "lock").write_bytes(b"7lbd session\n")
    with session_folders.session_folder(tmp_path, "new"):
        assert [path.name for path in tmp_path.iterdir()] == ["new"]


def test_two_sessions_do_not_touch_each_other(tmp_path: Path) -> None:
    with session_folders.session_folder(tmp_path, "one"), session_folders.session_folder(tmp_path, "two"):
        assert [path.name for path in session_folders.alive(tmp_path)] == ["one", "two"]
        with pytest.raises(Refusal, match="several sessions are running; there are: one, two") as caught:
            session_folders.find([tmp_path], "")
        assert caught.value.code is ExitCode.NO_SESSION
    with pytest.raises(Refusal) as none:
        session_folders.find([tmp_path], "box", "7lbd exec --keep box")
    assert none.value.hint == "start one: 7lbd exec --keep box", "what suits the verb that looked for it"


@pytest.mark.parametrize("name", ["", "A", "a/b", "..", "-a", "x" * 32, "failed-a", "a\n"])
def test_a_strange_name_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(Refusal, match="cannot be a session's name"):
        session_folders.check_name(tmp_path, name)


def test_a_place_too_deep_for_sockets_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Refusal, match="too long for sockets"):
        session_folders.check_name(tmp_path / ("d" * 100), "a")


def test_a_failure_is_kept_without_secrets_and_only_the_newest(tmp_path: Path) -> None:
    for number in range(7):
        with session_folders.session_folder(tmp_path, f"s{number}") as place:
            (place / "credentials.json").write_text("secret")
            (place / "overlay.qcow2").write_text("disk")
            (place / "session.json").write_text("{}")
            (place / "logs" / "qemu.log").write_text("why")
            kept = session_folders.keep_failure(place)
            os.utime(kept, (number, number))
    assert sorted(path.name for path in kept.rglob("*")) == ["lock", "logs", "qemu.log", "session.json"]
    session_folders.remove_leftovers(tmp_path)
    assert [path.name for path in session_folders.failures(tmp_path)] == [f"failed-s{number}" for number in range(2, 7)]
    session_folders.remove_leftovers(tmp_path, failed_too=True)
    assert not list(tmp_path.iterdir())


def test_a_session_being_made_is_not_taken_for_dead(tmp_path: Path) -> None:
    young = tmp_path / ".new-abc"
    young.mkdir()
    assert session_folders.remove_leftovers(tmp_path) == []
    os.utime(young, (0, 0))
    assert session_folders.remove_leftovers(tmp_path) == [young]


def test_what_is_not_ours_is_never_removed(tmp_path: Path) -> None:
    """A user may well say --session-dir $HOME."""
    for name in ("thesis", "failed-experiment", ".new-ideas"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "lock").write_text("mine")
        os.utime(tmp_path / name, (0, 0))
    (tmp_path / "link").symlink_to(tmp_path / "thesis")
    for _ in range(2):
        with session_folders.session_folder(tmp_path, "one"):
            pass
    assert session_folders.remove_leftovers(tmp_path, failed_too=True) == []
    assert sorted(path.name for path in tmp_path.iterdir()) == [".new-ideas", "failed-experiment", "link", "thesis"]


def test_a_name_that_another_folder_has_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter").touch()
    with pytest.raises(Refusal, match="thesis"), session_folders.session_folder(tmp_path, "thesis"):
        pass
    assert [path.name for path in tmp_path.rglob("*")] == ["thesis", "chapter"]
