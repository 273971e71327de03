"""Images to measure with: a boot sector that only says it is there, and the demo guest on other devices."""

from __future__ import annotations

import os
import re
from pathlib import Path

from tests.session.harness import DEMO

SERIAL_PORT = 0x3F8
_BOOT_SECTOR_ENDS = b"\x55\xaa"


def boot_sector(folder: Path) -> Path:
    """An image whose first and only act is a byte on the serial port."""
    folder.mkdir()
    # mov dx, port; mov al, '7'; out dx, al; halt: cli; hlt; jmp halt
    code = b"\xba" + SERIAL_PORT.to_bytes(2, "little") + b"\xb07" + b"\xee" + b"\xfa\xf4\xeb\xfc"
    (folder / "disk.raw").write_bytes((code.ljust(510, b"\0") + _BOOT_SECTOR_ENDS).ljust(1 << 20, b"\0"))
    (folder / "image.toml").write_text(
        'name = "boot-sector"\nos = "linux"\nfirmware = "bios"\ndisk = "disk.raw"\nformat = "raw"\n'
        'disk_bus = "virtio"\nmemory = "128M"\ncpus = 1\n'
    )
    return folder


def demo_on(folder: Path, disk_bus: str) -> Path:
    """The demo guest's own disk, under another description. `folder` must be on the same file system."""
    folder.mkdir()
    os.link(DEMO / "disk.qcow2", folder / "disk.qcow2")
    described = (DEMO / "image.toml").read_text()
    changed, count = re.subn(r'^disk_bus = "\w+"', f'disk_bus = "{disk_bus}"', described, flags=re.MULTILINE)
    assert count == 1, "the demo guest's image.toml names its disk_bus once"
    (folder / "image.toml").write_text(changed)
    return folder
