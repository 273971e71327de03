"""VHD, Hyper-V's and Virtual PC's older format: stands alone, and is all there.

Source: Microsoft, Virtual Hard Disk Image Format Specification.
"""

from __future__ import annotations

import struct
from array import array

from ...base.errors import ExitCode, Refusal
from ..formats import SECTOR, Node, Piece, big_endian, truncated

_COOKIE, _HEADER = b"conectix", b"cxsparse"
_FIXED, _DYNAMIC, _DIFFERENCING = 2, 3, 4  # Microsoft, "Virtual Hard Disk Image Format Specification": disk type
_UNUSED = 0xFFFFFFFF  # the same: an entry of the table of blocks
_HEADER_SIZE = 1024  # bytes; the same: the dynamic disk's header


def checked(disk: Piece) -> Node:
    """How QEMU is told to open it. Raises Refusal."""
    footer = disk.read(disk.size - SECTOR, SECTOR)
    if not footer.startswith(_COOKIE):
        raise truncated(disk, "the footer that ends a VHD is missing")
    (size,) = struct.unpack_from(">Q", footer, 48)
    (kind,) = struct.unpack_from(">I", footer, 60)
    if kind == _DIFFERENCING:
        what = f"{disk.path}: is a differencing disk: it is nothing without its parent"
        raise Refusal(ExitCode.IMAGE, what, hint="export the whole disk anew")
    if kind == _FIXED and disk.size - SECTOR < size:
        raise truncated(disk, f"it has {disk.size - SECTOR} bytes of a disk of {size}")
    if kind == _DYNAMIC:
        _check_blocks(disk, footer, size)
    elif kind != _FIXED:
        raise Refusal(ExitCode.IMAGE, f"{disk.path}: is truncated, or no VHD", hint="export the whole disk anew")
    # Of disks by some programs QEMU would take the size from a geometry of cylinders, which has no room for the end.
    return {"driver": "vpc", "force_size_calc": "current_size", "file": disk.node()}


def _check_blocks(disk: Piece, footer: bytes, size: int) -> None:
    """Refuse a dynamic disk with blocks beyond its end. Raises Refusal."""
    (at,) = struct.unpack_from(">Q", footer, 16)
    header = disk.read(at, _HEADER_SIZE)
    if len(header) < _HEADER_SIZE or not header.startswith(_HEADER):
        raise truncated(disk, "its header is missing")
    table_at, count, block = struct.unpack_from(">Q4xII", header, 16)
    if not block or block % SECTOR or count * 4 > disk.size:
        raise truncated(disk, "its header makes no sense")
    table: array[int] = big_endian(disk.read(table_at, count * 4), "I")
    if len(table) < count:
        raise truncated(disk, "its table of blocks is not all there")
    bitmap = -(-block // SECTOR // 8 // SECTOR) * SECTOR
    for number, sector in enumerate(table):
        end = sector * SECTOR + bitmap + max(0, min(block, size - number * block))
        if sector != _UNUSED and end > disk.size:
            raise truncated(disk, f"block {number} of {count} is not all there")
