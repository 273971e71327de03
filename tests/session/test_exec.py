"""`7lbd exec` through the real guest: one machine that is kept for all of these, and one that is thrown away."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shlex
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import harness
import pytest
from strange import node

SECONDS = 600.0
MIB = 1 << 20
DISK = 1300 * MIB
PAGE = harness.REPO / "docs" / "exec.md"


class Kept:
    """A machine that was started by `exec --keep`, and what is run in it by `exec --session`.

    Its session's folder lies on a small disk, on a node of its own.
    """

    def __init__(self, base: Path, folder: Path) -> None:
        self.base, self.folder = base, folder
        words = ["--keep", "box", "--image", str(harness.DEMO), "--session-dir", str(base), "--json"]
        words += ["--min-space", "1G"]
        self.process = subprocess.Popen(
            [*node(f"mount -t tmpfs -o size={DISK},mode=0700 none {base}"), *harness.command("exec", *words)],
            cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        self._on_its_node = ["nsenter", "-t", str(self.process.pid), "-U", "-m", "--preserve-credentials"]

    def wait(self) -> None:
        assert self.process.stdout
        said = []
        for line in self.process.stdout:
            said.append(line)
            with suppress(ValueError):
                if json.loads(line)["event"] == "ready":
                    return
        raise AssertionError(f"the machine is not ready: {said[-5:]}")

    def call(self, *command: str, options: tuple[str, ...] = (), cwd: Path | None = None) -> list[str]:
        words = ["--session", "box", "--session-dir", str(self.base), *options, "--", *command]
        return [*self._on_its_node, f"--wdns={cwd or self.folder}", *harness.command("exec", *words)]

    @contextmanager
    def full(self) -> Iterator[None]:
        """Its disk, but for less than a piece of output; for a minute, since a guest that writes stands still."""
        filler = Path(f"/proc/{self.process.pid}/root{self.base}/filler")
        on_it = os.statvfs(filler.parent)
        with filler.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, on_it.f_bavail * on_it.f_frsize - MIB * 3 // 4)
        room = threading.Timer(60, filler.unlink, [True])
        room.start()
        try:
            yield
        finally:
            room.cancel()
            filler.unlink(missing_ok=True)

    def run(
        self, *command: str, options: tuple[str, ...] = (), given: bytes = b"", cwd: Path | None = None
    ) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            self.call(*command, options=options, cwd=cwd),
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
        machine.process.wait(harness.PATIENCE)


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


SAYS = """#!/bin/sh
echo "${0##*/} $OMP_NUM_THREADS"
printf '<%s>' "$@"
echo
"""
"""A program of Windows', as far as an example goes: by what name it was called, and with which words."""


def test_the_examples_of_the_page_run_as_they_are_written(kept: Kept, tmp_path: Path) -> None:
    """Their `7lbd` is the site's command; what it starts for them is the machine that is there."""
    block = re.search(r"^```sh elsewhere\n(7lbd exec .*?)^```$", PAGE.read_text(), re.M | re.S)
    assert block
    call = shlex.join(kept.call("--")[:-2]).removesuffix(" --")
    (tmp_path / "7lbd").write_text(
        "#!/bin/bash\nshift\nwords=()\nwhile :; do\n"
        'case $1 in --image | --share) shift 2 ;; --) break ;; *) words+=("$1"); shift ;; esac\ndone\n'
        f'exec {call} --env PATH=/home/user1/Work:/usr/bin:/bin "${{words[@]}}" "$@"\n'
    )
    programs = [kept.folder / name for name in ("solver.exe", "cmd", "powershell.exe")]
    for program in (tmp_path / "7lbd", *programs):
        if program in programs:
            program.write_text(SAYS)
        program.chmod(0o755)
    found_first = harness.environment({"PATH": f"{tmp_path}:{os.environ['PATH']}"})
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", block[1]], env=found_first,
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=SECONDS, check=False,
    )  # fmt: skip
    for program in programs:
        program.unlink()
    assert done.returncode == 0, done.stderr
    quiet = "<-NoLogo><-NoProfile><-NonInteractive><-ExecutionPolicy><Bypass>"
    assert done.stdout.splitlines() == [
        *("solver.exe ", "<case.inp>"),
        *("solver.exe 4", "<case.inp>"),
        *("cmd ", '</c><type case.inp | find /c "node">'),
        *("powershell.exe ", f"{quiet}<-File><run.ps1><-Case><7>"),
    ]


def test_bytes_go_both_ways_unchanged(kept: Kept) -> None:
    given = os.urandom(1 << 20) * 50
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


