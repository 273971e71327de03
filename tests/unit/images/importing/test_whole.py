"""A disk that is not all there is refused, whatever its format; one that is comes in, however it was made.

The disks are made by the real qemu-img, and cut.
"""

from __future__ import annotations

import os
import struct
import subprocess
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sevenlbd.base.errors import Refusal
from sevenlbd.images import clusters, partitions, qcow2
from sevenlbd.images.importing import importer, source
from sevenlbd.images.lookup import image

MIB = 1 << 20
SIZE = 16 * MIB
"""Two blocks of a VHDX."""


def table(size: int, sector: int = 512, *, copy_at: int | None = None, end: int | None = None) -> bytes:
    """The begin of a disk with a GPT, of one partition up to byte `end`, whose copy is at the end, or at `copy_at`."""
    last = (size if copy_at is None else copy_at + sector) // sector - 1
    head = bytearray(MIB)
    head[510:512], head[450] = b"\x55\xaa", 0xEE
    struct.pack_into("<II", head, 454, 1, 0xFFFFFFFF)
    first, until = MIB // sector, (end or (last - 33) * sector) // sector - 1
    entry = bytes.fromhex("a2a0d0ebe5b9334487c068b6b72699c7") + bytes(15) + b"\1" + struct.pack("<QQ", first, until)
    head[2 * sector : 2 * sector + len(entry)] = entry
    header = struct.pack("<8sII8xQQQQ16xQII", b"EFI PART", 1 << 16, 92, 1, last, 34, last - 33, 2, 128, 128).ljust(
        92, b"\0"
    )
    head[sector : sector + 92] = header[:16] + struct.pack("<I", zlib.crc32(header)) + header[20:]
    return bytes(head)


def qemu_img(*words: object) -> None:
    subprocess.run(["qemu-img", *map(str, words)], check=True, capture_output=True)


