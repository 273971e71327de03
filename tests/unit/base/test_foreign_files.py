"""Files that somebody else may have written: read and copied as a stranger's, whatever they turn out to be."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from sevenlbd.base import foreign_files

Trap = Callable[[Path], None]


def _link(path: Path) -> None:
    path.symlink_to("/etc/passwd")


def _socket(path: Path) -> None:
    import socket

    socket.socket(socket.AF_UNIX).bind(str(path))


def _device(path: Path) -> None:
    """A user cannot make one; a link to one is what he can have."""
    path.symlink_to("/dev/zero")


@pytest.mark.parametrize("trap", [_link, _device, os.mkfifo, Path.mkdir, _socket])
@pytest.mark.parametrize("take", ["read", "tail", "copy"])
def test_what_is_no_plain_file_is_neither_read_nor_waited_for(tmp_path: Path, trap: Trap, take: str) -> None:
    trap(tmp_path / "log")
    begun = time.monotonic()
    more = (tmp_path / "copy",) if take == "copy" else ()
    with pytest.raises(OSError):
        getattr(foreign_files, take)(tmp_path, "log", *more, 1 << 20)
    assert time.monotonic() - begun < 30
    assert not (tmp_path / "copy").exists()


@pytest.mark.parametrize("name", ["logs/passwd", "../passwd", "/etc/passwd", "here/../../passwd"])
def test_no_folder_on_the_way_leads_elsewhere(tmp_path: Path, name: str) -> None:
    place = tmp_path / "place"
    (place / "here").mkdir(parents=True)
    (place / "logs").symlink_to("/etc")
    (tmp_path / "passwd").write_text("a secret")
    with pytest.raises(OSError):
        foreign_files.read(place, name, 1 << 20)


def test_no_more_is_taken_than_was_agreed(tmp_path: Path) -> None:
    with (tmp_path / "log").open("wb") as file:
        file.truncate(1 << 43)
        file.seek(1 << 43)
        file.write(b"the end")
    assert foreign_files.tail(tmp_path, "log", 10) == b"\0\0\0the end"
    for take in (
        lambda: foreign_files.read(tmp_path, "log", 10),
        lambda: foreign_files.copy(tmp_path, "log", tmp_path / "copy", 1 << 40),
    ):
        with pytest.raises(OSError) as told:
            take()
        assert told.value.errno == errno.EFBIG
    assert not (tmp_path / "copy").exists()


def test_a_copy_has_the_content_and_the_holes_and_takes_nobodys_place(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    with (tmp_path / "deep" / "memory").open("wb") as file:
        file.write(b"first")
        file.truncate(64 << 20)
    foreign_files.copy(tmp_path, "deep/memory", tmp_path / "copy", 64 << 20)
    assert (tmp_path / "copy").read_bytes() == b"first".ljust(64 << 20, b"\0")
    assert (tmp_path / "copy").stat().st_blocks < 100
    (tmp_path / "there").symlink_to(tmp_path / "precious")
    with pytest.raises(FileExistsError):
        foreign_files.copy(tmp_path, "deep/memory", tmp_path / "there", 64 << 20)
    assert not (tmp_path / "precious").exists()
