"""Warm starts: a session that goes on from a frozen machine is its user's own, and nobody else's."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import harness
import memory
import pytest
from conftest import StartSession
from harness import Console, Session
from strange import refusal

WARM = harness.DEMO / "warm"
HOME = Path.home()


@pytest.fixture
def image(work: Path, spare: Path) -> Path:
    """The demo image with a warm state that a test may change; its large files are links."""
    folder = work / f"warm-{secrets.token_hex(4)}"
    (folder / "warm").mkdir(parents=True)
    shutil.copy(harness.DEMO / "image.toml", folder)
    os.link(spare / "disk.qcow2", folder / "disk.qcow2")
    for path in (spare / "warm").iterdir():
        if path.name in ("memory", "disk.qcow2"):
            os.link(path, folder / "warm" / path.name)
        else:
            shutil.copy(path, folder / "warm")
            (folder / "warm" / path.name).chmod(0o600)
    return folder


def milestones(session: Session) -> set[str]:
    """What the session's guest has reached by now."""
    state: dict[str, Any] = json.loads((session.folder / "session.json").read_text())
    return set(state["milestones"])


def test_two_sessions_from_one_warm_state_are_strangers(start: StartSession) -> None:
    first, second = (start("--image", str(harness.DEMO), "--name", name) for name in ("first", "second"))
    for session in (first, second):
        session.wait_phase("ready")
        assert {"thawed", "clock", "password", "session", "rdp"} <= milestones(session)
    # Each with its own: time, name, files, randomness.
    shells = [Console(session) for session in (first, second)]
    mine = HOME / f"7lbd-warm-{secrets.token_hex(8)}"
    mine.write_text("from the node\n")
    try:
        for shell in shells:
            assert abs(int(shell.run("date +%s")) - time.time()) < 30
            assert shell.run("hostname") == "demo-guest"
            assert shell.run(f"cat ~/Home/{mine.name}") == "from the node"
            assert "reseeded due to virtual machine fork" in shell.run("sudo dmesg")
    finally:
        mine.unlink()
    drawn = {shell.run("head -c 16 /dev/urandom | od -An -tx1") for shell in shells}
    assert len(drawn) == 2
    # What the first one knows, the second must not.
    on_disk, in_memory = secrets.token_hex(20), secrets.token_hex(20)
    shells[0].run(f"echo {on_disk} | sudo tee /var/tmp/secret >/dev/null; sync; echo {in_memory} > /dev/shm/secret")
    words = {"password": first.password(), "disk": on_disk, "memory": in_memory}
    sought = {name: word.encode() for name, word in words.items()}
    assert memory.holds(first.pid_of("qemu-system-x86_64"), sought) == set(sought), "the search finds what is there"
    assert memory.file_holds(first.folder / "overlay.qcow2", sought) >= {"disk"}
    assert memory.holds(second.pid_of("qemu-system-x86_64"), sought) == set()
    assert memory.file_holds(second.folder / "overlay.qcow2", sought) == set()
    for path in (*WARM.iterdir(), harness.DEMO / "disk.qcow2"):
        assert memory.file_holds(path, sought) == set(), path
    for session in (first, second):
        session.send(signal.SIGTERM)
    for session in (first, second):
        assert session.wait_end() == 0, session.story()


def test_it_boots_when_that_is_wanted(start: StartSession) -> None:
    session = start("--image", str(harness.DEMO), "--no-warm")
    assert not [text for text in session.wait_phase("booting")["warnings"] if "warm" in text]
    assert "thawed" not in milestones(session)
    session.send(signal.SIGTERM)
    assert session.wait_end() == 143


def _record(image: Path, change: Callable[[dict[str, Any]], object]) -> None:
    path = image / "warm" / "warm.json"
    record = json.loads(path.read_text())
    change(record)
    path.write_text(json.dumps(record))


STRANGE: dict[str, tuple[Callable[[Path], object], list[str], str]] = {
    "made by another QEMU": (
        lambda image: _record(image, lambda record: record["needs"].update(qemu="1:9.2")),
        [],
        "QEMU 1:9.2 when frozen",
    ),
    "with another memory size": (lambda image: None, ["--memory", "1G"], "memory 2.0 GiB when frozen, 1.0 GiB here"),
    "without its memory": (lambda image: (image / "warm" / "memory").unlink(), [], "No such file"),
    # What only QEMU notices.
    "its devices cut short": (lambda image: os.truncate(image / "warm" / "state", 4096), [], "migrate-incoming failed"),
    "its devices noise": (
        lambda image: (image / "warm" / "state").write_bytes(os.urandom(65536)),
        [],
        "migrate-incoming failed",
    ),
}


