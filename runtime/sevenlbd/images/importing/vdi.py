"""VDI, VirtualBox's own format: stands alone, and is all there. Source: QEMU, block/vdi.c."""

from __future__ import annotations

import struct

from ...base.errors import ExitCode, Refusal
from ..formats import Node, Piece, little_endian, truncated

_SIGNATURE = 0xBEDA107F  # VDI_SIGNATURE
_SIGNATURE_AT, _HEADER = 64, 512  # bytes; struct VdiHeader
_PLAIN = (1, 2)  # VDI_TYPE_DYNAMIC, VDI_TYPE_STATIC
# Blocks that were never written, or were thrown away, have no place.
_NO_PLACE = 0xFFFFFFFE


def checked(disk: Piece) -> Node:
    """How QEMU is told to open it. Raises Refusal."""
    header = disk.read(0, _HEADER)
    if len(header) < _HEADER or struct.unpack_from("<I", header, _SIGNATURE_AT)[0] != _SIGNATURE:
        raise truncated(disk, "its header is not all there")
    (kind,) = struct.unpack_from("<I", header, 76)
    # The disk below it, and that one's state: what a snapshot or a differencing disk has.
    if kind not in _PLAIN or any(header[424:456]):
        what = f"{disk.path}: is a differencing disk: it is nothing without its parent"
        raise Refusal(ExitCode.IMAGE, what, hint="VBoxManage clonemedium makes a whole one of it")
    map_at, data_at = struct.unpack_from("<II", header, 340)
    block, extra, count = struct.unpack_from("<III", header, 376)
    if not block or count * 4 > disk.size:
        raise truncated(disk, "its header makes no sense")
    places = little_endian(disk.read(map_at, count * 4), "I")
    if len(places) < count:
        raise truncated(disk, "its map of blocks is not all there")
    last = max((index for index in places if index < _NO_PLACE), default=-1)
    if data_at + (last + 1) * (block + extra) > disk.size:
        raise truncated(disk, f"{last + 1} blocks of {block} bytes are not all there")
    return {"driver": "vdi", "file": disk.node()}
