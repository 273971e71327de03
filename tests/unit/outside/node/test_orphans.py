"""What Apptainer left mounted, found among all that this user runs: a made-up /proc, whose numbers no process has."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from sevenlbd.outside.node import orphans

_BEYOND = 1 << 22  # no process of Linux has such a number (PID_MAX_LIMIT)
_MOUNTINFO = "36 35 0:{} / /somewhere ro - fuse.squashfuse_ll squashfuse_ll ro\n"
_SERVES = b"/usr/bin/squashfuse_ll\0-f\0/proc/self/fd/7\0/var/lib/apptainer/mnt/session/rootfs\0"


def process(proc: Path, number: int, command: bytes, device: int = 0) -> None:
    """One of ours, whose parent is process 1; with a FUSE mount of that device."""
    place = proc / str(_BEYOND + number)
    place.mkdir()
    (place / "status").write_text(f"Name:\tx\nPPid:\t1\nUid:\t{os.getuid()}\t0\t0\t0\n")
    (place / "stat").write_text(f"{_BEYOND + number} (x) S 1 1 1 0\n")
    (place / "cmdline").write_bytes(command)
    (place / "mountinfo").write_text(_MOUNTINFO.format(device) if device else "")


@pytest.mark.parametrize(
    "command",
    [
        b"",
        b"\0\0\0",
        b"squashfuse_ll\0",
        b"squashfuse_ll\0/proc/self/fd/7\0",
        b"sleep\0/proc/self/fd/7\0/mnt/session/x\0",
    ],
)
def test_a_process_that_is_ending_or_has_another_command_line_is_left_alone(tmp_path: Path, command: bytes) -> None:
    process(tmp_path, 1, command, device=41)
    assert orphans.end_all(tmp_path) == 0


def test_one_whose_mount_nobody_has_is_found_and_one_that_serves_somebody_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    process(tmp_path, 1, _SERVES, device=41)
    process(tmp_path, 2, _SERVES, device=42)
    process(tmp_path, 3, b"sleep\0", device=42)
    told: list[int] = []
    monkeypatch.setattr(os, "kill", lambda pid, _signal: told.append(pid - _BEYOND))
    assert orphans.end_all(tmp_path) == 1
    assert told == [1]
