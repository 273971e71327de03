"""The shares through a real client, as people have them: groups, access lists, folders that are shared twice."""

from __future__ import annotations

import os
import re
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import colleagues
import harness
import pytest
from conftest import keep
from harness import HOST, Session

UMASK = 0o027


@pytest.fixture(scope="module")
def places(work: Path) -> Iterator[Path]:
    """The folders that are shared."""
    top = work / "shared"
    for name in ("guest", "node", "home"):
        (top / name).mkdir(parents=True)
    colleagues.make_places(top / "guest")
    colleagues.make_names(top / "home" / "names")
    colleagues.make_places(top / "node")
    yield top
    colleagues.take_back(top)


@pytest.fixture(scope="module")
def windows(work: Path, blank_image: Path) -> Path:
    """The image that boots to nothing, as one of Windows: it decides what names look like."""
    folder = work / "windows"
    shutil.copytree(blank_image, folder)
    described = (folder / "image.toml").read_text()
    (folder / "image.toml").write_text(described.replace('"linux"', '"windows"'))
    return folder


@pytest.fixture(scope="module")
def session(work: Path, places: Path, windows: Path) -> Iterator[Session]:
    """A session of a user with 20 groups, without a guest: the tests are its client."""
    shares = [f"guest={places}/guest", f"ro={places}/home:ro", f"rw={places}/home", f"inner={places}/guest/mine:ro"]
    words = [word for share in shares for word in ("--share", share)]
    base = work / "b"
    started = harness.start(
        "--image", str(windows), "--no-home-share", *words, base=base, prefix=colleagues.member(), umask=UMASK
    )
    try:
        started.wait_phase("booting")
        answers(started)
        yield started
    except AssertionError:
        keep(base, "files")
        raise
    finally:
        started.kill()


def answers(session: Session) -> None:
    """Wait until smbd does."""
    deadline = time.monotonic() + harness.PATIENCE
    while "CONNECTION_REFUSED" in str(session.inside("smbclient", "-N", f"//{HOST}/none", "-c", "")):
        assert time.monotonic() < deadline, session.story()
        time.sleep(0.2)


def client(session: Session, share: str, commands: list[str]) -> list[str]:
    """What smbclient says to each command."""
    login = ["-U", f"{session.account()}%{session.password()}"]
    script = "; ".join(f"@; {command}" for command in commands)  # an unknown command, as a mark between the answers
    done = session.inside("smbclient", *login, f"//{HOST}/{share}", "-c", script)
    said = done.stdout.split("@: command not found\n")[1:]
    assert len(said) == len(commands), done.stdout + done.stderr
    return said


def as_smbclient(place: str, deed: str) -> str:
    f = f'"{place}/f"'
    return {
        "list": f'ls "{place}/*"',
        "read": f"get {f} /dev/null",
        "write": f"put /etc/hostname {f}",
        "create": f'put /etc/hostname "{place}/new"',
        "folder": f'mkdir "{place}/folder"',
        "rename": f'rename {f} "{place}/f2"',
        "back": f'rename "{place}/f2" {f}',
        "remove": f"del {f}",
    }[deed]


def test_the_guest_may_what_the_user_may_on_the_node_and_no_more(session: Session, places: Path) -> None:
    asked = [(place, deed) for place in colleagues.PLACES for deed in colleagues.DEEDS]
    said = client(session, "guest", [as_smbclient(*what) for what in asked])
    in_the_guest = {
        f"{place} {deed}": "no" if re.search("NT_STATUS_(?!OK)", told) else "yes"
        for (place, deed), told in zip(asked, said, strict=True)
    }
    assert in_the_guest == colleagues.done_on_the_node(places / "node", UMASK)
    assert colleagues.left_behind(places / "guest") == colleagues.left_behind(places / "node")


def refused(said: str) -> bool:
    """Whether this is what a read-only share answers."""
    return "NT_STATUS_ACCESS_DENIED" in said or "NT_STATUS_MEDIA_WRITE_PROTECTED" in said


def test_a_folder_may_be_shared_twice_each_time_as_it_was_asked_for(session: Session, places: Path) -> None:
    put = "put /etc/hostname by-the-guest"
    assert refused(client(session, "ro", [put])[0])
    assert not refused(client(session, "rw", [put])[0])
    assert "by-the-guest" in client(session, "ro", ["ls"])[0]
    assert (places / "home" / "by-the-guest").read_bytes() == Path("/etc/hostname").read_bytes()


