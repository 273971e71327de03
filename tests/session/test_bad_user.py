"""Users with an odd home, name, environment, umask or share: served all the same, or refused in words."""

from __future__ import annotations

import json
import os
import pwd
import re
from collections.abc import Iterator
from pathlib import Path

import harness
import pytest
from conftest import Refuse, StartSession
from harness import Session
from strange import SHARE, boots, node, refusal


@pytest.fixture
def homes(work: Path) -> Path:
    """Home folders of all kinds."""
    place = work / "homes"
    for name in ("with space", "\u00fcml\u00e4ut", "read-only", "a,b=c"):
        (place / name).mkdir(parents=True, exist_ok=True)
    (place / "read-only").chmod(0o500)
    return place


def with_passwd(work: Path, name: str, home: Path) -> list[str]:
    """A prefix: the node's passwd has another entry for us (nobody's right is needed for that in a namespace)."""
    passwd = work / "passwd"
    lines = [line for line in Path("/etc/passwd").read_text().splitlines() if f":{os.getuid()}:" not in line]
    entry = [f"{name}:x:{os.getuid()}:{os.getgid()}::{home}:/bin/bash"] if name else []
    passwd.write_text("\n".join([*lines, *entry]) + "\n")
    return node(f"mount --bind {passwd} /etc/passwd")


@pytest.mark.parametrize("name", ["with space", "\u00fcml\u00e4ut", "read-only", "a,b=c"])
def test_a_home_of_any_kind_is_served(
    start: StartSession, blank_image: Path, work: Path, homes: Path, name: str
) -> None:
    session = start("--image", str(blank_image), prefix=with_passwd(work, "me", homes / name))
    session.wait_phase("booting")
    assert served(session)["home"] == str(homes / name)
    boots(session)


def served(session: Session) -> dict[str, str]:
    """The session's shares, as smbd reads them from its configuration."""
    conf = session.base.parent / "smb.conf"
    conf.write_bytes(Path(f"/proc/{session.pid_of('sbin/smbd')}/root/run/7lbd/smb.conf").read_bytes())
    text = harness.tool("sh", "-c", 'testparm -s "$1" || :', "sh", str(conf))  # it misses the session's folders
    return dict(re.findall(r"^\[(\w+)\]\n\s*path = (.*)$", re.sub(r"\n\t(?!path =).*", "", text), re.MULTILINE))


def test_without_home_the_passwd_entry_counts(start: StartSession, blank_image: Path) -> None:
    boots(start("--image", str(blank_image), env={"HOME": None, "USER": None, "LOGNAME": None, "SHELL": None}))


def test_a_home_that_the_container_does_not_show_is_refused(refuse: Refuse, blank_image: Path) -> None:
    home = pwd.getpwuid(os.getuid()).pw_dir
    says = ["share `home`", home, "does not exist here", "apptainer run --bind"]
    refuse("--image", str(blank_image), code=SHARE, says=says, options=["--no-home"])


def test_a_home_that_cannot_be_read_is_refused_and_can_be_left_out(
    refuse: Refuse, start: StartSession, blank_image: Path, work: Path
) -> None:
    closed = work / "closed-home"
    closed.mkdir(mode=0, exist_ok=True)
    prefix = with_passwd(work, "me", closed)
    says = ["share `home`", str(closed), "not readable", "--no-home-share"]
    refuse("--image", str(blank_image), code=SHARE, says=says, prefix=prefix)
    boots(start("--image", str(blank_image), "--no-home-share", prefix=prefix))
    closed.rmdir()


def test_a_uid_without_a_passwd_entry_is_apptainers_to_refuse(blank_image: Path, work: Path) -> None:
    """Apptainer looks the user up before anything of ours runs: docs/admin.md says so."""
    done = harness.run("version", prefix=with_passwd(work, "", work))
    assert done.returncode == 255
    assert f"unknown userid {os.getuid()}" in done.stderr


def test_a_uid_without_an_entry_in_the_containers_passwd_is_served(
    start: StartSession, refuse: Refuse, blank_image: Path, work: Path
) -> None:
    """`config passwd = no` in apptainer.conf leaves the container's own."""
    with_passwd(work, "", work)
    options = ["--bind", f"{work}/passwd:/etc/passwd"]
    assert boots(start("--image", str(blank_image), options=options))["user"] == f"uid{os.getuid()}"


