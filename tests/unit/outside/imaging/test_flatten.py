"""A disk of several layers is made one file, whatever its headers say of where the others are."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from sevenlbd.images import qcow2
from sevenlbd.images.lookup.image import ImageLayer, chain
from sevenlbd.outside.imaging.flatten import flatten

_LENGTH = 1 << 20


def qemu_img(*words: object) -> None:
    subprocess.run(["qemu-img", *map(str, words)], check=True, capture_output=True)


def test_a_disk_of_several_layers_becomes_one_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base, top = tmp_path / "base.raw", tmp_path / "top.qcow2"
    base.write_bytes(b"7" * _LENGTH)
    qemu_img("create", "-f", "qcow2", "-b", base, "-F", "raw", top)
    moved = base.rename(tmp_path / "moved.raw")
    flatten([ImageLayer(top, "qcow2"), ImageLayer(moved, "raw")], tmp_path / "whole.qcow2", "making one")
    assert not qcow2.read(tmp_path / "whole.qcow2").backing_file
    qemu_img("convert", "-O", "raw", tmp_path / "whole.qcow2", tmp_path / "whole.raw")
    assert (tmp_path / "whole.raw").read_bytes() == b"7" * _LENGTH


def test_a_chain_is_told_whole_and_nothing_in_it_is_left_to_be_followed() -> None:
    node = chain([ImageLayer(Path("/b"), "qcow2"), ImageLayer(Path("/a"), "qcow2")])
    below = {"driver": "qcow2", "file": {"driver": "file", "filename": "/a", "read-only": True}, "backing": None}
    assert node == below | {"file": {"driver": "file", "filename": "/b", "read-only": True}, "backing": below}
