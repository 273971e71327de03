"""The wall, tried by code that runs as a process of the session which was taken over: docs/theory.md's list is all.

One session of an image that boots to nothing has every process that there is to take over. Each test plants what it
can, and looks outside for what came of it.
"""

from __future__ import annotations

import json
import os
import re
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import harness
import inside
import pytest
from harness import Session

THEORY = harness.REPO / "docs" / "theory.md"
DEVICES = {"/dev/null", "/dev/zero", "/dev/random", "/dev/urandom", "/dev/net/tun"}
WHO = list(inside.AS)
# What a taken-over process would like to be followed, opened, waited for or unpacked.
PLANT = """
def trap(place):
    made = []
    for name, act in (
        ("session.new", lambda at: os.symlink(given[0], at)), ("session.json", lambda at: os.symlink(given[0], at)),
        ("credentials.json", lambda at: os.symlink(given[0], at)), ("logs/z", lambda at: os.symlink("/dev/zero", at)),
        ("logs/fifo", os.mkfifo), ("logs/link", lambda at: os.symlink(given[0], at)), ("tls", os.mkdir),
        ("control.sock", lambda at: socket.socket(socket.AF_UNIX).bind(at)),
        ("tls/client.zip", lambda at: open(at, "wb").write(b"PK")),
    ):
        try:
            act(f"{place}/{name}")
            made.append(name)
        except OSError:
            pass
    for number in range(10_000):
        try:
            open(f"{place}/logs/many{number}", "x").close()
        except OSError:
            break
    for name in ("overlay.qcow2", "logs/qemu.log", "logs/serial.log", "console.png"):
        for act in (os.unlink, lambda at: os.rename(at, at + ".old"), lambda at: os.replace(f"{place}/logs/z", at)):
            try:
                if os.path.lexists(f"{place}/{name}"):
                    act(f"{place}/{name}")
                    made.append(f"gone: {name}")
            except OSError:
                pass
    return made
found = trap("/run/7lbd/session") + trap("/run/7lbd")
"""


@pytest.fixture(scope="module")
def victim(blank_image: Path, work: Path) -> Iterator[Session]:
    """Its folder lies in a share, which can be written to, and in another one by another name of the same place."""
    (work / "other").symlink_to(work)
    session = harness.start(
        *("--image", str(blank_image), "--name", "victim", "--no-home-share", "--rdp-tls", "127.0.0.1:0"),
        *("--share", f"all={work}", "--share", "again=/mnt/again:ro", "--ready-timeout", "3600s"),
        options=["--bind", f"{work}:/mnt/again"],
        base=work / "b",
    )
    try:
        session.wait_phase("booting")
        inside.pid(session, "gateway")
        yield session
    finally:
        session.kill()


def listed(who: str) -> set[str]:
    """The session's files in theory.md's table that `who` writes."""
    table = THEORY.read_text().partition("## Files that both sides touch")[2].partition("\n## ")[0]
    rows = [row.split(" | ") for row in re.findall(r"^\| (`.+) \|$", table, re.MULTILINE)]
    return {name for row in rows if who in row[1] for name in re.findall(r"`([^`]+)`", row[0])}


WRITABLE = """
own = {os.stat(path).st_dev for path in ("/", "/tmp", "/run/7lbd", "/var/tmp")} - {os.stat(given[0]).st_dev}
found = []
for top, folders, files in os.walk("/"):
    if top == "/":
        folders.remove("proc")
    for name in [*folders, *files]:
        path = os.path.join(top, name)
        if not os.path.islink(path) and os.access(path, os.W_OK) and os.stat(path).st_dev not in own:
            found.append(path)
    if top == given[0]:
        folders.clear()
"""


@pytest.mark.parametrize("who", WHO)
def test_what_can_be_written_inside_is_what_theory_lists(victim: Session, work: Path, who: str) -> None:
    found = set(inside.run(victim, who, WRITABLE, work))
    shared = {path for path in found if Path(path).is_relative_to(work)}
    assert str(work) in shared
    session = {path.removeprefix("/run/7lbd/").removeprefix("session/") for path in found - shared - DEVICES}
    assert session == listed("inside") - {"memory"}


@pytest.mark.parametrize("who", WHO)
def test_nothing_of_the_node_is_there_but_what_is_meant(victim: Session, who: str) -> None:
    assert inside.run(victim, who, "found = [os.listdir(path) for path in ('/var/tmp', '/run')]") == [[], ["7lbd"]]


@pytest.mark.parametrize("who", WHO)
def test_the_sessions_folders_do_not_show_in_a_share_by_any_name(victim: Session, work: Path, who: str) -> None:
    names = [work / "b", "/mnt/again/b", work / "other" / "b", victim.folder]
    told = inside.run(
        victim,
        who,
        """
        found = []
        for name in given:
            try:
                found.append(os.listdir(name))
            except OSError as error:
                found.append(error.errno)
        """,
        *names,
    )
    assert told == [[], [], [], 2]


@pytest.mark.parametrize("who", WHO)
def test_no_secret_of_the_ways_in_can_be_read_inside(victim: Session, who: str) -> None:
    """The gateway knows the keys by their hashes, and the bundle for clients stays outside until it is asked for."""
    secret = json.loads((victim.folder / "credentials.json").read_text())
    told = inside.run(
        victim,
        who,
        """
        found = []
        for top, _, files in os.walk("/run/7lbd"):
            for name in files:
                path = os.path.join(top, name)
                if os.path.isfile(path) and os.path.getsize(path) < 1 << 20 and "/image" not in top:
                    content = open(path, "rb").read()
                    if any(one.encode() in content for one in given) or content[:2] == b"PK":
                        found.append(path)
        """,
        *secret["tokens"].values(),
    )
    assert told == []


