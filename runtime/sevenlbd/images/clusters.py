"""Whether the last cluster of a qcow2 is all there, by its own tables.

The refcounts say where the last cluster begins. A file that ends inside it may be right, as compressed clusters are
shorter, or it may have lost its last bytes: only the tables that map the disk can tell. Reading them takes a second for
each 100 GB: that is for an import, not for each start. Source: QEMU, docs/interop/qcow2.rst.
"""

from __future__ import annotations

import os
import struct
import sys
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

_OFFSET = (1 << 56) - (1 << 9)  # bits 9 to 55 of an entry
_COMPRESSED, _ZERO = 1 << 62, 1  # bits of an entry of the second level
_EXTENDED_L2 = 1 << 4  # of the header's incompatible features
_MOST_L1 = 32 << 20  # bytes; QEMU, block/qcow2.h, QCOW_MAX_L1_SIZE
_UNIT = 512  # bytes; a compressed cluster's length is told in them


def lost(path: Path) -> bool:
    """Whether a cluster that the disk refers to does not lie in the file as a whole. Raises OSError."""
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        head = file.read(80)
        version, cluster_bits = struct.unpack_from(">I", head, 4)[0], struct.unpack_from(">I", head, 20)[0]
        disk, count, at = struct.unpack_from(">Q4xIQ", head, 24)
        extended = version >= 3 and bool(struct.unpack_from(">Q", head, 72)[0] & _EXTENDED_L2)
        if at > size:
            return True
        tables = _words(file, at, min(count * 8, _MOST_L1))
        if len(tables) < min(count, _MOST_L1 // 8):
            return True
        return any(end > size for end in _ends(file, tables, cluster_bits, disk, extended=extended))


def _words(file: BinaryIO, at: int, length: int) -> array[int]:
    file.seek(at)
    content = file.read(length)
    words = array("Q", content[: len(content) // 8 * 8])
    if sys.byteorder == "little":
        words.byteswap()
    return words


def _ends(file: BinaryIO, tables: array[int], cluster_bits: int, disk: int, *, extended: bool) -> Iterator[int]:
    """Where in the file each table and each cluster ends."""
    cluster, step = 1 << cluster_bits, 2 if extended else 1
    covered = cluster // (8 * step) << cluster_bits
    for number, table in enumerate(entry & _OFFSET for entry in tables):
        if not table:
            continue
        yield table + cluster
        words = _words(file, table, cluster)
        last = (disk - number * covered - 1) >> cluster_bits
        for index in range(0, len(words), step):
            entry = words[index]
            if entry & _COMPRESSED:
                yield _compressed_end(entry, cluster_bits)
            elif entry & _OFFSET and not entry & _ZERO:
                used = cluster if not extended else (words[index + 1] & 0xFFFFFFFF).bit_length() * cluster // 32
                # What lies beyond the disk's own end need not be there.
                used = min(used, (disk - 1) % cluster + 1) if index // step == last else used
                yield (entry & _OFFSET) + used


def _compressed_end(entry: int, cluster_bits: int) -> int:
    """The first byte of the last sector that a compressed cluster takes: it may end anywhere in that."""
    bits = 62 - (cluster_bits - 8)
    sectors = entry >> bits & ((1 << (cluster_bits - 8)) - 1)
    return (entry & ((1 << bits) - 1)) // _UNIT * _UNIT + sectors * _UNIT + 1
