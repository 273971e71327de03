"""An overlay that is written without qemu-img is what qemu-img would have made."""

from __future__ import annotations

import asyncio
import json
import subprocess
from pathlib import Path

import pytest
from sevenlbd.base.errors import Refusal
from sevenlbd.images import qcow2
from sevenlbd.outside.session import overlay_disk

GIB = 1 << 30
NAMES = slice(112, 512)
"""Where qemu-img puts what the features are called, for people with an older one: an extension that may be missing."""


def by_qemu_img(path: Path, size: int) -> bytes:
    options = ["-f", "qcow2", "-u", "-o", overlay_disk._OPTIONS]
    subprocess.run(["/usr/bin/qemu-img", "create", "-q", *options, path, str(size)], check=True)
    return path.read_bytes()


@pytest.mark.parametrize("size", [512, GIB, GIB + 512, 40 * GIB, 100_000_000_000 // 512 * 512, 17 << 40, 255 << 40])
def test_it_is_the_same_to_the_last_byte_but_for_names(tmp_path: Path, size: int) -> None:
    path = Path(asyncio.run(overlay_disk.make_overlay(tmp_path, (), size)))
    ours, theirs = bytearray(path.read_bytes()), bytearray(by_qemu_img(tmp_path / "theirs", size))
    assert not any(ours[NAMES])
    theirs[NAMES] = bytes(len(theirs[NAMES]))
    assert ours == theirs
    assert qcow2.read(path) == qcow2.Header(size, "", "", ragged=qcow2.read(tmp_path / "theirs").ragged)


def test_qemu_finds_nothing_wrong_with_it_and_writes_to_it(tmp_path: Path) -> None:
    path = Path(asyncio.run(overlay_disk.make_overlay(tmp_path, (), 40 * GIB)))
    for at in (0, 39 * GIB, 12345 << 16):
        subprocess.run(["/usr/bin/qemu-io", "-c", f"write -P 7 {at} 64k", path], check=True, capture_output=True)
    told = subprocess.run(
        ["/usr/bin/qemu-img", "check", "--output=json", path], check=True, capture_output=True, text=True
    )
    checked = json.loads(told.stdout)
    assert {key: checked.get(key, 0) for key in ("check-errors", "corruptions", "leaks")} == dict.fromkeys(
        ("check-errors", "corruptions", "leaks"), 0
    )


def test_what_is_in_its_place_is_never_written_to(tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.write_bytes(b"mine")
    (tmp_path / "overlay.qcow2").symlink_to(mine)
    with pytest.raises(Refusal, match="File exists"):
        asyncio.run(overlay_disk.make_overlay(tmp_path, (), GIB))
    assert mine.read_bytes() == b"mine"
