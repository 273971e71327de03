"""The header of a qcow2 file, read without QEMU.

QEMU's own tools follow the names in a header as soon as they open a file (`json:`, `nbd:`, an external
data file), so an image from elsewhere is looked at here first. Source: QEMU, docs/interop/qcow2.rst.
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

MAGIC = b"QFI\xfb"
_HEADER = struct.Struct(">4sIQIIQIIQQIIQQQQII")
_V2_LENGTH = 72  # bytes; version 2 does not tell it
_DIRTY, _CORRUPT, _EXTERNAL_DATA_FILE = 1 << 0, 1 << 1, 1 << 2  # incompatible features
# Those, compression by another method (zstd), and extended L2 entries.
_KNOWN = (1 << 5) - 1
_LUKS = 2  # the method of encryption
_BACKING_FORMAT = 0xE2792ACA  # header extension: the backing file's format
_MAX_SIZE = 1 << 48  # bytes; 256 TiB, more than a disk has
_OFFSET_MASK = (1 << 56) - (1 << 9)  # bits 9 to 55 of an entry of the refcounts' table


class HeaderError(Exception):
    """The file is no whole, plain qcow2 image; the text says why."""


@dataclass(frozen=True)
class Header:
    """What a session needs from a header. `size` is the virtual disk's, in bytes."""

    size: int
    backing_file: str
    backing_format: str
    dirty: bool = False
    """It was not closed in order, and its refcounts are not to be trusted (lazy_refcounts)."""
    ragged: bool = False
    """The file ends inside its last cluster: `clusters` can tell whether that is right."""


def read(path: Path, *, encrypted: bool = False) -> Header:
    """The header of `path`, which is `encrypted` with LUKS, or not at all.

    Raises OSError, or HeaderError when it is not one to be trusted with.
    """
    with path.open("rb") as file:
        return read_from(file, encrypted=encrypted)


def read_from(file: BinaryIO, *, encrypted: bool = False) -> Header:
    """The same of an open file."""
    raw = file.read(_HEADER.size)
    if raw[:4] != MAGIC:
        raise HeaderError("it does not begin with a qcow2 header")
    if len(raw) < _HEADER.size:
        raise HeaderError("it is truncated inside its header")
    version, name_at, name_length, cluster_bits, size, encryption, *rest = _HEADER.unpack(raw)[1:]
    _, _, refcount_table, refcount_clusters, _, _, incompatible, _, _, refcount_order, header_length = rest
    if version == 2:
        incompatible, refcount_order, header_length = 0, 4, _V2_LENGTH
    elif version != 3:
        raise HeaderError(f"it is qcow2 version {version}; versions 2 and 3 are known")
    if not 9 <= cluster_bits <= 21 or refcount_order > 6:
        raise HeaderError("its header makes no sense")
    if not 0 < size <= _MAX_SIZE:
        raise HeaderError(f"its header makes no sense: a disk of {size} bytes")
    if encryption != (_LUKS if encrypted else 0):
        raise HeaderError("it is encrypted" if encryption else "it is not encrypted")
    if incompatible & _EXTERNAL_DATA_FILE:
        raise HeaderError("it keeps its data in another file, which is not allowed")
    if incompatible & _CORRUPT:
        raise HeaderError("it is marked as corrupt")
    if incompatible & ~_KNOWN:
        raise HeaderError("it needs a newer QEMU than there is here")
    last = _last_allocated(file, refcount_table, refcount_clusters << cluster_bits, cluster_bits, refcount_order)
    length = file.seek(0, os.SEEK_END)
    if length <= last:
        raise HeaderError("it is truncated: data that it refers to lies beyond its end")
    name = _text(file, name_at, name_length) if name_at else ""
    dirty, ragged = bool(incompatible & _DIRTY), length < last + (1 << cluster_bits)
    return Header(size, name, _backing_format(file, header_length), dirty, ragged)


def _seek(file: BinaryIO, offset: int) -> None:
    if offset > file.seek(0, os.SEEK_END):
        raise HeaderError("it is truncated, or its header makes no sense: an offset in it lies beyond its end")
    file.seek(offset)


def _text(file: BinaryIO, offset: int, length: int) -> str:
    if length > 1023:
        raise HeaderError("its backing file's name is too long")
    _seek(file, offset)
    return file.read(length).decode("utf-8", errors="surrogateescape")


def _backing_format(file: BinaryIO, header_length: int) -> str:
    """The header extension that names the backing file's format, or an empty text."""
    offset = header_length
    for _ in range(64):
        _seek(file, offset)
        entry = file.read(8)
        kind, length = struct.unpack(">II", entry) if len(entry) == 8 else (0, 0)
        if kind == 0:
            return ""
        if kind == _BACKING_FORMAT:
            return file.read(min(length, 64)).decode("ascii", errors="replace")
        offset += 8 + (length + 7) // 8 * 8
    raise HeaderError("it has too many header extensions")


def _last_allocated(file: BinaryIO, table_at: int, table_size: int, cluster_bits: int, order: int) -> int:
    """Offset of the last cluster in use, from the refcounts: a whole file reaches beyond it."""
    _seek(file, table_at)
    table = file.read(min(table_size, 8 << 20))
    entries = [value & _OFFSET_MASK for (value,) in struct.iter_unpack(">Q", table[: len(table) // 8 * 8])]
    used = [(index, offset) for index, offset in enumerate(entries) if offset]
    if not used:
        raise HeaderError("it is truncated: its refcount table is missing")
    index, offset = used[-1]
    _seek(file, offset)
    block = file.read(1 << cluster_bits).rstrip(b"\0") or b"\1"
    per_block = (8 << cluster_bits) >> order
    # Of counts narrower than a byte, the first is in the lowest bits.
    bit = (len(block) - 1) * 8 + (block[-1].bit_length() - 1 if order < 3 else 0)
    return (index * per_block + (bit >> order)) << cluster_bits
