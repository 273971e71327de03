"""Images that are missing, broken, hostile or in somebody's hands: refused in words, before anything is touched."""

from __future__ import annotations

import fcntl
import os
import shutil
import struct
from collections.abc import Iterator
from pathlib import Path

import harness
import pytest
from conftest import Refuse, StartSession
from strange import IMAGE, RESOURCES, USAGE, boots, node

# Name: (backing file, its format, what the refusal says).
HOSTILE = {
    "json": ('json:{"driver":"file","filename":"/etc/passwd"}', "raw", "not a plain file name"),
    "nbd": ("nbd://127.0.0.1:10809/disk", "raw", "not a plain file name"),
    "ssh": ("ssh://attacker@10.0.0.1/disk", "raw", "not a plain file name"),
    "fat": ("fat:rw:/home", "raw", "not a plain file name"),
    "url": ("file:/etc/passwd", "raw", "not a plain file name"),
    "passwd": ("/etc/passwd", "raw", "outside the image's folder"),
    "shadow": ("../../../../../../../etc/shadow", "raw", "outside the image's folder"),
    "link": ("link.raw", "raw", "outside the image's folder"),
    "gone": ("missing.qcow2", "qcow2", "does not exist"),
    "circle": ("circle.qcow2", "qcow2", "form a circle"),
    "pipe": ("pipe.raw", "raw", "not a regular file"),
    "probed": ("base.raw", "vmdk", "the format of its backing file"),
}


MIB = 1 << 20


def with_backing(disk: bytes, backing: str, kind: str) -> bytes:
    """A qcow2 with another backing file in its header (QEMU, docs/interop/qcow2.rst): qemu-img balks at some."""
    extension = struct.pack(">II", 0xE2792ACA, len(kind)) + kind.encode().ljust(8, b"\0") + bytes(8)
    changed = bytearray(disk)
    (at,) = struct.unpack_from(">I", disk, 100)
    struct.pack_into(">QI", changed, 8, at + len(extension), len(backing))
    changed[at : at + len(extension) + len(backing)] = extension + backing.encode()
    return bytes(changed)


def mbr(first: int, sectors: int) -> bytes:
    """A partition table of one partition."""
    entry = bytes.fromhex("80000000070000") + b"\0" + first.to_bytes(4, "little") + sectors.to_bytes(4, "little")
    return (bytes(446) + entry).ljust(510, b"\0") + b"\x55\xaa"


