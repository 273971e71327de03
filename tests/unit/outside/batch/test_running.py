"""The demo guest's program, run on this machine, and our end of the same folder: streams, ends, and a hostile guest."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sevenlbd.base.errors import Refusal
from sevenlbd.outside.batch import outputs, pieces, running, verdict
from sevenlbd.outside.batch.order import Order
from sevenlbd.outside.batch.running import Running
from sevenlbd.outside.batch.sinks import Raw
from sevenlbd.outside.folders.job_folder import JobFolder
from sevenlbd.wire.job_files import ENDED, KILL, STOP

RUN_JOB = Path(__file__).parents[4] / "containers/demo-guest/mkosi.extra/usr/lib/demo-guest/run_job.py"


class Sinks(Raw):
    """What hears a command here."""

    def __init__(self, out: Callable[[bytes], None], err: Callable[[bytes], None]) -> None:
        self._out, self._err = out, err
        self.held = 0

    def out(self, piece: bytes) -> None:
        self._out(piece)

    def err(self, piece: bytes) -> None:
        self._err(piece)

    def waiting(self, stream: str) -> int:
        return self.held if stream == "stdout" else 0


class Job:
    """A job's two folders, and what came of it."""

    def __init__(self, at: Path) -> None:
        self.folder, self.work = at / "job" / "7", at / "work"
        for one in (self.folder, self.work):
            one.mkdir(parents=True)
        self.held = JobFolder(os.open(self.folder, os.O_PATH))
        self.out, self.err = bytearray(), bytearray()
        self.seen = threading.Event()

    def take(self, piece: bytes) -> None:
        self.out += piece
        self.seen.set()

    def running(self, source: int | None = None, timeout: float | None = None, polite: float = 10.0) -> Running:
        return Running(source, Sinks(self.take, self.err.extend), lambda: "", timeout, polite)

    def urge_when_up(self, running: Running) -> None:
        self.seen.wait(10)
        running.urge()

    @contextmanager
    def guest(self, *command: str, given: bool = False, room: int = 0, **environment: str) -> Iterator[None]:
        Order(command, environment, given).write(self.held, windows=False)
        limit = ["prlimit", f"--fsize={room}"] if room else []
        with subprocess.Popen([*limit, sys.executable, RUN_JOB, self.folder, self.work]) as program:
            try:
                yield
                program.wait(20)
            finally:
                program.kill()

    def run(self, *command: str, source: int | None = None, **environment: str) -> verdict.CommandEnd:
        with self.guest(*command, given=source is not None, room=0, **environment):
            return self.running(source).wait(self.held)


def end_well(folder: Path) -> None:
    """As a guest does: whoever looks finds nothing of it, or all."""
    (folder / "new").write_text('{"code": 0}')
    (folder / "new").rename(folder / ENDED)


def size_now(file: Path) -> int:
    try:
        return file.stat().st_size
    except FileNotFoundError:  # the other end has just taken it
        return 0


def read_only(folder: Path) -> int:
    return os.open(folder, os.O_RDONLY)


@pytest.fixture
def job(tmp_path: Path) -> Job:
    return Job(tmp_path)


@pytest.mark.parametrize("code", [0, 1, 77, 255])
def test_its_exit_code_is_ours(job: Job, code: int) -> None:
    assert job.run("sh", "-c", f"exit {code}") == verdict.CommandEnd(code, full=code)


def test_its_two_outputs_stay_two(job: Job) -> None:
    job.run("sh", "-c", "printf out; printf err >&2")
    assert (bytes(job.out), bytes(job.err)) == (b"out", b"err")


def test_arguments_environment_and_folder_come_as_they_are(job: Job) -> None:
    words = ["", " ", "a b", '"', "$HOME", "%PATH%", "^", "größe 日本", "x\ny", "\\"]
    code = "import json,os,sys; print(json.dumps([sys.argv[1:], os.environ['ODD'], os.getcwd()]))"
    job.run(sys.executable, "-c", code, *words, ODD="a=b\n'")
    assert json.loads(job.out) == [words, "a=b\n'", str(job.work)]


