"""Leases: who uses a version is seen from everywhere, ends with its holder, and believes nobody."""

from __future__ import annotations

import functools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sevenlbd.base import heartbeat
from sevenlbd.base.errors import Refusal
from sevenlbd.images import layout
from sevenlbd.images.repository import exclusive, leases

HOUR = 3600.0


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository's folder."""
    leases.prepare(tmp_path)
    return tmp_path


@pytest.fixture
def child() -> Iterator[Callable[[str, Path], subprocess.Popen[str]]]:
    """Runs Python code with a path in another process, until it has said a word."""
    started = []

    def run(code: str, path: Path) -> subprocess.Popen[str]:
        process = subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE, text=True)
        started.append(process)
        assert process.stdout
        assert process.stdout.readline()
        return process

    yield run
    for process in started:
        process.kill()
        process.communicate()


HOLD = """
import sys, time; from pathlib import Path; from sevenlbd.images.repository import leases
with leases.held(Path(sys.argv[1]), "win", "1", "abc"):
    print("held", flush=True); time.sleep(60)
"""


def users(repository: Path) -> list[tuple[str, str]]:
    """What is in use."""
    return sorted((lease.name, lease.version) for lease in leases.alive(repository))


def the_file(repository: Path) -> Path:
    """The one lease."""
    (path,) = (repository / layout.LEASES).iterdir()
    return path


def rewrite(path: Path, **changes: Any) -> None:
    """Change what a lease says, and nothing else."""
    age = path.stat().st_mtime
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    os.utime(path, (age, age))


def test_a_lease_is_seen_while_it_is_held(repository: Path) -> None:
    with leases.held(repository, "win", "1", "abc"), leases.held(repository, "win", "1", "def"):
        assert users(repository) == [("win", "1"), ("win", "1")]
        said = "\n".join(sorted(map(str, leases.alive(repository))))
        assert f"session abc of {heartbeat.user_name()} on {os.uname().nodename}, since 20" in said
        assert all(path.stat().st_mode & 0o777 == 0o644 for path in (repository / layout.LEASES).iterdir())
    assert not list((repository / layout.LEASES).iterdir())


def test_the_folder_is_for_everybody_but_nobody_removes_anothers(repository: Path) -> None:
    assert (repository / layout.LEASES).stat().st_mode & 0o7777 == 0o1777


def test_a_killed_holders_lease_is_stale_at_once(
    repository: Path, child: Callable[[str, Path], subprocess.Popen[str]]
) -> None:
    holder = child(HOLD, repository)
    assert users(repository) == [("win", "1")]
    holder.send_signal(signal.SIGKILL)
    os.waitid(os.P_PID, holder.pid, os.WEXITED | os.WNOWAIT)  # a zombie still has its PID
    assert users(repository) == []
    holder.wait()
    assert users(repository) == []
    assert leases.sweep(repository) == 1
    assert not list((repository / layout.LEASES).iterdir())


def test_a_pid_that_came_round_again_is_not_the_holder(repository: Path) -> None:
    with leases.held(repository, "win", "1", "abc"):
        path = the_file(repository)
        rewrite(path, born=json.loads(path.read_text())["born"] + 1)
        assert users(repository) == []


@pytest.mark.parametrize("change", [{"boot": "0f0e0d0c-another-node"}, {"space": 4026530000}])
def test_a_pid_of_another_node_or_container_says_nothing(repository: Path, change: dict[str, Any]) -> None:
    with leases.held(repository, "win", "1", "abc"):
        rewrite(the_file(repository), pid=2**22 + 1, **change)
        assert users(repository) == [("win", "1")]


@pytest.mark.parametrize(("age", "alive"), [(0.0, True), (0.9 * HOUR, True), (1.1 * HOUR, False), (-2 * HOUR, False)])
def test_a_lease_from_another_node_lives_as_long_as_it_is_renewed(repository: Path, age: float, alive: bool) -> None:
    """A time in the future, which would never pass, is nobody's renewal."""
    with leases.held(repository, "win", "1", "abc"):
        path = the_file(repository)
        rewrite(path, boot="another", host="node7")
        at = path.stat().st_mtime - age
        os.utime(path, (at, at))
        assert bool(leases.alive(repository)) is alive
        assert leases.sweep(repository) == (not alive)


