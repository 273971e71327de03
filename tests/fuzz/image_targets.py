"""Disks, appliances and discs from elsewhere, and the TOML that describes images and sites: read, or refused in words.

QEMU's own reading of a disk is QEMU's to fuzz; what is read here decides before QEMU sees it.
"""

from __future__ import annotations

import io
import struct
import tarfile
import tomllib
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

from pydantic import ValidationError
from sevenlbd.base import text_files
from sevenlbd.base.errors import Refusal
from sevenlbd.config import tables
from sevenlbd.images import clusters, description, formats, partitions, qcow2
from sevenlbd.images.importing import ova, probe, vdi, vhdx, vmdk, vpc
from sevenlbd.images.media import authenticode, disc_files, wim
from sevenlbd.outside.site.site_tables import SlurmTable

from .target import Parse, Target, check_shown, file

_IMAGES = "sevenlbd.images"
_SECTOR = 512


def _of_disk(name: str, check: Callable[[formats.Piece], object]) -> Parse:
    """A parser of a disk's file: says how QEMU is to open it, or refuses."""

    def parse(data: bytes) -> None:
        disk = formats.piece(file(name, data))
        try:
            check(disk)
            formats.told(disk)
        except Refusal as refusal:
            check_shown(str(refusal).replace("\n", " "), 1 << 16)

    return parse


def _raw(data: bytes) -> None:
    """The partitions of a raw disk, and what is in them."""
    disk = formats.piece(file("disk.raw", data))
    table = partitions.read(disk.read(0, partitions.HEAD))
    assert len(table.partitions) <= 256
    assert all(one.at >= 0 and one.size >= 0 for one in table.partitions)
    found = probe.look(disk.read, disk.size)
    assert len(found.seen) < 300
    with suppress(Refusal):
        formats.told(disk)


def _qcow2(data: bytes) -> None:
    """The header of a qcow2, and its tables, which an import reads."""
    with suppress(qcow2.HeaderError):
        header = qcow2.read(file("disk.qcow2", data))
        assert 0 < header.size <= 1 << 48
        assert len(header.backing_file) <= 1023
        assert isinstance(clusters.lost(file("disk.qcow2", data)), bool)


def _disc(data: bytes) -> None:
    """An ISO 9660 or UDF disc: read, or refused, whatever it does to its reader."""
    with suppress(Refusal), disc_files.opened(file("disc.iso", data)) as disc:
        assert isinstance("sources/install.wim" in disc, bool)  # looked up, as setup_media does


def _wim(data: bytes) -> None:
    """The list of editions in a WIM."""
    with suppress(wim.WimError):
        for edition in wim.editions(lambda size, offset: data[offset : offset + size]):
            assert len(edition.name) <= 1000


def _program(data: bytes) -> None:
    """The signatures of a boot loader."""
    with suppress(authenticode.AuthenticodeError):
        authenticode.signers(data, [])


def _image_toml(data: bytes) -> None:
    """A description: what is taken is written and read as the same."""
    with suppress(Refusal):
        found = description.read(file("image.toml", data))
        again = description.read(file("image.toml", description.text(found).encode()))
        assert again == found


def _site_toml(data: bytes) -> None:
    """A site's file: its text, its tables, and each setting as the model takes it."""
    from sevenlbd.config.settings import Settings

    try:
        content = tomllib.loads(text_files.decoded(data))
    except (ValueError, RecursionError):
        return
    with suppress(Refusal):
        tables.sifted(SlurmTable, "slurm", content.get("slurm", {}), Path("7lbd.toml"))
    with suppress(ValidationError):
        Settings.model_validate({name: value for name, value in content.items() if name in Settings.model_fields})


def _ova(disk: formats.Piece) -> None:
    found = ova.read(disk)
    assert all(piece.offset + piece.size <= disk.size for piece in found.pieces)


