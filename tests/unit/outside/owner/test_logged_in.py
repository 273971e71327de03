"""Who is logged in, from registers as logind and utmp write them, and as somebody could have tampered with them."""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sevenlbd.outside.owner import advertised, logged_in, logind, utmp
from sevenlbd.outside.owner.lending import Seen
from sevenlbd.outside.site.owner_table import OwnerTable


def session(root: Path, name: str, **values: str) -> None:
    """A session's file as logind writes it."""
    folder = root / logind.FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    known = {"UID": "1000", "USER": "ada", "ACTIVE": "1", "STATE": "active", "REMOTE": "0", "TYPE": "tty"}
    known |= {"CLASS": "user", "REALTIME": "1795600000000000"} | values
    text = "# This is private data. Do not parse.\n" + "".join(f"{key}={value}\n" for key, value in known.items())
    (folder / name).write_text(text)


def line(user: str, tty: str = "pts/0", host: str = "", *, kind: int = utmp.USER_PROCESS, pid: int = 0) -> bytes:
    texts = (tty.encode(), b"ts/0", user.encode(), host.encode())
    return utmp.RECORD.pack(kind, pid, *texts, 0, 1795600000, 0)


def register(root: Path, *lines: bytes) -> None:
    (root / "run").mkdir(parents=True, exist_ok=True)
    (root / "run" / "utmp").write_bytes(b"".join(lines))


def users(root: Path) -> list[str] | None:
    found = logged_in.people(root)
    return None if found is None else [login.user for login in found]


def test_without_a_register_nobody_can_tell_which_is_not_nobody(tmp_path: Path) -> None:
    assert logged_in.people(tmp_path) is None
    (tmp_path / logind.FOLDER).mkdir(parents=True)
    assert logged_in.people(tmp_path) == []


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ({"TYPE": "tty", "SERVICE": "sshd", "REMOTE": "1", "TTY": "pts/0"}, "ssh"),
        ({"TYPE": "unspecified", "SERVICE": "sshd", "REMOTE": "1"}, "ssh"),
        ({"TYPE": "x11", "DISPLAY": ":0", "SEAT": "seat0"}, "x11"),
        ({"TYPE": "wayland", "SEAT": "seat0", "TTY": "tty2"}, "wayland"),
        ({"TYPE": "tty", "SEAT": "seat0", "TTY": "tty1"}, "tty"),
        ({"TYPE": "x11", "STATE": "online", "ACTIVE": "0"}, "x11"),
        ({"CLASS": "user-early", "TYPE": "tty"}, "tty"),
        ({"CLASS": "user-incomplete", "STATE": "opening"}, "tty"),
    ],
)
def test_every_way_to_log_in_is_seen(tmp_path: Path, values: dict[str, str], kind: str) -> None:
    session(tmp_path, "3", **values)
    found = logged_in.people(tmp_path)
    assert found
    assert (found[0].user, found[0].kind, found[0].since) == ("ada", kind, 1795600000.0)


@pytest.mark.parametrize(
    "values",
    [
        {"CLASS": "greeter", "USER": "gdm", "TYPE": "wayland"},
        {"CLASS": "lock-screen"},
        {"CLASS": "manager"},
        {"CLASS": "manager-early"},
        {"CLASS": "background", "SERVICE": "cron"},
        {"STATE": "closing"},
        {"STOPPING": "1"},
    ],
)
def test_a_greeter_a_manager_cron_and_who_has_left_are_nobody(tmp_path: Path, values: dict[str, str]) -> None:
    session(tmp_path, "c1", **values)
    assert users(tmp_path) == []


def test_an_account_without_a_name_is_still_somebody(tmp_path: Path) -> None:
    session(tmp_path, "1", USER="")
    session(tmp_path, "2", USER="", UID="", CLASS="something-new", REALTIME="soon")
    (tmp_path / logind.FOLDER / "4").write_bytes(b"\xff\0\xfe")
    assert users(tmp_path) == ["1000", "somebody", "somebody"]


def test_what_is_no_sessions_file_does_no_harm(tmp_path: Path) -> None:
    """A pipe stands beside each session's file; a link and a device are nobody's work, and count as somebody."""
    session(tmp_path, "5")
    folder = tmp_path / logind.FOLDER
    os.mkfifo(folder / "5.ref")
    (folder / ".#6abc").write_text("USER=half\n")
    assert users(tmp_path) == ["ada"]
    os.mkfifo(folder / "7")
    (folder / "8").symlink_to("/dev/zero")
    (folder / "9").write_bytes(b"A" * (1 << 20))
    assert users(tmp_path) == ["ada", "somebody", "somebody", "somebody"]


def test_utmp_is_asked_too(tmp_path: Path) -> None:
    alive = os.getpid()
    register(
        tmp_path,
        line("", "~", kind=2),
        line("reboot", "~", kind=2),
        line("LOGIN", "tty1", kind=6),
        line("gone", kind=8),
        line("ada", "pts/1", "2001:db8::7", pid=alive),
        line("bob", "tty2", ":0", pid=alive),
        line("eve", "tty3", pid=alive),
    )
    found = logged_in.people(tmp_path)
    assert found
    assert [(login.user, login.kind) for login in found] == [("ada", "ssh"), ("bob", "x11"), ("eve", "tty")]


