"""Where saved desktops are, and whose keys they have."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sevenlbd.base.errors import Refusal
from sevenlbd.outside.saved import keys, places, saved_format, writing


def test_the_key_is_made_once_and_is_only_ours_to_read(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        made = set(pool.map(keys.own, [tmp_path] * 8))
    assert len(made) == 1, "of several that make one at once, one counts"
    assert stat.S_IMODE((tmp_path / "key").stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["key"]
    assert str(keys.identity(tmp_path).to_public()) in made


@pytest.mark.parametrize("mode", [0o644, 0o620])
def test_a_key_that_others_have_is_not_used(tmp_path: Path, mode: int) -> None:
    keys.own(tmp_path)
    (tmp_path / "key").chmod(mode)
    with pytest.raises(Refusal, match="not a file that only you can read"):
        keys.identity(tmp_path)


@pytest.mark.parametrize("content", ["", "nonsense\n", "\xff"])
def test_a_key_that_is_none_is_named(tmp_path: Path, content: str) -> None:
    keys.own(tmp_path)
    (tmp_path / "key").write_text(content, encoding="latin-1")
    with pytest.raises(Refusal, match="cannot be used"):
        keys.identity(tmp_path)


def test_no_key_is_told_and_none_is_made_to_read(tmp_path: Path) -> None:
    with pytest.raises(Refusal, match="there is no key of yours"):
        keys.identity(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_recipient_that_is_none_is_named() -> None:
    with pytest.raises(Refusal, match="`age1nonsense` is no public key"):
        keys.recipients(["age1nonsense"])


def test_a_desktop_is_meant_by_its_name_its_file_or_alone(tmp_path: Path) -> None:
    with pytest.raises(Refusal, match="there is no saved desktop"):
        places.find(tmp_path, "")
    one = tmp_path / "one.7lbd"
    one.touch()
    assert places.find(tmp_path, "") == places.find(tmp_path, "one") == places.find(None, str(one)) == one
    (tmp_path / "two.7lbd").touch()
    with pytest.raises(Refusal, match="several saved desktops: one, two"):
        places.find(tmp_path, "")
    with pytest.raises(Refusal, match="no saved desktop `three`; there are: one, two"):
        places.find(tmp_path, "three")


def test_what_a_killed_writer_left_goes_and_what_is_under_way_stays(tmp_path: Path) -> None:
    left = tmp_path / f".one.7lbd.{'0' * 16}.new"
    left.touch()
    with writing.new_file(tmp_path / "two.7lbd"):
        places.remove_interrupted(tmp_path)
        assert not left.exists()
        assert [path.name.startswith(".two") for path in tmp_path.iterdir()] == [True]
    assert [path.name for path in tmp_path.iterdir()] == ["two.7lbd"]


def test_who_tidies_up_just_now_takes_nobodys_file_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Many are suspended at once when a node is cleared: one tidies up where another's file has no lock yet."""
    real, left = fcntl.flock, [1]

    def flock(descriptor: int, how: int) -> None:
        if how == fcntl.LOCK_EX and left:
            left.pop()
            places.remove_interrupted(tmp_path)
        real(descriptor, how)

    monkeypatch.setattr(fcntl, "flock", flock)
    with writing.new_file(tmp_path / "one.7lbd") as file:
        file.write(b"one")
    assert (tmp_path / "one.7lbd").read_bytes() == b"one"
    assert len(list(tmp_path.iterdir())) == 1


def test_what_a_killed_writer_left_on_nfs_goes_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """NFS locks exclusively only what is open for writing: flock(2), "NFS details"."""
    real = fcntl.flock

    def flock(descriptor: int, how: int) -> None:
        if how & fcntl.LOCK_EX and fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        real(descriptor, how)

    monkeypatch.setattr(fcntl, "flock", flock)
    left = tmp_path / f".one.7lbd.{'0' * 16}.new"
    left.touch(mode=0o600)
    with writing.new_file(tmp_path / "two.7lbd") as file:
        places.remove_interrupted(tmp_path)
        file.write(b"two")
    assert [path.name for path in tmp_path.iterdir()] == ["two.7lbd"]


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK])
def test_where_there_are_no_locks_a_desktop_is_saved_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def flock(_descriptor: int, _how: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", flock)
    with writing.new_file(tmp_path / "one.7lbd") as file:
        places.remove_interrupted(tmp_path)
        file.write(b"one")
    assert (tmp_path / "one.7lbd").read_bytes() == b"one", "and nobody takes it for left over"


@pytest.mark.parametrize("kind", ["a pipe", "a link"])
def test_what_a_neighbour_puts_there_just_now_is_not_waited_for_and_not_followed(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "one.7lbd"
    if kind == "a pipe":
        os.mkfifo(path)
        assert not saved_format.looks_saved(path)
    else:
        (tmp_path / "other").write_bytes(b"7lbd saved desktop, format 1")
        path.symlink_to("other")
        with pytest.raises(OSError, match="symbolic links"):
            saved_format.looks_saved(path)


def test_a_folder_that_others_write_to_is_not_used(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    with pytest.raises(Refusal, match="others could write there"):
        places.made(tmp_path)
    tmp_path.chmod(0o700)
    assert places.made(tmp_path / "new") == tmp_path / "new"