def test_bytes_go_both_ways_unchanged_and_little_lies_on_the_share_meanwhile(job: Job, tmp_path: Path) -> None:
    given = os.urandom(1 << 20) * 64
    (tmp_path / "given").write_bytes(given)
    most = 0

    def take(piece: bytes) -> None:
        nonlocal most
        job.out += piece
        most = max(most, sum(map(size_now, job.folder.glob("std*"))))

    with (tmp_path / "given").open("rb") as source, job.guest("cat", given=True):
        end = Running(source.fileno(), Sinks(take, job.err.extend), lambda: "").wait(job.held)
    assert end == verdict.CommandEnd(0, full=0)
    assert hashlib.sha256(job.out).digest() == hashlib.sha256(given).digest()
    assert most <= 3 * (pieces.MOST_WAITING + 1) * pieces.MAX_PIECE


def test_what_it_prints_is_here_while_it_runs(job: Job) -> None:
    with job.guest("sh", "-c", "echo now; while [ ! -e go ]; do sleep 0.05; done"):
        waiting = threading.Thread(target=job.running().wait, args=(job.held,))
        waiting.start()
        assert job.seen.wait(10)
        assert bytes(job.out) == b"now\n"
        (job.work / "go").touch()
        waiting.join(10)
    assert not waiting.is_alive()


def test_a_command_that_reads_nothing_ends_all_the_same(job: Job, tmp_path: Path) -> None:
    (tmp_path / "given").write_bytes(bytes(40 << 20))
    with (tmp_path / "given").open("rb") as source:
        assert job.run("true", source=source.fileno()).code == 0


@pytest.mark.parametrize(("program", "code"), [("no-such-program", 127), ("/etc/passwd", 126), ("/", 126)])
def test_a_program_that_is_none_has_a_shells_codes(job: Job, program: str, code: int) -> None:
    ended = job.run(program)
    assert (ended.code, ended.own) == (code, False)
    assert program in ended.said


def test_a_signal_is_told_as_a_shell_does(job: Job) -> None:
    assert job.run("sh", "-c", "kill -SEGV $$").code == 128 + signal.SIGSEGV


def test_its_children_end_with_it_and_are_not_waited_for(job: Job) -> None:
    began = time.monotonic()
    job.run(
        "sh",
        "-c",
        "setsid sh -c 'trap \"\" TERM HUP; sleep 300 & echo $! >child; wait' & while [ ! -s child ]; do :; done",
    )
    assert time.monotonic() - began < 20
    assert not Path(f"/proc/{int((job.work / 'child').read_text())}").exists()


def test_asked_to_end_it_may_write_what_it_has(job: Job) -> None:
    running = job.running()
    with job.guest("sh", "-c", "trap 'echo saved; exit 3' TERM; echo up; while :; do sleep 0.05; done"):
        asking = threading.Thread(target=job.urge_when_up, args=(running,))
        asking.start()
        assert running.wait(job.held).code == 3
    assert bytes(job.out) == b"up\nsaved\n"


def test_one_that_will_not_end_is_killed(job: Job) -> None:
    running = job.running(polite=0.3)
    with job.guest("sh", "-c", "trap '' TERM; echo up; while :; do sleep 0.05; done"):
        asking = threading.Thread(target=job.urge_when_up, args=(running,))
        asking.start()
        assert running.wait(job.held).code == 128 + signal.SIGKILL


def test_out_of_time_is_124_whatever_it_makes_of_it(job: Job) -> None:
    with job.guest("sh", "-c", "trap 'exit 0' TERM; while :; do sleep 0.05; done"):
        ended = job.running(timeout=0.5).wait(job.held)
    assert (ended.code, ended.own) == (124, False)


def test_one_whose_machine_ends_soon_is_asked_to_end_as_by_a_signal_and_its_own_end_is_told(job: Job) -> None:
    with job.guest("sh", "-c", "trap 'echo saved; exit 5' TERM; echo up; while :; do sleep 0.05; done"):
        running = job.running()
        running.leave_at = time.time() + 0.5
        ended = running.wait(job.held)
    assert (ended.code, ended.own, bytes(job.out)) == (5, True, b"up\nsaved\n")
    assert running.urged == 1


