"""Maintenance of an image: what is done to the child is in the new version and nowhere else, whatever happens."""

from __future__ import annotations

import hashlib
import json
import os
import pty
import shutil
import signal
import struct
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import harness
import pexpect
import pexpect.fdpexpect
import pytest
import sitenet
import siteserver
from conftest import keep
from harness import Console, Session
from strange import IMAGE, RESOURCES, USAGE, node, refusal

SECTOR = 512
WRITTEN = b"7lbd was here\n"


class Upkeep(Session):
    """A running `image maintain`; what it tells are lines, and its session folder is known by name."""

    @property
    def folder(self) -> Path:
        return self.base / "upkeep"

    def supervisor(self) -> int:
        return int(self.state()["pid"])

    def state(self) -> dict[str, Any]:
        """Its session.json, once there is one."""
        deadline = time.monotonic() + harness.PATIENCE
        while time.monotonic() < deadline:
            with suppress(OSError, ValueError):
                state: dict[str, Any] = json.loads((self.folder / "session.json").read_text())
                return state
            assert self.process.poll() is None, self.output()
            time.sleep(0.05)
        raise AssertionError("there is no session")

    def until(self, phase: str, seconds: float) -> None:
        """Wait for a phase."""
        deadline = time.monotonic() + seconds
        while phase not in self.state()["phases"]:
            assert time.monotonic() < deadline, self.state()
            time.sleep(0.2)

    def output(self) -> str:
        """All that it printed, after its end."""
        told, _ = self.process.communicate(timeout=300)
        return told


