"""Who goes on from a saved desktop: one at a time, wherever its file or a copy of it lies."""

from __future__ import annotations

import errno
import json
import os
import pwd
import queue
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest
from sevenlbd.base import atomic, heartbeat
from sevenlbd.base.errors import Refusal
from sevenlbd.outside.saved import claims, places
from sevenlbd.outside.saved.claims import Claim

DESKTOP = "ab" * 16


def test_two_sessions_do_not_go_on_from_one(tmp_path: Path) -> None:
    path = tmp_path / "one.7lbd"
    path.touch()
    with Claim(path, "one").held():
        with pytest.raises(Refusal, match="a session goes on from it already: session one of") as refused:
            Claim(path, "two").check()
        assert "--copy" in refused.value.hint
        with pytest.raises(Refusal), Claim(path, "two").held():
            pass
    with Claim(path, "three").held():
        pass
    assert places.all_in(tmp_path) == [path], "what says so is no saved desktop itself"


def test_a_lease_that_comes_between_the_look_and_the_taking_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two begin at once: the second has looked when nobody was there, and takes its lease when the first has one."""
    path = tmp_path / "one.7lbd"
    path.touch()
    monkeypatch.setattr(Claim, "check", lambda *_: None)
    with Claim(path, "one").held():
        with pytest.raises(Refusal, match="goes on from it already: session one"), Claim(path, "two").held():
            pass
        assert "session one" in str(heartbeat.read(tmp_path / ".one.7lbd.resumed"))


def test_a_stale_lease_is_nobodys(tmp_path: Path) -> None:
    path, lease = tmp_path / "one.7lbd", tmp_path / ".one.7lbd.resumed"
    path.touch()
    heartbeat.place(lease, "session gone")
    os.utime(lease, (0, 0))
    with Claim(path, "two").held():
        assert "session two" in str(heartbeat.read(lease))
    assert not lease.exists()


@pytest.mark.parametrize("error", [errno.EDQUOT, errno.ENOSPC, errno.EIO])
def test_without_room_for_a_lease_nobody_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: int) -> None:
    def full(*_: object) -> None:
        raise OSError(error, os.strerror(error))

    monkeypatch.setattr(heartbeat, "place", full)
    with pytest.raises(Refusal, match="cannot be said"), Claim(tmp_path / "one.7lbd", "one").held():
        pass


def test_from_a_folder_that_can_only_be_read_a_desktop_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def read_only(*_: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(heartbeat, "place", read_only)
    with Claim(tmp_path / "one.7lbd", "one").held():
        assert list(tmp_path.iterdir()) == []


OBSTACLES: dict[str, Callable[[Path], object]] = {
    "a link": lambda lease: lease.symlink_to("elsewhere"),
    "a folder": lambda lease: lease.mkdir(),
}


@pytest.mark.parametrize("obstacle", OBSTACLES)
def test_what_stands_where_a_lease_belongs_is_no_reason_to_go_without(tmp_path: Path, obstacle: str) -> None:
    OBSTACLES[obstacle](tmp_path / ".one.7lbd.resumed")
    with pytest.raises(Refusal, match="cannot be said"), Claim(tmp_path / "one.7lbd", "one").held():
        pass


def test_what_another_session_goes_on_from_is_not_replaced(tmp_path: Path) -> None:
    path = tmp_path / "one.7lbd"
    with Claim(path, "one").held():
        claims.check_not_anothers(path)
    (tmp_path / ".one.7lbd.resumed").write_text(
        '{"host": "n2", "boot": "b", "space": 1, "pid": 7, "note": "session two"}'
    )
    with pytest.raises(Refusal, match="not replaced: session two"):
        claims.check_not_anothers(path)


def test_who_ends_late_leaves_the_lease_of_who_took_over(tmp_path: Path) -> None:
    """A node that was cut off comes back when its job goes on elsewhere already."""
    path, lease = tmp_path / "one.7lbd", tmp_path / ".one.7lbd.resumed"
    path.touch()
    with Claim(path, "one").held():
        lease.unlink()
        lease.write_text('{"host": "n2", "boot": "another", "space": 1, "pid": 7, "note": "session two"}')
    assert "session two" in str(heartbeat.read(lease))


def test_what_a_session_goes_on_from_is_not_removed_and_how_it_can_be_is_told(tmp_path: Path) -> None:
    path = tmp_path / "one.7lbd"
    claims.check_unused(path)
    with Claim(path, "one").held(), pytest.raises(Refusal, match="it is not removed: session one") as refused:
        claims.check_unused(path)
    assert "7lbd stop" in refused.value.hint
    claims.check_unused(path)


def test_a_copy_of_a_file_is_the_same_desktop(tmp_path: Path) -> None:
    one = Claim(tmp_path / "one.7lbd", "one", DESKTOP, tmp_path)
    copy = Claim(tmp_path / "elsewhere.7lbd", "two", DESKTOP, tmp_path)
    other = Claim(tmp_path / "other.7lbd", "three", "cd" * 16, tmp_path)
    with one.held(), other.held():
        with pytest.raises(Refusal, match="a session goes on from a copy of it already: session one"):
            copy.check()
        with pytest.raises(Refusal, match="from a copy of it already") as refused, copy.held():
            pass
        assert "--copy" in refused.value.hint
        assert not claims.beside(copy.path).exists(), "who is refused leaves nothing"
    copy.check()
    assert list((tmp_path / "claims").iterdir()) == []


def test_a_session_that_was_saved_and_runs_on_holds_every_file_of_it(tmp_path: Path) -> None:
    first = Claim(tmp_path / "one.7lbd", "one", DESKTOP, tmp_path)
    with first.held(), ExitStack() as held:
        for name in ("one.7lbd", "two.7lbd", "two.7lbd"):
            Claim(tmp_path / name, "one", DESKTOP, tmp_path).hold_what_is_free(held)
        for name in ("two.7lbd", "copy.7lbd"):
            with pytest.raises(Refusal, match="already"):
                Claim(tmp_path / name, "two", DESKTOP, tmp_path).check()
    assert not [left for left in tmp_path.rglob("*") if left.is_file()]


def on_a_lost_node(place: Path, note: str, user: str = "") -> None:
    place.parent.mkdir(exist_ok=True)
    user = user or heartbeat.user_name()
    said = {"host": "n2", "user": user, "boot": "b", "space": 1, "pid": 7, "note": note}
    place.write_text(json.dumps(said))


def again(tmp_path: Path, **changes: object) -> Claim:
    words = {"desktop": DESKTOP, "folder": tmp_path, "job": "17", "again": True} | changes
    return Claim(tmp_path / "one.7lbd", "job17", **words)  # type: ignore[arg-type]


@pytest.mark.parametrize("where", [".one.7lbd.resumed", f"claims/{DESKTOP}"])
def test_a_job_that_was_started_again_takes_over_from_its_earlier_life(tmp_path: Path, where: str) -> None:
    on_a_lost_node(tmp_path / where, "session job17 in job 17")
    with pytest.raises(Refusal, match="already"):
        again(tmp_path, again=False).check()
    again(tmp_path).check()
    with again(tmp_path).held():
        beat = heartbeat.read(tmp_path / where)
        assert beat
        assert beat.pid == os.getpid()


def test_so_does_the_job_of_one_whom_the_node_has_no_name_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def nameless(_uid: int) -> None:
        raise KeyError

    monkeypatch.setattr(pwd, "getpwuid", nameless)
    on_a_lost_node(tmp_path / ".one.7lbd.resumed", "session job17 in job 17")
    again(tmp_path).check()


@pytest.mark.parametrize(
    ("note", "user"),
    [("session job17", ""), ("session job17 in job 18", ""), ("session job17 in job 17", "somebody"), ("", "")],
)
@pytest.mark.parametrize("where", [".one.7lbd.resumed", f"claims/{DESKTOP}"])
def test_it_takes_over_from_nobody_else(tmp_path: Path, where: str, note: str, user: str) -> None:
    """Its user may have gone on from there meanwhile, by hand and on another node."""
    on_a_lost_node(tmp_path / where, note, user)
    before = (tmp_path / where).read_bytes()
    with pytest.raises(Refusal, match="already"):
        again(tmp_path).check()
    with pytest.raises(Refusal, match="already"), again(tmp_path).held():
        pass
    assert (tmp_path / where).read_bytes() == before


def test_an_earlier_life_that_still_runs_here_is_not_over(tmp_path: Path) -> None:
    with again(tmp_path).held(), pytest.raises(Refusal, match="already"):
        again(tmp_path).check()


def silent_for(place: Path, seconds: float) -> None:
    at = heartbeat.clock(place.parent) - seconds
    os.utime(place, (at, at))


def test_what_a_lost_node_held_is_free_in_minutes_and_a_refusal_tells_when(tmp_path: Path) -> None:
    path, lease = tmp_path / "my one.7lbd", tmp_path / ".my one.7lbd.resumed"
    heartbeat.place(lease, "session one", claims.PACE)
    said = json.loads(lease.read_text())
    lease.write_text(json.dumps(said | {"host": "n2", "boot": "another"}))
    silent_for(lease, 120)
    with pytest.raises(Refusal) as refused:
        Claim(path, "two").check()
    assert "last heard of 2 min 00 s ago. If that node is lost, it is free in 3 min 00 s" in str(refused.value)
    assert f"7lbd resume --copy '{path}'" in refused.value.hint
    silent_for(lease, 301)
    with Claim(path, "two").held():
        assert "session two" in str(heartbeat.read(lease))


def test_what_says_no_pace_keeps_the_old_one_and_none_is_hurried_beyond_measure(tmp_path: Path) -> None:
    """A 7lbd of before renews its own every ten minutes only."""
    place = tmp_path / "lease"
    on_a_lost_node(place, "session one")
    silent_for(place, 1800)
    assert not heartbeat.is_stale(heartbeat.read(place), heartbeat.clock(tmp_path))  # type: ignore[arg-type]
    for said, stale in ((0.001, 60), (1e9, 3600), ("x", 3600), (-1, 3600)):
        place.write_text(json.dumps({"host": "n2", "boot": "b", "space": 1, "pid": 7, "stale": said}))
        beat = heartbeat.read(place)
        assert beat
        assert beat.stale == stale


def test_who_was_cut_off_and_comes_back_is_told_who_goes_on_from_his_desktop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claims, "PACE", heartbeat.HeartbeatPace(renew=0.05, stale=60))
    path, lease, told = tmp_path / "one.7lbd", tmp_path / ".one.7lbd.resumed", queue.Queue[str]()
    with Claim(path, "one").held(told.put):
        atomic.replace(lease, b'{"host": "n2", "boot": "another", "space": 1, "pid": 7, "note": "session two"}')
        assert "another session goes on from it: session two" in told.get(timeout=20)
        before = lease.stat().st_mtime_ns
        time.sleep(0.2)
        assert lease.stat().st_mtime_ns == before, "another's is not kept alive"


def test_ones_own_folder_that_cannot_be_written_to_is_no_reason_to_go_without(tmp_path: Path) -> None:
    (tmp_path / "state" / "claims").mkdir(parents=True)
    (tmp_path / "state" / "claims").chmod(0o500)
    claim = Claim(tmp_path / "one.7lbd", "one", DESKTOP, tmp_path / "state")
    with pytest.raises(Refusal, match="cannot be said"), claim.held():
        pass


def test_what_nobody_stands_behind_is_swept(tmp_path: Path) -> None:
    on_a_lost_node(tmp_path / "claims" / "gone", "session one")
    os.utime(tmp_path / "claims" / "gone", (0, 0))
    on_a_lost_node(tmp_path / "claims" / "there", "session two")
    claims.sweep(tmp_path)
    assert [place.name for place in (tmp_path / "claims").iterdir()] == ["there"]
