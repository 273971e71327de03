"""`7lbd exec` through the real guest: one machine that is kept for all of these, and one that is thrown away."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import harness
import pytest

SECONDS = 240.0


class Kept:
    """A machine that was started by `exec --keep`, and what is run in it by `exec --session`."""

    def __init__(self, base: Path, folder: Path) -> None:
        self.base, self.folder = base, folder
        words = ["--keep", "box", "--image", str(harness.DEMO), "--session-dir", str(base), "--json"]
        self.process = subprocess.Popen(
            harness.command("exec", *words), cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )

    def wait(self) -> None:
        assert self.process.stdout
        said = []
        for line in self.process.stdout:
            said.append(line)
            with suppress(ValueError):
                if json.loads(line)["event"] == "ready":
                    return
        raise AssertionError(f"the machine is not ready: {said[-5:]}")

    def call(self, *command: str, options: tuple[str, ...] = ()) -> list[str]:
        words = ["--session", "box", "--session-dir", str(self.base), *options, "--", *command]
        return harness.command("exec", *words)

    def run(
        self, *command: str, options: tuple[str, ...] = (), given: bytes = b"", **more: Any
    ) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            self.call(*command, options=options),
            cwd=more.pop("cwd", self.folder),
            input=given,
            capture_output=True,
            timeout=SECONDS,
            check=False,
        )


@pytest.fixture(scope="module")
def kept(work: Path) -> Iterator[Kept]:
    folder, base = work / "my work", work / "s"
    folder.mkdir()
    base.mkdir(mode=0o700)
    machine = Kept(base, folder)
    try:
        machine.wait()
        yield machine
    finally:
        machine.process.terminate()
        machine.process.wait(60)


def test_one_command_in_a_machine_of_its_own(tmp_path: Path, base: Path) -> None:
    before = harness.my_processes()
    (tmp_path / "case.inp").write_text("7\n")
    program = 'read n <case.inp; read line; echo "$line $n" >result.out; echo said; echo complained >&2; exit $n'
    words = ["--image", str(harness.DEMO), "--session-dir", str(base), "--", "sh", "-c", program]
    done = subprocess.run(
        harness.command("exec", *words),
        cwd=tmp_path,
        input=b"given\n",
        capture_output=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 7, done.stderr
    assert done.stdout == b"said\n"
    assert done.stderr.endswith(b"complained\n")
    assert (tmp_path / "result.out").read_text() == "given 7\n"
    assert (tmp_path / "result.out").stat().st_uid == os.getuid()
    assert harness.wait_until_gone(harness.my_processes() - before) == set()
    assert not base.exists()


def test_arguments_folder_and_variables_come_as_they_are(kept: Kept) -> None:
    words = ["", " ", "a b", '"', "'", "$HOME", "%PATH%", "^", "größe 日本", "-x", "--", "\\"]
    code = "import json,os,sys; print(json.dumps([sys.argv[1:], os.environ['ODD'], sorted(os.listdir('.'))]))"
    (kept.folder / "here").touch()
    done = kept.run("python3", "-c", code, *words, options=("--env", "ODD=a=b ' "))
    assert json.loads(done.stdout) == [words, "a=b ' ", ["here"]], done.stderr
    (kept.folder / "here").unlink()


def test_bytes_go_both_ways_unchanged(kept: Kept) -> None:
    given = os.urandom(6 << 20)
    done = kept.run("sh", "-c", "cat; printf end >&2", given=given)
    assert (done.returncode, done.stderr) == (0, b"end")
    assert hashlib.sha256(done.stdout).digest() == hashlib.sha256(given).digest()


@pytest.mark.parametrize(
    ("options", "command", "code", "said"),
    [
        ((), ("no-such-program",), 127, b"no-such-program"),
        ((), ("/etc/passwd",), 126, b"passwd"),
        (("--timeout", "2s"), ("sh", "-c", "trap '' TERM INT; sleep 300 & wait; sleep 300"), 124, b"2 s"),
        ((), ("sh", "-c", "kill -SEGV $$"), 139, b""),
        (("--output", "*.csv"), ("true",), 125, b"otherwise"),
        (("--output", "../*.csv"), ("true",), 125, b"leads out"),
    ],
)
def test_how_it_ended_is_told_by_the_exit_code(
    kept: Kept, options: tuple[str, ...], command: tuple[str, ...], code: int, said: bytes
) -> None:
    done = kept.run(*command, options=options)
    assert done.returncode == code, done.stderr
    assert said in done.stderr


def test_another_folder_is_refused_and_not_worked_in(kept: Kept, tmp_path: Path) -> None:
    done = kept.run("touch", "made", cwd=tmp_path)
    assert done.returncode == 125
    assert str(kept.folder) in done.stderr.decode()
    assert not (kept.folder / "made").exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_politely_with_all_it_has_started(kept: Kept, number: int) -> None:
    program = "trap 'echo saved; exit 9' TERM INT; sleep 3000 & echo up; wait"
    with subprocess.Popen(kept.call("sh", "-c", program), cwd=kept.folder, stdout=subprocess.PIPE) as running:
        assert running.stdout
        assert running.stdout.readline() == b"up\n"
        running.send_signal(number)
        assert running.stdout.read() == b"saved\n"
        assert running.wait(60) == 9
    assert kept.run("pgrep", "-f", "^sleep 3000").returncode == 1


def test_who_is_killed_leaves_no_command_behind(kept: Kept) -> None:
    with subprocess.Popen(
        kept.call("sh", "-c", "echo up; exec sleep 4000"),
        cwd=kept.folder,
        stdout=subprocess.PIPE,
        start_new_session=True,
    ) as running:
        assert running.stdout
        assert running.stdout.readline() == b"up\n"
        os.killpg(running.pid, signal.SIGKILL)
    deadline = time.monotonic() + 60
    while kept.run("pgrep", "-f", "^sleep 4000").returncode == 0:
        assert time.monotonic() < deadline, "the command runs on"


def test_a_guest_that_dies_is_ours_to_tell(kept: Kept) -> None:
    done = kept.run("sh", "-c", "echo up; sudo -n poweroff -ff || echo o >/proc/sysrq-trigger; sleep 300")
    assert done.returncode == 125, done.stderr
    assert b"session" in done.stderr