def test_a_guest_that_dies_is_no_program_that_ended(job: Job) -> None:
    ended = Running(None, Sinks(job.take, job.take), lambda: "QEMU has ended").wait(job.held)
    assert (ended.code, ended.own) == (125, False)
    assert "QEMU has ended" in ended.said


def test_a_disk_that_is_full_here_is_told_and_ends_it(job: Job) -> None:
    def full(_: bytes) -> None:
        raise OSError(28, "No space left on device")

    with job.guest("sh", "-c", "while :; do echo more; done"):
        ended = Running(None, Sinks(full, full), lambda: "").wait(job.held)
        assert (job.folder / ENDED).exists(), "it is told when the guest has ended it"
    assert (ended.code, ended.lost) == (125, False)
    assert "No space left" in ended.said


@pytest.mark.parametrize("stream", [">&1", ">&2"])
def test_where_the_guest_can_write_no_more_the_command_ends_and_that_is_told(job: Job, stream: str) -> None:
    """Its reader is gone: it would write into a full pipe for ever. The other stream comes whole."""
    with job.guest("sh", "-c", f"while :; do head -c 300000 /dev/zero {stream}; done", room=200_000):
        ended = job.running().wait(job.held)
    assert (ended.code, ended.own, ended.lost) == (125, False, False)
    assert "cannot be written to the share `job`" in ended.said


@pytest.mark.parametrize(("asked", "screen"), [(True, b":0"), (False, b"")])
def test_a_command_has_the_screen_if_it_asked_for_it(job: Job, asked: bool, screen: bytes) -> None:
    Order(("sh", "-c", 'printf %s "$DISPLAY"'), desktop=asked).write(job.held, windows=False)
    with subprocess.Popen([sys.executable, RUN_JOB, job.folder, job.work]):
        assert job.running().wait(job.held).code == 0
    assert bytes(job.out) == screen


def test_a_command_that_nobody_waits_for_is_killed(job: Job) -> None:
    """As when the agent, which has brought it, dies."""
    Order(("sh", "-c", "trap '' TERM; while :; do sleep 0.05; done")).write(job.held, windows=False)
    words = f"import run_job; run_job.live({str(job.folder)!r}, {str(job.work)!r}, '', lambda: False)"
    subprocess.run([sys.executable, "-c", words], cwd=RUN_JOB.parent, timeout=30, check=True)
    assert not (job.folder / ENDED).exists(), "that it was killed so is no end of its own"


def test_one_ctrl_c_that_comes_twice_is_one(job: Job) -> None:
    running = job.running(polite=5)
    with job.guest("sh", "-c", "trap 'sleep 0.5; echo saved; exit 3' TERM; echo up; while :; do sleep 0.05; done"):
        asking = [threading.Thread(target=job.urge_when_up, args=(running,)) for _ in range(2)]
        for one in asking:
            one.start()
        assert running.wait(job.held).code == 3
    assert bytes(job.out) == b"up\nsaved\n"


@pytest.mark.parametrize("kind", ["link", "pipe", "folder", "large"])
def test_what_is_no_piece_is_never_read(job: Job, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "_KILL_SECONDS", 0.1)  # nobody is there to end it
    (tmp_path / "secret").write_bytes(b"secret")
    hostile = job.folder / "stdout.0"
    match kind:
        case "link":
            hostile.symlink_to(tmp_path / "secret")
        case "pipe":
            os.mkfifo(hostile)
        case "folder":
            hostile.mkdir()
        case "large":
            hostile.write_bytes(bytes(pieces.MAX_PIECE + 1))
    ended = job.running().wait(job.held)
    assert (ended.code, ended.lost) == (125, True)
    assert not job.out


def test_a_guest_that_always_has_more_does_not_keep_it_from_ending(job: Job) -> None:
    number = 0

    def more(_: bytes) -> None:
        nonlocal number
        number += 1
        (job.folder / f"stdout.{number}").write_bytes(b"x")

    (job.folder / "stdout.0").write_bytes(b"x")
    assert Running(None, Sinks(more, more), lambda: "it is over" if number > 100 else "").wait(job.held).code == 125