def test_a_read_only_share_inside_a_writable_one_leaves_that_writable(session: Session, places: Path) -> None:
    assert refused(client(session, "inner", ["put /etc/hostname by-inner"])[0])
    assert not refused(client(session, "guest", ['put /etc/hostname "mine/by-outer"'])[0])
    assert "by-outer" in client(session, "inner", ["ls"])[0]
    assert not (places / "guest" / "mine" / "by-inner").exists()


SHORT = re.compile(r"[A-Z0-9_]{6}~[A-Z0-9](\.[A-Z0-9]{1,3})?")


def listed(said: str) -> list[str]:
    """The names of files in a listing."""
    return re.findall(r"^  (.*?) +[A-Z]* +\d+  [A-Z][a-z]{2} [A-Z]", said, re.MULTILINE)


def test_every_name_on_the_node_has_one_for_windows_by_which_it_opens(session: Session, tmp_path: Path) -> None:
    names = [name for name in listed(client(session, "rw", ['ls "names/*"'])[0]) if name not in (".", "..")]
    short = {name for name in names if SHORT.fullmatch(name)}
    assert sorted(set(names) - short) == sorted(name for name in colleagues.NAMES.values() if name)
    assert len(short) == len([name for name in colleagues.NAMES.values() if not name])
    gets = [f'get "names/{name}" "{tmp_path}/{number}"' for number, name in enumerate(names)]
    client(session, "rw", gets)
    got = {name: (tmp_path / str(number)).read_bytes() for number, name in enumerate(names)}
    assert sorted(got.values()) == sorted(colleagues.NAMES)
    assert all(got[theirs] == ours for ours, theirs in colleagues.NAMES.items() if theirs)


def test_a_name_that_the_guest_gives_is_the_right_one_on_the_node(session: Session, places: Path) -> None:
    given = ["new\ufe56.txt", "at 12\ufe5500", "byte-\uefe4", "\u00e4\ufe61"]
    client(
        session, "rw", [f'put /etc/hostname "{name}"' for name in given] + ['rename "new\ufe56.txt" "old\ufe56.txt"']
    )
    found = {os.fsencode(path.name) for path in (places / "home").iterdir()}
    assert {b"old?.txt", b"at 12:00", b"byte-\xe4", "\u00e4*".encode()} <= found


def test_names_may_be_as_long_as_on_the_node(session: Session, places: Path) -> None:
    file, folder = "f" * 255, "d" * 255
    asked = [f"mkdir {folder}", f"put /etc/hostname {file}", f"put /etc/hostname {folder}/{file}"]
    said = client(session, "rw", asked)
    assert not [told for told in said if "NT_STATUS" in told]
    assert (places / "home" / folder / file).is_file()
    assert (places / "home" / file).is_file()


def test_what_differs_in_case_alone_stays_two_files(session: Session, places: Path, tmp_path: Path) -> None:
    for name in ("A.txt", "a.txt"):
        (places / "home" / name).write_text(name)
    said = client(session, "rw", ["ls", *(f"get {name} {tmp_path}/{name}" for name in ("A.txt", "a.txt"))])
    assert {"A.txt", "a.txt"} <= set(listed(said[0]))
    assert [(tmp_path / name).read_text() for name in ("A.txt", "a.txt")] == ["A.txt", "a.txt"]


def test_reading_while_the_node_writes_gives_what_was_there(session: Session, places: Path, tmp_path: Path) -> None:
    log, lines = places / "home" / "log", [f"line {number:04}" for number in range(2000)]

    def write() -> None:
        with log.open("w", buffering=1) as file:
            for line in lines:
                file.write(line + "\n")
                time.sleep(0.0005)

    writer = threading.Thread(target=write)
    log.touch()
    writer.start()
    client(session, "rw", [f"get log {tmp_path}/{number}" for number in range(20)])
    writer.join()
    client(session, "rw", [f"get log {tmp_path}/20"])
    whole = "".join(line + "\n" for line in lines)
    assert (tmp_path / "20").read_text() == whole
    assert all(whole.startswith((tmp_path / str(number)).read_text()) for number in range(20))
