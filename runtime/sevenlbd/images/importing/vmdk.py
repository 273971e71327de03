"""VMware's disks, read before QEMU does: their descriptors name other files, and those must be harmless.

A disk is one file (sparse, with its descriptor inside) or a text, the descriptor, that names the files with the data,
its extents. A snapshot's descriptor names its parent. QEMU follows all of that. So: no parents; extents only beside
the descriptor; and QEMU never sees the text itself, but one that is written anew from what was understood here, so
that nothing depends on both reading it alike. Sources: VMware, Virtual Disk Format 5.0; QEMU, block/vmdk.c.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from pathlib import Path

from ...base.errors import ExitCode, Refusal
from ..formats import SECTOR, Piece, readable_beside
from . import grains

MAGIC = b"KDMV"
_MOST_TEXT = 64 << 10  # bytes; a guess: a descriptor has some KiB
_MOST_EXTENTS = 512  # files; VMware cuts disks into pieces of 2 GB, if into any: 1 TB
_MOST_SECTORS = 1 << 39  # 256 TiB; VMware's own disks have 62 TB at most
_NO_PARENT = "ffffffff"
_EXTENT = re.compile(
    r'(?P<access>\w+) +(?P<sectors>\d{1,15}) +(?P<kind>\w+)(?: +"(?P<name>[^"]*)"(?: +(?P<at>\d{1,15}))?)? *'
)
_KINDS = {"FLAT": "FLAT", "VMFS": "FLAT", "SPARSE": "SPARSE"}
# Where QEMU looks for the descriptor of a sparse file, and how much of it.
_INNER_AT, _INNER_LENGTH = 0x200, 20 * SECTOR
_AGAIN = "export the disk anew as one file, without snapshots"


@dataclass(frozen=True)
class Extent:
    """One file with data: `sectors` of it, in a flat file from sector `at` on."""

    sectors: int
    kind: str
    file: Piece
    at: int


def check_sparse(disk: Piece) -> int:
    """Its disk's size in sectors. Raises Refusal for a sparse file that leads to another one, or is not all there."""
    header = disk.read(0, SECTOR)
    if len(header) < SECTOR or not header.startswith(MAGIC):
        raise Refusal(ExitCode.IMAGE, f"{disk.path}: is truncated, or no sparse VMDK", hint=_AGAIN)
    capacity, _, at, length = struct.unpack_from("<QQQQ", header, 12)
    if not 0 < capacity <= _MOST_SECTORS:
        # QEMU would take the text inside for a descriptor, with extents anywhere.
        raise Refusal(ExitCode.IMAGE, f"{disk.path}: its header makes no sense", hint=_AGAIN)
    places = [(_INNER_AT, _INNER_LENGTH)]
    if at:
        places.append((at * SECTOR, min(length * SECTOR, _MOST_TEXT)))
    for start, size in places:
        _refuse_parent(disk, disk.read(start, size) if start < disk.size else b"")
    grains.check(disk)
    return int(capacity)


def _refuse_parent(disk: Piece, text: bytes) -> None:
    for line in text.split(b"\n"):
        key, _, value = line.partition(b"=")
        name = key.strip().lower()
        has_parent = name == b"parentcid" and value.strip(b' "\r\t\0').lower() != _NO_PARENT.encode()
        if has_parent or b"parentfilenamehint" in line.lower():
            what = f"{disk.path}: is a snapshot: it is nothing without its parent"
            raise Refusal(ExitCode.IMAGE, what, hint=_AGAIN)


def extents(disk: Piece) -> list[Extent]:
    """What the descriptor in the file `disk` names, checked. Raises Refusal."""
    text = disk.read(0, _MOST_TEXT + 1)
    if len(text) > _MOST_TEXT:
        raise Refusal(ExitCode.IMAGE, f"{disk.path}: is far too long for a descriptor", hint=_AGAIN)
    _refuse_parent(disk, text)
    listed = [
        _extent(disk, line.strip())
        for line in text.rstrip(b"\0").decode("utf-8", "surrogateescape").split("\n")
        if re.match(r"\s*(RW|RDONLY|NOACCESS)\b", line)
    ]
    if not 0 < len(listed) <= _MOST_EXTENTS or sum(extent.sectors for extent in listed) > _MOST_SECTORS:
        raise Refusal(ExitCode.IMAGE, f"{disk.path}: names no data, or too many files", hint=_AGAIN)
    return listed


def _extent(disk: Piece, line: str) -> Extent:
    shown = line.encode("utf-8", "backslashreplace").decode()[:120]
    read = _EXTENT.fullmatch(line)
    if not read or read["access"] != "RW" or read["kind"] not in _KINDS or read["name"] is None:
        what = f"{disk.path}: `{shown}` is not an extent that can be imported"
        raise Refusal(ExitCode.IMAGE, what, hint=_AGAIN)
    file = readable_beside(disk.path.parent, read["name"], str(disk.path))
    extent = Extent(int(read["sectors"]), _KINDS[read["kind"]], file, int(read["at"] or 0))
    if extent.kind == "SPARSE":
        if check_sparse(file) < extent.sectors:
            raise Refusal(ExitCode.IMAGE, f"{file.path}: is smaller than {disk.path} says of it", hint=_AGAIN)
    elif (extent.at + extent.sectors) * SECTOR > file.size:
        raise Refusal(ExitCode.IMAGE, f"{file.path}: is truncated", hint="copy it anew")
    if not extent.sectors:
        raise Refusal(ExitCode.IMAGE, f"{disk.path}: `{shown}` is empty", hint=_AGAIN)
    return extent


def rewritten(extents: list[Extent], folder: Path) -> Path:
    """A descriptor of these extents in `folder`, which it names by links there. Raises OSError."""
    lines = ["# Disk DescriptorFile", "version=1", "CID=fffffffe", f"parentCID={_NO_PARENT}"]
    # No empty lines: QEMU would see what follows one twice.
    lines.append('createType="twoGbMaxExtentFlat"')
    for number, extent in enumerate(extents):
        (folder / f"extent-{number}").symlink_to(extent.file.path)
        at = f" {extent.at}" if extent.kind == "FLAT" else ""
        lines.append(f'RW {extent.sectors} {extent.kind} "extent-{number}"{at}')
    written = folder / "disk.vmdk"
    written.write_text("\n".join([*lines, "#DDB", 'ddb.adapterType = "ide"', ""]))
    return written