def test_a_name_that_the_guest_has_put_in_the_way_is_not_written_through(job: Job, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"mine")
    (job.folder / "stdin.0").symlink_to(victim)
    (job.folder / "stdin.1.part").symlink_to(victim)
    stream = pieces.PieceWriter(job.held, "stdin")
    stream.write(b"x")
    with pytest.raises(FileExistsError):
        stream.write(b"y")
    assert victim.read_bytes() == b"mine"


@pytest.mark.parametrize(
    ("said", "code", "own"),
    [
        ('{"code": 0}', 0, True),
        ('{"code": 3221225477}', 5, True),  # 0xC0000005
        ('{"code": -1073741819}', 5, True),
        ('{"code": 256}', 1, True),
        ('{"code": 4294967296}', 125, False),
        ('{"code": true}', 125, False),
        ('{"code": "0"}', 125, False),
        ('{"signal": 9999}', 125, False),
        ('{"failed": ["not-found"]}', 125, False),
        ('{"failed": "not-found"}', 127, False),
        ("[" * 4000, 125, False),
        ("", 125, False),
        ("x" * 5000, 125, False),
    ],
)
def test_what_the_guest_says_of_the_end_is_judged(job: Job, said: str, code: int, own: bool) -> None:
    (job.folder / ENDED).write_text(said)
    ended = verdict.read(job.held)
    assert ended
    assert (ended.code, ended.own) == (code, own)


def test_a_hostile_sentence_cannot_speak_to_the_terminal(job: Job) -> None:
    (job.folder / ENDED).write_text(json.dumps({"failed": "x", "said": "\x1b]0;owned\x07" + "y" * 3000}))
    ended = verdict.read(job.held)
    assert ended
    assert "\x1b" not in ended.said
    assert len(ended.said) < 400


def test_outputs_are_plain_files_of_the_folder_alone(job: Job, tmp_path: Path) -> None:
    (tmp_path / "secret.csv").write_text("secret")
    (job.work / "a" / "b").mkdir(parents=True)
    for name in ("one.csv", "a/two.csv", "a/b/three.csv", "a/b/odd\n\x1b.csv", "one.txt"):
        (job.work / name).write_text("12")
    (job.work / "link.csv").symlink_to(tmp_path / "secret.csv")
    (job.work / "out").symlink_to(tmp_path)
    os.mkfifo(job.work / "pipe.csv")
    assert list(outputs.found(read_only(job.work), ["*.csv"])) == [("one.csv", 2)]
    every = [name for name, _ in outputs.found(read_only(job.work), ["**/*.csv"])]
    assert every == ["one.csv", "a/two.csv", "a/b/odd\n\x1b.csv", "a/b/three.csv"]
    assert [name for name, _ in outputs.found(read_only(job.work), ["a/**"])] == every[1:]


def test_a_name_with_a_dot_comes_back_only_when_it_is_named(job: Job) -> None:
    (job.work / ".ssh").mkdir()
    for name in (".bashrc", ".ssh/authorized_keys", "x"):
        (job.work / name).touch()
    for pattern in ("*", "**", "**/*", "?bashrc", "[.]bashrc", "*/*"):
        assert [name for name, _ in outputs.found(read_only(job.work), [pattern])] in (["x"], []), pattern
    assert [name for name, _ in outputs.found(read_only(job.work), [".ssh/*", ".bash*"])] == [
        ".bashrc",
        ".ssh/authorized_keys",
    ]


@pytest.mark.parametrize("pattern", ["", "/etc/*", "../x", "a/../../x", "."])
def test_a_pattern_that_leads_out_is_refused(pattern: str) -> None:
    with pytest.raises(Refusal):
        outputs.check(pattern)


def test_ten_thousand_outputs_are_found_in_a_moment(job: Job) -> None:
    for number in range(10_000):
        (job.work / f"{number}.dat").touch()
    began = time.monotonic()
    assert sum(1 for _ in outputs.found(read_only(job.work), ["*.dat"])) == 10_000
    assert time.monotonic() - began < 30