def test_a_line_of_somebody_who_was_killed_is_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    register(tmp_path, line("ada", pid=2**31 - 1))
    monkeypatch.setattr(utmp, "_FIRST_NAMESPACE", str(Path("/proc/self/ns/pid").readlink()))
    assert users(tmp_path) == []
    monkeypatch.setattr(utmp, "_FIRST_NAMESPACE", "pid:[1]")
    assert users(tmp_path) == ["ada"], "in a namespace of our own nobody's process is there"


def test_a_window_of_tmux_is_not_its_user(tmp_path: Path) -> None:
    register(tmp_path, line("ada", host="tmux(812).%0"), line("bob", host=":pts/1:S.0"))
    assert users(tmp_path) == []


def test_a_user_who_writes_utmp_can_only_add_himself(tmp_path: Path) -> None:
    """What he makes up keeps borrowed work away; whom logind knows he cannot take away."""
    session(tmp_path, "3", TYPE="wayland")
    register(tmp_path, line("mallory\n\x1b[31m", "../../../etc/passwd"), b"\xff" * 384, b"cut off")
    found = users(tmp_path)
    assert found
    assert found[0] == "ada"
    assert len(found) == 2


def test_idle_is_since_somebody_typed_and_never_guessed(tmp_path: Path) -> None:
    terminal = tmp_path / "dev" / "pts" / "0"
    terminal.parent.mkdir(parents=True)
    terminal.touch()
    os.utime(terminal, (time.time() - 900, time.time()))
    (tmp_path / "dev" / "tty2").touch()
    os.utime(tmp_path / "dev" / "tty2", (1, 1))
    session(tmp_path, "1", TTY="pts/0", SERVICE="sshd")
    session(tmp_path, "2", TTY="tty2", TYPE="wayland")
    session(tmp_path, "3", TTY="pts/77")
    session(tmp_path, "4", TTY="pts/../../etc/passwd")
    found = logged_in.people(tmp_path)
    assert found
    assert 890 < found[0].idle < 910
    assert [login.idle for login in found[1:]] == [0, 0, 0]


def test_what_a_pool_is_told_names_nobody(tmp_path: Path) -> None:
    session(tmp_path, "1", SERVICE="sshd")
    noon = datetime(2026, 11, 26, 12, tzinfo=UTC)
    told = advertised.attributes(OwnerTable().policy(), Seen(logged_in.people(tmp_path)), noon)
    assert told == {
        "OwnerLoggedIn": True,
        "SevenLbdOwnerAllows": False,
        "SevenLbdOwnerAllowsMore": False,
        "SevenLbdOwnerUntil": int(noon.timestamp()) + 5 * 3600,
        "SevenLbdOwnerAsked": int(noon.timestamp()),
    }
    unknown = advertised.attributes(OwnerTable().policy(), Seen(None), noon)
    assert (unknown["OwnerLoggedIn"], unknown["SevenLbdOwnerAllows"]) == (None, False)
    narrow = advertised.attributes(OwnerTable().policy(), Seen([], memory=1 << 20), noon)
    assert (narrow["SevenLbdOwnerAllows"], narrow["SevenLbdOwnerAllowsMore"]) == (True, False)


def test_a_node_tells_its_own_time_whatever_the_callers_zone_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Pacific/Kiritimati")
    before = time.time()
    told = advertised.of_node(OwnerTable(when_used=("daily 00:00-24:00",)).policy())
    assert told["SevenLbdOwnerAllows"] is True
    assert abs(int(told["SevenLbdOwnerAsked"] or 0) - before) < 5


def test_a_zone_that_only_the_node_knows_is_taken_from_there_and_one_that_nobody_knows_ends_nothing(
    tmp_path: Path,
) -> None:
    rules = tmp_path / "usr" / "share" / "zoneinfo" / "Mars" / "Olympus"
    (tmp_path / "etc").mkdir()
    rules.parent.mkdir(parents=True)
    rules.write_bytes(Path("/usr/share/zoneinfo/Asia/Kathmandu").read_bytes())
    (tmp_path / "etc" / "localtime").symlink_to("/usr/share/zoneinfo/Mars/Olympus")
    zone = advertised._zone(tmp_path)
    assert (str(zone), datetime(2026, 1, 1, tzinfo=zone).utcoffset()) == (
        "Mars/Olympus",
        timedelta(hours=5, minutes=45),
    )
    rules.unlink()
    assert advertised._zone(tmp_path) is not None


def test_a_zone_that_a_link_names_is_the_nodes(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "localtime").symlink_to("/usr/share/zoneinfo/Asia/Kathmandu")
    assert str(advertised._zone(tmp_path)) == "Asia/Kathmandu"
    (tmp_path / "etc" / "localtime").unlink()
    (tmp_path / "etc" / "localtime").write_bytes(Path("/usr/share/zoneinfo/Asia/Kathmandu").read_bytes())
    assert datetime(2026, 1, 1, tzinfo=advertised._zone(tmp_path)).utcoffset() == timedelta(hours=5, minutes=45)
