"""What a round of faults does and says: a fault that met nobody is told, a full disk is full, and idle runs fail."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "session"))

import harness
from harness import Session

from tests.faults import deeds, draws, rounds, stand_in, summing
from tests.faults.deeds import Victim
from tests.faults.draws import Fault
from tests.faults.ground import Ground


@pytest.fixture
def victim(tmp_path: Path) -> Iterator[Victim]:
    """A process that looks as a session's smbd does, in its folder."""
    call = ["bash", "-c", "exec -a sbin/smbd sleep 60"]
    process = subprocess.Popen(call, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    session = Session(process, tmp_path)
    session.events.append({"event": "phase", "phase": "booting"})
    try:
        until(lambda: b"smbd" in Path(f"/proc/{process.pid}/cmdline").read_bytes())
        yield Victim(session, Ground(tmp_path, 0, small=False), tmp_path / "0.sif", tmp_path / "image")
    finally:
        process.kill()
        process.communicate()


def until(true: Callable[[], bool], seconds: float = 10.0) -> None:
    """Wait for something to become true."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it does not come"
        time.sleep(0.01)


def fault(deed: str, role: str = "smbd") -> Fault:
    return Fault(0, "booting", 0.0, deed, role, 0.1)


def test_what_was_done_is_recorded_with_where_it_fell(victim: Victim) -> None:
    victim.suffer(fault("kill"))
    assert victim.session.process.wait(5) == -signal.SIGKILL
    (done,) = victim.record
    assert (done.missed, done.phase) == ("", "booting")
    assert 0 <= done.seconds < 5


@pytest.mark.parametrize(
    ("one", "says"),
    [
        (fault("kill", "qemu"), "no qemu"),
        (fault("stop", "relay"), "no relay"),
        (fault("no-sif"), "gone already"),
        (fault("no-image"), "gone already"),
        (fault("no-folder"), "no folder"),
        (fault("full-disk"), "small disk"),
    ],
)
def test_a_fault_that_met_nobody_is_told(
    victim: Victim, one: Fault, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deeds, "COMES_SECONDS", 0.1)
    victim.suffer(one)
    assert says in victim.record[0].missed


def test_all_of_a_session_is_killed_but_for_who_keeps_its_disk(tmp_path: Path) -> None:
    ground = Ground(tmp_path, 0, small=True)
    call = [*ground.prefix(0), "sh", "-c", "sleep 61 & sleep 62"]
    process = subprocess.Popen(call, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, text=True)
    victim = Victim(Session(process, ground.base), ground, tmp_path / "0.sif", tmp_path / "image")
    try:
        until(lambda: any("sleep 61" in line for line in harness.descendants(process.pid).values()))
        below = {pid for pid in harness.descendants(process.pid) if not ground.is_held_by(pid)}
        victim.suffer(fault(draws.KILL_ALL))
        # A shell that is met after its child may end by itself, as that one did.
        assert process.wait(5) in {-signal.SIGKILL, 128 + signal.SIGKILL}
        assert victim.record[0].missed == ""
        assert not harness.wait_until_gone(below)
        assert ground.disk, "it is looked at after that"
        victim.suffer(fault(draws.KILL_ALL))
        assert victim.record[1].missed == "the session has ended"
    finally:
        process.kill()
        process.wait()
        ground.close()


def test_all_of_a_session_is_killed_while_its_desktop_is_written_when_there_is_a_file(tmp_path: Path) -> None:
    script, half = tmp_path / "session", tmp_path / ".one.new"
    # In a script, so that the writer's name is on its own command line only. Who is met after a child of his goes on.
    goes_on = "while :; do sleep 0.1; done"
    writer = f"bash -c 'sleep 0.5; exec 9>{half}; {goes_on}' {deeds._WORDS[deeds.WRITER]}"
    script.write_text(f"{writer} &\n{goes_on}\n")
    process = subprocess.Popen(["bash", script], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, text=True)
    try:
        session = Session(process, tmp_path)
        session.events.append({"event": "phase", "phase": "ready"})
        victim = Victim(session, Ground(tmp_path, 0, small=False), tmp_path / "0.sif", tmp_path / "image")
        victim.suffer(Fault(0, "suspending", 0.0, draws.KILL_ALL, "smbd", 0.1))
        assert process.wait(5) == -signal.SIGKILL
        assert half.exists(), "there was something to leave"
        assert victim.record[0].seconds < deeds.COMES_SECONDS / 2, "the file was seen, not waited for in vain"
    finally:
        process.kill()
        process.wait()


def test_half_a_saved_desktop_is_noticed_wherever_it_is(tmp_path: Path) -> None:
    half = tmp_path / "deep" / f".suspending-0.7lbd.{'0' * 16}.new"
    half.parent.mkdir()
    (half.parent / "suspending-0.7lbd").touch()
    assert rounds.interrupted(tmp_path) == []
    half.touch()
    assert rounds.interrupted(tmp_path) == [str(half)]


def test_all_of_a_session_stands_still_and_goes_on(victim: Victim) -> None:
    victim.suffer(fault("stop-all"))
    assert victim.record[0].missed == ""
    assert victim.session.process.poll() is None
    state = Path(f"/proc/{victim.session.process.pid}/stat").read_text().rpartition(")")[2].split()[0]
    assert state != "T"


def test_only_a_full_disk_is_let_pass(tmp_path: Path) -> None:
    with deeds.full_disk_passes():
        raise OSError(28, "No space left on device")
    with pytest.raises(PermissionError), deeds.full_disk_passes():
        raise PermissionError(13, "no")
    with pytest.raises(deeds.Missed):
        deeds._fill_up(tmp_path / "none" / "filler")


def row(**more: object) -> summing.Row:
    return {"failed": "", "acknowledged": 3, "heard": 1, "silent": 0, "deeds": [], **more}


def test_a_run_in_which_no_client_was_heard_fails() -> None:
    assert summing.summary([row() for _ in range(9)], 9.0)[1]
    silent = [row(acknowledged=0, heard=0, silent=1) for _ in range(6)]
    said, is_good = summing.summary([*silent, row()], 9.0)
    assert not is_good
    assert "6 of 7 clients got none" in said
    assert not summing.summary([row(failed="it broke")], 9.0)[1]


def test_a_run_of_few_rounds_in_which_no_session_began_fails() -> None:
    nobody = [row(acknowledged=0, heard=0, due=due) for due in (False, True, False, True)]
    said, is_good = summing.summary(nobody, 4.0)
    assert not is_good
    assert "FAILED: no client got a file acknowledged" in said
    early = [row(acknowledged=0, heard=0, due=False) for _ in range(4)]
    assert summing.summary(early, 4.0)[1], "each was killed while it prepared"
    assert not summing.summary([*early, early[0]], 5.0)[1], "so many are not by chance"


def test_a_run_in_which_hardly_a_fault_met_anybody_fails() -> None:
    def deed(what: str, missed: str) -> dict[str, object]:
        return {"missed": missed, "phase": "ready", "fault": {"deed": what}}

    missed, met, nothing = deed("kill", "there is no smbd"), deed("kill", ""), deed("nothing", "")
    said, is_good = summing.summary([row(deeds=[missed, nothing], drawn=1) for _ in range(4)], 4.0)
    assert not is_good
    assert "FAILED: 0 of 4 faults that were drawn met somebody: at least 1 must" in said
    assert not summing.summary([row(drawn=1) for _ in range(4)], 4.0)[1], "whose sessions ended before"
    assert summing.summary([*(row(deeds=[missed], drawn=1) for _ in range(3)), row(deeds=[met], drawn=1)], 4.0)[1]
    assert summing.summary([row(deeds=[missed], drawn=1)], 1.0)[1], "one may come too late"


def round_of(victim: Victim, tmp_path: Path, *faults: Fault) -> rounds.Played:
    """One session's, that has begun."""
    played = rounds.Played.__new__(rounds.Played)
    played._drawn = draws.Round(7, "cold", 1, 0, (1,), faults)
    played._victims, played._grounds = [victim], [Ground(tmp_path, 0, small=False)]
    played._clients, played._lost = [], 0
    return played


def test_a_session_that_does_not_begin_though_nothing_was_done_to_it_fails_its_round(
    victim: Victim, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    victim.session.events.clear()
    for name in ("_BEGIN_SECONDS", "_PATIENCE_SECONDS"):
        monkeypatch.setattr(rounds, name, 0.1)
    played = round_of(victim, tmp_path)
    with pytest.raises(AssertionError, match="nothing was done to it, and it was not booting"):
        played._came(0, "booting")
    assert played.told()["silent"] == 1, "whose client is missing"
    victim.suffer(fault("stop"))
    assert not played._came(0, "booting"), "one that met a fault may refuse"
    assert played.told()["silent"] == 1


def test_a_round_must_be_heard_in_which_nothing_is_done_before_the_clients_are_through(
    victim: Victim, tmp_path: Path
) -> None:
    late, early, none = (
        Fault(0, "stopping", 0.0, "kill", "smbd", 0.1), fault("kill"), fault("nothing")
    )  # fmt: skip
    told = round_of(victim, tmp_path, late, none).told()
    assert (told["due"], told["drawn"]) == (True, 1)
    assert round_of(victim, tmp_path, early, late).told()["due"] is False


def test_faults_that_met_somebody_are_counted_by_phase() -> None:
    met, missed = {"missed": "", "phase": "ready"}, {"missed": "there is no smbd", "phase": "stopping"}
    said, _ = summing.summary([row(deeds=[met, missed])], 1.0)
    assert "1 of 2 faults met somebody, in ready" in said


def test_a_table_says_who_was_met_in_which_phase() -> None:
    def deed(what: str, missed: str = "") -> dict[str, object]:
        return {"missed": missed, "phase": "ready", "fault": {"deed": what, "role": "smbd", "phase": "ready"}}

    deeds = [deed("kill"), deed("kill"), deed("hang"), deed("kill", "there is no smbd"), deed("sleep")]
    lines = summing.table([row(deeds=deeds, start="warm")]).splitlines()
    (smbd,) = [line for line in lines if line.startswith("| smbd")]
    assert [cell.strip() for cell in smbd.split("|")[2:-1]] == ["0 0 0", "0 0 0", "2 0 1", *["0 0 0"] * 3]
    assert "| sleep | 0 | 0 | 1 | 0 | 0 | 0 |" in lines
    assert "1 warm" in lines[-1]


def test_every_process_and_every_phase_is_drawn_and_what_it_needs_is_there() -> None:
    rounds = [draws.of(seed) for seed in range(2000)]
    faults = [one for drawn in rounds for one in drawn.faults]
    assert {(one.phase, one.role) for one in faults if one.deed == "kill"} == {
        (phase, role) for phase in draws.PHASES for role in draws.ROLES
    }
    assert any(drawn.has_role(*draws.WAYS_OUT) for drawn in rounds)
    assert any(drawn.has_role(draws.TPM) for drawn in rounds)
    assert {drawn.start for drawn in rounds} == set(draws.STARTS)
    assert {drawn.start for drawn in rounds if drawn.has_role(draws.TPM, *draws.WAYS_OUT)} == {"cold"}


def test_each_process_can_be_met_once_in_each_phase_by_seeds_that_repeat_it() -> None:
    found = [draws.of(seed).faults for seed in draws.each("kill", 7)]
    assert {(one.phase, one.role) for (one,) in found} == {(one, role) for one in draws.PHASES for role in draws.ROLES}
    assert {one.deed for (one,) in found} == {"kill"}
    assert len(found) == len(draws.PHASES) * len(draws.ROLES)


def test_a_process_that_is_still_to_come_is_waited_for_and_met(tmp_path: Path) -> None:
    call = ["bash", "-c", 'sleep 0.5; (exec -a "sbin/$NAME" sleep 60); sleep 60']
    pipe, env = subprocess.PIPE, {"NAME": "smbd", "PATH": os.defpath}
    process = subprocess.Popen(call, stdout=pipe, stderr=pipe, text=True, start_new_session=True, env=env)
    session = Session(process, tmp_path)
    victim = Victim(session, Ground(tmp_path, 0, small=False), tmp_path / "0.sif", tmp_path / "image")
    try:
        victim.suffer(Fault(0, "preparing", 0.0, "kill", "smbd", 0.1))
        session.events.append({"event": "phase", "phase": "stopping"})
        victim.suffer(Fault(0, "stopping", 0.0, "kill", "smbd", 0.1))
        assert [done.missed for done in victim.record] == ["", "there is no smbd"]
        assert victim.is_hurt
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def test_a_process_that_hung_goes_on_and_one_that_was_missed_hurt_nobody(
    victim: Victim, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deeds, "COMES_SECONDS", 0.1)
    began = time.monotonic()
    victim.suffer(fault("hang"))
    assert 1.0 < time.monotonic() - began < 60
    assert victim.session.process.poll() is None
    assert victim.is_hurt
    other = Victim(victim.session, *[getattr(victim, name) for name in ("_ground", "_sif", "_image")])
    other.suffer(fault("kill", "relay"))
    assert not other.is_hurt


def test_a_clock_that_is_set_leaves_the_sessions_files_in_another_day(victim: Victim, tmp_path: Path) -> None:
    record = tmp_path / "b" / "session" / "session.json"
    record.parent.mkdir()
    record.touch()
    victim.suffer(fault("stamps"))
    assert abs(record.stat().st_mtime - time.time()) > 80_000


def test_the_stand_in_answers_as_a_guest_does(tmp_path: Path) -> None:
    pem = tmp_path / "guest.pem"
    call = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=guest", "-days", "2"]
    subprocess.run([*call, "-keyout", str(pem), "-out", str(pem)], check=True, capture_output=True)
    runtime = Path(__file__).parents[3] / "runtime"

    async def ask() -> tuple[str, str]:
        server = await stand_in.serve("127.0.0.1", 0, str(pem))
        port = server.sockets[0].getsockname()[1]
        code = "import asyncio, sys; sys.path.insert(0, sys.argv[1]); from sevenlbd.inside.vm import rdp_probe as m\n"
        code += "w = '127.0.0.1', int(sys.argv[2])\n"
        code += "print(asyncio.run(m.answers(*w)), len(asyncio.run(m.certificate(*w))) > 100)"
        asked = await asyncio.create_subprocess_exec(
            sys.executable, "-I", "-c", code, str(runtime), str(port), stdout=subprocess.PIPE
        )
        told, _ = await asked.communicate()
        server.close()
        answers, certificate = told.decode().split()
        return answers, certificate

    assert asyncio.run(ask()) == ("True", "True")


def test_a_full_disk_is_the_small_one_and_is_seen_from_here(tmp_path: Path) -> None:
    ground = Ground(tmp_path, 0, small=True)
    assert ground.disk is None, "nothing is filled before it is there"
    done = subprocess.run(
        [*ground.prefix(0), "sh", "-c", f"mkdir {ground.base}/session"], capture_output=True, text=True, check=False
    )
    try:
        assert done.returncode == 0, done.stderr
        assert ground.left() == ["session"], "what is left on it is seen when all who used it have ended"
        assert not list(ground.base.iterdir())
        disk = ground.disk
        assert disk
        deeds._fill_up(disk / "filler")
        with pytest.raises(OSError, match="No space"):
            (disk / "more").write_bytes(bytes(4096))
        (disk / "filler").unlink()
    finally:
        ground.close()