def test_all_that_it_has_started_ends_with_it(kept: Kept) -> None:
    """Children of children, in sessions and groups of their own, deaf to every polite word."""
    tree = (
        "import os, signal, sys\n"
        "def grow(deep):\n"
        "    for _ in range(3):\n"
        "        if os.fork() == 0:\n"
        "            os.setsid()\n"
        "            [signal.signal(which, signal.SIG_IGN) for which in (1, 2, 15)]\n"
        "            grow(deep - 1) if deep else None\n"
        "            os.execvp('sleep', ['sleep', '5000'])\n"
        "grow(2)\n"
        "print('grown', flush=True)\n"
        "os._exit(6)\n"
    )
    done = kept.run("python3", "-c", tree)
    assert (done.returncode, done.stdout) == (6, b"grown\n"), done.stderr
    assert kept.run("pgrep", "-c", "-f", "^sleep 5000").returncode == 1


def test_a_reader_that_stalls_is_waited_for_but_not_past_the_time_limit(kept: Kept) -> None:
    with subprocess.Popen(kept.call("sh", "-c", "head -c 3000000 /dev/zero; exit 5"), stdout=subprocess.PIPE) as slow:
        assert slow.stdout
        with subprocess.Popen(
            kept.call("sh", "-c", "trap 'exit 0' TERM; while :; do echo more; done", options=("--timeout", "3s")),
            stdout=subprocess.PIPE,
        ) as stalled:
            assert stalled.wait(harness.PATIENCE) == 124
        assert slow.poll() is None
        assert len(slow.stdout.read()) == 3_000_000
        assert slow.wait(harness.PATIENCE) == 5


def test_a_disk_that_is_full_where_its_output_goes_is_ours_to_tell(kept: Kept) -> None:
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            kept.call("sh", "-c", "while :; do echo more; done"),
            stdout=full,
            stderr=subprocess.PIPE,
            timeout=SECONDS,
            check=False,
        )
    assert done.returncode == 125
    assert b"No space left" in done.stderr


def test_a_disk_that_is_full_under_the_session_ends_what_prints_and_is_told(kept: Kept) -> None:
    """Its pieces have no room on the share: nobody waits for ever, what came is a beginning, the machine goes on."""
    with kept.full():
        done = kept.run("sh", "-c", "head -c 50000000 /dev/zero; sleep 3000")
    assert done.returncode == 125, done.stderr
    assert b"No space left" in done.stderr or b"no space" in done.stderr.lower(), done.stderr
    assert done.stdout == bytes(len(done.stdout))
    assert kept.run("echo", "goes on").stdout == b"goes on\n"
    assert kept.run("pgrep", "-f", "^sleep 3000").returncode == 1


def test_another_folder_is_refused_and_not_worked_in(kept: Kept, tmp_path: Path) -> None:
    done = kept.run("touch", "made", cwd=tmp_path)
    assert done.returncode == 125
    assert str(kept.folder) in done.stderr.decode()
    assert not (kept.folder / "made").exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_politely_with_all_it_has_started(kept: Kept, number: int) -> None:
    program = "trap 'echo saved; exit 9' TERM INT; sleep 3000 & echo up; wait"
    with subprocess.Popen(kept.call("sh", "-c", program), stdout=subprocess.PIPE) as running:
        assert running.stdout
        assert running.stdout.readline() == b"up\n"
        running.send_signal(number)
        assert running.stdout.read() == b"saved\n"
        assert running.wait(harness.PATIENCE) == 9
    assert kept.run("pgrep", "-f", "^sleep 3000").returncode == 1


def test_a_command_draws_on_the_accounts_desktop_where_it_asks_for_that(kept: Kept) -> None:
    """A window that stands until it is taken away; without the option there is nowhere to put it."""
    window = ("sh", "-c", "timeout 8 xmessage seen; echo $?")
    assert kept.run(*window, options=("--desktop",)).stdout == b"124\n"
    without = kept.run(*window)
    assert without.stdout == b"1\n", without
    assert b"display" in without.stderr


def test_who_is_killed_leaves_no_command_behind(kept: Kept) -> None:
    with subprocess.Popen(
        kept.call("sh", "-c", "echo up; exec sleep 4000"),
        stdout=subprocess.PIPE,
        start_new_session=True,
    ) as running:
        assert running.stdout
        assert running.stdout.readline() == b"up\n"
        os.killpg(running.pid, signal.SIGKILL)
    deadline = time.monotonic() + harness.PATIENCE
    while kept.run("pgrep", "-f", "^sleep 4000").returncode == 0:
        assert time.monotonic() < deadline, "the command runs on"


def test_an_agent_that_is_silent_for_a_while_or_starts_anew_is_told_from_the_command(kept: Kept) -> None:
    """What it has printed is on the share: the agent is asked for the beginning alone. One that dies takes it along."""
    silent = "sudo pkill -STOP qemu-ga; sleep 3; sudo pkill -CONT qemu-ga; exit 4"
    assert kept.run("sh", "-c", silent).returncode == 4
    dead = kept.run("sh", "-c", "echo up; sudo pkill -KILL qemu-ga; sleep 300")
    assert (dead.returncode, dead.stdout) == (125, b"up\n"), dead.stderr
    assert b"7lbd: " in dead.stderr
    deadline = time.monotonic() + harness.PATIENCE
    while (again := kept.run("echo", "back")).returncode != 0:
        assert time.monotonic() < deadline, again.stderr
    assert again.stdout == b"back\n"


