"""`image add` and `image check`: every format comes in whole, what is hostile stays out, nothing half is left."""

from __future__ import annotations

import os
import shutil
import signal
import stat
import struct
import subprocess
import time
import uuid
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import harness
import pytest
from conftest import StartSession
from strange import IMAGE, RESOURCES, USAGE, node, refusal

MIB = 1 << 20
ESP, LINUX = "c12a7328-f81f-11d2-ba4b-00a0c93ec93b", "0fc63daf-8483-4772-8e79-3d69d8477de4"
OVF = """<Envelope xmlns:ovf="http://schemas.dmtf.org/ovf/envelope/1"
 xmlns:rasd="http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_ResourceAllocationSettingData">
 <References><File ovf:id="f" ovf:href="stream.vmdk"/></References>
 <DiskSection><Disk ovf:fileRef="f" ovf:diskId="d"/></DiskSection>
 <VirtualSystem><VirtualHardwareSection><Item><rasd:ResourceType>4</rasd:ResourceType>
 <rasd:VirtualQuantity>3072</rasd:VirtualQuantity></Item></VirtualHardwareSection></VirtualSystem></Envelope>"""
# From one raw disk, every other kind of disk; a chain of two layers, too.
MAKE = """
cd "$1"
for kind in qcow2 vmdk vhdx vpc vdi; do qemu-img convert -f raw -O $kind disk.img disk.$kind; done
qemu-img convert -f raw -O vmdk -o subformat=streamOptimized disk.img stream.vmdk
qemu-img convert -f raw -O vmdk -o subformat=monolithicFlat disk.img flat.vmdk
qemu-img convert -f raw -O vmdk -o subformat=twoGbMaxExtentSparse disk.img split.vmdk
qemu-img convert -f raw -O vpc -o subformat=fixed,force_size=on disk.img fixed.vpc
mkdir chain
qemu-img create -q -f raw chain/base.raw 8M
qemu-img create -q -f qcow2 -b base.raw -F raw chain/middle.qcow2
qemu-img create -q -f qcow2 -b middle.qcow2 -F qcow2 chain/top.qcow2
qemu-io -c 'write -P 7 1M 1M' chain/middle.qcow2 >chain/log
qemu-io -c 'write -P 8 2M 1M' chain/top.qcow2 >chain/log
"""
DISKS = (
    "disk.img",
    "disk.qcow2",
    "disk.vmdk",
    "disk.vhdx",
    "disk.vdi",
    "stream.vmdk",
    "flat.vmdk",
    "split.vmdk",
    "fixed.vpc",
)
LOST = {
    "sparse.vmdk": "is truncated: data at byte",
    "half.raw": "is truncated: its partitions go on",
    "fixed.vhd": "named vpc",
}


