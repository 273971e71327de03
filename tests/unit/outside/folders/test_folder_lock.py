"""The lock of a session's folder, with many at once: nobody disturbs anybody."""

from __future__ import annotations

import fcntl
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sevenlbd.base.errors import Refusal
from sevenlbd.outside.folders import folder_lock, session_folders

MARK = b"7lbd session\n"


@contextmanager
def crowd(work: Callable[[], object], number: int) -> Iterator[None]:
    """So many processes that do `work` for as long as this lasts; it fails when one of them failed."""
    read, write = os.pipe()
    children = []
    for _ in range(number):
        if child := os.fork():
            children.append(child)
            continue
        os.close(write)
        os.set_blocking(read, False)
        code = 1
        try:
            while _goes_on(read):
                work()
            code = 0
        finally:
            os._exit(code)
    os.close(read)
    try:
        yield
    finally:
        os.close(write)
        codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    assert not any(codes)


def _goes_on(pipe: int) -> bool:
    try:
        return os.read(pipe, 1) != b""
    except BlockingIOError:
        return True


def dead(place: Path) -> Path:
    """Whole from the first moment, as what a killed session leaves is."""
    made = place.parent.with_name(f"{place.parent.name}-made")
    (made / "logs").mkdir(parents=True)
    (made / "lock").write_bytes(MARK)
    return made.rename(place)


def test_sessions_that_start_at_the_same_moment_do_not_refuse_each_other(tmp_path: Path) -> None:
    base = tmp_path / "base"

    def live_and_look() -> None:
        with session_folders.session_folder(base, f"s{os.getpid()}") as place:
            assert place in session_folders.alive(base)

    with crowd(live_and_look, 6):
        for number in range(60):
            with session_folders.session_folder(base, f"mine-{number}") as place:
                assert folder_lock.is_alive(place)
    assert not base.exists()


def test_to_ask_does_not_make_a_dead_session_look_alive(tmp_path: Path) -> None:
    place = dead(tmp_path / "dead")
    with crowd(lambda: sys.exit(1) if folder_lock.is_alive(place) else None, 3):
        assert not any(folder_lock.is_alive(place) for _ in range(2000))


def test_one_that_is_being_removed_does_not_look_alive(tmp_path: Path) -> None:
    with crowd(lambda: sys.exit(1) if session_folders.alive(tmp_path) else None, 2):
        for number in range(60):
            folder_lock.remove_dead(dead(tmp_path / f"dead{number}"))
    assert not list(tmp_path.iterdir())


def test_cleaners_never_take_a_new_session_for_the_dead_one_of_its_name(tmp_path: Path) -> None:
    (tmp_path / "thesis").touch()  # an empty base would go with its last session
    with crowd(lambda: session_folders.remove_leftovers(tmp_path), 3):
        for _ in range(30):
            with session_folders.session_folder(tmp_path, "same") as place:
                (place / "logs" / "log").touch()
                assert (place / "logs" / "log").exists()
                assert folder_lock.is_alive(place)
            dead(place)
            for _ in range(1000):
                folder_lock.remove_dead(place)
                if not place.exists():
                    break


def test_an_unlocked_folder_is_not_alive(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    lock.touch()
    assert not folder_lock.is_alive(tmp_path)
    with lock.open("r+") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert folder_lock.is_alive(tmp_path)


def test_a_lock_is_never_seen_open_while_its_owner_lives(tmp_path: Path) -> None:
    def seen() -> bool:
        return (tmp_path / "s" / "lock").exists() and not folder_lock.is_alive(tmp_path / "s")

    for _ in range(50):
        (tmp_path / "s").mkdir()
        over = threading.Event()
        trouble: list[bool] = []

        def look(over: threading.Event = over, trouble: list[bool] = trouble) -> None:
            while not over.is_set():
                trouble.append(seen())

        watcher = threading.Thread(target=look)
        watcher.start()
        lock = folder_lock.claim(tmp_path / "s")
        over.set()
        watcher.join()
        assert not any(trouble)
        folder_lock.remove_held(lock, tmp_path / "s")
        os.close(lock)


def test_what_a_killed_remover_left_can_still_be_told_for_ours(tmp_path: Path) -> None:
    place = dead(tmp_path / "dead")
    (place / "lock").write_bytes(b"7lbd removed\n")
    assert folder_lock.is_marked(place)
    assert not folder_lock.is_alive(place)
    assert session_folders.remove_leftovers(tmp_path) == [place]


def test_what_a_killed_maker_left_goes_after_a_while(tmp_path: Path) -> None:
    unborn = tmp_path / ".new-abc"
    unborn.mkdir()
    (unborn / ".lock").write_bytes(MARK)
    assert session_folders.remove_leftovers(tmp_path) == []
    os.utime(unborn, (0, 0))
    assert session_folders.remove_leftovers(tmp_path) == [unborn]


def test_a_full_disk_leaves_nothing_of_a_folder_that_could_not_be_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(Refusal, match="No space left"), session_folders.session_folder(tmp_path / "base", "one"):
        pass
    monkeypatch.undo()
    assert [path.name for path in tmp_path.rglob("*")] in (["base"], [])