@pytest.fixture(scope="module")
def gallery(work: Path, blank_image: Path) -> Iterator[Path]:
    """A folder of bad disks."""
    folder = work / "gallery"
    folder.mkdir()
    whole = (blank_image / "disk.qcow2").read_bytes()
    for name, (backing, kind, _) in HOSTILE.items():
        (folder / f"{name}.qcow2").write_bytes(with_backing(whole, backing, kind))
    (folder / "link.raw").symlink_to("/etc/passwd")
    (folder / "base.raw").write_bytes(bytes(1 << 16))
    os.mkfifo(folder / "pipe.raw")
    (folder / "cut.qcow2").write_bytes(whole[: len(whole) // 2])
    (folder / "stub.qcow2").write_bytes(whole[:20])
    (folder / "corrupt.qcow2").write_bytes(whole[:79] + b"\x02" + whole[80:])
    (folder / "external.qcow2").write_bytes(whole[:79] + b"\x04" + whole[80:])
    (folder / "vmdk.qcow2").write_bytes(b"KDMV" + bytes(1 << 16))
    (folder / "cloud.img").write_bytes(whole)
    (folder / "cut.raw").write_bytes(mbr(2048, 65536).ljust(MIB, b"\0"))
    (folder / "zero.raw").touch()
    shutil.copy(folder / "base.raw", folder / "disk.vmdk")
    (folder / "closed.qcow2").write_bytes(whole)
    (folder / "closed.qcow2").chmod(0)
    yield folder
    (folder / "closed.qcow2").chmod(0o600)


@pytest.mark.parametrize("name", HOSTILE)
def test_a_backing_file_that_leads_elsewhere_is_refused(refuse: Refuse, gallery: Path, name: str) -> None:
    """QEMU would follow it as soon as it opens the disk."""
    _, _, why = HOSTILE[name]
    refuse("--image", f"{gallery}/{name}.qcow2", code=IMAGE, says=[name, why])


@pytest.mark.parametrize(
    ("disk", "why"),
    [
        ("missing.qcow2", "does not exist"),
        ("closed.qcow2", "not readable for you"),
        ("cut.qcow2", "truncated"),
        ("stub.qcow2", "truncated"),
        ("corrupt.qcow2", "marked as corrupt"),
        ("vmdk.qcow2", "is named qcow2, but begins like vmdk"),
        ("cloud.img", "is named raw, but begins like qcow2"),
        ("cut.raw", "is truncated: its partitions go on to byte 34603008"),
        ("external.qcow2", "keeps its data in another file"),
        ("zero.raw", "is empty"),
        ("pipe.raw", "not a regular file"),
        ("disk.vmdk", "its format cannot be told from its name"),
        ("", "there is no image.toml"),
        ("base.raw/x", "cannot be reached"),
        ("x" * 300, "File name too long"),
    ],
)
def test_a_disk_that_cannot_be_used_is_refused(refuse: Refuse, gallery: Path, disk: str, why: str) -> None:
    refuse("--image", f"{gallery}/{disk}", code=IMAGE, says=[f"{gallery}/{disk}".rstrip("/"), why])


def test_a_name_that_no_folder_has_is_refused_with_those_that_are_known(refuse: Refuse, blank_image: Path) -> None:
    where = ("--image-dir", str(blank_image.parent))
    refuse("--image", "blnak", *where, code=IMAGE, says=["`blnak`", "blank"])


def test_no_image_at_all_is_refused_with_how_to_name_one(refuse: Refuse, site: Path) -> None:
    nowhere = str(site / "nowhere")
    refuse("--image-dir", nowhere, code=IMAGE, says=["no image was named", nowhere, "--image"], sif=site / "7lbd.sif")


def test_a_disk_behind_a_closed_folder_is_refused(refuse: Refuse, base: Path) -> None:
    closed = base.parent / "closed"
    closed.mkdir(mode=0, exist_ok=True)
    try:
        for image in (closed, closed / "disk.qcow2", closed / "image"):
            refuse("--image", str(image), code=IMAGE, says=[str(closed), "Permission denied"])
    finally:
        closed.rmdir()


@pytest.fixture
def own_image(blank_image: Path, work: Path) -> Iterator[Path]:
    """A copy of the blank image that a test may spoil."""
    folder = work / "Bild ä,ö:%s"
    shutil.copytree(blank_image, folder)
    yield folder
    folder.chmod(0o700)
    shutil.rmtree(folder)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("os = ", ["is not TOML"]),
        ('firmwear = "uefi"', ["`firmwear` is not a key", "did you mean `firmware`"]),
        ('os = "plan9"', ["`os` = 'plan9'", "windows"]),
        ("cpus = 0", ["`cpus` = 0"]),
        ('memory = "lots"', ["`memory` = 'lots'", "for instance 4G"]),
        ('disk = "/etc/passwd"\nformat = "raw"', ["`/etc/passwd`", "in the same folder"]),
        ('disk = "gone.qcow2"', ["gone.qcow2", "does not exist"]),
        ('variables = "../x.fd"', ["`../x.fd`", "in the same folder"]),
        ('variables = "gone.fd"', ["gone.fd", "the variable store does not exist"]),
        ('machine = "pc-q35-10.0,accel=qtest"', ["`machine`"]),
        ('user = "x;reboot"', ["`user`"]),
        ("schema = 2", ["`schema` = 2"]),
        ("a = " + "[" * 3000, ["is not TOML"]),
        ("\xff", ["is not TOML", "not UTF-8 in line 1"]),
        ("\xff\xfeo\0s\0", ["is not TOML: it is UTF-16", "save it again as UTF-8"]),
    ],
)
def test_a_broken_description_is_refused_by_its_key(
    refuse: Refuse, own_image: Path, text: str, says: list[str]
) -> None:
    (own_image / "image.toml").write_text(text, encoding="latin-1")
    refuse("--image", str(own_image), code=IMAGE, says=[str(own_image), *says])


