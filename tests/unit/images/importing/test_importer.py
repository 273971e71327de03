"""Disks from elsewhere: told by their magic, followed nowhere, looked into, described."""

from __future__ import annotations

import io
import os
import struct
import subprocess
import tarfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from conftest import MakeQcow2
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sevenlbd.base.errors import ExitCode, Refusal
from sevenlbd.images import description, formats, qemu_img
from sevenlbd.images.importing import importer, ova, probe, source, vmdk

MIB = 1 << 20
ESP, MSR = "c12a7328-f81f-11d2-ba4b-00a0c93ec93b", "e3c9e316-0b5c-4db8-817d-f92df00215ae"
BASIC, LINUX = "ebd0a0a2-b9e5-4433-87c0-68b6b72699c7", "0fc63daf-8483-4772-8e79-3d69d8477de4"
BIOS_BOOT = "21686148-6449-6e6f-744e-656564454649"
NTFS, EXT4, BTRFS = (3, b"NTFS    "), (1080, b"\x53\xef"), (65600, b"_BHRfS_M")


def gpt(*partitions: tuple[str, tuple[int, bytes] | None], sector: int = 512) -> bytes:
    """A disk with a GPT and, in each partition of a MiB, a magic."""
    disk = bytearray((len(partitions) + 2) * MIB)
    disk[510:512] = b"\x55\xaa"
    disk[446 + 4] = 0xEE
    struct.pack_into("<II", disk, 446 + 8, 1, 0xFFFFFFFF)
    disk[sector : sector + 8] = b"EFI PART"
    struct.pack_into("<QII", disk, sector + 72, 2, 128, 128)
    for number, (kind, content) in enumerate(partitions):
        first = (number + 1) * MIB
        at = 2 * sector + 128 * number
        disk[at : at + 16] = uuid.UUID(kind).bytes_le
        struct.pack_into("<QQ", disk, at + 32, first // sector, (first + MIB) // sector - 1)
        if content:
            disk[first + content[0] : first + content[0] + len(content[1])] = content[1]
    return bytes(disk)


def mbr(*kinds: int) -> bytes:
    disk = bytearray(4 * MIB)
    disk[510:512] = b"\x55\xaa"
    for number, kind in enumerate(kinds):
        struct.pack_into("<B3xB3xII", disk, 446 + 16 * number, 0x80, kind, 2048 * (number + 1), 2048)
    return bytes(disk)


def looked(disk: bytes) -> probe.Findings:
    return probe.look(lambda at, length: disk[at : at + length], len(disk))


@pytest.mark.parametrize(
    ("disk", "system", "firmware"),
    [
        (gpt((ESP, None), (MSR, None), (BASIC, NTFS)), "windows", "uefi"),
        (gpt((ESP, None), (BASIC, (3, b"-FVE-FS-"))), "windows", "uefi"),
        (gpt((ESP, None), (LINUX, EXT4)), "linux", "uefi"),
        (gpt((ESP, None), (LINUX, BTRFS), sector=4096), "linux", "uefi"),
        (gpt((BIOS_BOOT, None), (LINUX, (0, b"XFSB"))), "linux", "bios"),
        (gpt((BASIC, None)), None, None),
        (gpt((BASIC, EXT4)), "linux", None),
        (mbr(0x07, 0x27), "windows", "bios"),
        (mbr(0x83, 0x82), "linux", "bios"),
        (mbr(0xEF, 0x83), "linux", "uefi"),
        (b"\xeb\x52\x90NTFS    ".ljust(510, b"\0") + b"\x55\xaa", "windows", None),
        (bytes(4 * MIB), None, None),
        (b"", None, None),
    ],
)
def test_the_system_and_its_firmware_are_seen(disk: bytes, system: str | None, firmware: str | None) -> None:
    found = looked(disk)
    assert (found.os, found.firmware) == (system, firmware), found.seen


@given(st.lists(st.tuples(st.integers(440, 4096), st.binary(min_size=1, max_size=16)), max_size=8))
def test_no_table_however_mangled_ends_the_look(changes: list[tuple[int, bytes]]) -> None:
    disk = bytearray(gpt((ESP, None), (LINUX, EXT4)))
    for at, change in changes:
        disk[at : at + len(change)] = change
    looked(bytes(disk))


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"QFI\xfb", "qcow2"),
        (b"KDMV", "vmdk"),
        (b"# Disk DescriptorFile\n", "vmdk-text"),
        (b"vhdxfile", "vhdx"),
        (b"conectix", "vpc"),
        (b"\0" * 1024 + b"conectix".ljust(512), "vpc"),
        (b"\0" * 257 + b"ustar\0" + b"\0" * 300, "ova"),
        (mbr(0x83), "raw"),
    ],
)
def test_a_format_is_told_by_its_magic(tmp_path: Path, content: bytes, kind: str) -> None:
    (tmp_path / "disk").write_bytes(content)
    assert formats.told(formats.piece(tmp_path / "disk")) == kind


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"\x1f\x8b\x08", "compressed with gzip"),
        (b"\xfd7zXZ\0", "compressed with xz"),
        (b"PK\x03\x04", "zip archive"),
        (b"<?xml version='1.0'?><Envelope/>", "not a disk"),
        (b"\0" * 32769 + b"CD001", "installation disc"),
        (b"hello", "no format that is known"),
        (b"", "no format that is known"),
    ],
)
def test_what_is_no_disk_is_refused_with_what_would_help(tmp_path: Path, content: bytes, why: str) -> None:
    (tmp_path / "disk").write_bytes(content)
    with pytest.raises(Refusal, match=why) as caught:
        formats.told(formats.piece(tmp_path / "disk"))
    assert caught.value.code is ExitCode.IMAGE
    assert caught.value.hint


