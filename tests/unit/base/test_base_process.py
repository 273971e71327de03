"""Programs that are started by whoever has no event loop."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path

import pytest
from sevenlbd.base import process


def test_what_a_program_came_to_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LD_PRELOAD_OF_THE_USER", "evil")
    done = process.run(["/usr/bin/sh", "-c", "cat; env; echo why >&2; exit 3"], stdin="given\n")
    assert (done.code, done.said) == (3, "why")
    assert done.printed.startswith("given\n")
    assert "LD_PRELOAD_OF_THE_USER" not in done.printed


def test_a_program_that_does_not_end_in_time_is_ended() -> None:
    began = time.monotonic()
    with pytest.raises(TimeoutError, match="no answer within 0 s"):
        process.run(["/usr/bin/sleep", "60"], seconds=0.2)
    with pytest.raises(TimeoutError):
        process.run_unbound(["/usr/bin/sleep", "60"], {}, stdin="", seconds=0.2)
    assert time.monotonic() - began < 30


def test_a_program_gets_the_descriptors_it_is_given(tmp_path: Path) -> None:
    with (tmp_path / "x").open("w") as file:
        assert (
            process.run(["/usr/bin/sh", "-c", f"echo 7 >/proc/self/fd/{file.fileno()}"], pass_fds=(file.fileno(),)).code
            == 0
        )
    assert (tmp_path / "x").read_text() == "7\n"


def test_a_program_whose_reader_is_interrupted_ends() -> None:
    pids = []
    with suppress(KeyboardInterrupt), process.piped(["/usr/bin/sh", "-c", "echo $$; exec sleep 60"]) as running:
        assert running.stdout
        pids.append(int(running.stdout.readline()))
        raise KeyboardInterrupt
    with pytest.raises(ProcessLookupError):
        os.kill(pids[0], 0)


def test_a_program_that_is_bound_may_get_no_more_than_it_has() -> None:
    bound = process.run(["/usr/bin/grep", "NoNewPrivs", "/proc/self/status"])
    assert bound.printed.split() == ["NoNewPrivs:", "1"]