@pytest.mark.parametrize(
    ("name", "account"),
    [
        ("DOM\\user.name@x", "user.name"),
        ("first last", "first_last"),
        ("\u00fcser", "_ser"),
        ("root", "root"),
        ("nobody", "nobody"),
        ("1001", "1001"),
        ("a" * 64, "a" * 20),
    ],
)
def test_a_user_of_any_name_has_a_session(
    start: StartSession, blank_image: Path, work: Path, name: str, account: str
) -> None:
    home = Path(pwd.getpwuid(os.getuid()).pw_dir)
    session = start("--image", str(blank_image), prefix=with_passwd(work, name, home))
    session.wait_phase("booting")
    assert session.account() == account
    assert boots(session)["user"] == name


@pytest.fixture
def folders(work: Path) -> Iterator[Path]:
    """Folders that a share may name."""
    place = work / "folders"
    for name in ("good", "50%", "new\nline", "a b \u00e4,;=#"):
        (place / name).mkdir(parents=True, exist_ok=True)
    (place / "file").touch()
    (place / "closed").mkdir(mode=0, exist_ok=True)
    yield place
    (place / "closed").rmdir()


@pytest.mark.parametrize(
    ("shares", "says"),
    [
        (["x={}/gone"], ["share `x`", "/gone", "does not exist here", "--bind"]),
        (["x={}/file"], ["share `x`", "/file", "not a folder"]),
        (["x={}/closed"], ["share `x`", "/closed", "not readable"]),
        (["x={}/closed/deeper"], ["share `x`", "/closed/deeper"]),
        (["x={}/50%"], ["share `x`", "50%", "`%`", "--bind"]),
        (["x={}/new\nline"], ["share `x`", "new\\nline", "control character"]),
        (["x={}/" + "d" * 300], ["share `x`", "ddd"]),
        (["x=~nobody-here"], ["share `x`", "~nobody-here"]),
        (["x=/proc"], ["share `x`", "/proc"]),
        (["x=/"], ["share `x`"]),
        (["x={}/good", "X={}/good"], ["share `X`", "twice"]),
        (["home={}/good"], ["share `home`", "twice"]),
        (["a/b={}/good"], ["`a/b=", "NAME=PATH"]),
        (["ipc$={}/good"], ["ipc$", "NAME=PATH"]),
        (["global={}/good"], ["`global=", "NAME=PATH"]),
        (["printers={}/good"], ["`printers=", "NAME=PATH"]),
        (["x]\n[y={}/good"], ["NAME=PATH"]),
        (["{}/good"], ["NAME=PATH"]),
        (["x="], ["`x=`", "NAME=PATH"]),
        (["={}/good"], ["NAME=PATH"]),
        ([""], ["NAME=PATH"]),
    ],
)
def test_a_share_that_cannot_be_served_is_refused(
    refuse: Refuse, blank_image: Path, folders: Path, shares: list[str], says: list[str]
) -> None:
    given = [word for text in shares for word in ("--share", text.format(folders))]
    refuse("--image", str(blank_image), *given, code=SHARE, says=says)


def test_a_share_with_a_strange_path_is_served(start: StartSession, blank_image: Path, folders: Path) -> None:
    strange = folders / "a b \u00e4,;=#"
    session = start("--image", str(blank_image), "--share", f"data={strange}:ro")
    session.wait_phase("booting")
    assert served(session)["data"] == str(strange)
    boots(session)


EVIL = ("PYTHONPATH", "PYTHONHOME", "PYTHONSTARTUP", "PYTHONUSERBASE", "PYTHONINSPECT", "LD_PRELOAD", "LD_LIBRARY_PATH",
        "LD_AUDIT", "BASH_ENV", "ENV", "PERL5LIB", "QEMU_AUDIO_DRV", "GCONV_PATH")  # fmt: skip


@pytest.fixture(scope="module")
def evil(work: Path) -> Path:
    """A home and working directory full of modules and scripts that leave a trace when they run."""
    home = work / "evil"
    site = home / ".local/lib/python3.13/site-packages"
    site.mkdir(parents=True)
    trace = f"open({str(home / 'trace')!r}, 'a').write(__name__ + '\\n')\n"
    for place in (home, site):
        for name in ("json", "asyncio", "sevenlbd", "sitecustomize", "usercustomize", "site", "socket", "pydantic"):
            (place / f"{name}.py").write_text(trace)
    (site / "evil.pth").write_text(f"import os; {trace}")
    (home / "startup").write_text(f"echo startup >>{home}/trace\n")
    for name in (".bashrc", ".profile", ".bash_profile"):
        (home / name).write_text((home / "startup").read_text())
    return home


