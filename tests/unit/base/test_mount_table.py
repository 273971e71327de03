"""What is mounted where somebody has called his mount whatever he liked: no line is torn, and no check ends."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from sevenlbd.base import mount_table
from sevenlbd.images.signing import verified
from sevenlbd.inside.init import mounts
from sevenlbd.outside.node import filesystems
from sevenlbd.outside.session.preflight import timezones

ROOT = b"22 1 8:1 / / rw,relatime - ext4 /dev/sda1 rw\n"
# What the kernel leaves as it is in a path (mangle in fs/proc_namespace.c escapes space, tab, line feed, backslash, #).
ODD = [b"a\rb", b"a\x0bb", b"a\x0cb", b"a\x1cb", b"a\xc2\x85b", b"a\xe2\x80\xa8b", b"a\xffb"]


@pytest.fixture(params=ODD, ids=repr)
def neighbour(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The table of a node on which another user has mounted something under that name."""
    table = tmp_path / "mountinfo"
    table.write_bytes(ROOT + b"99 22 0:50 / /tmp/%s rw - fuse.x /his rw,user_id=1000\n" % request.param)
    monkeypatch.setattr(mount_table, "OWN", table)
    return table


def test_a_line_is_one_mount(neighbour: Path) -> None:
    assert len(mount_table.lines()) == 2
    assert [len(line.split(" ")) for line in mount_table.lines()] == [10, 10]


def test_nobodys_mount_keeps_others_from_looking(neighbour: Path, tmp_path: Path) -> None:
    assert mounts.holder(Path("/usr/bin")).point == Path("/")
    assert filesystems.kind(Path("/usr/bin")) == "ext4"
    assert verified.told_truly(tmp_path)
    assert isinstance(timezones.of_user({}), str)


def test_the_table_is_read_in_one_place() -> None:
    runtime = Path(mount_table.__file__).parents[1]
    readers = {
        path.name
        for path in runtime.rglob("*.py")
        if re.search(r"""["']([^"']*/)?(mountinfo|self/mounts|proc/mounts)["']""", path.read_text())
    }
    assert readers == {"mount_table.py"}
