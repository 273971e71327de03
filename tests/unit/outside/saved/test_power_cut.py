"""Whoever is killed while a desktop is saved leaves the old file or the new one, whole, at any moment of it."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pyrage
import pytest
from sevenlbd.base.errors import Refusal
from sevenlbd.outside.saved import places, reading, writing
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
        Path.replace = watched(Path.replace)  # type: ignore[assignment]
        try:
            work()
        finally:
            os._exit(0)
    _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status)


def saved(target: Path, key: pyrage.x25519.Identity, content: Path) -> None:
    descriptor = os.open(content, os.O_RDONLY)
    with writing.new_file(target) as file:
        writing.write(file, OPENING, [open_part(0, descriptor)], [key.to_public()])


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