def _qcow2_seeds() -> tuple[bytes, ...]:
    head = struct.pack(">4sIQIIQIIQQIIQQQQII", b"QFI\xfb", 3, 0, 0, 9, 1 << 20, 0, 0, 0, 512, 1, 0, 0, 0, 0, 0, 4, 104)
    counts = struct.pack(">Q", 1024).ljust(512, b"\0") + b"\0\1" * 256
    # The same with its tables: one cluster of data, one that is compressed, and one of zeros.
    mapped = bytearray(head.ljust(512, b"\0") + counts)
    struct.pack_into(">IQ", mapped, 36, 1, 1536)
    mapped += struct.pack(">Q", 2048 | 1 << 63).ljust(512, b"\0")
    mapped += struct.pack(">QQQ", 2560 | 1 << 63, 1 << 62 | 2560, 1).ljust(512, b"\0") + bytes(512)
    return head.ljust(512, b"\0") + counts, bytes(mapped)


def _vmdk_seeds() -> tuple[bytes, ...]:
    head = struct.pack("<4sIIQQQQIQQQ", b"KDMV", 1, 3, 16, 1, 1, 1, 4, 2, 2, 5).ljust(_SECTOR, b"\0")
    text = b'# Disk DescriptorFile\nversion=1\nparentCID=ffffffff\nRW 1 FLAT "disk.vmdk" 0\n'
    return head + text.ljust(_SECTOR, b"\0") + struct.pack("<I", 3).ljust(_SECTOR, b"\0") * 3, text


def _vdi_seeds() -> tuple[bytes, ...]:
    head = bytearray(1024)
    struct.pack_into("<I", head, 64, 0xBEDA107F)
    struct.pack_into("<I", head, 76, 1)
    struct.pack_into("<II", head, 340, 512, 1024)
    struct.pack_into("<III", head, 376, 512, 0, 1)
    return (bytes(head) + bytes(512),)


def _vpc_seeds() -> tuple[bytes, ...]:
    def footer(kind: int) -> bytes:
        return (
            b"conectix" + bytes(8) + struct.pack(">Q", 512) + bytes(24) + struct.pack(">QQI", 512, 512, kind)
        ).ljust(512, b"\0")

    head = (b"cxsparse" + bytes(8) + struct.pack(">Q4xII", 1536, 1, 512)).ljust(1024, b"\0")
    return bytes(512) + footer(2), footer(3) + head + struct.pack(">I", 0xFFFFFFFF).ljust(512, b"\0") + footer(3)


def _vhdx_seeds() -> tuple[bytes, ...]:
    head = bytearray(200 << 10)
    head[:8] = b"vhdxfile"
    head[64 << 10 : (64 << 10) + 4] = b"head"
    return (bytes(head),)


def _raw_seeds() -> tuple[bytes, ...]:
    mbr = bytearray(4096)
    mbr[510:512], mbr[450] = b"\x55\xaa", 7
    struct.pack_into("<II", mbr, 454, 2, 4)
    mbr[1024 + 3 : 1024 + 11] = b"NTFS    "
    gpt = bytearray(4096)
    gpt[510:512], gpt[450] = b"\x55\xaa", 0xEE
    struct.pack_into("<II", gpt, 454, 1, 99)
    gpt[512:604] = struct.pack("<8sIIIIQQQQ16xQIII", b"EFI PART", 1 << 16, 92, 0, 0, 1, 7, 3, 6, 2, 4, 128, 0)[:92]
    gpt[1024:1056] = bytes.fromhex("a2a0d0ebe5b9334487c068b6b72699c7") + b"\1" * 16
    struct.pack_into("<QQ", gpt, 1056, 3, 5)
    return bytes(mbr), bytes(gpt)


_OVF = (
    b'<?xml version="1.0"?><Envelope xmlns="http://schemas.dmtf.org/ovf/envelope/1" '
    b'xmlns:ovf="http://schemas.dmtf.org/ovf/envelope/1"><References><File ovf:id="f" ovf:href="d.vmdk"/></References>'
    b'<DiskSection><Disk ovf:diskId="d" ovf:fileRef="f" ovf:capacity="1"/></DiskSection></Envelope>'
)


def _ova_seeds() -> tuple[bytes, ...]:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, content in (("a.ovf", _OVF), ("d.vmdk", _vmdk_seeds()[0])):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return (packed.getvalue(),)