def test_a_raw_disk_that_begins_like_another_is_taken_for_neither(make_qcow2: MakeQcow2, tmp_path: Path) -> None:
    """A guest can write a header into its first sector, with a backing file of its choice."""
    disk = make_qcow2(tmp_path / "disk.raw", backing="/etc/passwd", backing_format="raw")
    with pytest.raises(Refusal, match="is named raw, but begins like qcow2"):
        formats.told(formats.piece(disk))
    assert formats.told(formats.piece(disk), "raw") == "raw"
    with pytest.raises(Refusal, match="does not begin like vhdx, but like qcow2"):
        formats.told(formats.piece(disk), "vhdx")


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path, why in (
        (tmp_path / "pipe", "not a regular file"),
        (tmp_path, "not a regular file"),
        (tmp_path / "x", "exist"),
    ):
        with pytest.raises(Refusal, match=why):
            formats.piece(path)


def text_of(*lines: str, parent: str = "ffffffff") -> str:
    return "\n".join(["# Disk DescriptorFile", "version=1", f"parentCID={parent}", 'createType="x"', *lines, ""])


def extents_of(folder: Path, text: str) -> list[vmdk.Extent]:
    (folder / "disk.vmdk").write_text(text, errors="surrogateescape")
    return vmdk.extents(formats.piece(folder / "disk.vmdk"))


@pytest.fixture
def exported(tmp_path: Path) -> Path:
    """A folder with a flat extent, and secrets near it."""
    folder = tmp_path / "export"
    folder.mkdir()
    (folder / "flat.vmdk").write_bytes(bytes(MIB))
    (folder / "link.vmdk").symlink_to("/etc/passwd")
    (tmp_path / "secret").write_bytes(bytes(MIB))
    os.mkfifo(folder / "pipe.vmdk")
    return folder


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ('RW 8 FLAT "/etc/passwd" 0', "not a plain name"),
        ('RW 8 FLAT "../secret" 0', "not a plain name"),
        ('RW 8 FLAT "..\\secret" 0', "not a plain name"),
        ('RW 8 FLAT "nbd:127.0.0.1:1" 0', "not a plain name"),
        ('RW 8 FLAT "json:{}" 0', "not a plain name"),
        ('RW 8 FLAT "" 0', "not a plain name"),
        ('RW 8 FLAT "link.vmdk" 0', "symbolic link"),
        ('RW 8 FLAT "pipe.vmdk" 0', "not a regular file"),
        ('RW 8 FLAT "gone.vmdk" 0', "does not exist"),
        ('RW 9999 FLAT "flat.vmdk" 0', "is truncated"),
        ('RW 8 FLAT "flat.vmdk" 2048', "is truncated"),
        ('RW 8 SPARSE "flat.vmdk"', "no sparse VMDK"),
        ('RW 8 VMFSSPARSE "flat.vmdk"', "not an extent"),
        ("RW 8 ZERO", "not an extent"),
        ('RDONLY 8 FLAT "flat.vmdk" 0', "not an extent"),
        ('RW -8 FLAT "flat.vmdk" 0', "not an extent"),
        ('RW 0 FLAT "flat.vmdk" 0', "is empty"),
        ("", "names no data"),
    ],
)
def test_a_descriptor_that_leads_elsewhere_is_refused(exported: Path, line: str, why: str) -> None:
    with pytest.raises(Refusal, match=why):
        extents_of(exported, text_of(line))


