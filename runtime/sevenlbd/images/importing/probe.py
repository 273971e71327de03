"""What system is on a disk, as far as its partition table and the first sectors of its file systems tell.

Nothing on the disk is executed, mounted or followed; some kilobytes are read. Sources: the kernel's Documentation for
ext4 and btrfs, XFS Algorithms & Data Structures, Microsoft's NTFS boot sector; the Discoverable Partitions
Specification.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from .. import partitions
from ..description import OS, Firmware
from ..partitions import Partition, PartitionTable

Read = Callable[[int, int], bytes]
"""Bytes of the disk: where, and how many, in multiples of 512. Beyond its end there are none."""

_BOOT = 72 << 10  # bytes; all of _CONTENT: btrfs' mark is behind 64 KiB
_MOST_PARTITIONS = 16  # a guess: Windows makes four, Linux' installers a few more at most
_EFI = "c12a7328-f81f-11d2-ba4b-00a0c93ec93b"
_BIOS_BOOT = "21686148-6449-6e6f-744e-656564454649"
_WINDOWS_ONLY = {
    "e3c9e316-0b5c-4db8-817d-f92df00215ae": "Microsoft reserved",
    "de94bba4-06d1-4d40-a16a-bfd50179d6ac": "Windows recovery",
}
_LINUX_ONLY = {
    "0fc63daf-8483-4772-8e79-3d69d8477de4": "Linux",
    "4f68bce3-e8cd-4db1-96e7-fbcaf984b709": "Linux root",
    "0657fd6d-a4ab-43c4-84e5-0933c84b4f4f": "Linux swap",
    "e6d6d379-f507-44c2-a23c-238f2a3df928": "LVM",
    "a19d880f-05fc-4d3b-a006-743f0f84911e": "Linux RAID",
    "bc13c2ff-59e6-4262-a352-b275fd6f7172": "Linux /boot",
    "933ac7e1-2eb4-4f13-b844-0e14e2aef915": "Linux /home",
}
# Types of partitions, as fdisk(8) lists them: NTFS and Windows' recovery; Linux' swap, file systems, LVM, RAID.
_MBR_WINDOWS, _MBR_LINUX = {0x07, 0x27}, {0x82, 0x83, 0x8E, 0xFD}
_MBR_EFI = 0xEF  # UEFI 2.10, 5.2.2
# Name, system, where, what.
_CONTENT = (
    ("NTFS", OS.WINDOWS, 3, b"NTFS    "),
    ("BitLocker", OS.WINDOWS, 3, b"-FVE-FS-"),
    ("ext4", OS.LINUX, 1080, b"\x53\xef"),
    ("XFS", OS.LINUX, 0, b"XFSB"),
    ("btrfs", OS.LINUX, 65600, b"_BHRfS_M"),
    ("LUKS", OS.LINUX, 0, b"LUKS\xba\xbe"),
    ("LVM", OS.LINUX, 512, b"LABELONE"),
)


@dataclass
class Findings:
    """What was seen, in words, and what follows. `None` where nothing follows."""

    os: OS | None = None
    firmware: Firmware | None = None
    seen: list[str] = field(default_factory=list)
    table: PartitionTable = field(default_factory=PartitionTable)


def look(read: Read, size: int) -> Findings:
    """Look into a disk of `size` bytes."""
    head = read(0, min(partitions.HEAD, size // 512 * 512))
    table = partitions.read(head)
    findings = Findings(table=table)
    weight = {OS.WINDOWS: 0, OS.LINUX: 0}
    for partition in table.partitions[:_MOST_PARTITIONS]:
        name, system, certain = _judged(partition, read, size)
        findings.seen.append(name)
        if system:
            # What only one system has counts for more than a file system that any may have.
            weight[system] += min(partition.size, size) + (size if certain else 0)
    if not table.partitions:
        name, system = _content(head)
        if system:
            findings.seen.append(f"{name} without partitions")
            weight[system] += 1
    if any(weight.values()):
        findings.os = OS.WINDOWS if weight[OS.WINDOWS] >= weight[OS.LINUX] else OS.LINUX
    if table.partitions:
        findings.firmware = _firmware(table)
        sectors = f" in sectors of {table.sector} bytes" if table.sector != partitions.SECTOR else ""
        findings.seen.insert(0, f"{table.name} with {len(table.partitions)} partitions{sectors}")
    return findings


def _firmware(table: PartitionTable) -> Firmware | None:
    kinds = {partition.kind for partition in table.partitions}
    if _EFI in kinds or f"{_MBR_EFI:#x}" in kinds:
        return Firmware.UEFI
    return Firmware.BIOS if table.name == "MBR" or _BIOS_BOOT in kinds else None


def _judged(partition: Partition, read: Read, size: int) -> tuple[str, OS | None, bool]:
    """What a partition is called, whose it is, and whether that is certain."""
    if partition.kind in (_EFI, f"{_MBR_EFI:#x}"):
        return "EFI system partition", None, False
    if partition.kind in _WINDOWS_ONLY:
        return _WINDOWS_ONLY[partition.kind], OS.WINDOWS, True
    length = min(_BOOT, partition.size, max(0, size - partition.at)) // 512 * 512
    name, system = _content(read(partition.at, length) if length else b"")
    if partition.kind in _LINUX_ONLY:
        return name or _LINUX_ONLY[partition.kind], OS.LINUX, True
    if not system and partition.kind in {f"{kind:#x}" for kind in _MBR_LINUX}:
        return "Linux", OS.LINUX, False
    if not system and partition.kind in {f"{kind:#x}" for kind in _MBR_WINDOWS}:
        return "Windows", OS.WINDOWS, False
    return name or "something unknown", system, False


def _content(boot: bytes) -> tuple[str, OS | None]:
    for name, system, at, magic in _CONTENT:
        if boot[at : at + len(magic)] == magic:
            return name, system
    return "", None