def test_nothing_of_a_hostile_environment_reaches_the_runtime(
    start: StartSession, blank_image: Path, work: Path, evil: Path
) -> None:
    """Named plainly, and as Apptainer hands variables on; LD_* is kept from Apptainer, which is not ours."""
    value = {"PYTHONSTARTUP": f"{evil}/startup", "BASH_ENV": f"{evil}/startup", "ENV": f"{evil}/startup",
             "LD_PRELOAD": f"{evil}/none.so", "LD_AUDIT": f"{evil}/none.so"}  # fmt: skip
    plain = {name: value.get(name, str(evil)) for name in EVIL if not name.startswith("LD_")}
    given = {f"APPTAINERENV_{name}": value.get(name, str(evil)) for name in EVIL}
    given |= {f"SINGULARITYENV_{name}": value.get(name, str(evil)) for name in EVIL}
    session = start("--image", str(blank_image), env=plain | given, prefix=with_passwd(work, "me", evil), cwd=evil)
    session.wait_phase("booting")
    # smbd loads a character set of ours from there.
    ours = {"GCONV_PATH": "/usr/lib/7lbd/charset"}
    for program, more in (("qemu-system-x86_64", {}), ("sbin/smbd", ours), ("sbin/dnsmasq", {})):
        found = variables(session.pid_of(program))
        assert set(found) <= {"PATH", "LANG", "HOME", "TMPDIR", *more}, (program, found)
        assert more.items() <= found.items()
    reached = set(variables(session.supervisor())) & {
        name for name in EVIL if name.startswith(("PYTHON", "LD_", "BASH", "ENV", "GCONV"))
    }
    assert not reached
    boots(session)
    assert not (evil / "trace").exists(), (evil / "trace").read_text()


def variables(pid: int) -> dict[str, str]:
    """The variables that a process was started with."""
    environment = Path(f"/proc/{pid}/environ").read_bytes().decode().split("\0")
    return dict(entry.split("=", 1) for entry in environment if entry)


@pytest.mark.parametrize("umask", [0o000, 0o777])
def test_a_strange_umask_neither_opens_nor_breaks_a_session(start: StartSession, blank_image: Path, umask: int) -> None:
    session = start("--image", str(blank_image), umask=umask)
    session.wait_phase("booting")
    harness.is_private(session.folder)
    boots(session)


@pytest.mark.parametrize("locale", ["C", "POSIX", "de_DE.ISO-8859-1", "xx_YY.nonsense", ""])
def test_any_locale_will_do(blank_image: Path, homes: Path, locale: str) -> None:
    asked = ("run", "--image", str(homes / "\u00fcml\u00e4ut"))
    done = harness.run(*asked, env={"LANG": locale, "LC_ALL": locale, "LANGUAGE": locale})
    refusal(done, 3, ["there is no image.toml"])


def test_four_sessions_of_one_user_do_not_know_of_each_other(
    start: StartSession, blank_image: Path, base: Path
) -> None:
    """Started at the same moment; each has its own folder, network, password; one ends, the others live on."""
    sessions = [start("--image", str(blank_image)) for _ in range(4)]
    for session in sessions:
        session.wait_phase("booting", 120)
    assert len({session.id for session in sessions}) == 4
    assert len({session.password() for session in sessions}) == 4
    networks = {Path(f"/proc/{session.pid_of('sbin/smbd')}/ns/net").readlink() for session in sessions}
    assert len(networks) == 4
    where = ("--session-dir", str(base))
    told = refusal(harness.run("stop", *where), 9, ["several sessions are running"])
    assert all(session.id in told for session in sessions)
    assert harness.run("stop", sessions[0].id, *where).returncode == 0
    assert sessions[0].wait_end() == 0
    alive = json.loads(harness.run("status", "--json", *where).stdout)
    assert {state["id"] for state in alive} == {session.id for session in sessions[1:]}
    for session in sessions[1:]:
        boots(session)
