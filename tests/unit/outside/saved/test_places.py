"""Where saved desktops are, whose keys they have, and who goes on from one."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sevenlbd.base import heartbeat
from sevenlbd.base.errors import Refusal
from sevenlbd.outside.saved import keys, places, writing


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


def test_two_sessions_do_not_go_on_from_one(tmp_path: Path) -> None:
    path = tmp_path / "one.7lbd"
    path.touch()
    with places.resuming(path, "one"):
        with pytest.raises(Refusal, match="a session goes on from it already: session one of") as refused:
            places.check_free(path)
        assert "--copy" in refused.value.hint
        with pytest.raises(Refusal), places.resuming(path, "two"):
            pass
    with places.resuming(path, "three"):
        pass
    assert places.all_in(tmp_path) == [path], "what says so is no saved desktop itself"


def test_a_lease_that_comes_between_the_look_and_the_taking_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two begin at once: the second has looked when nobody was there, and takes its lease when the first has one."""
    path = tmp_path / "one.7lbd"
    path.touch()
    monkeypatch.setattr(places, "check_free", lambda *_: None)
    with places.resuming(path, "one"):
        with pytest.raises(Refusal, match="goes on from it already: session one"), places.resuming(path, "two"):
            pass
        assert "session one" in str(heartbeat.read(tmp_path / ".one.7lbd.resumed"))


def test_a_stale_lease_is_nobodys(tmp_path: Path) -> None:
    path, lease = tmp_path / "one.7lbd", tmp_path / ".one.7lbd.resumed"
    path.touch()
    heartbeat.place(lease, "session gone")
    os.utime(lease, (0, 0))
    with places.resuming(path, "two"):
        assert "session two" in str(heartbeat.read(lease))
    assert not lease.exists()


@pytest.mark.parametrize("error", [errno.EDQUOT, errno.ENOSPC, errno.EIO])
def test_without_room_for_a_lease_nobody_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: int) -> None:
    def full(*_: object) -> None:
        raise OSError(error, os.strerror(error))

    monkeypatch.setattr(heartbeat, "place", full)
    with pytest.raises(Refusal, match="cannot be said"), places.resuming(tmp_path / "one.7lbd", "one"):
        pass


def test_from_a_folder_that_can_only_be_read_a_desktop_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def read_only(*_: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(heartbeat, "place", read_only)
    with places.resuming(tmp_path / "one.7lbd", "one"):
        assert list(tmp_path.iterdir()) == []


OBSTACLES: dict[str, Callable[[Path], object]] = {
    "a link": lambda lease: lease.symlink_to("elsewhere"),
    "a folder": lambda lease: lease.mkdir(),
}


@pytest.mark.parametrize("obstacle", OBSTACLES)
def test_what_stands_where_a_lease_belongs_is_no_reason_to_go_without(tmp_path: Path, obstacle: str) -> None:
    OBSTACLES[obstacle](tmp_path / ".one.7lbd.resumed")
    with pytest.raises(Refusal, match="cannot be said"), places.resuming(tmp_path / "one.7lbd", "one"):
        pass


def test_what_another_session_goes_on_from_is_not_replaced(tmp_path: Path) -> None:
    path = tmp_path / "one.7lbd"
    with places.resuming(path, "one"):
        places.check_not_anothers(path)
    (tmp_path / ".one.7lbd.resumed").write_text(
        '{"host": "n2", "boot": "b", "space": 1, "pid": 7, "note": "session two"}'
    )
    with pytest.raises(Refusal, match="not replaced: session two"):
        places.check_not_anothers(path)


def test_who_ends_late_leaves_the_lease_of_who_took_over(tmp_path: Path) -> None:
    """A node that was cut off comes back when its job goes on elsewhere already."""
    path, lease = tmp_path / "one.7lbd", tmp_path / ".one.7lbd.resumed"
    path.touch()
    with places.resuming(path, "one"):
        lease.unlink()
        lease.write_text('{"host": "n2", "boot": "another", "space": 1, "pid": 7, "note": "session two"}')
    assert "session two" in str(heartbeat.read(lease))


def test_what_a_killed_writer_left_goes_and_what_is_under_way_stays(tmp_path: Path) -> None:
    left = tmp_path / f".one.7lbd.{'0' * 16}.new"
    left.touch()
    with writing.new_file(tmp_path / "two.7lbd"):
        places.remove_interrupted(tmp_path)
        assert not left.exists()
        assert [path.name.startswith(".two") for path in tmp_path.iterdir()] == [True]
    assert [path.name for path in tmp_path.iterdir()] == ["two.7lbd"]


def test_a_folder_that_others_write_to_is_not_used(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    with pytest.raises(Refusal, match="others could write there"):
        places.made(tmp_path)
    tmp_path.chmod(0o700)
    assert places.made(tmp_path / "new") == tmp_path / "new"
