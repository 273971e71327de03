"""Secure Boot with the build's variable store: what Microsoft has signed, by either generation, starts; nothing else.

The boot loader is Debian's shim, which carries a signature of each. It finds no second stage on these disks, says so on
the serial line, and that it speaks at all is what is looked for.
"""

from __future__ import annotations

import shutil
import signal
import struct
import time
from collections.abc import Callable
from pathlib import Path

import harness
import pytest
from harness import Session

STARTED = b"Failed to open \\EFI\\BOOT\\grubx64.efi"
DENIED = b"Access Denied"
# Which of its signatures a program keeps, and the firmware that is to start it.
PROGRAMS = {
    "2011": (slice(0, 1), "uefi-secure"),
    "2023": (slice(1, 2), "uefi-secure"),
    "unsigned": (slice(0, 0), "uefi-secure"),
    "open": (slice(0, 0), "uefi"),
}


def signed(program: bytes, chosen: slice) -> bytes:
    """The program with some of its signatures: neither table nor its entry are part of what is signed.

    Source: Microsoft, "PE Format", attribute certificate table, and "Windows Authenticode Portable Executable Signature
    Format".
    """
    header = int.from_bytes(program[0x3C:0x40], "little")
    entry = header + 24 + 112 + 4 * 8
    at, size = struct.unpack_from("<II", program, entry)
    entries, place = [], at
    while place < at + size:
        length = (int.from_bytes(program[place : place + 4], "little") + 7) & ~7
        entries.append(program[place : place + length])
        place += length
    assert len(entries) == 2, "this shim is not signed by both generations"
    table = b"".join(entries[chosen])
    made = bytearray(program[:at])
    struct.pack_into("<II", made, entry, at if table else 0, len(table))
    return bytes(made) + table


@pytest.fixture(scope="module")
def images(work: Path) -> Path:
    """An image for each program: a disk with a FAT that has it where a firmware looks."""
    shim = harness.shim().read_bytes()
    for name, (chosen, firmware) in PROGRAMS.items():
        image, files = work / name, work / name / "files"
        (files / "EFI" / "BOOT").mkdir(parents=True)
        (files / "EFI" / "BOOT" / "BOOTX64.EFI").write_bytes(signed(shim, chosen))
        harness.tool("qemu-img", "convert", "-O", "qcow2", f"fat:{files}", str(image / "disk.qcow2"))
        described = f'name = "{name}"\nos = "linux"\nfirmware = "{firmware}"\ndisk_bus = "virtio"\n'
        (image / "image.toml").write_text(described + 'memory = "256M"\ncpus = 1\n')
    return work


@pytest.fixture(scope="module")
def older(images: Path) -> Path:
    """The unsigned program in an image that carries variables of its own, in which nobody's keys are."""
    folder = images / "older"
    shutil.copytree(images / "unsigned", folder)
    with (folder / "image.toml").open("a") as described:
        described.write('variables = "variables.fd"\n')
    harness.tool("cp", "/usr/share/OVMF/OVMF_VARS_4M.fd", str(folder / "variables.fd"))
    return folder


def told(session: Session) -> bytes:
    """What firmware and boot loader have said, when one of them has said what is looked for."""
    serial = session.folder / "logs" / "serial.log"
    deadline = time.monotonic() + harness.PATIENCE
    while not (STARTED in (said := serial.read_bytes()) or DENIED in said):
        assert time.monotonic() < deadline, said[-2000:]
        time.sleep(0.2)
    return said


def test_either_generation_of_microsofts_signatures_starts_and_an_unsigned_loader_does_not(
    images: Path, older: Path, start: Callable[..., Session]
) -> None:
    """What an image brings along from before is what it goes on with, whatever store this SIF has."""
    machines = {name: start("--image", str(images / name)) for name in (*PROGRAMS, older.name)}
    for session in machines.values():
        session.wait_phase("booting")
    started = {name for name, session in machines.items() if STARTED in told(session)}
    for session in machines.values():
        session.send(signal.SIGTERM)
    assert [session.wait_end() for session in machines.values()] == [143] * len(machines)
    assert started == {"2011", "2023", "open", "older"}