def _disc_seeds() -> tuple[bytes, ...]:
    import pycdlib

    found = []
    for joliet, udf in ((3, None), (None, "2.60"), (None, None)):
        iso, made = pycdlib.PyCdlib(), io.BytesIO()
        iso.new(joliet=joliet, udf=udf)
        iso.add_fp(io.BytesIO(b"x"), 1, "/A.TXT;1")
        iso.write_fp(made)
        iso.close()
        found.append(made.getvalue())
    return tuple(found)


def _wim_seeds() -> tuple[bytes, ...]:
    raw = '\ufeff<WIM><IMAGE INDEX="1"><NAME>a</NAME><WINDOWS><ARCH>9</ARCH></WINDOWS></IMAGE></WIM>'.encode(
        "utf-16-le"
    )
    head = b"MSWIM\0\0\0".ljust(72, b"\0") + struct.pack("<QQQ", len(raw) | 2 << 56, 208, len(raw))
    return (head.ljust(208, b"\0") + raw,)


def _program_seeds() -> tuple[bytes, ...]:
    head = bytearray(1024)
    head[:2] = b"MZ"
    struct.pack_into("<I", head, 0x3C, 64)
    head[64:68] = b"PE\0\0"
    struct.pack_into("<H", head, 88, 0x20B)
    struct.pack_into("<II", head, 88 + 112 + 32, 512, 16)
    head[512:528] = struct.pack("<IHH", 16, 0x200, 2) + b"\x30\x06\x06\x01\x01\x02\x01\x01"
    return (bytes(head),)


_IMAGE_TOML = (
    b'name = "a"\nversion = "1"\nos = "linux"\nfirmware = "uefi"\nmemory = "2G"\ncpus = 2\n',
    b'disk = "disk.raw"\nformat = "raw"\ndisk_bus = "virtio"\nlogical_block_size = 4096\nhv = false\n',
)
_SITE_TOML = (
    b'memory = "4G"\nlock = ["memory"]\nlicence_servers = ["192.0.2.1:27000"]\n[slurm]\npartition = "a"\n',
    b'ports = "1-2"\nshares = ["a=/b:ro"]\negress = ["https://*.example.edu"]\nidle = "1h"\n',
)
_DISKS: tuple[tuple[str, str, Callable[[formats.Piece], object], Callable[[], tuple[bytes, ...]], int], ...] = (
    ("vmdk", "disk.vmdk", vmdk.check_sparse, _vmdk_seeds, 8192),
    ("vmdk-text", "disk.vmdk", vmdk.extents, lambda: _vmdk_seeds()[1:], 2048),
    ("vdi", "disk.vdi", vdi.checked, _vdi_seeds, 4096),
    ("vhd", "disk.vhd", vpc.checked, _vpc_seeds, 8192),
    ("vhdx", "disk.vhdx", lambda disk: (vhdx.checked(disk), vhdx.has_log(disk)), _vhdx_seeds, 256 << 10),
    ("ova", "a.ova", _ova, _ova_seeds, 16384),
)
TARGETS = (
    *(
        Target(name, partial(_of_disk, path, check), (_IMAGES, "tarfile"), seeds, longest)
        for name, path, check, seeds, longest in _DISKS
    ),
    Target("qcow2", lambda: _qcow2, (_IMAGES,), _qcow2_seeds),
    Target("raw", lambda: _raw, (_IMAGES,), _raw_seeds, 8192),
    Target("disc", lambda: _disc, (_IMAGES, "pycdlib"), _disc_seeds, 640 << 10),
    Target("wim", lambda: _wim, (_IMAGES,), _wim_seeds),
    Target("efi-program", lambda: _program, (_IMAGES,), _program_seeds),
    Target("image-toml", lambda: _image_toml, (_IMAGES, "tomllib"), lambda: _IMAGE_TOML, 1024),
    Target("site-toml", lambda: _site_toml, ("sevenlbd.config", "sevenlbd.base", "tomllib"), lambda: _SITE_TOML, 1024),
)