class ImageRepository:
    """A repository with the version 1 of `win`."""

    def __init__(self, path: Path, base: Path) -> None:
        self.path, self.base = path, base
        self.home = path / "win"

    def words(self, *words: str, options: Sequence[str] = ()) -> list[str]:
        """The command line of `7lbd image ...` here, with `options` for Apptainer."""
        return harness.command("image", words[0], "--image-dir", str(self.path), *words[1:], options=options)

    def image(self, *words: str, **options: Any) -> subprocess.CompletedProcess[str]:
        """`7lbd image ...` to its end."""
        return harness.run("image", words[0], "--image-dir", str(self.path), *words[1:], **options)

    def maintained(self, *words: str, **options: Any) -> subprocess.CompletedProcess[str]:
        """`7lbd image maintain win ...` to its end."""
        place = ("--session-dir", str(self.base), "--name", "upkeep")
        return self.image("maintain", "win", *place, *words, **options)

    def begin(self, *words: str, prefix: Sequence[str] = (), options: Sequence[str] = ()) -> Upkeep:
        """The same, in the background."""
        place = ("--session-dir", str(self.base), "--name", "upkeep")
        process = subprocess.Popen(
            [*prefix, *self.words("maintain", "win", *place, *words, options=options)],
            env=harness.environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        return Upkeep(process, self.base)

    def version(self, version: str) -> Path:
        """The folder of a version."""
        return self.home / version

    def names(self) -> set[str]:
        """What lies in the image's folder, locks aside."""
        return {path.name for path in self.home.iterdir()} - {".lock"}


def digests(folder: Path) -> dict[str, tuple[str, int]]:
    """Content and time of every file."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.name: (hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_mtime_ns) for path in files}


def sector(disk: Path, number: int) -> bytes:
    """A sector of a disk, by qemu-img."""
    piece = disk.parent.parent / f"piece-{os.getpid()}"
    source = f"driver=raw,offset={number * SECTOR},size={SECTOR},file.driver=qcow2,file.file.filename={disk}"
    harness.tool("qemu-img", "convert", "-U", "-O", "raw", "--image-opts", source, str(piece))
    try:
        return piece.read_bytes()
    finally:
        piece.unlink()


def guest_in_a_sector() -> bytes:
    """A guest that writes a sector to its disk and switches itself off, all within a boot sector.

    INT 13h, function 43h writes what its packet says (Enhanced Disk Drive); SLP_EN in the power management's control
    register, which SeaBIOS puts at 0x604 on this board, is the power switch (ACPI 6.5, 4.8.3.2).
    """
    code = bytes.fromhex("fa 31c0 8ed8 8ec0 8ed0 bc007c fb")  # cli; ds = es = ss = 0; sp = 0x7c00; sti
    code += bytes.fromhex("be407c b80043 cd13")  # si = packet; ax = 0x4300; int 0x13 (dl is the boot drive)
    code += bytes.fromhex("ba0406 b80020 ef f4 ebfd")  # dx = 0x604; ax = 0x2000; out dx, ax; hlt; jmp to hlt
    packet = struct.pack("<BBHHHQ", 16, 0, 1, 0x7C80, 0, 1)  # one sector, from 0x7c80, to sector 1
    return (code.ljust(0x40, b"\0") + packet).ljust(0x80, b"\0") + WRITTEN.ljust(SECTOR - 0x82, b"\0") + b"\x55\xaa"


@pytest.fixture
def repository(work: Path, base: Path, blank_image: Path, request: pytest.FixtureRequest) -> Iterator[ImageRepository]:
    """A repository whose one version has a guest that is done at once; nothing of a session may be left."""
    before = harness.my_processes()
    made = ImageRepository(work / f"upkeep-{request.node.name[:40]}", base)
    shutil.copytree(blank_image, made.version("1"))
    raw = work / "sector.raw"
    raw.write_bytes(guest_in_a_sector().ljust(8 << 20, b"\0"))
    harness.tool("qemu-img", "convert", "-O", "qcow2", str(raw), str(made.version("1") / "disk.qcow2"))
    toml = made.version("1") / "image.toml"
    toml.write_text(toml.read_text().replace("blank", "win") + 'version = "1"\n')
    for path in (*made.version("1").iterdir(), made.version("1")):
        path.chmod(0o555 if path.is_dir() else 0o444)
    assert made.image("publish", "win@1").returncode == 0
    yield made
    left = harness.wait_until_gone(harness.my_processes() - before)
    assert not left, f"processes are left: {left}"
    harness.remove(made.path)


@pytest.fixture
def idle(repository: ImageRepository) -> ImageRepository:
    """The same with a guest that does nothing: its disk is blank."""
    version = repository.version("1")
    version.chmod(0o755)
    (version / "disk.qcow2").unlink()
    harness.tool("qemu-img", "create", "-q", "-f", "qcow2", str(version / "disk.qcow2"), "64M")
    version.chmod(0o555)
    return repository


def test_what_was_done_is_in_the_new_version_and_not_in_the_old_one(repository: ImageRepository) -> None:
    before = digests(repository.version("1"))
    done = repository.maintained("--commit", "2", "--publish")
    assert done.returncode == 0, done.stderr
    assert "win@2 is made of win@1" in done.stdout
    assert "win@2 is current" in done.stdout
    assert digests(repository.version("1")) == before
    assert repository.names() == {"1", "2", "current", "history"}, "the child is gone with its commit"
    assert sector(repository.version("1") / "disk.qcow2", 1) == bytes(SECTOR)
    assert sector(repository.version("2") / "disk.qcow2", 1).startswith(WRITTEN)
    told = harness.tool("qemu-img", "info", "--output=json", str(repository.version("2") / "disk.qcow2"))
    assert "backing-filename" not in json.loads(told), "it stands alone"
    assert json.loads(repository.image("show", "win@2", "--json").stdout)["version"] == "2"
    assert not [path for path in repository.version("2").iterdir() if path.stat().st_mode & 0o222]


def test_without_a_terminal_the_child_is_kept_and_the_next_call_goes_on(repository: ImageRepository) -> None:
    done = repository.maintained()
    assert done.returncode == 0, done.stderr
    assert "the child is kept" in done.stdout
    assert "7lbd image maintain win --commit VERSION" in done.stdout
    kept = repository.home / ".maintain" / "disk.qcow2"
    assert WRITTEN in kept.read_bytes()
    # What it lies on must stay.
    refusal(repository.image("rm", "win@1", "--force"), IMAGE, ["win@1", "maintain"])
    assert "going on with the child of win@1" in repository.maintained().stdout
    refusal(repository.maintained("--commit", "1"), IMAGE, ["win@1 exists already"])
    refusal(repository.maintained("--commit", "../2"), IMAGE, ["cannot be a version's name"])
    done = repository.maintained("--commit", "2")
    assert done.returncode == 0, done.stderr
    assert "session upkeep" not in done.stdout, "a child that is kept is committed at once"
    assert sector(repository.version("2") / "disk.qcow2", 1).startswith(WRITTEN)
    refusal(repository.maintained("--discard"), IMAGE, ["no child of image `win` is kept"])


@pytest.mark.parametrize(("answers", "versions"), [(["1", "2", "y"], {"1", "2"}), (["discard"], {"1"}), ([""], {"1"})])
def test_on_a_terminal_one_is_asked(repository: ImageRepository, answers: list[str], versions: set[str]) -> None:
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        repository.words("maintain", "win", "--session-dir", str(repository.base)),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    terminal = pexpect.fdpexpect.fdspawn(ours, timeout=harness.PATIENCE, encoding="utf-8", codec_errors="replace")
    for answer in answers:
        terminal.expect([r"keep the child for later: ", r"\[y/N\] "])
        terminal.send(f"{answer}\r")
    with suppress(OSError):
        terminal.expect(pexpect.EOF)
    assert process.wait(harness.PATIENCE) == 0
    os.close(ours)
    assert {path.name for path in repository.home.iterdir() if path.name.isdigit()} == versions
    assert (repository.home / "current").readlink() == Path(max(versions))
    assert (repository.home / ".maintain").exists() == (answers == [""])


def test_one_maintainer_at_a_time_and_a_killed_one_loses_nothing(idle: ImageRepository) -> None:
    first = idle.begin("--web", "off")
    first.until("booting", 60)
    me = subprocess.check_output(["id", "-un"], text=True).strip()
    for words in ((), ("--discard",), ("--commit", "2")):
        refusal(idle.maintained(*words), IMAGE, ["`win` is being maintained already", me, os.uname().nodename])
    left = set(first.processes())
    os.kill(first.supervisor(), signal.SIGKILL)
    first.output()
    assert not harness.wait_until_gone(left)
    # A guest that was not shut down is not made a version of, unless one insists.
    said = refusal(idle.maintained("--commit", "2"), IMAGE, ["was not shut down", "power cut", "--force"])
    assert "7lbd image maintain win" in said
    done = idle.maintained("--commit", "2", "--force")
    assert done.returncode == 0, done.stderr
    assert idle.names() == {"1", "2", "current", "history", ".maintaining"} - {".maintaining"}


def test_a_session_that_is_switched_off_is_kept_and_can_be_discarded(idle: ImageRepository) -> None:
    before = digests(idle.version("1"))
    running = idle.begin("--commit", "2")
    running.until("booting", 60)
    running.send(signal.SIGTERM)
    told = running.output()
    assert running.process.returncode == 143
    assert "the guest was not shut down, so nothing is committed" in told
    assert idle.names() == {"1", "current", "history", ".maintain"}
    done = idle.maintained("--discard")
    assert done.returncode == 0
    assert "discarded" in done.stdout
    assert idle.names() == {"1", "current", "history"}
    assert digests(idle.version("1")) == before


def test_a_child_whose_disk_says_that_it_is_another_is_not_committed(repository: ImageRepository) -> None:
    """A guest that broke out into its QEMU can write the whole file: it must not lead us to others."""
    assert repository.maintained().returncode == 0
    disk = repository.home / ".maintain" / "disk.qcow2"
    secret = repository.path.parent / "secret.raw"
    secret.write_bytes(b"a secret of the node".ljust(8 << 20, b"\0"))
    harness.tool("qemu-img", "rebase", "-u", "-F", "raw", "-b", str(secret), str(disk))
    refusal(repository.maintained("--commit", "2"), IMAGE, ["another disk", "--discard"])
    assert "2" not in repository.names()
    secret.unlink()


def test_a_fixed_password_comes_from_a_file_or_standard_input(idle: ImageRepository, tmp_path: Path) -> None:
    word = tmp_path / "word"
    for text in ("", "two\nlines\x07", "x" * 200):
        word.write_text(text)
        if "\n" not in text:
            refusal(idle.maintained("--password-file", str(word)), USAGE, ["is not a password"])
    refusal(idle.maintained("--password-file", "/nowhere"), USAGE, ["/nowhere", "cannot be read"])
    assert ".maintain" not in idle.names(), "nothing was begun"
    word.write_text("Fixed-Word-17\n")
    running = idle.begin("--password-file", str(word))
    running.until("booting", 60)
    assert running.password() == "Fixed-Word-17"
    assert not [line for line in running.processes().values() if "Fixed-Word-17" in line]
    running.send(signal.SIGTERM)
    running.output()


@pytest.mark.parametrize("channels", ['["agent"]', '["smbios"]'])
def test_an_administrator_of_the_image_gets_the_sessions_password_where_an_agent_can_give_it(
    idle: ImageRepository, channels: str
) -> None:
    toml = idle.version("1") / "image.toml"
    toml.chmod(0o644)
    kept = [line for line in toml.read_text().splitlines() if not line.startswith("channels")]
    toml.write_text("\n".join([*kept, f"channels = {channels}", 'administrator = "Administrator"', ""]))
    running = idle.begin("--web", "off")
    running.until("booting", 60)
    running.send(signal.SIGTERM)
    told = "`Administrator` in the guest gets this session's password, too" in running.output()
    assert told == ("agent" in channels)


def test_discs_are_in_the_drives(idle: ImageRepository, tmp_path: Path) -> None:
    refusal(idle.maintained("--iso", "/nowhere.iso"), IMAGE, ["/nowhere.iso", "does not exist here"])
    refusal(idle.maintained(*(["--iso", "/etc/passwd"] * 5)), USAGE, ["5 discs", "4 drives"])
    disc = tmp_path / "boot.iso"
    disc.write_bytes(bytes(1 << 20))
    running = idle.begin("--iso", str(disc), "--iso", str(disc))
    running.until("booting", 60)
    qemu = running.processes()[running.pid_of("qemu-system-x86_64")]
    assert "ide-cd,bus=ide.1,drive=cdrom0" in qemu
    assert "ide-cd,bus=ide.2,drive=cdrom1" in qemu
    running.send(signal.SIGTERM)
    running.output()


def test_a_repository_that_is_read_only_is_refused(repository: ImageRepository) -> None:
    closed = node(f"mount --bind {repository.path} {repository.path}; mount -o remount,bind,ro {repository.path}")
    refusal(repository.maintained(prefix=closed), RESOURCES, ["cannot be written to", "Read-only file system"])
    refusal(repository.image("maintain", "nobody"), IMAGE, ["image `nobody`"])


def test_a_full_disk_loses_nothing(repository: ImageRepository) -> None:
    """No room for the child; then room for it, but none for the version; then for both."""
    full = repository.path.parent / "full-upkeep"
    full.mkdir()
    place = ("--session-dir", str(repository.base), "--image-dir", str(full))
    call = harness.command("image", "maintain", "win", *place, "--commit", "2")
    changes = f"mount -t tmpfs -o size=4M,mode=0755 none {full}; cp -a {repository.path}/. {full}"
    script = (
        'fill() { dd if=/dev/zero of="$F/filler" bs=4k 2>/dev/null || :; }\n'
        'fill; "$@" && exit 1; [ ! -e "$F/win/.maintain" ] || exit 2\n'
        'truncate -s -800K "$F/filler"; "$@" && exit 3; [ -e "$F/win/.maintain" ] && [ ! -e "$F/win/2" ] || exit 4\n'
        'rm "$F/filler"; "$@" || exit 5; [ -e "$F/win/2/disk.qcow2" ] && ls -A "$F/win"\n'
    )
    done = subprocess.run(
        [*node(changes), "env", f"F={full}", "sh", "-c", script, "sh", *call],
        env=harness.environment(),
        capture_output=True,
        text=True,
        timeout=harness.PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert "a child cannot be made there: No space left on device" in done.stderr
    assert done.stdout.split()[-1] == "history"
    full.rmdir()


ASK_LMGRD = "(exec 3<>/dev/tcp/license.example.edu/{port}; echo HELLO vendord >&3; head -n 1 <&3)"


def test_a_debian_is_maintained(work: Path, base: Path, spare: Path) -> None:
    """The real thing: a file is made in the guest, which is shut down from within; it is in the new version.

    What is installed may want its licence first: the site allows the way, and maintenance asks for it.
    """
    repository = ImageRepository(work / "upkeep-demo", base)
    version = repository.version("1")
    version.mkdir(parents=True)
    for name in ("disk.qcow2", "image.toml"):
        (shutil.copy if name == "image.toml" else os.link)(spare / name, version / name)
    toml = version / "image.toml"
    toml.write_text(toml.read_text().replace('name = "demo"', 'name = "win"') + 'administrator = "root"\n')
    before = version.joinpath("disk.qcow2").stat()
    assert repository.image("publish", "win@1").returncode == 0
    site, network = work / "site.toml", work / "net"
    site.write_text(f'egress_allow = ["tcp://license.example.edu:{siteserver.LMGRD}"]\n')
    network.mkdir()
    with sitenet.up(network) as net:
        running = repository.begin(
            "--commit", "2", "--no-home-share",
            prefix=net.prefix, options=["--bind", f"{site}:/etc/7lbd/7lbd.toml"],
        )  # fmt: skip
        try:
            running.until("ready", 400)
            console = Console(running)
            said = console.run(ASK_LMGRD.format(port=siteserver.LMGRD))
            assert said == f"vendord license.example.edu {siteserver.VENDOR}"
            start, size = (int(console.run(f"cat /sys/class/block/vda2/{name}")) for name in ("start", "size"))
            console.run("echo kept > /home/user1/of-maintenance")
            assert console.run(f"su root -c 'id -u' <<<'{running.password()}'").endswith("0"), "by the agent"
            console.run("(sleep 2; exec sudo systemctl poweroff) & disown")
            # A kernel that has much to say waits for whoever is on its serial line and does not listen.
            console.close()
            told = running.output()
        except BaseException:
            keep(base, "maintained")
            raise
        finally:
            running.kill()
    assert running.process.returncode == 0, told
    after = version.joinpath("disk.qcow2").stat()
    assert (before.st_mtime_ns, before.st_size) == (after.st_mtime_ns, after.st_size)
    asked = "cat /home/user1/of-maintenance"
    assert harness.in_partition(repository.version("2") / "disk.qcow2", start, size, asked).strip().endswith("kept")
    assert "not found" in harness.in_partition(version / "disk.qcow2", start, size, asked)
    assert (repository.version("2") / "variables.fd").stat().st_size > 64 << 10
    harness.remove(repository.path)