def test_the_file_systems_clock_counts_and_not_ours(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with leases.held(repository, "win", "1", "abc"):
        rewrite(the_file(repository), boot="another")
        monkeypatch.setattr(time, "time", lambda: 1.0)
        assert users(repository) == [("win", "1")]


def test_a_lease_is_renewed_and_comes_back_when_it_was_swept_away(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    often = heartbeat.HeartbeatPace(renew=0.02)
    monkeypatch.setattr(heartbeat, "kept", functools.partial(heartbeat.kept, pace=often))
    with leases.held(repository, "win", "1", "abc"):
        path = the_file(repository)
        os.utime(path, (1, 1))
        until(lambda: path.stat().st_mtime > 1)
        path.unlink()
        until(path.exists)
        assert users(repository) == [("win", "1")]
    until(lambda: not path.exists())


def until(true: Callable[[], bool]) -> None:
    """Wait for it, not for ever."""
    deadline = time.monotonic() + 10
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_on_a_repository_that_is_read_only_nothing_is_said(tmp_path: Path) -> None:
    tmp_path.chmod(0o555)
    with leases.held(tmp_path, "win", "1", "abc"):
        assert list(tmp_path.iterdir()) == []
        assert users(tmp_path) == []
    tmp_path.chmod(0o700)


def test_nothing_is_written_through_a_link_in_place_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / layout.LEASES).symlink_to("elsewhere")
    with leases.held(tmp_path, "win", "1", "abc"):
        assert list((tmp_path / "elsewhere").iterdir()) == []


def test_what_is_no_lease_is_passed_over(repository: Path) -> None:
    folder = repository / layout.LEASES
    (folder / "win@1@a.lease").symlink_to("/etc/passwd")
    os.mkfifo(folder / "win@1@b.lease")
    (folder / "win@1@c.lease").mkdir()
    (folder / "win@..@d.lease").touch()
    (folder / "WIN@1@e.lease").touch()
    (folder / "win@1@f.txt").touch()
    (folder / "\x1b[31m\n@1@g.lease").touch()
    (folder / "\udcff@1@h.lease").touch()
    assert users(repository) == []
    assert leases.sweep(repository) == 0


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[" * 2000,
        "null",
        "\xff\x00",
        json.dumps({"pid": "1", "host": ["a"], "user": {}, "since": 1e300, "born": -1, "space": True}),
        json.dumps({"pid": -1, "host": "n" * 1000, "since": 10**40}),
        "x" * (8 << 20),
    ],
)
def test_a_lease_that_makes_no_sense_still_keeps_until_it_is_stale(repository: Path, content: str) -> None:
    """As one does that a full disk left empty."""
    path = repository / layout.LEASES / "win@1@a.lease"
    path.write_text(content, encoding="latin-1")
    (lease,) = leases.alive(repository)
    assert len(str(lease)) < 300
    os.utime(path, (1, 1))
    assert leases.alive(repository) == []


def test_what_a_lease_says_cannot_play_with_a_terminal(repository: Path) -> None:
    path = repository / layout.LEASES / "win@1@a.lease"
    path.write_text(json.dumps({"host": "\x1b]0;owned\x07", "user": "root\n", "note": "\u202esession"}))
    (lease,) = leases.alive(repository)
    assert str(lease).isprintable()
    assert "owned" in str(lease)


def test_who_pretends_to_be_another_is_named_by_his_file(repository: Path) -> None:
    path = repository / layout.LEASES / "win@1@a.lease"
    for user, shown in (("bob", f"bob (in a file of {heartbeat.user_name()})"), ("", heartbeat.user_name())):
        path.write_text(json.dumps({"user": user, "note": "session x", "host": "node7"}))
        assert f"session x of {shown} on node7" in str(leases.alive(repository)[0])


def test_more_files_than_there_can_be_sessions_are_refused(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "_MOST", 50)
    for number in range(51):
        (repository / layout.LEASES / f"{number}").touch()
    with pytest.raises(Refusal, match="more than 50 files"):
        leases.alive(repository)


# Adds one to a number in a file, in a way that loses counts unless one is alone.
COUNT = """
import sys, time; from pathlib import Path; from sevenlbd.images.repository import exclusive
path = Path(sys.argv[1]); print("begins", flush=True)
for _ in range(25):
    with exclusive.{lock}(path.with_name("lock")):
        number = int(path.read_text()); time.sleep(0.001); path.write_text(str(number + 1))
"""


@pytest.mark.parametrize("lock", ["lock", "by_heartbeat"])
def test_only_one_at_a_time_holds_a_lock(
    tmp_path: Path, child: Callable[[str, Path], subprocess.Popen[str]], lock: str
) -> None:
    number = tmp_path / "number"
    number.write_text("0")
    others = [child(COUNT.format(lock=lock), number) for _ in range(3)]
    assert [other.wait(60) for other in others] == [0, 0, 0]
    assert number.read_text() == "75"


def test_a_lock_that_is_not_given_back_is_told_with_its_holder(tmp_path: Path) -> None:
    for held in (exclusive.lock, exclusive.by_heartbeat):
        path = tmp_path / held.__name__
        with held(path), pytest.raises(Refusal, match="somebody else is changing it"), held(path, 0.1):
            pass
        with held(path):
            pass


def test_a_lock_of_the_dead_is_taken_over_and_one_of_another_node_is_not(
    tmp_path: Path, child: Callable[[str, Path], subprocess.Popen[str]]
) -> None:
    path = tmp_path / "lock"
    code = HOLD.replace(
        'leases.held(Path(sys.argv[1]), "win", "1", "abc")', "exclusive.by_heartbeat(Path(sys.argv[1]))"
    )
    holder = child(code.replace("import leases", "import exclusive"), path)
    said = json.loads(path.read_text())
    holder.kill()
    holder.wait()
    with exclusive.by_heartbeat(path, 1):
        assert json.loads(path.read_text())["pid"] == os.getpid()
    path.write_text(json.dumps(said | {"boot": "another", "host": "node7", "user": "bob"}))
    with pytest.raises(Refusal, match="bob.* on node7"), exclusive.by_heartbeat(path, 0.1):
        pass
    os.utime(path, (1, 1))
    with exclusive.by_heartbeat(path, 1):
        pass
    assert list(tmp_path.iterdir()) == []
