"""`image build windows --dry-run` with the real SIF: on a full disk, interrupted, in a node's own folder."""

from __future__ import annotations

import signal
import subprocess
import time
from pathlib import Path

import harness
import pytest
from strange import RESOURCES, node, refusal

NOT_READY = 7
CSHARP = harness.REPO / "build" / "csharp" / "tree"

STAND_INS = harness.REPO / "tests" / "unit" / "windows_discs.py"


@pytest.fixture(scope="module")
def discs(work: Path) -> Path:
    """A folder with stand-ins for both discs; what the one boots by is Microsoft's own work."""
    place = work / "discs"
    place.mkdir()
    harness.tool("python3", "-B", str(STAND_INS), str(place), str(harness.shim()))
    return place


def compiled(source: Path, made: Path) -> subprocess.CompletedProcess[str]:
    """By Mono's compiler, for the C# that the .NET Framework's own knows."""
    home = f"MONO_PATH={CSHARP}/usr/lib/mono/4.5,MONO_CFG_DIR={CSHARP}/etc,LD_LIBRARY_PATH={CSHARP}/usr/lib"
    call = ["apptainer", "exec", "--bind", str(harness.REPO), "--bind", str(made.parent), "--env", home]
    call += [str(harness.SIF), f"{CSHARP}/usr/bin/mono-sgen", f"{CSHARP}/usr/lib/mono/4.5/mcs.exe"]
    call += ["-langversion:5", "-target:library", f"-out:{made}", str(source)]
    return subprocess.run(call, capture_output=True, text=True, timeout=harness.PATIENCE, check=False)


def test_what_windows_compiles_when_an_image_is_made_compiles(work: Path) -> None:
    """`RunJob.cs`: with a mistake in it no command would ever run there, and nobody here would know."""
    subprocess.run([harness.REPO / "scripts" / "fetch-csharp"], check=True, timeout=300)
    source = harness.REPO / "containers" / "windows" / "RunJob.cs"
    done = compiled(source, work / "RunJob.dll")
    assert done.returncode == 0, done.stdout + done.stderr
    assert (work / "RunJob.dll").read_bytes().startswith(b"MZ")
    (work / "broken.cs").write_text(source.read_text().replace("bool desktop", "bool desk"))
    broken = compiled(work / "broken.cs", work / "broken.dll")
    assert "`desktop' does not exist" in broken.stdout + broken.stderr, broken


def words(discs: Path, target: Path) -> list[str]:
    """A dry run into `target`."""
    iso, virtio = str(discs / "win.iso"), str(discs / "virtio.iso")
    named = ("--name", "win11", "--version", "1", "--edition", "Windows 11 Pro", "--dry-run", str(target))
    return ["image", "build", "windows", "--iso", iso, "--virtio", virtio, *named]


def test_a_dry_run_in_the_real_appliance(discs: Path, base: Path) -> None:
    done = harness.run(*words(discs, base / "out"))
    assert done.returncode == 0, done.stderr
    assert "Windows 11 Pro (number 2" in done.stdout
    assert "bootx64.efi: signed under Microsoft Corporation UEFI CA 2011 and Microsoft UEFI CA 2023" in done.stdout
    assert (base / "out" / "answers.iso").read_bytes()[32769:32774] == b"CD001"
    assert [path.name for path in base.iterdir()] == ["out"]


# The scripts need 60 KB, the disc some 300 KB more.
@pytest.mark.parametrize("size", ["4k", "48k", "96k", "192k"])
def test_a_full_disk_is_told_and_leaves_nothing(discs: Path, base: Path, size: str) -> None:
    # What is left is counted inside the namespace, where the small disk is.
    prefix = node(f"mount -t tmpfs -o size={size} none {base}")
    count = ["sh", "-c", f'"$@"; code=$?; ls -A {base} >&2; exit $code', "sh"]
    done = harness.run(*words(discs, base / "out"), prefix=[*prefix, *count])
    told = refusal(done, RESOURCES, ["No space left on device"])
    assert ".out" not in told


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("after", [0.2, 0.5, 0.8, 1.1])
def test_an_interrupt_leaves_all_or_nothing(discs: Path, base: Path, number: signal.Signals, after: float) -> None:
    before = harness.my_processes()
    command = harness.command(*words(discs, base / "out"))
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    time.sleep(after)
    process.send_signal(number)
    told = process.communicate(timeout=harness.PATIENCE)[1]
    # So early a Ctrl-C ends Python itself, which says so in its own way.
    assert "Traceback" not in told or "Fatal Python error: init" in told
    if process.returncode == 0:
        assert (base / "out" / "answers.iso").exists()
    assert [path.name for path in base.iterdir()] in ([], ["out"])
    assert not harness.wait_until_gone(harness.my_processes() - before)


def test_an_installation_that_never_comes_to_its_end_imports_nothing(discs: Path, base: Path) -> None:
    """The stand-in cannot be booted, so the machine is all there is; it is the one that Windows asks for."""
    repository, sessions = base / "images", base / "sessions"
    repository.mkdir()
    sessions.mkdir(mode=0o700)
    before = harness.my_processes()
    places = ("--image-dir", str(repository), "--session-dir", str(sessions), "--min-space", "0")
    small = ("--memory", "4G", "--cpus", "2", "--within", "20s")
    asked = [word for word in words(discs, base / "out") if word not in ("--dry-run", str(base / "out"))]
    process = subprocess.Popen(
        harness.command(*asked, *places, *small), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    machine = running_machine(process.pid)
    out, told = process.communicate(timeout=harness.PATIENCE)
    assert process.returncode == NOT_READY, told
    assert "the installation failed" in told
    assert "nothing was imported" in told
    assert "win11@1: a machine" in out
    assert not [path for path in repository.rglob("*") if path.is_file() and not path.name.startswith(".")]
    assert not harness.wait_until_gone(harness.my_processes() - before)
    assert "OVMF_CODE_4M.ms.fd" in machine, "Secure Boot is off"
    assert "tpm-crb" in machine
    assert "virtio-blk-pci,drive=overlay,bootindex=0" in machine
    drives = [f"drive=cdrom{number},bootindex={number + 1}" for number in range(3)]
    assert all(drive in machine for drive in drives), machine


def running_machine(above: int) -> str:
    """The command line of the QEMU below a process, when it is there."""
    deadline = time.monotonic() + harness.PATIENCE
    while time.monotonic() < deadline:
        for line in harness.descendants(above).values():
            if "qemu-system-x86_64" in line.split(" ")[0]:
                return line
        time.sleep(0.2)
    raise AssertionError("QEMU did not start")
