"""What of a share the guest never gets, through a real client: dot files where the site says so, and our keys."""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import harness
import pytest
from conftest import keep
from harness import HOST, Session

DENIED = re.compile(r"NT_STATUS_(OBJECT_NAME_NOT_FOUND|OBJECT_PATH_NOT_FOUND|ACCESS_DENIED|NO_SUCH_FILE)")


@pytest.fixture(scope="module")
def home(work: Path) -> Path:
    """A home as people have it, with a folder in which another session has left its key."""
    top = work / "home"
    (top / ".ssh").mkdir(parents=True)
    (top / ".ssh" / "id").write_text("secret key\n")
    (top / "project" / ".git" / "hooks").mkdir(parents=True)
    (top / ".bashrc").write_text("alias\n")
    (top / "notes.txt").write_text("notes\n")
    other = top / "state" / "sessions" / "other@node"
    for folder in (other, *other.parents[:2]):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    (other / "connection").write_text("token=ksecret\n")
    for key in ("grid/keys/wrapping-key", "grid/token", "grid-pool/key"):
        (top / "state" / key).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        (top / "state" / key).write_text("a key of the grid\n")
    (top / "config" / "7lbd").mkdir(parents=True)
    (top / "config" / "7lbd" / "7lbd.toml").write_text("end_notice = '1m'\n")
    return top


@pytest.fixture(scope="module")
def session(work: Path, home: Path, blank_image: Path) -> Iterator[Session]:
    """A session without a guest: the tests are its client."""
    words = ["--no-home-share", "--share", f"all={home}", "--share", f"ro={home}:ro", "--protect-dot-files"]
    base = work / "b"
    there = {"XDG_CONFIG_HOME": str(home / "config")}
    started = harness.start(
        "--image", str(blank_image), *words, "--state-dir", str(home / "state"), base=base, env=there
    )
    try:
        started.wait_phase("booting")
        deadline = time.monotonic() + harness.PATIENCE
        while "CONNECTION_REFUSED" in str(started.inside("smbclient", "-N", f"//{HOST}/none", "-c", "")):
            assert time.monotonic() < deadline, started.story()
            time.sleep(0.2)
        yield started
    except AssertionError:
        keep(base, "private")
        raise
    finally:
        started.kill()


def client(session: Session, command: str, share: str = "all") -> str:
    """What smbclient says to a command."""
    login = ["-U", f"{session.account()}%{session.password()}"]
    done = session.inside("smbclient", *login, f"//{HOST}/{share}", "-c", command)
    return done.stdout + done.stderr


def test_the_rest_of_a_home_is_as_ever(session: Session, home: Path) -> None:
    said = client(session, "get notes.txt /dev/null; put /etc/hostname project/new; mkdir project/x")
    assert "NT_STATUS" not in said
    assert (home / "project" / "new").exists(), said
    assert "NT_STATUS" not in client(session, "rename project/new project/newer; rm project/newer; rmdir project/x")


def test_names_with_a_dot_are_not_seen(session: Session) -> None:
    listed = client(session, "recurse; ls") + client(session, "ls .*") + client(session, "recurse; ls", "ro")
    assert "notes.txt" in listed
    for name in (".bashrc", ".ssh", ".git", "hooks"):
        assert name not in listed