@pytest.mark.parametrize("case", STRANGE)
def test_a_warm_state_that_does_not_fit_is_told_and_the_guest_boots(
    start: StartSession, image: Path, case: str
) -> None:
    change, options, says = STRANGE[case]
    change(image)
    session = start("--image", str(image), *options)
    session.wait_phase("booting")
    state = json.loads((session.folder / "session.json").read_text())
    notes = [text for text in state["warnings"] if "warm state" in text]
    assert len(notes) == 1, session.story()
    assert says in notes[0]
    assert "the guest boots" in notes[0]
    assert "thawed" not in state["milestones"]
    session.send(signal.SIGTERM)
    assert session.wait_end() == 143, session.story()


def image_warm(*arguments: str, **options: Any) -> Any:
    return harness.run("image", "warm", *arguments, **options)


def test_a_second_warm_state_wants_a_word(image: Path) -> None:
    refusal(image_warm(str(image)), 3, ["has a warm state already", "--again"])
    assert "has a warm state that fits" in image_warm("--if-needed", str(image)).stdout


def test_a_signed_version_is_not_touched(work: Path, spare: Path) -> None:
    repository = work / "warm-repository"
    version = repository / "demo" / "1"
    version.mkdir(parents=True)
    (repository / ".leases").mkdir(mode=0o1777)
    shutil.copy(harness.DEMO / "image.toml", version)
    os.link(spare / "disk.qcow2", version / "disk.qcow2")
    keys, here = str(work / "warm-site"), ("--image-dir", str(repository))
    assert harness.run("image", "keygen", keys).returncode == 0
    assert harness.run("image", "sign", *here, "demo@1", "--key", f"{keys}.key").returncode == 0
    refusal(image_warm(*here, "demo@1"), 3, ["is signed", "--as VERSION"])
    refusal(image_warm(*here, "demo@1", "--as", "../2"), 3, ["cannot be a version's name"])
    refusal(image_warm(*here, "demo@1", "--as", "1"), 3, ["demo@1 exists already"])


def test_a_warm_state_that_is_in_use_is_not_replaced(start: StartSession, image: Path, work: Path) -> None:
    version = work / "used" / "demo" / "1"
    version.parent.mkdir(parents=True)
    (work / "used" / ".leases").mkdir(mode=0o1777)
    image.rename(version)
    here = ("--image-dir", str(work / "used"))
    session = start(*here, "--image", "demo@1")
    assert "thawed" in session.wait_phase("ready")["milestones"]
    refusal(image_warm(*here, "demo@1", "--again"), 3, ["is in use", "--as VERSION"])
    session.send(signal.SIGTERM)
    assert session.wait_end() in (0, 143)


def test_a_bare_disk_can_have_none() -> None:
    refusal(image_warm(str(harness.DEMO / "disk.qcow2")), 3, ["a bare disk file", "image add"])


def test_an_image_without_agent_can_have_none(blank_image: Path) -> None:
    refusal(image_warm(str(blank_image)), 3, ["guest agent", "channels"])


def test_an_image_on_nvme_can_have_none(mute: Path) -> None:
    with (mute / "image.toml").open("a") as described:
        described.write('disk_bus = "nvme"\n')
    refusal(image_warm(str(mute)), 3, ["NVMe", "disk_bus"])


@pytest.fixture
def mute(work: Path) -> Path:
    """An image whose guest never answers."""
    folder = work / f"mute-{secrets.token_hex(4)}"
    folder.mkdir()
    harness.tool("qemu-img", "create", "-q", "-f", "qcow2", str(folder / "disk.qcow2"), "64M")
    (folder / "image.toml").write_text(
        'os = "linux"\nfirmware = "bios"\nmemory = "128M"\ncpus = 1\nchannels = ["agent"]\n'
    )
    return folder


def test_a_guest_that_never_gets_ready_leaves_nothing(mute: Path, base: Path) -> None:
    done = image_warm(str(mute), "--ready-timeout", "3", "--session-dir", str(base))
    assert done.returncode == 7, done.stdout + done.stderr
    assert "not ready within 3 s" in done.stderr
    assert not list(mute.parent.glob(".warm-*"))
    assert not (mute / "warm").exists()


def test_an_interrupt_leaves_nothing(mute: Path, base: Path) -> None:
    running = subprocess.Popen(harness.command("image", "warm", str(mute), "--session-dir", str(base)))
    try:
        deadline = time.monotonic() + harness.PATIENCE
        while not any("booting" in path.read_text() for path in base.glob("warm-*/session.json")):
            assert time.monotonic() < deadline, "it does not begin"
            time.sleep(0.1)
        assert list(mute.parent.glob(".warm-*")), "there is something to leave"
        running.send_signal(signal.SIGINT)
        assert running.wait(harness.PATIENCE) == 130
    finally:
        running.kill()
        running.wait()
    assert not list(mute.parent.glob(".warm-*"))


def test_a_folder_that_cannot_be_written_to_is_told_before_anything_starts(mute: Path, base: Path) -> None:
    mute.parent.chmod(0o500)
    try:
        done = image_warm(str(mute), "--session-dir", str(base))
    finally:
        mute.parent.chmod(0o700)
    refusal(done, 3, ["cannot be written to", "where the repository is writable"])
