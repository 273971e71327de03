"""Our standard output, whose reader stalls, is slow, or has gone."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest
from sevenlbd.outside.batch import outlet
from sevenlbd.outside.batch.outlet import Outlet


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe()
    yield ends
    for end in ends:
        with suppress(OSError):
            os.close(end)


def read_all(descriptor: int, count: int) -> bytes:
    content = b""
    while len(content) < count:
        content += os.read(descriptor, 1 << 16)
    return content


def wait_until_taken(ours: Outlet) -> None:
    until = outlet.patience(10)
    while ours.waiting() and not until():
        time.sleep(0.01)


def test_a_reader_that_stalls_keeps_nobody_waiting_and_gets_all_in_order_later(pipe: tuple[int, int]) -> None:
    ours = Outlet(pipe[1])
    pieces = [bytes([number]) * (1 << 20) for number in range(4)]
    began = time.monotonic()
    for piece in pieces:
        ours.put(piece)
    assert time.monotonic() - began < 20
    assert ours.waiting() == 4 << 20
    assert read_all(pipe[0], 4 << 20) == b"".join(pieces)
    wait_until_taken(ours)
    assert ours.waiting() == 0


def test_a_pipe_that_somebody_has_told_never_to_wait_gets_all_of_it(pipe: tuple[int, int]) -> None:
    # The mode is the pipe's, not a process's: a parent that reads by events (Node.js, ssh) leaves it so.
    os.set_blocking(pipe[1], False)
    ours = Outlet(pipe[1])
    ours.put(bytes(1 << 20))
    time.sleep(0.1)
    assert ours.waiting() == 1 << 20
    assert read_all(pipe[0], 1 << 20) == bytes(1 << 20)
    wait_until_taken(ours)
    assert ours.waiting() == 0


def test_one_that_has_gone_is_told_by_the_next_word(pipe: tuple[int, int]) -> None:
    ours = Outlet(pipe[1])
    os.close(pipe[0])
    ours.put(b"x")
    with pytest.raises(BrokenPipeError):
        wait_until_taken(ours)
    with pytest.raises(BrokenPipeError):
        ours.put(b"y")


def test_two_that_are_one_place_are_one_so_that_order_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    outlet.of.cache_clear()
    try:
        monkeypatch.setattr(os.path, "sameopenfile", lambda *_: True)
        assert outlet.of(2) is outlet.of(1)
        outlet.of.cache_clear()
        monkeypatch.setattr(os.path, "sameopenfile", lambda *_: False)
        assert outlet.of(2) is not outlet.of(1)
    finally:
        outlet.of.cache_clear()