def test_a_description_may_begin_with_a_byte_order_mark(refuse: Refuse, own_image: Path) -> None:
    toml = own_image / "image.toml"
    toml.write_text('os = "linux"\nfirmwear = "bios"\n', encoding="utf-8-sig")
    refuse("--image", str(own_image), code=IMAGE, says=[str(toml), "`firmwear` is not a key"])


def test_an_unreadable_or_endless_description_is_refused(refuse: Refuse, own_image: Path) -> None:
    toml = own_image / "image.toml"
    toml.chmod(0)
    refuse("--image", str(own_image), code=IMAGE, says=[str(toml), "Permission denied"])
    toml.unlink()
    os.mkfifo(toml)
    refuse("--image", str(own_image), code=IMAGE, says=[str(toml), "not a regular file"])
    toml.unlink()
    toml.symlink_to("/dev/zero")
    refuse("--image", str(own_image), code=IMAGE, says=[str(toml), "not a regular file"])


def test_a_description_that_asks_for_more_than_the_node_has_gets_no_memory_and_fewer_cpus(
    refuse: Refuse, start: StartSession, own_image: Path
) -> None:
    toml = own_image / "image.toml"
    toml.write_text('os = "linux"\nfirmware = "bios"\nmemory = "9000T"\ncpus = 255\n')
    refuse("--image", str(own_image), code=RESOURCES, says=["9216000.0 GiB for the guest", "--memory"])
    last = boots(start("--image", str(own_image), "--memory", "512M"))
    assert "the image asks for 255 CPUs" in str(last["warnings"])


def test_the_least_memory_that_an_image_names_is_heeded(refuse: Refuse, own_image: Path) -> None:
    with (own_image / "image.toml").open("a") as described:
        described.write('least_memory = "100M"\n')
    refuse("--image", str(own_image), "--memory", "99M", code=USAGE, says=["boots with 100.0 MiB", "--memory 128M"])


def test_an_image_that_somebody_changes_is_refused_until_that_has_ended(
    refuse: Refuse, start: StartSession, own_image: Path
) -> None:
    with (own_image / "disk.qcow2").open("rb") as disk:
        fcntl.flock(disk, fcntl.LOCK_EX)
        refuse("--image", str(own_image), code=IMAGE, says=["disk.qcow2", "locked exclusively"])
        fcntl.flock(disk, fcntl.LOCK_UN)
        session = start("--image", str(own_image))
        session.wait_phase("booting")
        with pytest.raises(BlockingIOError):
            fcntl.flock(disk, fcntl.LOCK_EX | fcntl.LOCK_NB)
        boots(session)
        fcntl.flock(disk, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_an_image_on_a_read_only_file_system_boots_and_stays_as_it_was(start: StartSession, own_image: Path) -> None:
    """A name with a space, umlauts, a comma, a colon and a percent sign, too."""
    before = (own_image / "disk.qcow2").read_bytes()
    changes = f"mount --bind '{own_image}' '{own_image}'; mount -o remount,bind,ro '{own_image}'"
    boots(start("--image", str(own_image), prefix=node(changes)))
    (own_image / "disk.qcow2").chmod(0o400)
    (own_image / "image.toml").chmod(0o400)
    own_image.chmod(0o500)
    boots(start("--image", str(own_image)))
    assert (own_image / "disk.qcow2").read_bytes() == before


def test_a_chain_of_layers_in_the_images_folder_boots(start: StartSession, own_image: Path) -> None:
    top = 'cd "$1"; qemu-img create -q -f qcow2 -b disk.qcow2 -F qcow2 top.qcow2'
    harness.tool("sh", "-ec", top, "sh", str(own_image))
    (own_image / "image.toml").write_text('os="linux"\nfirmware="bios"\nmemory="128M"\ncpus=1\ndisk="top.qcow2"\n')
    boots(start("--image", str(own_image)))
