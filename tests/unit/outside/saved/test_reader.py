"""The process that takes a saved desktop apart, with disks that a stranger made: QEMU opens what a header names."""

from __future__ import annotations

import errno
import os
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import cast

import pyrage
import pytest
from sevenlbd.base.errors import Refusal
from sevenlbd.outside.saved import keys, reader, reading, writing
from sevenlbd.outside.saved.facts import Opening
from sevenlbd.outside.saved.messages import Read, Report
from sevenlbd.outside.saved.saved_format import Damaged
from sevenlbd.outside.saved.worker import Supervisor
from sevenlbd.outside.saved.writing import open_part
from test_saved_file import FACTS, MACHINE, OPENING

DISK = 1 << 24
OURS = replace(FACTS, machine=replace(MACHINE, disk_size=DISK), memory=None, memory_at=0)


class Ordering:
    """A supervisor with one order."""

    def __init__(self, order: Read) -> None:
        self._order = order

    def order(self) -> Read:
        return self._order

    def tell(self, report: Report) -> None:
        """How far it is, which nobody wants to know."""


def made(path: Path, *options: str, size: int = DISK) -> Path:
    """A disk by QEMU's own tool, which opens nothing that is named in it."""
    subprocess.run(["/usr/bin/qemu-img", "create", "-q", "-f", "qcow2", "-u", *options, path, str(size)], check=True)
    return path


def order_of(tmp_path: Path, disk: Path) -> Read:
    """A saved desktop with this disk, and the order to begin from it in an empty folder."""
    recipient = pyrage.x25519.Recipient.from_str(keys.own(tmp_path))
    descriptor = os.open(disk, os.O_RDONLY)
    with writing.new_file(tmp_path / "one.7lbd") as file:
        writing.write(file, Opening(OURS, OPENING.secrets), [open_part(0, descriptor)], [recipient])
    os.close(descriptor)
    _, digest = reading.opening(tmp_path / "one.7lbd", keys.identity(tmp_path))
    (tmp_path / "session").mkdir()
    return Read(
        *(str(tmp_path / "one.7lbd"), str(tmp_path / "session"), OURS, digest, str(tmp_path), ""), (1 << 30,) * 3
    )


def restored(order: Read) -> int:
    return reader.main(cast("Supervisor", Ordering(order)))


def test_an_overlay_as_sessions_make_them_is_taken(tmp_path: Path) -> None:
    disk = made(tmp_path / "disk", "-o", "extended_l2=on,cluster_size=128k,lazy_refcounts=on")
    order = order_of(tmp_path, disk)
    assert restored(order) == Path(order.source).stat().st_size
    assert (tmp_path / "session" / "overlay.qcow2").read_bytes() == disk.read_bytes()


def test_a_disk_without_room_for_it_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    order = order_of(tmp_path, made(tmp_path / "disk"))
    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(OSError, match="No space left") as failed:
        restored(order)
    assert failed.value.filename == str(tmp_path / "session")


HOSTILE = {
    "a file that everybody has": ("-b", "/etc/passwd", "-F", "raw"),
    "a file of the session's": ("-b", "credentials.json", "-F", "raw"),
    "a program of QEMU's own": ("-b", 'json:{"driver":"nbd","host":"169.254.100.1","port":"1"}', "-F", "raw"),
    "a server": ("-b", "nbd://169.254.100.1/x", "-F", "raw"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_disk_that_names_a_file_to_stand_on_is_refused(tmp_path: Path, case: str) -> None:
    disk = made(tmp_path / "disk", *HOSTILE[case])
    with pytest.raises(Damaged, match="names a file that it stands on"):
        restored(order_of(tmp_path, disk))


def test_a_disk_that_keeps_its_data_elsewhere_is_refused(tmp_path: Path) -> None:
    disk = made(tmp_path / "disk", "-o", f"data_file={tmp_path / 'data'}")
    with pytest.raises(Damaged, match="keeps its data in another file"):
        restored(order_of(tmp_path, disk))


@pytest.mark.parametrize("size", [DISK + (1 << 20), 1 << 44])
def test_a_disk_of_another_size_than_the_machine_s_is_refused(tmp_path: Path, size: int) -> None:
    with pytest.raises(Damaged, match="and the machine's"):
        restored(order_of(tmp_path, made(tmp_path / "disk", size=size)))


def test_a_disk_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "disk").write_bytes(b"raw" * 5000)
    with pytest.raises(Damaged, match="not to be trusted"):
        restored(order_of(tmp_path, tmp_path / "disk"))


def test_the_file_that_was_looked_at_is_the_one_that_is_read(tmp_path: Path) -> None:
    """One of the same desktop, even: what was compared is what goes on."""
    disk = made(tmp_path / "disk")
    order = order_of(tmp_path, disk)
    with disk.open("r+b") as file:
        file.seek(1 << 20)
        file.write(b"later")
    (tmp_path / "session").rmdir()
    order_of(tmp_path, disk)
    with pytest.raises(Refusal, match="another file lies there now"):
        restored(order)
