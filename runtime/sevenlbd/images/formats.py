"""What a disk file from elsewhere is, told by its first and last bytes. QEMU is never asked to guess.

QEMU's own probing follows what it finds: a raw disk whose guest wrote a qcow2 header into its first sector would be
read as one, with any file of the node below it. Sources: QEMU, docs/interop/qcow2.rst and block/{vmdk,vhdx,vpc}.c;
VMware, Virtual Disk Format 5.0; Microsoft, [MS-VHDX]; POSIX, pax (ustar).
"""

from __future__ import annotations

import os
import re
import stat
import sys
from array import array
from dataclasses import dataclass
from pathlib import Path

from ..base.errors import ExitCode, Refusal

RAW, QCOW2, VMDK, VMDK_TEXT, VHDX, VPC = "raw", "qcow2", "vmdk", "vmdk-text", "vhdx", "vpc"
VDI, OVA = "vdi", "ova"
CHOICES = (RAW, QCOW2, VMDK, VHDX, VPC, VDI, OVA)
"""What a user may say that a disk is."""
SECTOR = 512  # bytes; what VMDK and VHD count in, on disks with larger ones, too
Node = dict[str, object]
"""A disk as QEMU is told to open it."""

_MAGIC = {
    b"QFI\xfb": QCOW2,
    b"KDMV": VMDK,
    b"# Disk Descr": VMDK_TEXT,
    b"vhdxfile": VHDX,
    b"conectix": VPC,
    b"<<< ": VDI,
}
# What people try instead, and what would help.
_STRANGE = {
    b"\x1f\x8b": ("compressed with gzip", "gunzip -k FILE"),
    b"\xfd7zXZ": ("compressed with xz", "unxz -k FILE"),
    b"BZh": ("compressed with bzip2", "bunzip2 -k FILE"),
    b"\x28\xb5\x2f\xfd": ("compressed with zstd", "unzstd FILE"),
    b"PK\x03\x04": ("a zip archive", "unzip FILE, and add the disk in it"),
    b"7z\xbc\xaf": ("a 7z archive", "unpack it, and add the disk in it"),
    b"<?xml": ("a text (an .ovf?), not a disk", "add the .ova, or the disk that stands beside the .ovf"),
    b"COWD": ("a delta or disk of an old ESX server", "export it anew as OVA, or with vmware-vdiskmanager -t 0"),
    b"LUKS": ("encrypted", "an image must not be: many people start it"),
}
# A disk of one of these names that has no mark of its format has lost it: a VHD of fixed size is known by its end only.
_NAMED = {
    ".vhd": VPC,
    ".vpc": VPC,
    ".vhdx": VHDX,
    ".avhd": VPC,
    ".avhdx": VHDX,
    ".vmdk": VMDK,
    ".vdi": VDI,
    ".qcow2": QCOW2,
    ".ova": OVA,
}
# VMware's own names for an extent of plain bytes.
_FLAT = re.compile(r"-(flat|f\d{3})\.vmdk$")
_ISO9660 = (32769, b"CD001")
_USTAR = (257, b"ustar")
_HEAD = 34 << 10  # bytes; ISO 9660's mark is behind 32 KiB


@dataclass(frozen=True)
class Piece:
    """A disk in a file: all of it, or `size` bytes from `offset` on (in an archive)."""

    path: Path
    offset: int
    size: int
    whole: bool = True

    def read(self, at: int, length: int) -> bytes:
        """Some of its bytes; fewer at its end, and none beyond it: where to look is what the disk itself says."""
        if not 0 <= at < self.size:
            return b""
        with self.path.open("rb") as file:
            file.seek(self.offset + at)
            return file.read(max(0, min(length, self.size - at)))

    def node(self) -> Node:
        """How QEMU is told to open just that, as bytes without a meaning (QEMU, qapi/block-core.json)."""
        file: Node = {"driver": "file", "filename": str(self.path), "read-only": True}
        if self.whole:
            return file
        return {"driver": "raw", "offset": self.offset, "size": self.size, "file": file, "read-only": True}


def piece(path: Path) -> Piece:
    """A whole file. Raises Refusal when it is none, or cannot be read."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise Refusal(ExitCode.IMAGE, f"{path}: is not a regular file", hint="name the disk's file")
        with path.open("rb"):
            return Piece(path.resolve(), 0, status.st_size)
    except FileNotFoundError:
        hint = f"a folder that the container does not show is added with: apptainer run --bind {path.parent} ..."
        raise Refusal(ExitCode.IMAGE, f"{path}: does not exist", hint=hint) from None
    except OSError as error:
        what = f"{path}: cannot be read: {error.strerror}"
        raise Refusal(ExitCode.IMAGE, what, hint=f"its owner can: chmod a+r {path}") from None


def container(disk: Piece) -> str:
    """The format that wraps a disk, by its first bytes; empty when they could be a disk's own. Raises Refusal."""
    head = disk.read(0, _HEAD)
    _refuse_strange(disk, head)
    kind = next((kind for magic, kind in _MAGIC.items() if head.startswith(magic)), "")
    return VMDK if kind == VMDK_TEXT else kind


