"""Images from installation discs: a real installation, from a blank disk to a session that is ready."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import harness
import pytest
from conftest import FAILED, keep
from strange import IMAGE, RESOURCES, USAGE, node, refusal

ISO = harness.REPO / "build" / "install" / "debian.iso"
INTERRUPTED, NOT_READY = 130, 7


@pytest.fixture(scope="module", autouse=True)
def _disc() -> None:
    subprocess.run([harness.REPO / "scripts" / "build-install-iso"], check=True, timeout=1200)


class Yard:
    """A repository to build into."""

    def __init__(self, path: Path, base: Path) -> None:
        self.path, self.base = path, base

    def words(self, *words: str) -> list[str]:
        """The command line of `7lbd image build debian`; later options win."""
        fixed = ("--iso", str(ISO), "--name", "deb", "--version", "1", "--image-dir", str(self.path))
        return harness.command("image", "build", "debian", *fixed, "--session-dir", str(self.base), *words)

    def build(self, *words: str, **options: Any) -> subprocess.CompletedProcess[str]:
        """Run it to its end."""
        return harness.run(*self.words(*words)[5:], **options)

    def begin(self, *words: str, prefix: tuple[str, ...] = ()) -> subprocess.Popen[str]:
        """Run it in the background."""
        return subprocess.Popen(
            [*prefix, *self.words(*words)],
            env=harness.environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def left(self) -> set[str]:
        """What lies in the image's folder, the lock aside."""
        home = self.path / "deb"
        return {path.name for path in home.iterdir()} - {".lock"} if home.exists() else set()


@pytest.fixture
def yard(work: Path, base: Path, request: pytest.FixtureRequest) -> Iterator[Yard]:
    """An empty repository; no process and no session's folder may be left of what was built there."""
    before = harness.my_processes()
    made = Yard(work / f"yard-{request.node.name[:40]}", base)
    yield made
    if request.node.stash.get(FAILED, False):
        keep(base, request.node.name)
    left = harness.wait_until_gone(harness.my_processes() - before)
    assert not left, f"processes are left: {left}"
    assert not [path.name for path in base.iterdir() if not path.name.startswith("failed-")] if base.exists() else True
    harness.remove(made.path)


def until(process: subprocess.Popen[str], words: str) -> str:
    """What the process has printed up to the line with `words`."""
    assert process.stdout
    told = ""
    for line in process.stdout:
        told += line
        if words in line:
            return told
    raise AssertionError(f"it ended without `{words}`: {told}")


def test_a_debian_from_a_blank_disk_to_a_ready_session(yard: Yard) -> None:
    """The disc waits for a key, as Microsoft's does; `--publish` comes after it was booted once to ready."""
    done = yard.build("--hostname", "fresh", "--wait-for-key", "--publish", "--title", "Made here", timeout=900)
    assert done.returncode == 0, done.stdout + done.stderr
    steps = [
        *("press any key", "partitioning /dev/vda", "copying the system", "installing the boot file"),
        *("restarting into the installed system", "ready-line", "first boot: the guest contract is kept"),
        *("installed, switching off", "installed in", "deb@1 is in", "deb@1 was ready after", "deb@1 is current"),
    ]
    at = [done.stdout.find(step) for step in steps]
    assert -1 not in at, f"{[step for step, where in zip(steps, at, strict=True) if where < 0]}: {done.stdout}"
    assert at == sorted(at), done.stdout
    # A cold boot keeps all of the guest contract.
    assert {"dhcp", "agent", "password", "ready-line", "rdp"} <= set(done.stdout.split())
    seconds = re.search(r"installed in (\d+) s", done.stdout)
    assert seconds
    print(f"installed in {seconds[1]} s")
    version = yard.path / "deb" / "1"
    assert {path.name for path in version.iterdir()} == {"disk.qcow2", "image.toml", "variables.fd"}
    assert yard.left() == {"1", "current", "history"}
    shown = json.loads(harness.run("image", "show", "deb", "--json", "--image-dir", str(yard.path)).stdout)
    assert (shown["name"], shown["version"], shown["title"]) == ("deb", "1", "Made here")
    told = json.loads(harness.tool("qemu-img", "info", "--output=json", str(version / "disk.qcow2")))
    assert told["virtual-size"] == 12 << 30
    assert "backing-filename" not in told
    # The answers were followed, and nothing of them is left.
    assert in_root(version / "disk.qcow2", "cat /etc/hostname").endswith("fresh\n")
    assert "not found" in in_root(version / "disk.qcow2", "stat /var/lib/stand-in")
    refusal(yard.build(), IMAGE, ["deb@1 exists already"])