def test_a_link_in_the_folders_place_leads_nothing_of_ours_astray(job: Job, tmp_path: Path) -> None:
    """The session's file server, taken over, puts it there while the command runs."""
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "stdout.0").write_bytes(b"secret")
    (mine / ENDED).write_text('{"code": 0}')
    aside = job.folder.rename(job.folder.with_name("aside"))
    job.folder.symlink_to(mine)
    (tmp_path / "given").write_bytes(b"x")
    with (tmp_path / "given").open("rb") as source:
        running = job.running(source.fileno(), timeout=0.1, polite=0.1)
        ending = threading.Timer(1, end_well, (aside,))
        ending.start()
        assert running.wait(job.held).code == 124
    assert sorted(path.name for path in mine.iterdir()) == [ENDED, "stdout.0"]
    assert not job.out
    assert {STOP, KILL, "stdin.0"} <= {path.name for path in aside.iterdir()}


def test_a_reader_that_stalls_keeps_no_time_limit_from_being_heard(job: Job) -> None:
    """Whoever reads our standard output takes nothing more; the command is ended all the same, and told so."""
    sinks = Sinks(job.take, job.err.extend)
    sinks.held = 1 << 30
    began = time.monotonic()
    with job.guest("sh", "-c", "trap 'exit 0' TERM; while :; do echo more; done"):
        ended = Running(None, sinks, lambda: "", timeout=0.3, polite=0.3).wait(job.held)
    assert (ended.code, ended.own) == (124, False)
    assert time.monotonic() - began < 15


def test_a_reader_that_is_slow_is_waited_for_and_gets_all(job: Job) -> None:
    sinks = Sinks(job.take, job.err.extend)
    sinks.held = 1 << 30
    threading.Timer(1.5, setattr, (sinks, "held", 0)).start()
    with job.guest("sh", "-c", "echo last; exit 3"):
        assert Running(None, sinks, lambda: "").wait(job.held).code == 3
    assert bytes(job.out) == b"last\n"


def test_a_second_signal_ends_the_wait_for_a_reader(job: Job) -> None:
    sinks = Sinks(job.take, job.err.extend)
    sinks.held = 1 << 30
    running = Running(None, sinks, lambda: "", polite=60)
    for seconds in (1.0, 2.2):
        threading.Timer(seconds, running.urge).start()
    with job.guest("echo", "last"):
        ended = running.wait(job.held)
    assert (ended.code, ended.own) == (125, False)
    assert "not all that it printed was taken" in ended.said


def test_one_that_has_much_left_loses_nothing_of_it_to_a_reader_that_takes_little(job: Job) -> None:
    """Its end is known before its last pieces are taken, however many times we look."""

    def take(piece: bytes) -> None:
        job.out += piece
        sinks.held += pieces.MAX_PIECE * 4
        threading.Timer(0.03, setattr, (sinks, "held", 0)).start()

    sinks = Sinks(take, job.err.extend)
    with job.guest("sh", "-c", "head -c 15000000 /dev/zero"):
        time.sleep(1)
        assert Running(None, sinks, lambda: "").wait(job.held).code == 0
    assert len(job.out) == 15_000_000


def test_input_that_trickles_in_goes_on_in_large_pieces_while_the_command_has_enough_to_read(job: Job) -> None:
    read, write = os.pipe()
    ending = threading.Timer(3, end_well, (job.folder,))
    ending.start()

    def trickle() -> None:
        for _ in range(50):
            os.write(write, b"x" * 1000)
            time.sleep(0.02)
        os.close(write)

    trickling = threading.Thread(target=trickle)
    trickling.start()
    assert job.running(read).wait(job.held).code == 0
    trickling.join()
    sizes = [(job.folder / f"stdin.{number}").stat().st_size for number in range(3)]
    assert sizes[0] >= 1000, "the first at once"
    assert (sum(sizes), sizes[2]) == (50_000, 0), "and what nobody waits for in one"