def test_a_program_that_ends_as_windows_programs_do_is_told_whole_in_json(kept: Kept) -> None:
    """The guest's program is made to say what Windows' would."""
    change = (
        """sudo sed -i 's/else {"code": code}/else {"code": code and 3221225477}/' /usr/lib/demo-guest/run_job.py"""
    )
    assert kept.run("sh", "-c", f"{change} && sudo systemctl restart 7lbd-exec").returncode == 0
    done = kept.run("false", options=("--json",))
    ended = json.loads(done.stdout.splitlines()[-1])
    assert (done.returncode, ended["code"], ended["full"], ended["program"]) == (5, 5, 0xC0000005, True), done.stdout


def test_a_guest_that_dies_is_ours_to_tell(kept: Kept) -> None:
    done = kept.run("sh", "-c", "echo up; sudo -n poweroff -ff; sleep 300")
    assert done.returncode == 125, done.stderr
    assert b"session" in done.stderr


@pytest.mark.parametrize(("limit", "code"), [(("--timeout", "5s"), 124), (("--for", "1m"), 9)])
def test_one_whose_time_is_up_is_asked_to_end_and_what_it_then_writes_comes_back(
    tmp_path: Path, base: Path, limit: tuple[str, str], code: int
) -> None:
    """Its own, or that of its machine, which would be switched off under it."""
    script = "trap 'echo asked >chk1; exit 9' TERM; echo up; while :; do sleep 0.2; done"
    words = ["--image", str(harness.DEMO), "--session-dir", str(base), *limit, "--output", "chk*"]
    done = subprocess.run(
        harness.command("exec", *words, "--", "sh", "-c", script),
        cwd=tmp_path,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert (done.returncode, done.stdout) == (code, "up\n"), done.stderr
    assert (tmp_path / "chk1").read_text() == "asked\n"


def test_a_list_is_done_by_two_machines_with_retries_and_a_table(tmp_path: Path, base: Path) -> None:
    """A script and its arguments, a line each; each command's files come back, and what it prints is kept by number."""
    before = harness.my_processes()
    (tmp_path / "case.inp").write_text("7\n")
    (tmp_path / "step.sh").write_text(
        "case $1 in\nflaky) [ -e /tmp/been ] || { : >/tmp/been; exit 9; } ;;\nbad) echo no >&2; exit 3 ;;\nesac\n"
        'mkdir -p out\nfor n in $(seq 20); do echo "$1 $n" >"out/$n.txt"; done\n'
        'printf "%s of %s: %s %s" "$1" "$(cat case.inp)" "$2" "$STUDY"\n'
    )
    lines = ["1 'a b'", "", "# no command", "2 c\\d", '["3", "\u65e5 \\"x"]', "flaky", "bad"]
    words = ["--image", str(harness.DEMO), "--session-dir", str(base), "--parallel", "2", "--retries", "2"]
    words += ["--input", "case.inp", "--output", "out/**", "--env", "STUDY=s"]
    words += ["--shell", "sh", "step.sh", "--results", "kept", "--"]
    done = subprocess.run(
        harness.command("exec", *words),
        cwd=tmp_path,
        input="\n".join(lines),
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 123, done.stderr
    assert "4 of 5 ended with 0" in done.stderr
    head, *rows = (tmp_path / "kept" / "results.tsv").read_text().splitlines()
    assert head.split("\t") == ["number", "code", "seconds", "runs", "command", "why"]
    told = [row.split("\t") for row in rows]
    assert [row[0] for row in told] == [str(number) for number in range(1, 6)]
    assert [row[1] for row in told] == ["0", "0", "0", "0", "3"], rows
    assert (int(told[3][3]) in (2, 3), told[4][3]) == (True, "3"), "one more than --retries at most"
    assert (tmp_path / "kept" / "1.out").read_text() == "1 of 7: a b s"
    assert (tmp_path / "kept" / "2.out").read_text() == "2 of 7: c\\d s"
    assert (tmp_path / "kept" / "3.out").read_text() == '3 of 7: \u65e5 "x s'
    assert (tmp_path / "kept" / "5.err").read_text() == "no\n"
    for number, name in enumerate(("1", "2", "3", "flaky"), 1):
        files = sorted((tmp_path / "kept" / f"{number}.files" / "out").iterdir())
        assert len(files) == 20, name
        assert all(file.read_text() == f"{name} {file.stem}\n" for file in files), "named as all others', and its own"
    assert not (tmp_path / "kept" / "5.files").exists()
    assert not (tmp_path / "out").exists()
    assert harness.wait_until_gone(harness.my_processes() - before) == set()
    assert not base.exists()
