"""The disk under the overlay fills up while the guest writes: it stands still, its user is told, nothing is lost."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import harness
import pytest
from conftest import StartSession
from harness import Console, Session
from strange import RESOURCES, node, refusal

MIB = 1 << 20
DISK = 1600 * MIB
WRITTEN = 200
"""MiB that the guest writes; less than half of it fits at first."""


class Disk:
    """The small file system that a session lives on, seen from outside."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._root = session.folder.parent
        self._filler = self._root / "filler"

    def fill(self, leave: int) -> None:
        """Leave just so many bytes free."""
        size = shutil.disk_usage(self._root).free - leave
        with self._filler.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, size)

    def make_room(self) -> None:
        """Free what `fill` took."""
        self._filler.unlink()

    def call(self, *words: str) -> subprocess.CompletedProcess[str]:
        """What a verb comes to that is called on the same node."""
        inside = ["nsenter", "-t", str(self._session.process.pid), "-U", "-m", "--preserve-credentials"]
        return harness.run(*words, "--session-dir", str(self._session.base), prefix=inside)

    def status(self) -> dict[str, Any]:
        """What `7lbd status` says, called on the same node."""
        done = self.call("status", "--json")
        (state,) = json.loads(done.stdout)
        assert isinstance(state, dict)
        return state


def wait_warning(session: Session, words: str, times: int = 1, seconds: float = harness.PATIENCE) -> None:
    """Until `run` has printed so many warnings with these words."""
    deadline = time.monotonic() + seconds
    while len([event for event in session.events if words in str(event.get("text"))]) < times:
        assert time.monotonic() < deadline, f"`{words}` was not said:\n{session.story()}"
        time.sleep(0.2)


@pytest.fixture
def full(start: StartSession, base: Path) -> Session:
    """A demo guest that one can log in to, on a small file system. Its desktop is not waited for."""
    prefix = node(f"mount -t tmpfs -o size={DISK},mode=0700 none {base}")
    asked = ("--image", str(harness.DEMO), "--min-space", "1G", "--stop-grace", "5s", "--ready-timeout", "1h")
    session = start(*asked, "--state-dir", str(base / "state"), prefix=prefix, apart=True)
    session.wait_phase("guest-up")
    deadline = time.monotonic() + 900
    while "password" not in json.loads((session.folder / "session.json").read_text())["milestones"]:
        assert time.monotonic() < deadline, session.story()
        time.sleep(1)
    return session


def test_a_full_disk_stops_the_guest_until_there_is_room_and_loses_nothing(full: Session) -> None:
    disk, console = Disk(full), Console(full)
    console.run(f"head -c {WRITTEN}M /dev/urandom >/dev/shm/source && cd /var/tmp", 900)
    console.run("sync")
    disk.fill(leave=WRITTEN * MIB * 2 // 5)
    console.run("{ (dd if=/dev/shm/source of=blob bs=1M conv=fsync; echo $? >/dev/shm/code) >/dev/null 2>&1 & }")
    wait_warning(full, "no space left")
    paused = disk.status()
    assert "no space left" in paused["paused"]
    assert str(full.base) in paused["paused"], "it says where to make room"
    time.sleep(3)
    assert full.process.poll() is None, "the session lives on"
    disk.make_room()
    wait_warning(full, "there is room again")
    assert disk.status()["paused"] == ""
    console.run("while ! [ -s /dev/shm/code ]; do sleep 1; done", 900)
    assert console.run("cat /dev/shm/code").strip() == "0"
    console.run("dd of=blob oflag=nocache conv=notrunc,fdatasync count=0 status=none; cmp /dev/shm/source blob", 900)
    assert "I/O error" not in console.run("dmesg 2>&1 || :")
    console.run("rm blob; sync")
    not_suspended_while_full(full, disk, console)
    stop_while_full(full, disk, console)


def not_suspended_while_full(session: Session, disk: Disk, console: Console) -> None:
    """What its memory would take is no room, and what was written of it is none that the guest lacks afterwards."""
    session.wait_phase("ready")
    disk.fill(leave=100 * MIB)
    for how in (["--keep-running"], []):
        done = disk.call("suspend", "--to", "/dev/shm/never.7lbd", *how)
        refusal(done, RESOURCES, ["No space left", "it goes on", str(session.base)])
        console.run("dd if=/dev/shm/source of=blob bs=1M count=20 conv=fsync 2>&1 && rm blob && sync")
    disk.make_room()


def stop_while_full(session: Session, disk: Disk, console: Console) -> None:
    """A guest that stands still can be stopped all the same."""
    told = len([event for event in session.events if "no space left" in str(event.get("text"))])
    disk.fill(leave=16 * MIB)
    console.run("{ dd if=/dev/shm/source of=blob2 bs=1M conv=fsync >/dev/null 2>&1 & }")
    wait_warning(session, "no space left", told + 1)
    console.close()
    session.send(signal.SIGTERM)
    code = session.wait_end()
    last = session.events[-1]
    assert last["phase"] == "ended", session.story()
    assert code == (0 if "ready" in last["phases"] else 143)