@pytest.mark.parametrize(
    "text",
    [
        text_of('RW 8 FLAT "flat.vmdk" 0', parent="1234abcd"),
        text_of('RW 8 FLAT "flat.vmdk" 0', 'parentFileNameHint="/etc/passwd"'),
        text_of('RW 8 FLAT "flat.vmdk" 0', ' ParentFileNameHint = "x"'),
    ],
)
def test_a_snapshot_is_refused(exported: Path, text: str) -> None:
    with pytest.raises(Refusal, match="is a snapshot"):
        extents_of(exported, text)


def sparse(capacity: int = 2048, inner: bytes = b"", at: int = 1) -> bytes:
    header = struct.pack("<4sIIQQQQ", b"KDMV", 1, 3, capacity, 128, at, 20).ljust(512, b"\0")
    return header + inner.ljust(20 * 512, b"\0")


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (sparse(capacity=0, inner=b'RW 8 FLAT "/etc/passwd" 0'), "makes no sense"),
        (sparse(inner=b'parentCID=12\nparentFileNameHint="/etc/passwd"'), "is a snapshot"),
        (sparse(inner=b"\0" * 5000 + b'\nparentFileNameHint="x"'), "is a snapshot"),
        (sparse(inner=b"x" * 9000 + b'\nparentFileNameHint="x"', at=3), "is a snapshot"),
        (sparse()[:100], "is truncated"),
    ],
)
def test_a_sparse_file_that_leads_elsewhere_is_refused(tmp_path: Path, content: bytes, why: str) -> None:
    (tmp_path / "disk.vmdk").write_bytes(content)
    with pytest.raises(Refusal, match=why), source.opened(tmp_path / "disk.vmdk", ""):
        pass


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.one_of(
    st.text(max_size=200),
    st.lists(st.sampled_from(["RW", " ", "8", "FLAT", '"', "flat.vmdk", "..", "/", "0", "\n", "parentCID=", "\udcff"]),
             max_size=20).map("".join),
))  # fmt: skip
def test_no_descriptor_however_mangled_names_a_file_elsewhere(exported: Path, text: str) -> None:
    with suppress(Refusal):
        for extent in extents_of(exported, text_of(text.encode("utf-8", "surrogateescape").decode("latin-1"))):
            assert extent.file.path == exported / "flat.vmdk"


def ovf(disks: str = '<Disk fileRef="f1" diskId="d"/>', files: str = '<File id="f1" href="disk.vmdk"/>') -> str:
    return f"""<?xml version="1.0"?>
<Envelope xmlns="http://schemas.dmtf.org/ovf/envelope/1" xmlns:ovf="http://schemas.dmtf.org/ovf/envelope/1"
 xmlns:rasd="http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_ResourceAllocationSettingData"
 xmlns:vmw="http://www.vmware.com/schema/ovf">
 <References>{files.replace("id=", "ovf:id=").replace("href=", "ovf:href=")}</References>
 <DiskSection>{disks.replace("fileRef=", "ovf:fileRef=")}</DiskSection>
 <VirtualSystem><VirtualHardwareSection>
  <Item><rasd:ResourceType>3</rasd:ResourceType><rasd:VirtualQuantity>6</rasd:VirtualQuantity></Item>
  <Item><rasd:AllocationUnits>byte * 2^20</rasd:AllocationUnits><rasd:ResourceType>4</rasd:ResourceType>
   <rasd:VirtualQuantity>3072</rasd:VirtualQuantity></Item>
  <vmw:Config vmw:key="firmware" vmw:value="efi"/>
 </VirtualHardwareSection></VirtualSystem>
</Envelope>"""


def tar(path: Path, *members: tuple[str, bytes] | tarfile.TarInfo) -> Path:
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as archive:
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                archive.addfile(member)
            else:
                info = tarfile.TarInfo(member[0])
                info.size = len(member[1])
                archive.addfile(info, io.BytesIO(member[1]))
    return path