def partitioned(size: int, sector: int = 512) -> bytearray:
    """A disk as a Linux that boots by UEFI has it: a GPT, an EFI system partition, an ext4; and some content."""
    disk, last = bytearray(size), size // sector - 1
    disk[510:512], disk[450], disk[454] = b"\x55\xaa", 0xEE, 1
    disk[458:462] = last.to_bytes(4, "little")
    for number, kind in enumerate((ESP, LINUX)):
        at, first = 2 * sector + 128 * number, (number + 1) * MIB // sector
        disk[at : at + 16], disk[at + 16] = uuid.UUID(kind).bytes_le, number + 1
        disk[at + 32 : at + 48] = first.to_bytes(8, "little") + (first + MIB // sector - 1).to_bytes(8, "little")
    table = bytes(disk[2 * sector : 2 * sector + 128 * 128])
    copy = last - len(table) // sector
    for me, other, where in ((1, last, 2), (last, 1, copy)):
        fields = (
            b"EFI PART",
            1 << 16,
            92,
            0,
            0,
            me,
            other,
            2 + len(table) // sector,
            copy - 1,
            bytes(15) + b"\1",
            where,
        )
        header = bytearray(struct.pack("<8sIIIIQQQQ16sQIII", *fields, 128, 128, zlib.crc32(table)))
        header[16:20] = zlib.crc32(header).to_bytes(4, "little")
        disk[me * sector : me * sector + 92] = header
    disk[copy * sector : copy * sector + len(table)] = table
    disk[2 * MIB + 1080 : 2 * MIB + 1082] = b"\x53\xef"
    disk[3 * MIB : 4 * MIB] = os.urandom(MIB)
    return disk


@pytest.fixture(scope="module")
def disks(work: Path) -> Path:
    """One disk in every format."""
    folder = work / "disks"
    folder.mkdir()
    (folder / "disk.img").write_bytes(partitioned(8 * MIB))
    harness.tool("sh", "-ec", MAKE, "sh", str(folder))
    (folder / "machine.ovf").write_text(OVF)
    tar = ["tar", "--format=ustar", "-C", str(folder), "-cf", str(folder / "disk.ova"), "machine.ovf", "stream.vmdk"]
    subprocess.run(tar, check=True)
    return folder


Image = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def repository(work: Path) -> Iterator[Path]:
    """A repository."""
    folder = work / "images"
    yield folder
    harness.open_up(folder)


@pytest.fixture
def image(repository: Path) -> Image:
    """Runs `7lbd image` on the repository."""

    def call(verb: str, *words: str, **options: Any) -> subprocess.CompletedProcess[str]:
        return harness.run("image", verb, "--image-dir", str(repository), *words, **options)

    return call


def same(reference: Path, made: Path) -> None:
    call = ["qemu-img", "compare", "-f", "raw", "-F", "qcow2", str(reference), str(made)]
    assert "Images are identical." in harness.tool(*call)


def backing_of(path: Path) -> bytes:
    """Where in a qcow2 the name of a backing file is, and how long it is: all zeroes when there is none."""
    with path.open("rb") as file:
        return file.read(20)[8:20]


@pytest.mark.parametrize("name", [*DISKS, "disk.ova"])
def test_a_disk_of_any_format_comes_in_whole_and_described(
    image: Image, repository: Path, disks: Path, name: str
) -> None:
    called = name.replace(".", "-")
    done = image("add", str(disks / name), "--name", called, "--version", "1.0")
    assert done.returncode == 0, done.stderr
    version = repository / called / "1.0"
    same(disks / "disk.img", version / "disk.qcow2")
    assert sorted(path.name for path in version.iterdir()) == ["disk.qcow2", "image.toml"]
    assert not any(stat.S_IMODE(path.stat().st_mode) & 0o222 for path in (version, *version.iterdir()))
    described = (version / "image.toml").read_text()
    for key in (f'name = "{called}"', 'version = "1.0"', 'os = "linux"', 'firmware = "uefi"', 'disk_bus = "virtio"'):
        assert f"\n{key}\n" in described, described
    assert ('memory = "3G"' in described) == (name == "disk.ova")
    checked = image("check", f"{called}@1.0")
    assert checked.returncode == 0, checked.stdout
    assert [line[:8].strip() for line in checked.stdout.splitlines()] == ["ok"] * len(checked.stdout.splitlines())


def test_a_chain_is_made_one_file_compressed_and_published_if_asked(
    image: Image, repository: Path, disks: Path
) -> None:
    wishes = ["--compress", "--publish", "--os", "linux", "--firmware", "bios", "--memory", "128M", "--cpus", "1"]
    done = image("add", str(disks / "chain" / "top.qcow2"), "--name", "chain", "--version", "1", *wishes)
    assert done.returncode == 0, done.stderr
    made = repository / "chain" / "1" / "disk.qcow2"
    assert backing_of(made) == bytes(12)
    expected = disks / "chain" / "expected.img"
    expected.write_bytes(bytes(MIB) + b"\7" * MIB + b"\10" * MIB + bytes(5 * MIB))
    same(expected, made)
    assert "compression type: zstd" in harness.tool("qemu-img", "info", str(made))
    assert str((repository / "chain" / "current").readlink()) == "1"
    described = (made.parent / "image.toml").read_text()
    assert all(key in described for key in ('os = "linux"', 'firmware = "bios"', 'memory = "128M"', "cpus = 1"))


def test_a_disk_that_leads_elsewhere_or_is_none_is_refused(image: Image, repository: Path, disks: Path) -> None:
    bad = disks / "bad"
    bad.mkdir()
    harness.tool("qemu-img", "create", "-q", "-f", "qcow2", "-u", "-b", "/etc/passwd", "-F", "raw", f"{bad}/q", "8M")
    lines = ["# Disk DescriptorFile", "version=1", "CID=1", "parentCID=ffffffff", 'createType="monolithicFlat"']
    for name, extent in (("absolute", "/etc/passwd"), ("link", "passwd")):
        (bad / f"{name}.vmdk").write_text("\n".join([*lines, f'RW 2 FLAT "{extent}" 0', ""]))
    (bad / "passwd").symlink_to("/etc/passwd")
    (bad / "text").write_text("no disk")
    shutil.copy(disks / "disk.qcow2", bad / "disk.raw")
    for name, says in {
        "q": "outside the image's folder",
        "absolute.vmdk": "not a plain name",
        "link.vmdk": "symbolic link",
        "text": "no format that is known",
        "disk.raw": "is named raw, but begins like qcow2",
    }.items():
        refusal(image("add", f"{bad}/{name}", "--name", "bad", "--version", "1"), IMAGE, [name, says])
    assert not (repository / "bad").exists(), "nothing is touched before the disk is known to be good"


@pytest.mark.parametrize("name", LOST)
def test_a_disk_that_has_lost_its_end_is_refused_before_it_is_copied(
    image: Image, repository: Path, disks: Path, name: str
) -> None:
    source, left = {
        "sparse.vmdk": ("disk.vmdk", MIB), "half.raw": ("disk.img", 2 * MIB), "fixed.vhd": ("fixed.vpc", 8 * MIB)
    }[name]  # fmt: skip
    shutil.copy(disks / source, disks / name)
    os.truncate(disks / name, left)
    refusal(image("add", str(disks / name), "--name", "lost", "--version", "1"), IMAGE, [name, LOST[name]])
    assert [path.name for path in (repository / "lost").glob("*")] in ([], [".lock"])


def test_check_sees_that_a_disk_ends_before_its_partitions_do(image: Image, repository: Path, disks: Path) -> None:
    assert image("add", str(disks / "disk.qcow2"), "--name", "shrunk", "--version", "1").returncode == 0
    version = repository / "shrunk" / "1"
    harness.open_up(version)
    (version / "disk.qcow2").chmod(0o600)
    harness.tool("qemu-img", "resize", "-q", "--shrink", str(version / "disk.qcow2"), "2M")
    checked = image("check", "shrunk@1")
    assert checked.returncode == IMAGE
    assert "not ok  GPT with 2 partitions: its partitions go on to byte" in checked.stdout


def fat(sector: int, name: str, content: bytes) -> bytes:
    """A FAT12 with one file in its root (Microsoft, FAT32 File System Specification), as a firmware reads it."""
    boot = bytearray(b"\xeb\x3c\x90MSDOS5.0".ljust(510, b"\0") + b"\x55\xaa").ljust(sector, b"\0")
    struct.pack_into("<HBHBHHBH", boot, 11, sector, 1, 1, 1, sector // 32, MIB // sector, 0xF8, 1)
    boot[38:62] = b"\x29" + bytes(4) + b"NO NAME    FAT12   "
    table = b"\xf8\xff\xff\xff\x0f".ljust(sector, b"\0")
    entry = name.encode() + b"\x20" + bytes(14) + struct.pack("<HI", 2, len(content))
    return bytes(boot) + table + entry.ljust(sector, b"\0") + content


@pytest.mark.parametrize("system", ["windows", "linux"])
def test_a_disk_of_sectors_of_4096_bytes_is_read_by_the_guests_firmware(
    image: Image, start: StartSession, work: Path, system: str
) -> None:
    """The firmware's shell runs a script off the partition, which it finds only if it sees such sectors."""
    disk = partitioned(8 * MIB, sector=4096)
    script = fat(4096, "STARTUP NSH", b"echo read-of-4096\r\n")
    disk[MIB : MIB + len(script)] = script
    (work / "native.raw").write_bytes(disk)
    wishes = ["--os", system, "--memory", "256M", "--cpus", "1"]
    done = image("add", str(work / "native.raw"), "--name", f"native-{system}", "--version", "1", *wishes)
    assert done.returncode == 0, done.stderr
    bus = {"windows": "nvme", "linux": "virtio"}[system]
    assert f"{bus} disk" in done.stdout
    session = start("--image", f"native-{system}@1", "--image-dir", str(work / "images"))
    session.wait_phase("booting")
    serial = session.folder / "logs" / "serial.log"
    deadline = time.monotonic() + harness.PATIENCE
    while b"\nread-of-4096" not in serial.read_bytes().replace(b"\r", b""):
        assert time.monotonic() < deadline, serial.read_text(errors="replace")[-2000:]
        time.sleep(0.2)
    session.send(signal.SIGTERM)
    assert session.wait_end() == 143


def test_names_versions_and_values_that_make_no_sense_are_refused(image: Image, disks: Path, repository: Path) -> None:
    disk = str(disks / "disk.qcow2")
    before = sorted(repository.rglob("*"))
    for words, code, says in (
        (["--name", "../x", "--version", "1"], IMAGE, "cannot be an image's name"),
        (["--name", "x", "--version", "../../1"], IMAGE, "cannot be a version's name"),
        (["--name", "x", "--version", "1", "--memory", "lots"], USAGE, "--memory lots"),
    ):
        refusal(image("add", disk, *words), code, [says])
    assert sorted(repository.rglob("*")) == before


def test_what_is_there_is_never_replaced(image: Image, repository: Path, disks: Path) -> None:
    words = ["--name", "once", "--version", "1"]
    assert image("add", str(disks / "disk.qcow2"), *words).returncode == 0
    before = (repository / "once" / "1" / "disk.qcow2").stat()
    refusal(image("add", str(disks / "disk.img"), *words), IMAGE, ["once@1 exists already"])
    assert (repository / "once" / "1" / "disk.qcow2").stat() == before


def test_a_full_disk_is_told_and_leaves_nothing(disks: Path, base: Path) -> None:
    """On a file system of its own, smaller than the disk's content."""
    listing = base / "listing"
    script = f'"$@"; code=$?; find {base}/small -mindepth 1 -name "*.qcow2" >{listing}; exit $code'
    prefix = [*node(f"mkdir {base}/small; mount -t tmpfs -o size=512k tmpfs {base}/small"), "sh", "-c", script, "sh"]
    words = ["image", "add", str(disks / "disk.img"), "--name", "x", "--version", "1"]
    done = harness.run(*words, "--image-dir", f"{base}/small", prefix=prefix)
    refusal(done, RESOURCES, [f"{base}/small", "no space is left", "--image-dir"])
    assert listing.read_text() == ""


def test_a_repository_that_is_read_only_is_refused(disks: Path, base: Path) -> None:
    closed = base / "closed"
    closed.mkdir(mode=0o500)
    words = ["image", "add", str(disks / "disk.img"), "--name", "x", "--version", "1", "--image-dir", str(closed)]
    try:
        refusal(harness.run(*words), RESOURCES, [str(closed), "may write"])
    finally:
        closed.chmod(0o700)


@pytest.fixture(scope="module")
def slow(work: Path) -> Path:
    """A disk that takes seconds to compress."""
    path = work / "slow.img"
    with path.open("wb") as file:
        file.write(partitioned(8 * MIB))
        for _ in range(8):
            file.write(os.urandom(32 * MIB))
    return path


def _those_of(process: subprocess.Popen[bytes], program: str) -> list[int]:
    return [pid for pid, line in harness.descendants(process.pid).items() if line.split(" ")[0].endswith(program)]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_an_interrupted_import_leaves_nothing_half(repository: Path, slow: Path, number: signal.Signals) -> None:
    words = ["--image-dir", str(repository), "--name", "cut", "--version", "1"]
    before = harness.my_processes()
    call = harness.command("image", "add", str(slow), "--compress", *words)
    process = subprocess.Popen(call, env=harness.environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    staging = repository / "cut" / ".new-1" / "disk.qcow2"
    deadline = time.monotonic() + harness.PATIENCE
    while not (writing := _those_of(process, "qemu-img")) or not staging.exists():
        assert time.monotonic() < deadline
        assert process.poll() is None, "it ended before it was interrupted"
        time.sleep(0.02)
    # However late we came to see it: it gets no further.
    os.kill(writing[0], signal.SIGSTOP)
    (ours,) = _those_of(process, "/python3")
    os.kill(ours, number)
    assert process.wait(harness.PATIENCE) == {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGKILL: -9}[number]
    assert not harness.wait_until_gone(harness.my_processes() - before), "qemu-img goes with it"
    assert not (repository / "cut" / "1").exists()
    if number == signal.SIGKILL:
        # Whatever is left is no version, and the next import clears it away.
        assert harness.run("image", "add", str(slow), *words).returncode == 0
        assert (repository / "cut" / "1" / "disk.qcow2").exists()
    assert not list((repository / "cut").glob(".new-*")), list((repository / "cut").iterdir())
    assert not list((repository / "cut").glob(".making-*"))


def test_a_description_beside_the_disk_is_taken_over(image: Image, repository: Path, disks: Path) -> None:
    folder = disks / "described"
    folder.mkdir()
    shutil.copy(disks / "disk.qcow2", folder / "disk.qcow2")
    (folder / "image.toml").write_text('os = "linux"\nuser = "jo"\nnic = "e1000e"\nmemory = "1G"\n')
    (folder / "variables.fd").write_bytes(bytes(40) + b"_FVH" + bytes(1000))
    words = ["--name", "described", "--version", "1", "--memory", "2G"]
    assert image("add", str(folder / "disk.qcow2"), *words).returncode == 0
    described = (repository / "described" / "1" / "image.toml").read_text()
    for key in ('user = "jo"', 'nic = "e1000e"', 'memory = "2G"', 'name = "described"', 'variables = "variables.fd"'):
        assert key in described
    assert (repository / "described" / "1" / "variables.fd").read_bytes() == (folder / "variables.fd").read_bytes()


def test_check_names_what_is_broken_with_one_line_each(image: Image, repository: Path, disks: Path) -> None:
    assert image("add", str(disks / "disk.qcow2"), "--name", "broken", "--version", "1").returncode == 0
    version = repository / "broken" / "1"
    harness.open_up(version)
    (version / "disk.qcow2").chmod(0o600)
    with (version / "disk.qcow2").open("r+b") as file:
        # The L2 table's first entry leads beyond the end (QEMU, docs/interop/qcow2.rst).
        file.seek(4 << 16)
        file.write(bytes.fromhex("8000000fffff0000"))
    checked = image("check", "broken@1")
    assert checked.returncode == IMAGE
    assert "not ok  disk disk.qcow2 (qcow2): " in checked.stdout
    assert "ok      description" in checked.stdout
    (version / "image.toml").unlink()
    (version / "image.toml").write_text("os = 'plan9'\n")
    checked = image("check", "broken@1")
    assert checked.returncode == IMAGE
    assert "not ok  description" in checked.stdout