def told(disk: Piece, said: str = "") -> str:
    """The format of `disk`; `said` is the user's word, which must not contradict it. Raises Refusal."""
    detected = _by_magic(disk)
    if said in ("", detected) or (said == VMDK and detected == VMDK_TEXT):
        if not said and detected != RAW and disk.path.suffix.lower() == ".raw" and disk.whole:
            what = f"{disk.path}: is named raw, but begins like {detected}; a guest may have written that to deceive"
            raise Refusal(ExitCode.IMAGE, what, hint=f"say what it is: --format raw, or --format {detected}")
        if detected == RAW and not said:
            _check_raw(disk)
        return detected
    if said == RAW:
        return RAW
    what = f"{disk.path}: does not begin like {said}, but like {detected}"
    raise Refusal(ExitCode.IMAGE, what, hint="leave --format out")


def _by_magic(disk: Piece) -> str:
    head = disk.read(0, _HEAD)
    for magic, kind in _MAGIC.items():
        if head.startswith(magic):
            return kind
    if head[_USTAR[0] :].startswith(_USTAR[1]):
        return OVA
    # A VHD of a fixed size has nothing but a footer.
    if disk.size > SECTOR and disk.read(disk.size - SECTOR, 8) == b"conectix":
        return VPC
    return RAW


def _check_raw(disk: Piece) -> None:
    """Anything at all could be a raw disk; what is plainly something else is refused. Raises Refusal."""
    head = disk.read(0, _HEAD)
    _refuse_strange(disk, head)
    name = disk.path.name.lower()
    if disk.whole and (named := _NAMED.get(disk.path.suffix.lower())) and not _FLAT.search(name):
        what = f"{disk.path}: is named {named}, but has not what marks one at its begin or end: truncated, or misnamed"
        raise Refusal(
            ExitCode.IMAGE, what, hint="copy or export it anew; if it is a raw disk nevertheless: --format raw"
        )
    if head[_ISO9660[0] :].startswith(_ISO9660[1]):
        what = f"{disk.path}: is an installation disc, not an installed disk"
        raise Refusal(ExitCode.IMAGE, what, hint="7lbd image build makes an image from one")
    if head[510:512] != b"\x55\xaa" and head[512:520] != b"EFI PART" and head[4096:4104] != b"EFI PART":
        what = f"{disk.path}: is of no format that is known, and as a raw disk it has no partitions"
        raise Refusal(ExitCode.IMAGE, what, hint="if it is a raw disk nevertheless: --format raw")


def _refuse_strange(disk: Piece, head: bytes) -> None:
    for magic, (what, hint) in _STRANGE.items():
        if head.startswith(magic):
            raise Refusal(ExitCode.IMAGE, f"{disk.path}: is {what}", hint=hint)


def truncated(disk: Piece, what: str) -> Refusal:
    """For a disk that is not all there."""
    return Refusal(ExitCode.IMAGE, f"{disk.path}: is truncated: {what}", hint="copy or export it anew")


def little_endian(content: bytes, kind: str) -> array[int]:
    """The numbers in `content`, of which `kind` (I, Q) says how wide they are. Half a number at the end is none."""
    numbers = array(kind)
    numbers.frombytes(content[: len(content) // numbers.itemsize * numbers.itemsize])
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers


def big_endian(content: bytes, kind: str) -> array[int]:
    """The same, of numbers that begin with their highest byte."""
    numbers = little_endian(content, kind)
    numbers.byteswap()
    return numbers


def readable_beside(folder: Path, name: str, why: str) -> Piece:
    """The file `name` in `folder`, for a disk that names it. A name that is not a plain one is refused."""
    shown = os.fsencode(name).decode("utf-8", "backslashreplace")
    if not name or any(sign in name for sign in '/\\:"\n\r\0') or name in (".", ".."):
        what = f"{why} names the file `{shown}`, which is not a plain name in the same folder"
        raise Refusal(ExitCode.IMAGE, what, hint="this may be an attack; export the disk anew as one file")
    path = folder / name
    if path.is_symlink():
        what = f"{path}: is a symbolic link, named by {why}"
        raise Refusal(ExitCode.IMAGE, what, hint="put the file itself there")
    return piece(path)
