"""Limits of processes (ulimit): raised where they may be, and else told with the arithmetic."""

from __future__ import annotations

import os
import resource
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from sevenlbd.base.errors import Refusal
from sevenlbd.config.settings import Settings
from sevenlbd.images.description import Description
from sevenlbd.outside.job.sizing import decided_by
from sevenlbd.outside.node import abilities, rlimits
from sevenlbd.outside.node.abilities import Limit

GIB = 1 << 30
FILES, SIZE, ADDRESSES, PROCESSES = (
    resource.RLIMIT_NOFILE,
    resource.RLIMIT_FSIZE,
    resource.RLIMIT_AS,
    resource.RLIMIT_NPROC,
)


def limited(limits: Mapping[int, tuple[int, int]], do: Callable[[], str]) -> str:
    """What `do` returns in a process with these soft and hard limits, or the refusal that it raised."""
    reading, writing = os.pipe()
    if (child := os.fork()) == 0:
        try:
            for kind, (soft, hard) in limits.items():
                resource.setrlimit(kind, (soft, hard))
            told = do()
        except Refusal as refusal:
            told = f"{refusal.code.name}: {refusal}"
        os.write(writing, told.encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        told = pipe.read()
    os.waitpid(child, 0)
    return told


def soft(kind: int) -> Callable[[], str]:
    def do() -> str:
        rlimits.raise_soft()
        return str(resource.getrlimit(kind)[0])

    return do


def test_soft_limits_are_raised_as_far_as_the_hard_ones_allow() -> None:
    assert limited({FILES: (64, 1000)}, soft(FILES)) == "1000"
    assert limited({SIZE: (GIB, 4 * GIB)}, soft(SIZE)) == str(4 * GIB)
    unlimited = resource.getrlimit(ADDRESSES)[1]
    assert limited({ADDRESSES: (8 * GIB, unlimited)}, soft(ADDRESSES)) == str(unlimited)


def test_of_descriptors_no_more_are_taken_than_are_of_use() -> None:
    """Some programs close every number that there could be, when they begin."""
    hard = resource.getrlimit(FILES)[1]
    assert hard > 4096
    assert limited({FILES: (64, hard)}, soft(FILES)) == "4096"
    assert limited({FILES: (5000, hard)}, soft(FILES)) == "5000"


def test_too_few_descriptors_to_begin_with_are_refused() -> None:
    told = limited({FILES: (64, 64)}, soft(FILES))
    assert told.startswith("RESOURCES: a process may have 64 files open here (ulimit -n), and a session's need 256")
    assert "ulimit -n 256" in told
    assert "sbatch --propagate=NONE" in told


def sized(accel: str, **asked: int) -> Callable[[], str]:
    def do() -> str:
        settings = Settings.model_validate(asked)
        return str(decided_by(settings, Description(memory=4 * GIB, cpus=2), {}, None, accel).chosen([], []))

    return do


@pytest.fixture
def plenty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(abilities, "memory_limit", lambda _: Limit(64 * GIB, "free on this node"))
    monkeypatch.setattr(abilities, "cpus", lambda: 8)


@pytest.mark.usefixtures("plenty")
def test_addresses_are_held_against_the_guests_memory_and_qemus_own() -> None:
    """Translated code takes a gigabyte of them, which KVM has no use for."""
    told = limited({ADDRESSES: (5 * GIB, 5 * GIB)}, sized("tcg"))
    assert told.startswith(
        "RESOURCES: 4.0 GiB for the guest and 1.9 GiB for QEMU's own addresses make 5.9 GiB, but only 5.0 GiB are "
        "allowed to one process (ulimit -v)"
    )
    assert "ulimit -v 6176768, or unlimited" in told
    assert "or --memory 3184M fits" in told
    assert limited({ADDRESSES: (5 * GIB, 5 * GIB)}, sized("kvm")) == "4.0 GiB and 2 CPUs"
    assert limited({ADDRESSES: (5 * GIB, 5 * GIB)}, sized("tcg", memory=3 * GIB)) == "3.0 GiB and 2 CPUs"


@pytest.mark.usefixtures("plenty")
def test_data_counts_the_guests_memory_too() -> None:
    told = limited({resource.RLIMIT_DATA: (4 * GIB, 4 * GIB)}, sized("kvm"))
    assert "allowed to one process (ulimit -d)" in told


def file_size(disk: int, least: int) -> Callable[[], str]:
    def do() -> str:
        warnings: list[str] = []
        rlimits.check_file_size(disk, least, warnings)
        return "\n".join(warnings)

    return do


def test_a_files_size_is_held_against_what_the_guest_may_write() -> None:
    told = limited({SIZE: (102400, 102400)}, file_size(64 * GIB, GIB))
    assert told.startswith(
        "RESOURCES: a file may grow to 0.1 MiB here (ulimit -f), and what the guest writes is one file"
    )
    assert "1.0 GiB are the least" in told
    warned = limited({SIZE: (2 * GIB, 2 * GIB)}, file_size(64 * GIB, GIB))
    assert "a file may grow to 2.0 GiB here (ulimit -f), and the guest's disk to 64.0 GiB" in warned
    assert "ulimit -f 67108864" in warned
    assert limited({SIZE: (2 * GIB, 2 * GIB)}, file_size(GIB, GIB)) == ""
    assert limited({}, file_size(64 * GIB, GIB)) == ""


def processes() -> str:
    rlimits.check_processes(2)
    return "enough"


def test_processes_that_are_there_count() -> None:
    there = rlimits.processes()
    assert there > 0
    told = limited({PROCESSES: (there + 20, there + 20)}, processes)
    assert told.startswith("RESOURCES: you have ")
    assert f"but only {there + 20} are allowed (ulimit -u)" in told
    assert limited({PROCESSES: (4096, 4096)}, processes) == "enough"


def test_processes_of_others_do_not_count(tmp_path: Path) -> None:
    (tmp_path / "1" / "task" / "1").mkdir(parents=True)
    (tmp_path / "1" / "task" / "2").mkdir()
    (tmp_path / "self").mkdir()
    (tmp_path / "2").mkdir()  # gone while we look
    assert rlimits.processes(tmp_path) == 2
