"""Sessions leave word where other nodes see it, private and whole; a file server that hangs holds none of them up."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest
from sevenlbd.base import atomic
from sevenlbd.config.settings import Settings
from sevenlbd.outside.access.credentials import Credentials, new_tokens
from sevenlbd.outside.folders import session_folders
from sevenlbd.outside.presence import announcer, records
from sevenlbd.outside.presence.records import PresenceTarget
from sevenlbd.wire import state
from sevenlbd.wire.state import Phase, SessionState

HOST = os.uname().nodename


def session(name: str = "job7", host: str = HOST) -> SessionState:
    return SessionState(
        id=name, user="me", host=host, image="i", accel="kvm", network="tap", pid=1, folder=f"/tmp/7lbd-1/{name}",
        url="http://127.0.0.1:40123/", job="7", console=True, account="user1",
    )  # fmt: skip


def secret(place: Path) -> Credentials:
    made = Credentials("user1", "a-password", "me", new_tokens())
    made.write(place)
    return made


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A session's own folder."""
    made = tmp_path / "session"
    made.mkdir()
    return made


def targets(tmp_path: Path, *, key: bool = True) -> tuple[PresenceTarget, PresenceTarget]:
    shared, portal = records.targets(
        Settings(state_dir=str(tmp_path / "state"), report_dir=str(tmp_path / "report"), share_access=key), {}, "job7"
    )
    return shared, portal


def until(happened: object, seconds: float = 60) -> None:
    """Wait for the announcer's thread."""
    deadline = time.monotonic() + seconds
    assert callable(happened)
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def quiet(text: str) -> None:
    raise AssertionError(text)


def test_word_is_left_while_the_session_lives_and_taken_back_at_its_end(tmp_path: Path, place: Path) -> None:
    shared, portal = targets(tmp_path)
    keys = secret(place).tokens
    told = session()
    with announcer.announced((shared, portal), place, quiet) as heard:
        heard.show(told)
        until(lambda: (portal.folder / "session.json").exists() and records.tokens(shared.folder))
        [found] = records.records(tmp_path / "state" / "sessions")
        assert found.state == told
        assert not found.stale
        assert records.tokens(found.folder) == keys
        assert not (portal.folder / "connection").exists(), "a portal waits for it until the desktop is ready"
        for phase in (Phase.BOOTING, Phase.GUEST_UP, Phase.READY):
            told.advance(phase)
            heard.show(told)
        until((portal.folder / "connection").exists)
        for path in (*shared.folder.iterdir(), *portal.folder.iterdir()):
            if path.name != records.MARK:
                assert path.stat().st_mode & 0o777 == 0o600, path
        assert shared.folder.parent.stat().st_mode & 0o777 == 0o700
        for phase in (Phase.STOPPING, Phase.ENDED):
            told.advance(phase)
            heard.show(told)
    assert not shared.folder.exists()
    assert not (portal.folder / "connection").exists()
    assert state.read(portal.folder / "session.json").phase is Phase.ENDED, "a portal reads how it ended"


def test_the_key_is_left_only_where_it_is_wanted(tmp_path: Path, place: Path) -> None:
    shared, portal = targets(tmp_path, key=False)
    secret(place)
    told = session()
    for phase in (Phase.BOOTING, Phase.GUEST_UP, Phase.READY):
        told.advance(phase)
    with announcer.announced((shared, portal), place, quiet) as heard:
        heard.show(told)
        until((portal.folder / "connection").exists)
        assert not (shared.folder / "connection").exists()


def test_new_keys_replace_the_old(tmp_path: Path, place: Path) -> None:
    shared, _ = targets(tmp_path)
    old = secret(place)
    with announcer.announced((shared,), place, quiet) as heard:
        heard.show(session())
        until(lambda: records.tokens(shared.folder) == old.tokens)
        new = old.renewed()
        new.write(place)
        heard.show(session())
        until(lambda: records.tokens(shared.folder) == new.tokens)


def test_the_connection_is_words_that_neither_a_shell_nor_yaml_reads_anything_into() -> None:
    text = records.connection(session(), Credentials("user1", "a-password", "me", new_tokens()))
    found = dict(line.split("=") for line in text.splitlines())
    assert found["port"] == "40123"
    assert found["scheme"] == "http"
    assert {"token", "console_token", "status_token", "host", "id", "job", "rdp_port"} < set(found)
    assert "a-password" not in text
    for value in found.values():
        assert value
        assert all(c.isalnum() or c in ".-" for c in value)