def in_root(disk: Path, request: str) -> str:
    """What debugfs says to a request in the root that the installer makes: behind 320 MiB for UEFI, up to the end."""
    start = (1 + 320) * 2048
    return harness.in_partition(disk, start, (12 << 21) - start - 2048, request)


def test_a_disk_that_is_too_small_is_told_by_the_installer(yard: Yard) -> None:
    done = yard.build("--size", "600M", timeout=300)
    said = refusal(done, NOT_READY, ["the installation failed: the disk has 600 MiB", "are the least", "logs and"])
    assert "nothing was imported" in said
    assert yard.left() == set()
    kept = Path(said.strip().rpartition(": ")[2])
    assert "the disk has 600 MiB" in (kept / "logs" / "serial.log").read_text(errors="replace")
    assert json.loads((kept / "session.json").read_text())["image"] == "deb@1"


def test_an_installation_that_takes_too_long_is_ended_with_its_last_screen(yard: Yard) -> None:
    done = yard.build("--within", "5s", timeout=harness.PATIENCE)
    said = refusal(done, NOT_READY, ["the installation failed", "within 5 s", "nothing was imported"])
    kept = Path(said.strip().rpartition(": ")[2])
    assert (kept / "console.png").read_bytes().startswith(b"\x89PNG")
    assert yard.left() == set()


def test_interrupted_it_leaves_nothing(yard: Yard) -> None:
    process = yard.begin()
    told = until(process, "copying the system")
    pid = int(json.loads(next(yard.base.glob("build-*/session.json")).read_text())["pid"])
    os.kill(pid, signal.SIGINT)
    rest = process.communicate(timeout=harness.PATIENCE)[0]
    assert process.returncode == INTERRUPTED, told + rest
    assert "nothing was imported" in rest
    assert "Traceback" not in rest
    assert yard.left() == set()


def test_killed_it_is_cleaned_up_by_whoever_comes_next(yard: Yard) -> None:
    process = yard.begin("--size", "600M")
    until(process, "a machine on")
    deadline = time.monotonic() + harness.PATIENCE
    while not list(yard.base.glob("build-*/session.json")) and time.monotonic() < deadline:
        time.sleep(0.1)
    state = next(yard.base.glob("build-*/session.json"))
    everything = set(harness.descendants(process.pid))
    os.kill(int(json.loads(state.read_text())["pid"]), signal.SIGKILL)
    process.communicate(timeout=harness.PATIENCE)
    assert not harness.wait_until_gone(everything)
    assert yard.left() == {".new-1", ".making-1"}
    assert harness.run("image", "gc", "--image-dir", str(yard.path)).returncode == 0
    assert harness.run("gc", "--session-dir", str(yard.base)).returncode == 0
    assert yard.left() == set()


def test_a_full_repository_stops_the_guest_until_there_is_room(yard: Yard) -> None:
    """On a file system of 200 MiB the installer's writing stands still, which is told; then one gives up."""
    full = yard.path.with_name("full-yard")
    full.mkdir()
    changes = f"mount -t tmpfs -o size=200M,mode=0755 none {full}"
    process = Yard(full, yard.base).begin(prefix=tuple(node(changes)))
    told = until(process, "no space left for what the guest writes")
    assert f"in {full}/deb" in told
    os.kill(int(json.loads(next(yard.base.glob("build-*/session.json")).read_text())["pid"]), signal.SIGTERM)
    rest = process.communicate(timeout=harness.PATIENCE)[0]
    assert "nothing was imported" in rest
    assert process.returncode != 0
    full.rmdir()


def test_what_cannot_be_built_is_refused_before_anything_starts(yard: Yard, tmp_path: Path) -> None:
    no_iso = tmp_path / "text.iso"
    no_iso.write_text("no disc at all\n" * 5000)
    refusal(yard.build("--iso", str(no_iso)), IMAGE, ["text.iso", "cannot be read as an ISO"])
    refusal(yard.build("--iso", str(tmp_path / "none.iso")), IMAGE, ["none.iso: cannot be reached", "--bind"])
    refusal(yard.build("--name", "../deb"), IMAGE, ["cannot be an image's name"])
    refusal(yard.build("--version", ".."), IMAGE, ["cannot be a version's name"])
    refusal(yard.build("--size", "much"), USAGE, ["--size much", "4G"])
    refusal(yard.build("--within", "0"), USAGE, ["--within 0"])
    refusal(yard.build("--hostname", "a b"), USAGE, ["--hostname a b"])
    refusal(yard.build("--memory", "900G"), RESOURCES, ["900.0 GiB for the guest"])
    closed = node(f"mkdir -p {yard.path}; mount --bind {yard.path} {yard.path}; mount -o remount,bind,ro {yard.path}")
    refusal(yard.build(prefix=closed), RESOURCES, ["no repository", "--image-dir"])
    assert yard.left() == set()