def test_an_appliance_says_where_its_disk_is_and_what_machine_it_was(tmp_path: Path) -> None:
    path = tar(tmp_path / "a.ova", ("a.ovf", ovf().encode()), ("a.mf", b"x"), ("disk.vmdk", sparse()))
    found = ova.read(formats.piece(path))
    assert (found.name, found.memory, found.cpus, found.firmware) == ("disk.vmdk", 3 << 30, 6, "uefi")
    assert found.disk
    assert found.disk.read(0, 1 << 20) == sparse()
    assert not found.disk.whole


def link(name: str, kind: bytes, target: str) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


DISK = ("disk.vmdk", sparse())
BOMB = '<!DOCTYPE x [<!ENTITY a "aaaa">]>'


@pytest.mark.parametrize(
    ("members", "why"),
    [
        ([("../a.ovf", ovf().encode()), DISK], "not a plain name"),
        ([("/a.ovf", ovf().encode()), DISK], "not a plain name"),
        ([("a.ovf", ovf().encode()), link("disk.vmdk", tarfile.SYMTYPE, "/etc/passwd")], "not a plain file"),
        ([("a.ovf", ovf().encode()), link("disk.vmdk", tarfile.LNKTYPE, "a.ovf")], "not a plain file"),
        ([("a.ovf", ovf().encode()), link("disk.vmdk", tarfile.FIFOTYPE, "")], "not a plain file"),
        ([("a.ovf", ovf().encode()), DISK, DISK], "twice"),
        ([("a.ovf", ovf().encode())], "which is not in it"),
        ([DISK], "has 0 descriptions"),
        ([("a.ovf", b"<x>"), DISK], "is not XML"),
        ([("a.ovf", (BOMB + "<x>&a;</x>").encode()), DISK], "no plain OVF"),
        ([("a.ovf", (BOMB + "<x>&a;</x>").encode("utf-16")), DISK], "no plain OVF"),
        ([("a.ovf", (BOMB + "<x>&a;</x>").encode("utf-16-be")), DISK], "no plain OVF"),
        ([("a.ovf", b'<?xml version="1.0" encoding="utf-7"?><x/>'), DISK], "is in utf-7"),
        ([("a.ovf", b"<x/>"), DISK], "names 0 disks"),
        ([("a.ovf", ovf('<Disk fileRef="f1"/><Disk fileRef="f2"/>').encode()), DISK], "names 2 disks"),
        ([("a.ovf", ovf('<Disk fileRef="f9"/>').encode()), DISK], "does not list"),
        ([("a.ovf", ovf(files='<File id="f1" href="../../etc/passwd"/>').encode()), DISK], "which is not in it"),
        (
            [("a.ovf", ovf().replace("ovf:href=", 'ovf:compression="bzip2" ovf:href=').encode()), DISK],
            "compressed with bzip2",
        ),
    ],
)
def test_an_appliance_that_is_none_or_means_harm_is_refused(
    tmp_path: Path, members: list[tuple[str, bytes] | tarfile.TarInfo], why: str
) -> None:
    with pytest.raises(Refusal, match=why):
        ova.read(formats.piece(tar(tmp_path / "a.ova", *members)))


def test_a_truncated_appliance_is_refused(tmp_path: Path) -> None:
    path = tar(tmp_path / "a.ova", ("a.ovf", ovf().encode()), ("disk.vmdk", bytes(MIB)))
    os.truncate(path, MIB // 2)
    with pytest.raises(Refusal, match="is truncated|is not an OVA"):
        ova.read(formats.piece(path))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, 4000), st.binary(min_size=1, max_size=6)), max_size=6))
def test_no_appliance_however_mangled_is_more_than_refused(tmp_path: Path, changes: list[tuple[int, bytes]]) -> None:
    content = bytearray(tar(tmp_path / "a.ova", ("a.ovf", ovf().encode()), DISK).read_bytes())
    for at, change in changes:
        content[at : at + len(change)] = change
    (tmp_path / "b.ova").write_bytes(content)
    with suppress(Refusal):
        for piece in ova.read(formats.piece(tmp_path / "b.ova")).pieces:
            assert piece.offset + piece.size <= len(content)


@contextmanager
def silent(_what: str, _size: int) -> Iterator[Callable[[int], None]]:
    yield lambda _: None


def imported(path: Path, folder: Path, said: str = "", **more: Any) -> description.Description:
    """Import with the real qemu-img."""
    folder.mkdir()
    given: dict[str, Any] = {"compress": False, "given": {}, "described": None, "variables": None} | more
    with source.opened(path, said) as disk:
        order = importer.ImportOptions("win", "1", **given)
        return importer.fill(folder, disk, order, silent)