def test_without_a_page_or_a_console_there_is_no_key_for_it() -> None:
    told = session()
    told.url, told.console = "", False
    text = records.connection(told, Credentials("user1", "a-password", "me", new_tokens()))
    assert "port=0\nscheme=none\n" in text
    assert "console_token=none\n" in text


def test_what_an_earlier_life_left_is_gone_when_the_next_begins(tmp_path: Path, place: Path) -> None:
    for target in targets(tmp_path):
        target.folder.mkdir(parents=True, mode=0o700)
        target.folder.parent.chmod(0o700)
        (target.folder / "connection").write_text("token=old\n")
        records.enter(target)
        assert not (target.folder / "connection").exists()


def test_a_file_server_that_hangs_holds_nobody_up(tmp_path: Path, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Opening a FIFO that nobody reads never returns (fifo(7)), as a write to a server that is away does not."""
    _, portal = targets(tmp_path)
    os.mkfifo(tmp_path / "away")
    monkeypatch.setattr(atomic, "replace", lambda *_: (tmp_path / "away").write_bytes(b""))
    begun = time.monotonic()
    warnings: list[str] = []
    with announcer.announced((portal,), place, warnings.append) as heard:
        for _ in range(100):
            heard.show(session())
        assert time.monotonic() - begun < 30
    assert time.monotonic() - begun < 60
    reader = os.open(tmp_path / "away", os.O_RDONLY | os.O_NONBLOCK)  # the server is there again
    until(lambda: not [thread for thread in threading.enumerate() if thread.name == "announcer"])
    os.close(reader)


def test_a_place_that_cannot_be_written_is_told_once(tmp_path: Path, place: Path) -> None:
    (tmp_path / "state").write_text("a file")
    (tmp_path / "report").write_text("a file")
    warnings: list[str] = []
    with announcer.announced(targets(tmp_path), place, warnings.append) as heard:
        for _ in range(3):
            heard.show(session())
            time.sleep(0.05)
        until(lambda: len(warnings) == 2)
    assert "other nodes learn nothing of this session" in warnings[0]
    assert "the portal learns nothing of this session" in warnings[1]
    assert str(tmp_path / "state") in warnings[0]


def test_a_register_that_others_may_write_to_is_neither_read_nor_written(tmp_path: Path, place: Path) -> None:
    shared, _ = targets(tmp_path)
    warnings: list[str] = []
    records.enter(shared)
    session().write(shared.folder / session_folders.STATE)
    assert len(records.records(shared.folder.parent)) == 1
    shared.folder.parent.chmod(0o770)
    assert records.records(shared.folder.parent) == []
    with announcer.announced((shared,), place, warnings.append) as heard:
        heard.show(session())
        until(lambda: warnings)
    assert "chmod 700" in warnings[0]


def test_records_that_are_not_what_they_say_are_passed_over(tmp_path: Path) -> None:
    where = tmp_path / "sessions"
    where.mkdir(mode=0o700)
    for name, text in (("job7@other", None), ("a@b", "{}"), ("c@d", "not json"), ("../x", None), ("E@f", None)):
        place = where / name.replace("/", "_")
        place.mkdir()
        if text is None:
            session().write(place / session_folders.STATE)
        else:
            (place / session_folders.STATE).write_text(text)
    assert records.records(where) == []


def test_a_record_of_a_dead_process_is_stale_and_swept(tmp_path: Path) -> None:
    shared, _ = targets(tmp_path)
    pid = os.fork()
    if pid == 0:
        try:
            records.enter(shared)
            session().write(shared.folder / session_folders.STATE)
        finally:
            os._exit(0)
    os.waitpid(pid, 0)
    [found] = records.records(shared.folder.parent)
    assert found.stale
    assert records.sweep(shared.folder.parent) == [found]
    assert not shared.folder.exists()


def test_where_it_is(tmp_path: Path) -> None:
    assert records.where("", {"HOME": "/home/me"}) == Path("/home/me/.local/state/7lbd/sessions")
    assert records.where("", {"HOME": "/home/me", "XDG_STATE_HOME": "/s"}) == Path("/s/7lbd/sessions")
    assert records.where("", {"HOME": "/home/me", "XDG_STATE_HOME": "s"}) == records.where("", {"HOME": "/home/me"})
    assert records.where("", {}) is None
    assert records.where("off", {"HOME": "/home/me"}) is None
    assert records.where("/scratch/x", {}) == Path("/scratch/x/sessions")