@pytest.fixture(scope="session")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A disk with a GPT and with content up to its end."""
    path = tmp_path_factory.mktemp("raw") / "disk.raw"
    path.write_bytes(table(SIZE) + os.urandom(SIZE - MIB))
    return path


@contextmanager
def silent(_what: str, _size: int) -> Iterator[Callable[[int], None]]:
    yield lambda _: None


def imported(path: Path, folder: Path, said: str = "", **given: Any) -> Path:
    """The disk that an import makes of it."""
    folder.mkdir()
    with source.opened(path, said) as disk:
        importer.fill(folder, disk, importer.ImportOptions("x", "1", compress=False, given=given), silent)
    assert sorted(file.name for file in folder.iterdir()) == ["disk.qcow2", "image.toml"]
    return folder / "disk.qcow2"


def same(raw: Path, made: Path) -> None:
    qemu_img("compare", "-f", "raw", "-F", "qcow2", raw, made)


KINDS = {
    "sparse.vmdk": ("vmdk", "subformat=monolithicSparse"),
    "stream.vmdk": ("vmdk", "subformat=streamOptimized"),
    "split.vmdk": ("vmdk", "subformat=twoGbMaxExtentSparse"),
    "flat.vmdk": ("vmdk", "subformat=monolithicFlat"),
    "parts.vmdk": ("vmdk", "subformat=twoGbMaxExtentFlat"),
    "dynamic.vhd": ("vpc", "force_size=on"),
    "fixed.vhd": ("vpc", "subformat=fixed,force_size=on"),
    "disk.vhdx": ("vhdx", "subformat=dynamic"),
    "fixed.vhdx": ("vhdx", "subformat=fixed"),
    "disk.vdi": ("vdi", "static=off"),
    "static.vdi": ("vdi", "static=on"),
    "disk.qcow2": ("qcow2", "compat=1.1"),
    "old.qcow2": ("qcow2", "compat=0.10"),
    "disk.raw": ("raw", ""),
}
DATA = {"split.vmdk": "split-s001.vmdk", "flat.vmdk": "flat-flat.vmdk", "parts.vmdk": "parts-f001.vmdk"}


def made(raw: Path, folder: Path, name: str) -> tuple[Path, Path]:
    """A disk of a kind, and the file with its data."""
    kind, options = KINDS[name]
    qemu_img("convert", "-f", "raw", "-O", kind, *(["-o", options] if options else []), raw, folder / name)
    return folder / name, folder / DATA.get(name, name)


@pytest.mark.parametrize("name", KINDS)
def test_a_disk_comes_in_whole_and_is_refused_when_it_lost_its_end(raw: Path, tmp_path: Path, name: str) -> None:
    disk, data = made(raw, tmp_path, name)
    same(raw, imported(disk, tmp_path / "whole"))
    whole = data.stat().st_size
    # Half of it, a MiB, and so little that only exact arithmetic sees it. A VHD's end is a footer alone.
    for number, left in enumerate((whole // 2, whole - MIB, whole - 4096, 100_000)):
        os.truncate(data, left)
        with pytest.raises(Refusal, match="truncated|damaged|cannot be read") as caught:
            imported(disk, tmp_path / f"cut{number}")
        assert "json" not in caught.value.what
        assert caught.value.hint


@pytest.mark.parametrize("name", [name for name in KINDS if "vmdk" in name or "vhd" in name or "vdi" in name])
def test_a_disk_without_a_table_is_measured_by_its_format_alone(tmp_path: Path, name: str) -> None:
    (tmp_path / "disk").write_bytes(os.urandom(SIZE))
    disk, data = made(tmp_path / "disk", tmp_path, name)
    os.truncate(data, data.stat().st_size - 8192)
    said = "vmdk" if name.endswith("vmdk") else ""
    with pytest.raises(Refusal, match="truncated|damaged|cannot be read"):
        imported(disk, tmp_path / "cut", said)


def test_a_fixed_vhd_without_its_footer_is_no_raw_disk(raw: Path, tmp_path: Path) -> None:
    disk, _ = made(raw, tmp_path, "fixed.vhd")
    os.truncate(disk, disk.stat().st_size - 512)
    with pytest.raises(Refusal, match="is named vpc, but .* truncated, or misnamed") as caught:
        imported(disk, tmp_path / "cut")
    assert "--format raw" in caught.value.hint
    same(raw, imported(disk, tmp_path / "said", "raw"))


def test_vmwares_flat_file_alone_is_a_raw_disk(raw: Path, tmp_path: Path) -> None:
    _, data = made(raw, tmp_path, "flat.vmdk")
    same(raw, imported(data, tmp_path / "whole"))


def test_a_vhd_of_virtualbox_keeps_its_last_sectors(tmp_path: Path) -> None:
    """QEMU takes the size of such a disk from its geometry, which has no room for them."""
    size = 300 * MIB + 7 * 512
    with (tmp_path / "disk.raw").open("wb") as file:
        file.write(table(size))
        file.truncate(size)
    qemu_img(
        "convert",
        "-f",
        "raw",
        "-O",
        "vpc",
        "-o",
        "subformat=fixed,force_size=on",
        tmp_path / "disk.raw",
        tmp_path / "x.vhd",
    )
    with (tmp_path / "x.vhd").open("r+b") as file:
        file.seek(-512, os.SEEK_END)
        footer = bytearray(file.read())
        footer[28:32], footer[64:68] = b"vbox", bytes(4)
        struct.pack_into(">I", footer, 64, ~sum(footer) & 0xFFFFFFFF)
        file.seek(-512, os.SEEK_END)
        file.write(footer)
    assert qcow2.read(imported(tmp_path / "x.vhd", tmp_path / "v")).size == size


# A partition table's promise.


def test_a_disk_that_has_grown_since_it_was_divided_is_right(tmp_path: Path) -> None:
    (tmp_path / "x.raw").write_bytes(table(4 * MIB) + bytes(SIZE - MIB))
    imported(tmp_path / "x.raw", tmp_path / "v")


@pytest.mark.parametrize("sector", [512, 4096])
def test_a_disk_that_ends_before_its_table_says_is_refused_by_import_and_by_start(tmp_path: Path, sector: int) -> None:
    path = tmp_path / "x.raw"
    for content, says in (
        (table(SIZE, sector, end=SIZE - MIB), "its partitions go on"),
        (table(SIZE, sector, end=4 * MIB), "the copy of its partition table belongs"),
    ):
        path.write_bytes(content.ljust(6 * MIB, b"\0"))
        with pytest.raises(Refusal, match=says):
            imported(path, tmp_path / f"v{len(says)}")
        with pytest.raises(Refusal, match=says):
            image.resolve(str(path), [])
        path.write_bytes(content.ljust(SIZE, b"\0"))
        assert image.resolve(str(path), []).size == SIZE


@pytest.mark.parametrize(("kind", "lost"), [(0x07, True), (0x0F, True), (0, False), (0xEE, False)])
def test_an_mbr_promises_as_much(kind: int, lost: bool) -> None:
    head = bytearray(MIB)
    head[510:512] = b"\x55\xaa"
    struct.pack_into("<B3xB3xII", head, 446, 0x80, kind, 2048, 65536)
    assert bool(partitions.read(bytes(head)).lost(SIZE)) is lost


def test_what_only_looks_like_a_table_promises_nothing() -> None:
    """The boot sector of a file system, a GPT that an MBR has replaced, one with a wrong checksum."""
    boot = bytearray(b"\xeb\x52\x90NTFS    ".ljust(510, b"\x80") + b"\x55\xaa")
    assert not partitions.read(bytes(boot)).lost(MIB)
    left = bytearray(table(SIZE))
    struct.pack_into("<B3xB3xII", left, 446, 0x80, 0x07, 2048, 2048)
    assert partitions.read(bytes(left)).name == "MBR"
    wrong = bytearray(table(SIZE, end=2 * MIB))
    wrong[512 + 16] ^= 1
    assert not partitions.read(bytes(wrong)).lost(4 * MIB)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=92), st.sampled_from([512, 4096]))
def test_no_header_of_a_table_is_more_than_read(header: bytes, sector: int) -> None:
    head = bytearray(table(SIZE, sector))
    head[sector + 8 : sector + 8 + len(header)] = header
    partitions.read(bytes(head)).lost(SIZE)


# qcow2, as every version and option of QEMU writes it.

QCOW2 = [
    *(f"refcount_bits={width}" for width in (1, 2, 4, 8, 16, 32, 64)),
    *(f"cluster_size={size}" for size in (512, 4096, 2 * MIB)),
    *(f"refcount_bits={width},cluster_size={size}" for width in (1, 64) for size in (512, 2 * MIB)),
    "extended_l2=on,cluster_size=128k",
    "compression_type=zstd",
    "lazy_refcounts=on",
    "compat=0.10",
    "preallocation=metadata",
    "preallocation=full",
    "preallocation=falloc,extended_l2=on",
]


COMPRESSED = ["refcount_bits=1,cluster_size=512", "cluster_size=2097152", "compression_type=zstd", "compat=0.10"]


@pytest.mark.parametrize(
    ("options", "compress"), [*((options, []) for options in QCOW2), *((options, ["-c"]) for options in COMPRESSED)]
)
def test_a_healthy_qcow2_of_any_width_and_size_is_whole(
    raw: Path, tmp_path: Path, options: str, compress: list[str]
) -> None:
    disk = tmp_path / "x.qcow2"
    qemu_img("convert", *compress, "-f", "raw", "-O", "qcow2", "-o", options, raw, disk)
    assert image.resolve(str(disk), []).size == SIZE
    same(raw, imported(disk, tmp_path / "v"))
    os.truncate(disk, disk.stat().st_size - 4096)
    with pytest.raises(Refusal, match="truncated|damaged"):
        imported(disk, tmp_path / "cut")


def test_an_empty_qcow2_and_one_of_an_odd_size_are_whole(tmp_path: Path) -> None:
    for size in (MIB, 5 * MIB + 512, 3 << 40):
        qemu_img("create", "-f", "qcow2", tmp_path / "x.qcow2", size)
        assert image.resolve(str(tmp_path / "x.qcow2"), []).size == size
        made = imported(tmp_path / "x.qcow2", tmp_path / f"v{size}", "qcow2")
        assert qcow2.read(made).size == size


def test_a_chain_is_as_large_as_its_top_and_every_layer_is_looked_at(raw: Path, tmp_path: Path) -> None:
    qemu_img("convert", "-f", "raw", "-O", "qcow2", raw, tmp_path / "base.qcow2")
    qemu_img("create", "-f", "qcow2", "-b", "base.qcow2", "-F", "qcow2", tmp_path / "middle.qcow2", SIZE)
    qemu_img("create", "-f", "qcow2", "-b", "middle.qcow2", "-F", "qcow2", tmp_path / "top.qcow2", SIZE)
    same(raw, imported(tmp_path / "top.qcow2", tmp_path / "v"))
    os.truncate(tmp_path / "base.qcow2", (tmp_path / "base.qcow2").stat().st_size - 4096)
    with pytest.raises(Refusal, match=r"base\.qcow2: is truncated"):
        imported(tmp_path / "top.qcow2", tmp_path / "w")


@pytest.mark.parametrize("at", [1 << 40, 1 << 63, (1 << 64) - 512])
def test_a_qcow2_whose_tables_lie_beyond_any_file_has_lost_them(raw: Path, tmp_path: Path, at: int) -> None:
    disk = tmp_path / "x.qcow2"
    qemu_img("convert", "-f", "raw", "-O", "qcow2", raw, disk)
    assert not clusters.lost(disk)
    with disk.open("r+b") as file:
        file.seek(40)
        file.write(struct.pack(">Q", at))
    assert clusters.lost(disk)


def test_a_qcow2_that_was_not_closed_in_order_is_not_refused_for_its_refcounts(raw: Path, tmp_path: Path) -> None:
    disk = tmp_path / "x.qcow2"
    qemu_img("convert", "-f", "raw", "-O", "qcow2", "-o", "lazy_refcounts=on", raw, disk)
    with disk.open("r+b") as file:
        file.seek(79)
        file.write(b"\1")
    same(raw, imported(disk, tmp_path / "v"))


def test_a_qcow2_that_needs_more_than_there_is_is_refused(raw: Path, tmp_path: Path) -> None:
    disk = tmp_path / "x.qcow2"
    qemu_img("convert", "-f", "raw", "-O", "qcow2", "-o", f"data_file={tmp_path}/data", raw, disk)
    with pytest.raises(Refusal, match="keeps its data in another file"):
        imported(disk, tmp_path / "v")
    qemu_img("create", "-f", "qcow2", disk, "1M")
    with disk.open("r+b") as file:
        file.seek(78)
        file.write(b"\x80")
    with pytest.raises(Refusal, match="needs a newer QEMU"):
        image.resolve(str(disk), [])


# A name that says one thing and a content that says another.


@pytest.mark.parametrize("name", ["sparse.vmdk", "flat.vmdk", "disk.vhdx", "dynamic.vhd", "disk.vdi", "disk.qcow2"])
@pytest.mark.parametrize("called", ["x.img", "x.raw", "x.qcow2"])
def test_a_disk_that_is_called_what_it_is_not_does_not_boot(raw: Path, tmp_path: Path, name: str, called: str) -> None:
    disk, _ = made(raw, tmp_path, name)
    disk.rename(tmp_path / called)
    kind = KINDS[name][0]
    if called == "x.qcow2" and kind == "qcow2":
        assert image.resolve(str(tmp_path / called), [])
        return
    with pytest.raises(
        Refusal, match=f"is named {'raw' if called != 'x.qcow2' else 'qcow2'}, but begins like {kind}"
    ) as caught:
        image.resolve(str(tmp_path / called), [])
    assert "7lbd image add" in caught.value.hint
    assert ("image.toml" in caught.value.hint) == (called != "x.qcow2")


def test_a_raw_disk_that_is_said_to_be_one_boots_whatever_it_begins_with(tmp_path: Path) -> None:
    qemu_img("create", "-f", "qcow2", tmp_path / "x.img", "1M")
    (tmp_path / "image.toml").write_text('disk = "x.img"\nformat = "raw"\n')
    assert image.resolve(str(tmp_path), []).layers[0].format == "raw"


def test_a_packed_disk_is_not_booted_as_raw(tmp_path: Path) -> None:
    (tmp_path / "x.img").write_bytes(b"\x1f\x8b\x08" + bytes(MIB))
    with pytest.raises(Refusal, match="is compressed with gzip"):
        image.resolve(str(tmp_path / "x.img"), [])


# Mangled headers.


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(
    st.sampled_from(["sparse.vmdk", "stream.vmdk", "dynamic.vhd", "fixed.vhd", "disk.vdi", "disk.vhdx", "old.qcow2"]),
    st.lists(st.tuples(st.integers(0, 700), st.binary(min_size=1, max_size=8)), max_size=5),
    st.booleans(),
)
def test_no_header_however_mangled_is_more_than_refused(
    raw: Path, tmp_path: Path, name: str, changes: list[tuple[int, bytes]], from_end: bool
) -> None:
    kept = tmp_path / "kept"
    if not (kept / name).exists():
        kept.mkdir(exist_ok=True)
        made(raw, kept, name)
    content = bytearray((kept / name).read_bytes())
    for at, change in changes:
        where = max(0, len(content) - 1024 - at) if from_end else at
        content[where : where + len(change)] = change
    (tmp_path / name).write_bytes(content)
    with suppress(Refusal), source.opened(tmp_path / name, ""):
        pass


# A VHDX whose machine stopped hard.


def crc32c(content: bytes) -> int:
    value = 0xFFFFFFFF
    for byte in content:
        value ^= byte
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
    return value ^ 0xFFFFFFFF


def with_log(path: Path, at: int, wanted: bytes) -> None:
    """Leave in its log that the sector of 4096 bytes at `at` is `wanted` ([MS-VHDX], 2.2.2 and 2.3)."""
    disk, guid, log = bytearray(path.read_bytes()), b"\x11" * 16, 0
    for header in (64 << 10, 128 << 10):
        disk[header + 48 : header + 64] = guid
        disk[header + 4 : header + 8] = bytes(4)
        struct.pack_into("<I", disk, header + 4, crc32c(bytes(disk[header : header + 4096])))
        (log,) = struct.unpack_from("<Q", disk, header + 72)
    entry = bytearray(8192)
    struct.pack_into("<4sIIIQII16sQQ", entry, 0, b"loge", 0, 8192, 0, 1, 1, 0, guid, len(disk), len(disk))
    struct.pack_into("<4s4s8sQQ", entry, 64, b"desc", wanted[-4:], wanted[:8], at, 1)
    struct.pack_into("<4sI4084sI", entry, 4096, b"data", 0, wanted[8:4092], 1)
    struct.pack_into("<I", entry, 4, crc32c(bytes(entry)))
    disk[log : log + 8192] = entry
    path.write_bytes(disk)


def test_what_is_in_the_log_of_a_vhdx_is_put_in_its_place_and_the_file_stays_as_it_is(
    raw: Path, tmp_path: Path
) -> None:
    disk, _ = made(raw, tmp_path, "fixed.vhdx")
    content = disk.read_bytes()
    last = raw.read_bytes()[-4096:]
    at = content.rindex(last)
    with disk.open("r+b") as file:
        file.seek(at)
        file.write(bytes(4096))
    with_log(disk, at, last)
    disk.chmod(0o400)
    before = disk.read_bytes()
    made_of = imported(disk, tmp_path / "v")
    same(raw, made_of)
    assert "its log replayed" in (made_of.parent / "image.toml").read_text()
    assert disk.read_bytes() == before


def test_a_log_that_makes_no_sense_is_refused_with_qemus_reason(raw: Path, tmp_path: Path) -> None:
    disk, _ = made(raw, tmp_path, "disk.vhdx")
    with_log(disk, (1 << 40) + 1, os.urandom(4096))
    with pytest.raises(Refusal, match="cannot be read: ") as caught:
        imported(disk, tmp_path / "v")
    assert "json" not in str(caught.value)
    assert "qemu-img check -r" not in caught.value.what


# Sectors of 4096 bytes.


def test_a_disk_of_sectors_of_4096_bytes_is_described_as_one(tmp_path: Path) -> None:
    content = bytearray(table(SIZE, 4096).ljust(SIZE, b"\0"))
    for magic, at, bus in ((b"NTFS    ", 3, "nvme"), (b"\x53\xef", 1080, "virtio")):
        content[MIB : MIB + 2048] = bytes(2048)
        content[MIB + at : MIB + at + len(magic)] = magic
        (tmp_path / "x.raw").write_bytes(content)
        made_of = imported(tmp_path / "x.raw", tmp_path / bus)
        described = image.from_folder(made_of.parent).description
        assert (described.logical_block_size, described.disk_bus, described.firmware) == (4096, bus, "uefi")
    made_of = imported(tmp_path / "x.raw", tmp_path / "said", os="windows")
    assert image.from_folder(made_of.parent).description.disk_bus == "nvme"
    for wish, says in (
        ({"disk_bus": "ahci"}, "which an ahci disk does not have"),
        ({"firmware": "bios"}, "no BIOS boots"),
        ({"logical_block_size": 512}, "not of 512"),
    ):
        with pytest.raises(Refusal, match=says):
            imported(tmp_path / "x.raw", tmp_path / f"no-{len(says)}", **wish)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "not with disk_bus"),
        ('disk_bus = "nvme"\nfirmware = "bios"', "not with firmware"),
        ('disk_bus = "nvme"', ""),
        ('disk_bus = "scsi"', ""),
    ],
)
def test_such_a_disk_needs_a_bus_and_a_firmware_that_have_it(tmp_path: Path, text: str, says: str) -> None:
    qemu_img("create", "-f", "qcow2", tmp_path / "disk.qcow2", "1M")
    (tmp_path / "image.toml").write_text(f"logical_block_size = 4096\n{text}\n")
    if says:
        with pytest.raises(Refusal, match=f"`logical_block_size` = 4096: {says}"):
            image.from_folder(tmp_path)
    else:
        assert image.from_folder(tmp_path).description.logical_block_size == 4096