@pytest.mark.parametrize("who", WHO)
def test_no_socket_of_the_node_can_be_reached(victim: Session, who: str) -> None:
    with socket.socket(socket.AF_UNIX) as abstract:
        abstract.bind(f"\0wall-{os.getpid()}")
        abstract.listen()
        told = inside.run(
            victim,
            who,
            """
            found = []
            for place in (given[0] + "/control.sock", "/run/7lbd/session/control.sock", "\\0" + given[1]):
                try:
                    socket.socket(socket.AF_UNIX).connect(place)
                    found.append(place)
                except OSError:
                    pass
            """,
            victim.folder,
            f"wall-{os.getpid()}",
        )
    assert told == []


@pytest.mark.parametrize("who", WHO)
def test_the_mounts_hold_in_a_namespace_of_ones_own_too(victim: Session, work: Path, who: str) -> None:
    """There a process has every capability; what was mounted before stays as it was (mount_namespaces(7))."""
    told = inside.run(
        victim,
        who,
        """
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.unshare(0x10000000 | 0x00020000):
            sys.exit(0)
        found = []
        for place in ("/run/7lbd/session/logs/qemu.log", "/run/7lbd/image/0", "/var/tmp", "/", given[0]):
            if libc.umount2(place.encode(), 2) == 0:
                found.append("umount " + place)
        for place in ("/run/7lbd/image/0", "/usr", "/etc/hosts", given[1]):
            if libc.mount(b"none", place.encode(), None, 32 | 4096, None) == 0 and os.access(place, os.W_OK):
                found.append("remount " + place)
        """,
        work / "b",
        "/mnt/again",
    )
    assert told in ([], None)


@pytest.mark.parametrize("who", WHO)
def test_a_file_of_both_sides_gets_no_second_name(victim: Session, work: Path, who: str) -> None:
    told = inside.run(
        victim,
        who,
        """
        found = []
        log = os.open("/run/7lbd/session/logs/qemu.log", os.O_WRONLY)
        for source in ("/run/7lbd/session/logs/qemu.log", "/run/7lbd/overlay.qcow2", f"/proc/self/fd/{log}"):
            try:
                os.link(source, given[0] + "/second", follow_symlinks=True)
                found.append(source)
            except OSError:
                pass
        """,
        work,
    )
    assert told == []
    assert not (work / "second").exists()


@pytest.mark.parametrize("who", WHO)
def test_the_keeper_cannot_be_looked_into(victim: Session, who: str) -> None:
    told = inside.run(
        victim,
        who,
        """
        libc = ctypes.CDLL(None, use_errno=True)
        found = [libc.ptrace(16, 1, 0, 0)]
        for name in ("mem", "environ", "fd", "root", "cwd", "maps"):
            try:
                os.listdir("/proc/1/fd") if name == "fd" else open(f"/proc/1/{name}").read(1)
                found.append(name)
            except OSError:
                pass
        """,
    )
    assert told == [-1]


# What each process may hold, beside sockets, pipes and what the kernel makes without a name.
OWN = re.compile(
    r"/dev/(null|net/tun|kvm)|/memfd:.*|/tmp/.*"
    r"|/run/7lbd/(samba/|dnsmasq|tpm|vnc|variables|image/|overlay\.qcow2|session/).*"
)


def test_every_descriptor_that_a_process_inside_holds_is_meant(victim: Session) -> None:
    outside = {victim.process.pid, victim.supervisor()}
    seen = 0
    for pid, line in victim.processes().items():
        if pid in outside or "sevenlbd.inside " in line or "7lbd run" in line:
            continue  # the keeper cannot be looked into, and who waits for it is in front of the wall
        for entry in Path(f"/proc/{pid}/fd").iterdir():
            target = str(entry.readlink())
            seen += 1
            assert target.startswith(("socket:", "pipe:", "anon_inode:")) or OWN.fullmatch(target), (line, target)
            assert not entry.is_dir(), (line, target)
    assert seen > 50


def test_whatever_is_planted_inside_changes_nothing_outside_and_ends_no_report(
    victim: Session, work: Path, tmp_path: Path
) -> None:
    """The last one here: it ends the session."""
    precious = tmp_path / "bashrc"
    precious.write_text("mine\n")
    before = {path.relative_to(victim.folder) for path in victim.folder.rglob("*")}
    for who in WHO:
        planted = inside.run(victim, who, PLANT, precious)
        assert not [name for name in planted if name.startswith("gone")]
        inside.run(victim, who, "with open('/run/7lbd/session/logs/qemu.log', 'wb') as log: log.truncate(1 << 43)")
    assert {path.relative_to(victim.folder) for path in victim.folder.rglob("*")} == before
    for arguments in (("status",), ("connect", "--url=desktop", "victim"), ("connect", "--renew", "victim")):
        done = harness.run(*arguments, "--session-dir", str(victim.base), timeout=harness.PATIENCE)
        assert done.returncode == 0, done.stderr
    os.kill(victim.pid_of("qemu-system-x86_64"), signal.SIGKILL)
    assert victim.wait_end() != 0, "nobody reads eight TiB"
    kept = Path(victim.wait_event("kept")["folder"])
    names = {str(path.relative_to(kept)) for path in kept.rglob("*")}
    assert names <= {"lock", "logs", "session.json", "console.png", *listed("inside")}
    assert sum(path.stat().st_size for path in kept.rglob("*")) < 64 << 20
    assert all(path.is_dir() or (path.is_file() and not path.is_symlink()) for path in kept.rglob("*"))
    assert precious.read_text() == "mine\n"
    assert not [path for path in work.iterdir() if path.name not in ("b", "other")]