def content_of(folder: Path) -> bytes:
    raw = folder / "raw"
    subprocess.run(["qemu-img", "convert", "-f", "qcow2", "-O", "raw", folder / "disk.qcow2", raw], check=True)
    return raw.read_bytes()


def test_a_raw_disk_becomes_a_described_version(tmp_path: Path) -> None:
    disk = gpt((ESP, None), (LINUX, EXT4))
    (tmp_path / "x.img").write_bytes(disk)
    made = imported(tmp_path / "x.img", tmp_path / "v", given={"memory": 3 << 30, "title": 'a "b" \\ ä'})
    assert (made.os, made.firmware, made.disk_bus, made.memory) == ("linux", "uefi", "virtio", 3 << 30)
    assert (made.name, made.version, made.title) == ("win", "1", 'a "b" \\ ä')
    assert content_of(tmp_path / "v") == disk
    text = (tmp_path / "v" / "image.toml").read_text()
    assert "# Seen on it: GPT with 2 partitions, EFI system partition, ext4." in text
    assert "# Assumed, for want of better knowledge: nic, channels, user, cpus." in text
    assert sorted(path.name for path in (tmp_path / "v").iterdir()) == ["disk.qcow2", "image.toml", "raw"]


def test_flat_extents_are_bytes_and_nothing_else(make_qcow2: MakeQcow2, tmp_path: Path) -> None:
    """The first of them begins like a qcow2 with a backing file: QEMU must not be tempted."""
    trap = make_qcow2(tmp_path / "one.vmdk", backing="/etc/passwd", backing_format="raw")
    first = trap.read_bytes().ljust(MIB, b"\1")
    trap.write_bytes(first)
    (tmp_path / "two.vmdk").write_bytes(b"skipped".ljust(512) + b"\2" * MIB)
    lines = ['RW 2048 FLAT "one.vmdk" 0', 'RW 2048 FLAT "two.vmdk" 1']
    for number, (chosen, expected) in enumerate(((lines, first + b"\2" * MIB), (lines[:1], first))):
        (tmp_path / "disk.vmdk").write_text(text_of(*chosen))
        imported(tmp_path / "disk.vmdk", tmp_path / f"v{number}")
        assert content_of(tmp_path / f"v{number}") == expected


def test_a_description_and_variables_beside_the_disk_are_taken_over(tmp_path: Path) -> None:
    (tmp_path / "x.img").write_bytes(mbr(0x07))
    (tmp_path / "image.toml").write_text('disk = "x.img"\nformat = "raw"\nos = "linux"\nuser = "jo"\nmemory = "3G"\n')
    (tmp_path / "variables.fd").write_bytes(bytes(40) + b"_FVH" + bytes(1000))
    described, variables = importer.beside(tmp_path / "x.img")
    assert (described, variables) == (tmp_path / "image.toml", tmp_path / "variables.fd")
    made = imported(
        tmp_path / "x.img", tmp_path / "v", described=described, variables=variables, given={"memory": 2 << 30}
    )
    assert (made.os, made.user, made.memory, made.variables) == ("linux", "jo", 2 << 30, "variables.fd")
    assert (made.name, made.version, made.disk, made.format) == ("win", "1", "disk.qcow2", "qcow2")
    (tmp_path / "image.toml").write_text('disk = "another.img"\n')
    (tmp_path / "variables.fd").write_bytes(b"no volume")
    assert importer.beside(tmp_path / "x.img") == (None, None)
    (tmp_path / "image.toml").write_text('disk = "x.img"\nvariables = "../x"\n')
    with pytest.raises(Refusal, match="not a plain name"):
        importer.beside(tmp_path / "x.img")


def test_qemu_imgs_refusal_is_told_without_our_json(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"vhdxfile".ljust(64 << 10, b"\0") + b"head" + bytes(MIB))
    with pytest.raises(Refusal, match="the disk cannot be read") as caught:
        imported(tmp_path / "x", tmp_path / "v")
    assert "json" not in caught.value.what, caught.value.what


def test_a_check_tells_what_is_wrong_with_a_disk(tmp_path: Path) -> None:
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", tmp_path / "d", "1M"], check=True)
    assert not qemu_img.check(tmp_path / "d", "qcow2")
    with (tmp_path / "d").open("r+b") as file:
        file.seek(0x30000)
        file.write(b"\x80" + bytes(5) + b"\xff\xff")
    assert qemu_img.check(tmp_path / "d", "qcow2")
