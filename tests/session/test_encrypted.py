"""An encrypted session: nothing of the guest's disk and memory is in any file of the node's, whatever becomes of it.

A mark that the guest has on its disk and in its memory is looked for in all raw files that the session leaves, while it
runs, is saved, suspended, resumed and killed. The same is done with a session that is not encrypted, and found there.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import harness
import pytest
from conftest import Refuse, StartSession
from harness import Session

_PIECE = 4 << 20


def holds(path: Path, mark: bytes) -> bool:
    """Whether a file has the mark anywhere."""
    before = b""
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            if mark in before + piece:
                return True
            before = piece[-len(mark) :]
    return False


def marked(mark: str, *folders: Path) -> set[str]:
    """The names of all files below these folders that have the mark; what goes meanwhile has none."""
    found = set()
    for folder in folders:
        for inner, _, names in os.walk(folder):
            for path in (Path(inner) / name for name in names):
                with suppress(FileNotFoundError):
                    if path.is_file() and not path.is_symlink() and holds(path, mark.encode()):
                        found.add(path.name)
    return found


def plant(session: Session, mark: str) -> None:
    """Put the mark on the guest's disk and into its memory."""
    line = f"yes {mark} | head -c 4000000"
    harness.as_root(session, f"{line} > /var/tmp/mine; {line} > /dev/shm/mine; sync")


@dataclass
class Told:
    """What came of it."""

    mark: str
    found: dict[str, set[str]] = field(default_factory=dict)
    """Where the mark was, by what the session was at."""
    kept: subprocess.CompletedProcess[str] | None = None
    suspended: subprocess.CompletedProcess[str] | None = None
    after: str = ""
    names: set[str] = field(default_factory=set)
    leftovers: set[str] = field(default_factory=set)
    saved: Path = Path()


@contextmanager
def watched(told: Told, what: str, *folders: Path) -> Iterator[None]:
    """Look all the while."""
    done, found = threading.Event(), told.found.setdefault(what, set())

    def look() -> None:
        while not done.wait(0.1):
            found.update(marked(told.mark, *folders))

    looking = threading.Thread(target=look)
    looking.start()
    try:
        yield
    finally:
        done.set()
        looking.join()
    found.update(marked(told.mark, *folders))


@pytest.fixture(scope="module")
def told(work: Path, spare: Path) -> Told:
    """One desktop: begun warm, saved live, suspended, gone on with, and killed."""
    mark, places = secrets.token_hex(20), {name: work / name for name in ("a", "b", "home", "state")}
    for place in places.values():
        place.mkdir(mode=0o700)
    told = Told(mark, saved=places["state"] / "saved" / "secret.7lbd")
    env = {"SEVENLBD_STATE_DIR": str(places["state"])}
    common = ("--image", str(spare), "--no-home-share", "--encrypt", "--acceptance")
    here = ("--session-dir", str(places["a"]), "secret")
    session = harness.start(*common, "--name", "secret", base=places["a"], env=env)
    try:
        session.wait_phase("ready")
        plant(session, mark)
        told.found["running"] = marked(mark, places["a"])
        told.names = {path.name for path in session.folder.iterdir()}
        with watched(told, "saved live", *places.values()):
            told.kept = harness.run("suspend", "--keep-running", *here, env=env, timeout=900)
        with watched(told, "suspended", *places.values()):
            told.suspended = harness.run("suspend", *here, env=env, timeout=900)
        session.wait_end()
    finally:
        session.kill()
    again = _gone_on(told, places, spare, env)
    again.send(signal.SIGKILL)
    again.process.wait(harness.PATIENCE)
    told.found["killed"] = marked(mark, *places.values())
    told.leftovers = {path.name for path in places["b"].rglob("*")}
    harness.run("gc", "--session-dir", str(places["b"]), env=env)
    return told


def _gone_on(told: Told, places: dict[str, Path], image: Path, env: dict[str, str]) -> Session:
    with watched(told, "resumed", *places.values()):
        again = harness.start(
            "--image", str(image), "--no-home-share", "--acceptance", "--resume", "secret", base=places["b"], env=env
        )
        try:
            again.wait_phase("ready")
            told.after = harness.as_root(again, "head -c 40 /dev/shm/mine; head -c 40 /var/tmp/mine")
        except BaseException:
            again.kill()
            raise
    return again


def test_a_mark_of_the_guests_is_in_no_file_whatever_the_session_is_at(told: Told) -> None:
    assert set(told.found) == {"running", "saved live", "suspended", "resumed", "killed"}
    assert {what: found for what, found in told.found.items() if found} == {}
    assert "overlay.qcow2" in told.leftovers, "there was something to find"


def test_without_encryption_it_is_found(spare: Path, start: StartSession) -> None:
    mark = secrets.token_hex(20)
    session = start("--image", str(spare), "--no-home-share", "--acceptance")
    session.wait_phase("ready")
    plant(session, mark)
    found = marked(mark, session.folder)
    session.send(signal.SIGTERM)
    session.wait_end()
    assert "overlay.qcow2" in found


def test_it_goes_on_as_it_was(told: Told) -> None:
    assert told.kept
    assert told.kept.returncode == 0, told.kept.stderr
    assert told.suspended
    assert told.suspended.returncode == 0, told.suspended.stderr
    assert told.after == 2 * told.mark


