"""Whoever is killed while a desktop is saved leaves the old file or the new one, whole, at any moment of it."""

from __future__ import annotations

import errno
import hashlib
import os
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import cast

import pyrage
import pytest
from sevenlbd.base.errors import Refusal
from sevenlbd.outside.saved import abroad, keys, places, reading, saved_format, writer, writing
from sevenlbd.outside.saved.messages import Commit, Go, Order, Report, Write
from sevenlbd.outside.saved.worker import Supervisor
from sevenlbd.outside.saved.writing import open_part
from test_saved_file import FACTS, OPENING


def dying_after(step: int, work: Callable[[], object]) -> int:
    """Run `work` in a process that kills itself right after the step of this number, or before the first one."""
    pid = os.fork()
    if pid == 0:
        done = 0

        def watched(real: Callable[..., object]) -> Callable[..., object]:
            def call(*arguments: object, **words: object) -> object:
                nonlocal done
                came = real(*arguments, **words)
                done += 1
                if done > step:
                    os.kill(os.getpid(), signal.SIGKILL)
                return came

            return call

        os.fsync = watched(os.fsync)  # type: ignore[assignment]
        os.replace = watched(os.replace)  # type: ignore[assignment]
        try:
            work()
        finally:
            os._exit(0)
    _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status)


def saved(target: Path, key: pyrage.x25519.Identity, content: Path, desktop: str = "") -> None:
    descriptor = os.open(content, os.O_RDONLY)
    opening = replace(OPENING, facts=replace(FACTS, desktop=desktop))
    with writing.new_file(target, writing.Ours(desktop)) as file:
        writing.write(file, opening, [open_part(0, descriptor)], [key.to_public()])


