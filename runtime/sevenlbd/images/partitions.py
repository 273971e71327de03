"""The partition table of a disk: GPT, of sectors of 512 or 4096 bytes, or MBR. Pure: bytes in, places out.

A table is also a promise of how far its disk goes: a disk that ends before its partitions do, or before the copy of
its GPT, has lost its end. Source: UEFI 2.10, chapter 5.
"""

from __future__ import annotations

import struct
import uuid
import zlib
from dataclasses import dataclass

HEAD = 1 << 20
"""So much of a disk's begin has all of the table."""
SECTOR, SECTOR_4K = 512, 4096  # bytes; the two that disks show
_GPT = b"EFI PART"
_HEADER = 92  # bytes; UEFI 2.10, 5.3.2
_MOST_ENTRIES = 256  # twice as many as Windows and Linux make room for
_PROTECTIVE = 0xEE  # UEFI 2.10, 5.2.3: the type of the one partition that stands for a GPT
# Boot sectors of file systems without partitions end as an MBR does; what would be its table is their code.
_FILE_SYSTEMS = ((3, b"NTFS    "), (3, b"EXFAT   "), (3, b"-FVE-FS-"), (54, b"FAT1"), (82, b"FAT32"))


@dataclass(frozen=True)
class Partition:
    """`kind` is the GPT's GUID, or the MBR's number in hexadecimal; where it begins, and its length, in bytes."""

    kind: str
    at: int
    size: int


@dataclass(frozen=True)
class PartitionTable:
    """A disk's partitions. `name` is GPT, MBR, or empty where there is none."""

    name: str = ""
    sector: int = SECTOR
    partitions: tuple[Partition, ...] = ()
    copy: int = 0
    """Where the GPT's copy ends, in bytes; 0 where nothing reliable says."""

    @property
    def end(self) -> int:
        """Where the last partition ends, in bytes."""
        return max((partition.at + partition.size for partition in self.partitions), default=0)

    def lost(self, size: int) -> str:
        """What of it lies beyond the end of a disk of `size` bytes, in words; empty when all is there.

        A copy before the end is right: the disk has grown since.
        """
        if self.end > size:
            return f"its partitions go on to byte {self.end}, and it ends at {size}"
        if self.copy > size:
            return f"the copy of its partition table belongs at byte {self.copy - self.sector}, and it ends at {size}"
        return ""


def read(head: bytes) -> PartitionTable:
    """The table in the begin of a disk, of up to HEAD bytes."""
    # Without the protective partition, firmware does not look for a GPT: one that is there was left by an earlier use.
    mbr, protected = _mbr(head)
    if mbr and not protected:
        return mbr
    return _gpt(head, SECTOR) or _gpt(head, SECTOR_4K) or mbr or PartitionTable()


def _gpt(head: bytes, sector: int) -> PartitionTable | None:
    """A GPT; None when there is no plausible one."""
    header = head[sector : sector + _HEADER]
    if len(header) < _HEADER or not header.startswith(_GPT):
        return None
    at, count, length = struct.unpack_from("<QII", header, 72)
    if not 128 <= length <= 4096:
        return None
    partitions = []
    for number in range(min(count, _MOST_ENTRIES)):
        entry = head[at * sector + number * length :][:128]
        if len(entry) < 128:
            break
        if any(entry[:16]):
            first, last = struct.unpack_from("<QQ", entry, 32)
            kind = str(uuid.UUID(bytes_le=entry[:16]))
            partitions.append(Partition(kind, first * sector, max(0, last - first + 1) * sector))
    return PartitionTable("GPT", sector, tuple(partitions), _copy_end(header, sector)) if partitions else None


def _copy_end(header: bytes, sector: int) -> int:
    """Where a header with the right checksum says that the copy's last sector ends."""
    length, checksum = struct.unpack_from("<II", header, 12)
    if length != _HEADER or zlib.crc32(header[:16] + bytes(4) + header[20:]) != checksum:
        return 0
    return (int(struct.unpack_from("<Q", header, 32)[0]) + 1) * sector


def _mbr(head: bytes) -> tuple[PartitionTable | None, bool]:
    """The four partitions of an MBR, as far as they are there; whether there is one that protects a GPT."""
    if head[510:512] != b"\x55\xaa" or any(head[at:].startswith(name) for at, name in _FILE_SYSTEMS):
        return None, False
    entries = [head[446 + 16 * number :][:16] for number in range(4)]
    if any(entry[0] not in (0, 0x80) for entry in entries):
        return None, False
    partitions = []
    for entry in entries:
        first, count = struct.unpack_from("<II", entry, 8)
        if entry[4] not in (0, _PROTECTIVE) and count:
            partitions.append(Partition(f"{entry[4]:#x}", first * SECTOR, count * SECTOR))
    protected = any(entry[4] == _PROTECTIVE for entry in entries)
    return PartitionTable("MBR", SECTOR, tuple(partitions)) if partitions else None, protected
