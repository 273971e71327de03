"""Whether a sparse VMDK has all the data that its tables refer to. QEMU reads what is missing as zeroes.

Its disk is divided into grains. A directory names tables, a table the grains' places in the file, both in sectors of
512 bytes. One that was written as a stream has its directory at the end, behind which a footer repeats the header.
Sources: VMware, Virtual Disk Format 5.0; QEMU, block/vmdk.c.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from ..formats import SECTOR, Piece, little_endian, truncated

_MAGIC = b"KDMV"
_AT_END = (1 << 64) - 1  # VMware, "Virtual Disk Format": the place of a directory that is told by the footer
# The footer itself, and the marker of the stream's end.
_FOOTER = 2 * SECTOR
_REDUNDANT, _COMPRESSED, _MARKERS = 1 << 1, 1 << 16, 1 << 17  # QEMU, block/vmdk.c: VMDK4_FLAG_RGD, COMPRESS, MARKER
_MOST_IN_TABLE = 512  # QEMU, block/vmdk.c takes no more
_MOST_TABLES = 1 << 22  # 128 TiB in tables of so many grains of 64 KiB
# A grain of zeroes has a place that is none.
_ZEROES = 1


@dataclass(frozen=True)
class _Layout:
    """What a header says. In sectors, but for `in_table`, the number of grains that a table has."""

    flags: int
    capacity: int
    grain: int
    in_table: int
    directory: int

    @property
    def tables(self) -> int:
        return -(-self.capacity // (self.in_table * self.grain))


def check(disk: Piece) -> None:
    """Raises Refusal when it ends before its data does."""
    layout = _layout(disk)
    directory = little_endian(disk.read(layout.directory * SECTOR, layout.tables * 4), "I")
    if len(directory) < layout.tables:
        raise truncated(disk, "its directory is not all there")
    visited: set[int] = set()
    for number, table in enumerate(directory):
        if table <= _ZEROES or table in visited:
            continue
        visited.add(table)
        places = little_endian(disk.read(table * SECTOR, layout.in_table * 4), "I")
        if len(places) < layout.in_table:
            raise truncated(disk, f"table {number} of {layout.tables} is not all there")
        last = max(places)
        if last > _ZEROES and _end(disk, layout, last, number * layout.in_table + places.index(last)) > disk.size:
            raise truncated(disk, f"data at byte {last * SECTOR} is not all there")


def _layout(disk: Piece) -> _Layout:
    """The header's word, or the footer's where the header says so. Raises Refusal."""
    header = disk.read(0, SECTOR)
    if struct.unpack_from("<Q", header, 56)[0] == _AT_END:
        header = disk.read(max(0, disk.size - _FOOTER), SECTOR)
        if len(header) < SECTOR or not header.startswith(_MAGIC):
            raise truncated(disk, "the footer that ends such a disk is missing")
    flags, capacity, grain = struct.unpack_from("<IQQ", header, 8)
    in_table, redundant, directory = struct.unpack_from("<IQQ", header, 44)
    layout = _Layout(flags, capacity, grain, in_table, redundant if flags & _REDUNDANT else directory)
    if not grain or not 0 < in_table <= _MOST_IN_TABLE or layout.tables > _MOST_TABLES:
        raise truncated(disk, "its header makes no sense")
    return layout


def _end(disk: Piece, layout: _Layout, sector: int, number: int) -> int:
    """Where in the file grain `number` ends, which begins at `sector`."""
    at = sector * SECTOR
    if not layout.flags & _COMPRESSED:
        return at + min(layout.grain, max(0, layout.capacity - number * layout.grain)) * SECTOR
    if not layout.flags & _MARKERS:
        return at + 1
    marker = disk.read(at, 12)
    return at + 12 + int(struct.unpack_from("<I", marker, 8)[0]) if len(marker) == 12 else disk.size + 1
