"""A session in the background, on a node that others use: it gives way, and leaves when it has to."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import harness
import owners_work
import pytest
from conftest import Refuse, StartSession
from harness import Session

# By weight alone it is a hundredth and a half, and a fair share a half. Beside many others a slice is worth more: the
# figures have what is usual.
_MOST_TAKEN = 0.25
_GIB = 1 << 30
_MOST_EATEN = 8 * _GIB  # by the owner, before it is believed that nobody looks


def available() -> int:
    """Bytes that could be had on this node."""
    text = Path("/proc/meminfo").read_text()
    return int(text.partition("MemAvailable:")[2].split()[0]) << 10


@contextmanager
def an_owner_who_takes(until: Callable[[], bool]) -> Iterator[None]:
    """Memory, and ever more of it, until something has come of it."""
    taken: list[bytearray] = []
    while not until() and len(taken) * _GIB // 8 < _MOST_EATEN:
        taken.append(bytearray(b"x") * (_GIB // 8))
        time.sleep(0.1)
    yield
    taken.clear()


@pytest.fixture(scope="module")
def hostile(work: Path) -> Path:
    return owners_work.hostile_image(work / "hostile")


@pytest.fixture(scope="module")
def borrowed(work: Path, hostile: Path) -> Iterator[Session]:
    """One session for all of these."""
    session = harness.start("--image", str(hostile), "--background", "--stop-grace", "0", base=work / "b")
    try:
        session.wait_phase("booting")
        yield session
    finally:
        session.kill()


def of_process(pid: int) -> tuple[str, ...]:
    """Its nice value, its class of disk I/O, and how nice the kernel is to its terminal session.

    The last is empty for who is in the kernel's first one: a CI's job has often never been in another (sched(7)).
    """
    place = Path("/proc") / str(pid)
    nice = (place / "stat").read_text().rpartition(")")[2].split()[16]
    disk = subprocess.run(["ionice", "-p", str(pid)], capture_output=True, text=True, check=True).stdout.strip()
    return nice, disk, (place / "autogroup").read_text().rpartition(" ")[2].strip()


def test_where_memory_is_short_it_does_not_begin(refuse: Refuse, blank_image: Path) -> None:
    # All that the node has: what is free changes while other tests end.
    much = f"{os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') >> 20}M"
    says = ["the guest takes up to", "are left to others (background_memory)"]
    refuse("--image", str(blank_image), "--background", "--background-memory", much, code=75, says=says)


def test_when_its_owner_needs_the_memory_it_is_shut_down(start: StartSession, blank_image: Path) -> None:
    """By its real share of the node's memory: somebody takes what is left above the floor."""
    # Others begin guests meanwhile, and nobody is to have that much before this one has begun.
    floor = available() - 2 * _GIB
    session = start(
        *("--image", str(blank_image), "--stop-grace", "1"),
        *("--background", "--background-memory", f"{floor >> 20}M"),
    )
    session.wait_phase("booting")
    with an_owner_who_takes(until=lambda: session.process.poll() is not None):
        assert session.wait_end() == 5, session.story()
    end = session.wait_event("finished")
    assert end["phase"] == "ended"
    assert "are others' (background_memory)" in end["reason"]


def test_all_that_works_for_the_guest_gives_way(borrowed: Session) -> None:
    """The machine, the shares, the page: each in the kernel's eyes, and as a session of its own."""
    programs = ("qemu-system-x86_64", "smbd", "inside.gateway")
    as_asked = ("19", "idle", "19")
    found: dict[str, tuple[str, ...]] = {}
    deadline = time.monotonic() + 240  # they come one after the other, and the kernel takes few such orders a second
    while found != dict.fromkeys(programs, as_asked) and time.monotonic() < deadline:
        lines = borrowed.processes().items()
        those = [(name, pid) for pid, line in lines for name in programs if name in line.split("--nproc")[0]]
        with suppress(OSError, subprocess.CalledProcessError):  # a helper of smbd's may go while it is looked at
            found = {name: of_process(pid) for name, pid in those}
        time.sleep(0.2)
    assert found == dict.fromkeys(programs, as_asked)
    assert of_process(borrowed.supervisor())[0] == "0", "who ends it has to be quick"


def test_the_guests_disk_is_not_held_in_the_nodes_cache(borrowed: Session) -> None:
    words = (Path("/proc") / str(borrowed.pid_of("qemu-system-x86_64")) / "cmdline").read_text().split("\0")
    drives = [json.loads(word) for word in words if word.startswith("{")]
    disks = [drive for drive in drives if drive["node-name"] in ("overlay", "layer0")]
    assert len(disks) == 2
    assert all(disk["file"]["cache"]["direct"] for disk in disks)


def test_an_owners_program_hardly_notices_a_guest_that_does_its_worst(borrowed: Session) -> None:
    taken = statistics.median(owners_work.taken(borrowed.pid_of("qemu-system-x86_64"), rounds=5))
    print(f"of the CPU time of both the guest takes {taken:.1%}")
    assert taken <= _MOST_TAKEN


def test_status_tells_what_it_is(borrowed: Session) -> None:
    told = harness.run("status", "--session-dir", str(borrowed.base)).stdout
    assert "in the background: it gives way to others on this node, and is shut down when" in told
