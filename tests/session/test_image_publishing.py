"""The repository of images: versions published, rolled back and removed while desktops start and run."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import harness
import pytest
from conftest import Refuse, StartSession
from harness import Session
from strange import IMAGE, RESOURCES, boots, node, refusal

HOUR = 3600


class ImageRepository:
    """A repository with an image `win`, laid out by hand as docs/repository.md has it."""

    def __init__(self, path: Path, blank: Path) -> None:
        self.path, self._blank = path, blank
        self.where = ("--image-dir", str(path))

    def add(self, *versions: str) -> None:
        """Versions that boot to nothing."""
        for version in versions:
            folder = self.path / "win" / version
            shutil.copytree(self._blank, folder)
            (folder / "image.toml").touch()

    def image(self, *words: str, **options: Any) -> subprocess.CompletedProcess[str]:
        """`7lbd image ...` with this repository."""
        return harness.run("image", words[0], *self.where, *words[1:], **options)

    def done(self, *words: str, **options: Any) -> str:
        """The same; it must succeed. Returns what it prints."""
        done = self.image(*words, **options)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def refused(self, *words: str, code: int = IMAGE, says: list[str], **options: Any) -> str:
        """The same; it must be refused in these words."""
        return refusal(self.image(*words, **options), code, says)

    def shown(self, image: str) -> dict[str, Any]:
        """What `show --json` says."""
        sheet: dict[str, Any] = json.loads(self.done("show", image, "--json"))
        return sheet

    def current(self) -> str:
        """Where `current` leads."""
        return str((self.path / "win" / "current").readlink())

    def leases(self) -> list[Path]:
        """What lies in the folder of leases."""
        return sorted((self.path / ".leases").iterdir())


@pytest.fixture
def repository(work: Path, blank_image: Path, request: pytest.FixtureRequest) -> Iterator[ImageRepository]:
    """A repository with the versions 1 and 2."""
    place = work / f"repository-{request.node.name[:40]}"
    made = ImageRepository(place, blank_image)
    made.add("1", "2")
    yield made
    harness.remove(place)


def test_a_running_session_keeps_its_version_and_is_named(
    repository: ImageRepository, start: StartSession, base: Path
) -> None:
    repository.done("publish", "win@1")
    first = start("--image", "win", *repository.where)
    assert first.wait_phase("booting")["image"] == "win@1"
    repository.done("publish", "win@2")
    second = start("--image", "win", *repository.where)
    assert second.wait_phase("booting")["image"] == "win@2"
    whose = (
        f"session {first.id} of {subprocess.check_output(['id', '-un'], text=True).strip()} on {os.uname().nodename}"
    )
    (user,) = repository.shown("win@1")["users"]
    assert user.startswith(f"{whose}, since 20")
    repository.refused("rm", "win@1", "--force", says=["win@1 is in use", whose])
    assert f"kept      win@1: in use: {whose}" in repository.done("gc", "win", "--keep", "0", "--grace", "0s")
    assert [lease.stat().st_mode & 0o777 for lease in repository.leases()] == [0o644, 0o644]
    boots(second)
    assert len(repository.leases()) == 1, "an ended session takes its lease along"
    killed(first, base)
    assert len(repository.leases()) == 1, "a killed one cannot"
    assert repository.shown("win@1")["users"] == []
    assert "removed   win@1" in repository.done("gc", "win", "--keep", "0", "--grace", "0s")
    assert repository.leases() == []


def killed(session: Session, base: Path) -> None:
    """Kill a session's supervisor, and wait until all that was in it is gone."""
    left = set(session.processes())
    os.kill(session.supervisor(), signal.SIGKILL)
    session.wait_end()
    assert not harness.wait_until_gone(left)
    assert harness.run("gc", "--session-dir", str(base)).returncode == 0


def test_who_starts_while_versions_are_published_gets_one_of_them_whole(
    repository: ImageRepository, start: StartSession
) -> None:
    repository.done("publish", "win@1")
    with publishing(repository):
        sessions = [start("--image", "win", *repository.where) for _ in range(3)]
        for session in sessions:
            version = session.wait_phase("booting")["image"].removeprefix("win@")
            assert version in ("1", "2")
            assert opens(session, repository.path / "win" / version / "disk.qcow2")
            assert [lease.name.split("@")[1] for lease in repository.leases()].count(version) >= 1
    for session in sessions:
        boots(session)
    assert repository.leases() == []


def opens(session: Session, disk: Path) -> bool:
    """Whether the session's machine opens this file, within seconds: an overlay does not say what it stands on."""
    deadline = time.monotonic() + harness.PATIENCE
    files = Path(f"/proc/{session.pid_of('qemu-system-x86_64')}/fd")
    while time.monotonic() < deadline:
        for entry in files.iterdir():
            with suppress(FileNotFoundError):
                if entry.stat().st_ino == disk.stat().st_ino:
                    return True
        time.sleep(0.05)
    return False


