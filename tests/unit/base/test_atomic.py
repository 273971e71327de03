"""Files that are replaced in one step: nothing that lies about stops the next write, or is written to."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

import pytest
from sevenlbd.base import atomic


def test_the_new_content_takes_the_old_ones_place_and_is_private(tmp_path: Path) -> None:
    path = tmp_path / "session.json"
    before = os.umask(0)
    try:
        for content in (b"old and long", b"new"):
            atomic.replace(path, content, lasting=True)
    finally:
        os.umask(before)
    assert path.read_bytes() == b"new"
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_what_is_to_last_is_on_the_disk_with_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A revoked machine that is one of ours again after a power cut: the folder has the name, and is written, too."""
    steps: list[str] = []
    real_fsync, real_replace = os.fsync, os.replace

    def fsync(descriptor: int) -> None:
        steps.append("folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file")
        real_fsync(descriptor)

    def replace(*words: Any, **more: Any) -> None:
        steps.append("rename")
        real_replace(*words, **more)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "replace", replace)
    atomic.replace(tmp_path / "record", b"1", lasting=True)
    assert steps == ["file", "rename", "folder"]
    atomic.replace(tmp_path / "state", b"1")
    assert steps[3:] == ["rename"]


def test_a_write_that_fails_leaves_nothing_and_the_next_one_works(tmp_path: Path) -> None:
    """As after a disk that was full once: then a left file of a fixed name made every later write fail."""
    path = tmp_path / "credentials.json"
    path.mkdir()
    for _ in range(2):
        with pytest.raises(OSError):
            atomic.replace(path, b"secret")
    assert list(tmp_path.iterdir()) == [path]
    path.rmdir()
    atomic.replace(path, b"secret")
    assert path.read_bytes() == b"secret"


@pytest.mark.parametrize("left", ["session.new", "session.json.new", ".session.json.new"])
def test_no_name_that_lies_about_is_followed_or_in_the_way(tmp_path: Path, left: str) -> None:
    precious = tmp_path / "bashrc"
    precious.write_text("mine")
    (tmp_path / left).symlink_to(precious)
    atomic.replace(tmp_path / "session.json", b"{}")
    assert precious.read_text() == "mine"
    assert (tmp_path / "session.json").read_bytes() == b"{}"


def test_a_link_in_the_files_place_is_replaced_and_not_followed(tmp_path: Path) -> None:
    precious = tmp_path / "bashrc"
    precious.write_text("mine")
    path = tmp_path / "session.json"
    path.symlink_to(precious)
    atomic.replace(path, b"{}")
    assert precious.read_text() == "mine"
    assert not path.is_symlink()