READING = (
    "get .bashrc /dev/null",
    "get .ssh/id /dev/null",
    "ls .ssh/*",
    "cd .ssh",
    "get project/.git/hooks/x /dev/null",
    "allinfo .bashrc",
    "altname .bashrc",
    "get .bashrc::$DATA /dev/null",
)
WRITING = (
    "put /etc/hostname .bash_aliases",
    "put /etc/hostname .ssh/authorized_keys",
    "put /etc/hostname project/.git/hooks/pre-commit",
    "put /etc/hostname .bashrc",
    "put /etc/hostname .bash_aliases::$DATA",
    "put /etc/hostname notes.txt/../.bash_aliases",
    "put /etc/hostname project/.envrc",
    "mkdir .config",
    "rename notes.txt .bash_aliases",
    "rename notes.txt .bashrc -f",
    "rename project .config",
    "rename notes.txt .ssh/authorized_keys",
    "rename .bashrc stolen",
    "rename .ssh stolen",
    "hardlink notes.txt .bash_aliases",
    "hardlink .bashrc stolen",
    "rm .bashrc",
    "rmdir .ssh",
    "deltree .ssh",
    "setmode .bashrc +r",
    "symlink notes.txt .bash_aliases",
    "scopy notes.txt .bash_aliases",
    "put /etc/hostname \uff0ebash_aliases",
)


@pytest.mark.parametrize("command", READING)
def test_a_name_with_a_dot_cannot_be_read(session: Session, command: str) -> None:
    said = client(session, command)
    assert re.search("NT_STATUS_|cd .*NT_STATUS|not found", said), said
    assert not re.search("secret key|alias", said)


def tree(top: Path) -> dict[str, str]:
    """Every dot file, and what is in it."""
    found = [path for path in top.rglob("*") if any(part.startswith(".") for part in path.relative_to(top).parts)]
    return {str(path.relative_to(top)): path.read_text() if path.is_file() else "" for path in found}


@pytest.mark.parametrize("command", WRITING)
def test_a_name_with_a_dot_cannot_be_made_or_changed(session: Session, home: Path, command: str) -> None:
    before = tree(home)
    client(session, command)
    assert tree(home) == before
    assert not (home / "stolen").exists()
    assert (home / "notes.txt").read_text() == "notes\n"


def test_short_names_lead_to_no_dot_file(session: Session, home: Path) -> None:
    """8.3 names are made of a hash; all that smbd gives out are tried by what it gives for others."""
    before = tree(home)
    for letter in "_BS":
        for guess in (f"{letter}{'A' * 4}~{last}" for last in "0A"):
            assert DENIED.search(client(session, f"get {guess} /dev/null; put /etc/hostname {guess}/x"))
    assert tree(home) == before


def test_a_folder_with_dot_files_in_it_is_not_removed_with_them(session: Session, home: Path) -> None:
    """The price: the guest cannot remove what it cannot see."""
    client(session, "deltree project")
    assert (home / "project" / ".git" / "hooks").is_dir()


@pytest.mark.parametrize("share", ["all", "ro"])
def test_our_keys_and_settings_are_in_no_share(session: Session, share: str) -> None:
    """With or without `protect_dot_files`: theirs is not the name."""
    said = client(session, "ls state/sessions/*; ls config/7lbd/*", share)
    assert "other@node" not in said
    assert "7lbd.toml" not in said
    keys = ("state/grid/keys/wrapping-key", "state/grid/token", "state/grid-pool/key")
    for path in ("state/sessions/other@node/connection", "config/7lbd/7lbd.toml", *keys):
        assert "NT_STATUS" in client(session, f"get {path} /dev/null", share)
    client(session, "put /etc/hostname config/7lbd/7lbd.toml; put /etc/hostname state/sessions/x", share)
    assert "NT_STATUS" in client(session, "rename config/7lbd config/x; rename state/sessions state/x", share)


def test_what_took_over_smbd_does_not_see_them_either(session: Session, home: Path) -> None:
    script = f"import os; print(os.listdir('{home}/state/sessions'), os.listdir('{home}/config/7lbd'))"
    enter = ["nsenter", "-t", str(session.pid_of("smbd")), "-U", "-m", "-n", "-p", "--preserve-credentials"]
    user = ["-S", str(os.getuid()), "-G", str(os.getgid()), "--root", "--wd=/"]
    done = subprocess.run(
        [*enter, *user, "/usr/bin/python3", "-I", "-c", script], capture_output=True, text=True, check=False
    )
    assert done.stdout.strip() == "[] []", done.stderr