@pytest.mark.parametrize("step", range(4))
def test_a_cut_at_any_boundary_leaves_a_whole_file(tmp_path: Path, step: int) -> None:
    key, content, target = pyrage.x25519.Identity.generate(), tmp_path / "content", tmp_path / "one.7lbd"
    content.write_bytes(os.urandom(1 << 16))
    saved(target, key, content)
    before = target.read_bytes()
    content.write_bytes(os.urandom(1 << 16))
    code = dying_after(step, lambda: saved(target, key, content))
    assert code == (-signal.SIGKILL if step < 3 else 0), "fsync, rename, fsync"
    assert reading.read(target, key, reading.Check()).facts == FACTS
    assert (target.read_bytes() == before) == (step == 0), "the new one has its name when it is on disk, and not before"
    places.remove_interrupted(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["content", "one.7lbd"]


@pytest.mark.parametrize("has_links", [True, False])
@pytest.mark.parametrize("step", range(4))
def test_a_cut_at_any_boundary_loses_no_other_desktop(
    tmp_path: Path, step: int, has_links: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, content, target = pyrage.x25519.Identity.generate(), tmp_path / "content", tmp_path / "one.7lbd"
    content.write_bytes(os.urandom(1 << 16))
    saved(target, key, content, "one")
    before = target.read_bytes()
    if not has_links:

        def refused(*_: object, **__: object) -> None:
            raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

        monkeypatch.setattr(os, "link", refused)
    dying_after(step, lambda: saved(target, key, content, "another"))
    places.remove_interrupted(tmp_path)
    assert before in [path.read_bytes() for path in places.all_in(tmp_path)]
    if step == 3:
        assert [path.name for path in places.all_in(tmp_path)] == ["one-2.7lbd", "one.7lbd"]


def test_what_was_written_there_since_by_another_session_is_not_ours_to_replace(tmp_path: Path) -> None:
    key, content, target = pyrage.x25519.Identity.generate(), tmp_path / "content", tmp_path / "one.7lbd"
    content.write_bytes(os.urandom(1 << 16))
    saved(target, key, content, "one")
    known = hashlib.sha256(target.read_bytes()[: saved_format.HEADER_ROOM]).hexdigest()
    for ours, kept in ((writing.Ours("one", known), []), (writing.Ours("one", "another"), ["one-2.7lbd"])):
        told: list[Path] = []
        with writing.new_file(target, ours, told.append) as file:
            file.write(target.read_bytes())
        assert [path.name for path in told] == kept
    assert (tmp_path / "one-2.7lbd").read_bytes() == target.read_bytes()


def test_a_desktop_that_another_node_puts_under_a_name_just_now_is_not_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two sessions that are called alike are suspended at once, when a cluster is cleared."""
    key, content, target = pyrage.x25519.Identity.generate(), tmp_path / "content", tmp_path / "one.7lbd"
    content.write_bytes(os.urandom(1 << 16))
    for desktop, number in (("one", ""), ("two", "-2")):
        saved(tmp_path / f"one{number}.7lbd", key, content, desktop)
    real = os.path.lexists

    def not_seen(path: str) -> bool:
        return False if str(path).endswith("-2.7lbd") else real(path)

    monkeypatch.setattr(os.path, "lexists", not_seen)
    saved(target, key, content, "three")
    kept = {path.name: reading.header(path).facts.desktop for path in places.all_in(tmp_path)}
    assert kept == {"one.7lbd": "three", "one-2.7lbd": "two", "one-3.7lbd": "one"}


class Ordering:
    """A supervisor with its orders; who has no more is gone."""

    def __init__(self, *orders: Order) -> None:
        self._orders = iter(orders)

    def order(self) -> Order:
        for order in self._orders:
            return order
        raise SystemExit(0)

    def tell(self, report: Report) -> None:
        """Nobody wants to know."""


def to_write(tmp_path: Path) -> Write:
    """The order to write a session's files, which are there, as a user's first saved desktop."""
    session, saved_in = tmp_path / "session", tmp_path / "saved"
    session.mkdir()
    for name in ("overlay.qcow2", "state", "variables.fd"):
        (session / name).write_bytes(os.urandom(1 << 16))
    files = (str(saved_in / "one.7lbd"), str(session), str(session / "overlay.qcow2"))
    return Write(*files, FACTS, OPENING.secrets, (), None, str(places.made(saved_in)))


def test_who_gives_it_up_before_all_is_read_finds_the_old_file(tmp_path: Path) -> None:
    """The machine runs by then, and what was read of it may be of two moments."""
    order = to_write(tmp_path)
    target = Path(order.target)
    target.write_bytes(saved_format.MAGIC + b"1\nthe last good one")
    with pytest.raises(SystemExit):
        writer.main(cast("Supervisor", Ordering(order, Go())))
    assert target.read_bytes().endswith(b"the last good one")
    assert sorted(path.name for path in target.parent.iterdir()) == ["key", "one.7lbd"]


STEPS = 6  # the key: fsync, rename, fsync; the file: the same


@pytest.mark.parametrize("step", range(STEPS + 1))
def test_a_cut_anywhere_in_the_whole_writer_leaves_what_can_be_used(tmp_path: Path, step: int) -> None:
    """A user's first saved desktop, and his key: one without the other is worth nothing."""
    order = to_write(tmp_path)
    target, saved_in = Path(order.target), Path(order.keys)

    def work() -> object:
        return writer.main(cast("Supervisor", Ordering(order, Go(), Commit())))

    assert dying_after(step, work) == (-signal.SIGKILL if step < STEPS else 0)
    if target.exists():
        reading.read(target, keys.identity(saved_in), reading.Check())
    assert target.exists() == (step >= STEPS - 2)
    assert dying_after(STEPS, work) == 0, "the next one finds nothing in its way"
    reading.read(target, keys.identity(saved_in), reading.Check())
    assert [path.name for path in saved_in.iterdir() if path.name.endswith(".7lbd.new")] == []


@pytest.mark.parametrize("step", range(STEPS + 1))
def test_what_a_cut_leaves_of_a_desktop_that_was_written_elsewhere_is_found(tmp_path: Path, step: int) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    order = replace(to_write(tmp_path), target=str(elsewhere / "one.7lbd"))

    def work() -> object:
        return writer.main(cast("Supervisor", Ordering(order, Go(), Commit())))

    assert dying_after(step, work) == (-signal.SIGKILL if step < STEPS else 0)
    left = places.under_way(elsewhere)
    assert len(left) == (step == STEPS - 3), "the key comes first, and the name after the bytes"
    assert abroad.tidied(Path(order.keys)) == left
    assert [path.name for path in elsewhere.iterdir()] == ["one.7lbd"] * (step > STEPS - 3)


def test_a_file_that_is_still_written_is_no_saved_desktop(tmp_path: Path) -> None:
    key, content = pyrage.x25519.Identity.generate(), tmp_path / "content"
    content.write_bytes(os.urandom(1 << 16))
    descriptor = os.open(content, os.O_RDONLY)
    with writing.new_file(tmp_path / "one.7lbd") as file:
        writing.write(file, OPENING, [open_part(0, descriptor)], [key.to_public()])
        assert places.all_in(tmp_path) == []
        [half] = tmp_path.glob(".one*")
        with half.open("r+b") as staged:
            staged.write(bytes(100))  # its header, which is written last
        with pytest.raises(Refusal, match="does not begin as a saved desktop does"):
            reading.header(half)
    os.close(descriptor)