@contextmanager
def publishing(repository: ImageRepository) -> Iterator[None]:
    """Two publishers at once, each as fast as it can."""
    over = threading.Event()
    codes: list[int] = []

    def publish(*versions: str) -> None:
        while not over.is_set():
            codes.extend(repository.image("publish", f"win@{version}").returncode for version in versions)

    both = [threading.Thread(target=publish, args=versions) for versions in (("1", "2"), ("2", "1"))]
    for thread in both:
        thread.start()
    try:
        yield
    finally:
        over.set()
        for thread in both:
            thread.join()
    told = (repository.path / "win" / "history").read_text().splitlines()
    assert set(codes) == {0}
    assert len(told) == len(codes) + 1
    assert told[-1].split()[2] == repository.current()
    assert not [path for path in (repository.path / "win").iterdir() if path.name.startswith(".current")]


def test_a_read_only_repository_serves_sessions_and_refuses_changes(
    repository: ImageRepository, start: StartSession
) -> None:
    for version in ("1", "2"):
        repository.done("publish", f"win@{version}")
    before = sorted((str(path), path.lstat().st_mtime_ns) for path in repository.path.rglob("*"))
    closed = {
        "prefix": node(f"mount --bind {repository.path} {repository.path}; mount -o remount,bind,ro {repository.path}")
    }
    for words in (("publish", "win@1"), ("rm", "win@1"), ("gc", "win")):
        repository.refused(
            *words, code=RESOURCES, says=["Read-only file system", str(repository.path), "--image-dir"], **closed
        )
    assert "would go" in repository.done("gc", "win", "--keep", "0", "--grace", "0s", "--dry-run", **closed)
    boots(start("--image", "win", *repository.where, **closed))
    assert sorted((str(path), path.lstat().st_mtime_ns) for path in repository.path.rglob("*")) == before


def test_a_full_disk_leaves_all_as_it_was_and_is_told(repository: ImageRepository) -> None:
    """A file system of 2 MiB with the repository on it, without a byte to spare, and then with room again."""
    full = repository.path.parent / "full"
    full.mkdir()
    changes = (
        f"mount -t tmpfs -o size=2M,mode=0755 none {full}; cp -a {repository.path}/win {full}; "
        f"mkdir -m 1777 {full}/.leases; dd if=/dev/zero of={full}/filler bs=4k 2>/dev/null || :"
    )
    call = harness.command("image", "publish", "win@1", "--image-dir", str(full))
    script = '"$@" && exit 1; ls -A "$F/win"; rm "$F/filler"; "$@" && readlink "$F/win/current" && ls -A "$F/win"'
    done = subprocess.run(
        [*node(changes), "env", f"F={full}", "sh", "-c", script, "sh", *call],
        env=harness.environment(),
        capture_output=True,
        text=True,
        timeout=harness.PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert f"{full}/win: cannot be changed: No space left on device" in done.stderr
    before, _, after = done.stdout.partition("win@1 is current")
    assert set(before.split()) <= {".lock", "history", "1", "2"}
    assert set(after.split()[-6:]) >= {"1", "2", ".lock", "history", "current"}
    full.rmdir()


def test_leases_of_other_nodes_keep_until_they_are_stale(repository: ImageRepository) -> None:
    repository.done("publish", "win@2")
    lease = repository.path / ".leases" / "win@1@0123456789abcdef.lease"
    said = {"host": "node7", "user": "bob\x1b[31m", "note": "session xyz", "boot": "another", "space": 1, "pid": 1}
    lease.write_text(json.dumps(said))
    told = repository.refused("rm", "win@1", says=["win@1 is in use: session xyz of bob", "on node7"])
    assert "\x1b" not in told
    assert "xyz" in repository.shown("win@1")["users"][0]
    hours_ago = time.time() - 2 * HOUR
    os.utime(lease, (hours_ago, hours_ago))
    (repository.path / ".leases" / "win@1@link.lease").symlink_to("/dev/zero")
    os.mkfifo(repository.path / ".leases" / "win@1@pipe.lease")
    assert "removed   win@1" in repository.done("gc", "win", "--keep", "1", "--grace", "0s")
    assert not lease.exists()


def test_a_disk_that_is_replaced_while_a_session_starts_is_refused(
    refuse: Refuse, blank_image: Path, work: Path
) -> None:
    disk = work / "replaced.qcow2"
    shutil.copy(blank_image / "disk.qcow2", disk)
    over = threading.Event()

    def replace() -> None:
        while not over.wait(0.01):
            shutil.copy(disk, work / "fresh.qcow2")
            (work / "fresh.qcow2").replace(disk)

    thread = threading.Thread(target=replace)
    thread.start()
    try:
        refuse("--image", str(disk), "--memory", "512M", code=IMAGE, says=[str(disk), "while the session began"])
    finally:
        over.set()
        thread.join()


def test_a_name_or_a_current_that_leads_elsewhere_is_refused(repository: ImageRepository, refuse: Refuse) -> None:
    current = repository.path / "win" / "current"
    refuse("--image", "win@..", *repository.where, code=IMAGE, says=["`..` cannot be a version's name"])
    refuse(
        "--image", "win", *repository.where, code=IMAGE, says=["no version of image `win`", "there are 1, 2", "publish"]
    )
    for leads, why in (("../../win/2", "not a version beside it"), ("3", "which is not there")):
        current.symlink_to(leads)
        refuse("--image", "win", *repository.where, code=IMAGE, says=[str(current), why, "7lbd image publish win@"])
        current.unlink()