def test_what_would_be_files_is_in_memory(told: Told) -> None:
    assert not {"state", "variables.fd", "memory", "console.png"} & told.names


def test_a_saved_one_has_its_memory_as_a_part_of_its_own(told: Told) -> None:
    shown = json.loads(harness.run("saved", "show", "--json", str(told.saved)).stdout)
    assert [part["name"] for part in shown["parts"]][-1] == "memory"


class Machine:
    """A borrowed machine with a cache of images that lie encrypted; its site starts only what it has signed."""

    def __init__(self, folder: Path) -> None:
        self.mark = secrets.token_hex(20)
        self.images, self.cache, self.state = folder / "images", folder / "cache", folder / "state"
        self.toml = folder / "site.toml"
        self.env = {"SEVENLBD_STATE_DIR": str(self.state), "XDG_CACHE_HOME": str(folder / "home")}
        self.options = ["--bind", f"{self.toml}:/etc/7lbd/7lbd.toml"]
        self.toml.touch()
        raw = folder / "boot.raw"
        raw.write_bytes(_talkative().ljust(1 << 20, b"\0") + self.mark.encode() * 200_000)
        self.call("image", "keygen", str(folder / "site"))
        described = ("--os", "linux", "--firmware", "bios", "--disk-bus", "virtio", "--memory", "128M", "--cpus", "1")
        named = ("--name", "tiny", "--version", "1.0", "--publish")
        self.call("image", "add", str(raw), "--format", "raw", *named, *described, *self.here)
        self.call("image", "sign", "tiny@1.0", "--key", str(folder / "site.key"), *self.here)
        raw.unlink()
        public = (folder / "site.pub").read_text().strip()
        self.toml.write_text(f'require_signed = true\ntrusted_keys = ["{public}"]\n')

    @property
    def run(self) -> dict[str, Any]:
        return {"options": self.options, "env": self.env}

    @property
    def here(self) -> tuple[str, ...]:
        return ("--image-dir", str(self.images))

    @property
    def wanted(self) -> tuple[str, ...]:
        return ("--image", "tiny", *self.here, "--image-cache", str(self.cache))

    def call(self, *words: str) -> str:
        done = harness.run(*words, options=self.options, env=self.env)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def fetch(self) -> None:
        self.call("image", "cache", *self.here, "--image-cache", str(self.cache), "--encrypted", "tiny")


def _talkative() -> bytes:
    """A boot sector that says 7 on the serial line for ever: mov dx, 3f8h; mov al, '7'; out dx, al; jmp back."""
    return bytes.fromhex("baf803 b037 ee ebfb").ljust(510, b"\0") + b"\x55\xaa"


@pytest.fixture(scope="module")
def machine(work: Path) -> Machine:
    folder = work / "machine"
    folder.mkdir()
    made = Machine(folder)
    made.fetch()
    return made


def test_an_image_lies_encrypted_and_a_guest_boots_from_it(machine: Machine, start: StartSession) -> None:
    assert "disk.qcow2" in marked(machine.mark, machine.images), "in the repository it is in the clear"
    assert marked(machine.mark, machine.cache, machine.state) == set()
    session = start(*machine.wanted, options=machine.options, env=machine.env)
    session.wait_phase("booting")
    with socket.socket(socket.AF_UNIX) as serial:
        serial.connect(str(session.folder / "serial.sock"))
        serial.settimeout(harness.PATIENCE)
        assert b"7" in serial.recv(64)
    commands = " ".join(session.processes().values())
    found = marked(machine.mark, session.folder, machine.cache)
    session.send(signal.SIGTERM)
    session.wait_end()
    assert found == set()
    assert "luks" in commands, "QEMU reads it through its encryption"
    assert "overlay-key" in commands, "and so it writes"
    assert not re.search(r"\b[0-9a-f]{64}\b", commands), "no key stands on a command line"


def test_an_encrypted_image_that_was_altered_is_not_started(machine: Machine, refuse: Refuse, work: Path) -> None:
    disk = machine.cache / "tiny" / "1.0" / "disk.qcow2"
    good = disk.read_bytes()
    disk.chmod(0o600)
    disk.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    refuse(*machine.wanted, code=3, says=["disk.qcow2", "was altered", "fetched anew"], **machine.run)
    disk.write_bytes(good)


def test_a_changed_key_opens_it_and_a_lost_one_says_what_to_do(machine: Machine, refuse: Refuse) -> None:
    machine.call("grid", "rekey")
    key = machine.state / "grid" / "keys" / "wrapping-key"
    before = key.read_bytes()
    machine.call("grid", "rekey")
    assert key.read_bytes() != before
    key.write_bytes(before)
    says = ["is not opened by the wrapping key", "fetched anew"]
    refuse(*machine.wanted, code=2, says=says, **machine.run)
    key.unlink()
    refuse(*machine.wanted, code=2, says=["is gone", "fetched anew"], **machine.run)
    machine.call("grid", "rekey", "--forget")
    machine.call("image", "cache", "--image-cache", str(machine.cache), "--drop", "tiny@1.0")
    machine.fetch()
    machine.call("image", "cache", "--image-cache", str(machine.cache), "--list")
